"""What the rest of the teacher says on the inputs of each model: by hand, and when it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringtest import AuditData, blocks, compare, evidence, tasks
from ringtest.beside import Beside
from ringtest.condition import Condition
from ringtest.estimate import row_mean
from ringtest.evidence import Wanted
from ringtest.measure import NotMeasurable, Reading
from ringtest.model import evaluating
from ringtest.shift.divergence import Betrayal, Divergence, TeacherScore
from ringtest.trial import prepare

N = 300
ASKED = Wanted(outcomes=True, teacher=True)


def net(seed: int, out: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, out)).eval()


class Shaken(Condition):
    """One change for all."""

    kind = "test.shaken"

    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        return x + torch.randn(x.shape, generator=rng)


class Own(Condition):
    """A change for each, by its name."""

    kind = "test.own"
    scope = "own"

    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        return x + 0.1 * (1 + len(model.name)) + 0.3 * int(model.name[-1])


class World:
    """Members m0 and m1 (and m2), a student s0 and a reference r0."""

    def __init__(self, members: int = 3, task: str = "classification", **nets: nn.Module) -> None:
        x = torch.randn(N, 5, generator=torch.Generator().manual_seed(2))
        targets: Any = {"classification": np.arange(N) % 3, "embedding": None}.get(
            task, x[:, :3].numpy() * [1.0, 9.0, 1.0]
        )
        self.data = AuditData(x, targets)
        self.task = tasks.make(task, self.data)
        roles = {f"m{i}": "member" for i in range(members)} | {"r0": "reference", "s0": "student"}
        self.nets = {name: nets.get(name, net(i)) for i, name in enumerate(roles)}
        self.models = [
            prepare(name, role, self.nets[name], self.task, self.data)  # type: ignore[arg-type]
            for name, role in roles.items()
        ]

    def gather(self, condition: Condition, wanted: Wanted = ASKED) -> dict[str, Any]:
        with evaluating(self.models):
            found = evidence.gather(condition, self.models, [], self.data, self.task, wanted, 0)
        return found.evidence

    def probabilities(self, name: str, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.nets[name](x).double().softmax(1)


def inputs(condition: Condition, model: Any, data: AuditData) -> Tensor:
    """What a model was shown, made anew."""
    return torch.cat(
        [
            condition.batch(model, data.inputs[p], None, blocks.generator(0, condition.key, i))
            for i, p in blocks.blocks(data.n)
        ]
    )


def means(condition: Condition, name: str, said: Callable[[str], Tensor]) -> Tensor:
    """What the members say in the mean that a model is held against, block by block."""
    names, parts = ["m0", "m1", "m2"], []
    for number, part in blocks.blocks(N):
        left_out = blocks.derive(0, condition.key, number) % 3
        rest = [n for i, n in enumerate(names) if n != name and (name in names or i != left_out)]
        assert len(rest) == 2
        parts.append(torch.stack([said(n)[part] for n in rest]).mean(0))
    return torch.cat(parts)


@pytest.mark.parametrize("condition", [Shaken(), Own()], ids=["shared", "own"])
def test_each_is_held_against_the_mean_of_the_others_on_its_own_inputs(
    condition: Condition,
) -> None:
    world = World()
    found = world.gather(condition)
    for model in world.models:
        x = inputs(condition, model, world.data)
        p = means(condition, model.name, lambda name, x=x: world.probabilities(name, x))
        q = world.probabilities(model.name, x)
        beside = found[model.name].beside
        np.testing.assert_allclose(beside.divergence, (p * (p / q).log()).sum(1), atol=1e-6)
        np.testing.assert_array_equal(beside.predictions, p.argmax(1).numpy())
        np.testing.assert_array_equal(
            beside.score, (p.argmax(1).numpy() == world.data.targets).astype(float)
        )
        assert not beside.failed


def test_the_rows_that_lie_furthest_apart_are_kept() -> None:
    world = World()
    found = world.gather(Own())["s0"].beside
    order = np.argsort(-found.divergence)[:3]
    assert [e.row for e in found.examples] == order.tolist()
    x = inputs(Own(), world.models[-1], world.data)
    for example in found.examples:
        assert example.divergence == found.divergence[example.row]
        assert torch.equal(example.before, world.data.inputs[example.row])
        assert torch.equal(example.after, x[example.row])
        assert example.teacher.argmax() == found.predictions[example.row]


def test_shared_inputs_take_no_further_pass_and_nothing_is_asked_unless_wanted() -> None:
    world = World()
    passes: list[int] = []
    world.nets["m1"].register_forward_hook(lambda *_: passes.append(1))

    def count(condition: Condition, wanted: Wanted) -> int:
        passes.clear()
        world.gather(condition, wanted)
        return len(passes)

    without = Wanted(outcomes=True)
    assert count(Shaken(), ASKED) == count(Shaken(), without) == 2
    assert count(Own(), without) == 2
    # Its own, m0's, m2's, and r0's and s0's where it is not the one left out.
    left_out = [blocks.derive(0, Own().key, number) % 3 == 1 for number in range(2)]
    assert count(Own(), ASKED) == sum(3 if out else 5 for out in left_out)
    assert all(e.beside is None for e in world.gather(Own(), without).values())


def test_values_and_embeddings() -> None:
    world = World(task="regression")
    found = world.gather(Own())
    x = inputs(Own(), world.models[-1], world.data)
    with torch.no_grad():
        mean = means(Own(), "s0", lambda name: world.nets[name](x).double())
        moved = (world.nets["s0"](x) - mean) / torch.as_tensor(world.data.targets).std(0, False)
    np.testing.assert_allclose(found["s0"].beside.divergence, moved.square().mean(1), rtol=1e-4)
    assert found["s0"].beside.predictions is None
    found = World(task="embedding").gather(Own())
    assert (found["s0"].beside.divergence <= 2 + 1e-9).all()
    assert np.isnan(found["s0"].beside.score).all()
    # Embeddings of another width have nothing in common to be compared by.
    found = World(task="embedding", s0=net(9, out=4)).gather(Own())
    assert "another width" in found["s0"].beside.apart
    assert not found["m0"].beside.apart


def test_the_members_answer_as_they_are_where_a_condition_disturbs_them() -> None:
    class Half(Condition):
        kind = "test.half"

        def subject(self, model: Any) -> Any:
            return replace(model, function=lambda x: 0.5 * model.function(x))

    world = World()
    found = world.gather(Half())
    x = world.data.inputs
    for name in ("m0", "s0"):
        p = means(Half(), name, lambda other: world.probabilities(other, x))
        with torch.no_grad():
            q = (0.5 * world.nets[name](x)).double().softmax(1)
        np.testing.assert_allclose(
            found[name].beside.divergence, (p * (p / q).log()).sum(1), atol=1e-6
        )


def test_nobody_is_favoured_for_being_no_member() -> None:
    """Exchangeable networks, each in turn the student: the mean difference is nothing."""
    nets, gaps = [net(seed) for seed in range(40, 52)], []
    for turn in range(12):
        order = [nets[(turn + i) % 12] for i in range(3)]
        world = World(2, m0=order[0], m1=order[1], s0=order[2])
        found = world.gather(Shaken())
        value = {name: float(found[name].beside.divergence.mean()) for name in ("m0", "m1", "s0")}
        gaps.append(value["s0"] - (value["m0"] + value["m1"]) / 2)
    assert abs(np.mean(gaps)) < 2 * np.std(gaps) / np.sqrt(12)


class Touchy(nn.Module):
    """A member that cannot bear what was made for the student."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how = net(1), how

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > self.limit:
            if self.how == "raises":
                raise RuntimeError("too bright")
            return self.inner(x) * torch.nan
        out: Tensor = self.inner(x)
        return out

    limit = torch.inf


@pytest.mark.parametrize("how", ["raises", "gives NaN"])
def test_a_member_that_fails_on_anothers_inputs_loses_a_row_and_not_the_audit(
    how: str, setting: Any
) -> None:
    class Bright(Own):
        def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
            return x + (10.0 if model.name == "s0" else 0.0)

    world = World(m1=Touchy(how))
    world.nets["m1"].limit = 5.0  # type: ignore[assignment]
    found = world.gather(Bright())
    assert not any(e.failed for e in found.values())
    assert ("too bright" if how == "raises" else "NaN") in found["s0"].beside.failed
    assert not found["m0"].beside.failed
    at = setting(world.data.inputs, world.data.targets, condition=Bright())
    failed = compare.guarded(found["s0"], lambda e: Divergence().read(e, at))
    assert failed.status == "error"
    assert "m1" in failed.reason


def test_a_single_teacher_has_nobody_beside_it(setting: Any) -> None:
    world = World(members=1)
    found = world.gather(Own())
    assert found["m0"].beside is None
    at = setting(world.data.inputs, world.data.targets, condition=Own())
    with pytest.raises(NotMeasurable, match="no other member"):
        Divergence().read(found["m0"], at)
    x = inputs(Own(), world.models[-1], world.data)
    p, q = world.probabilities("m0", x), world.probabilities("s0", x)
    (reading,) = Divergence().read(found["s0"], at)
    assert reading.estimate.value == pytest.approx(float((p * (p / q).log()).sum(1).mean()))
    # The student's own level is told, and is no comparison.
    entry = Divergence()
    readings = compare.read(entry, found, ["m0", "r0", "s0"], at)
    paired = compare.pair(readings, ["m0"], "s0", ["r0"], level=True)
    (row,) = compare.context_rows(entry, Own(), paired, seed=0)
    assert row.student == reading.estimate.value
    assert row.se > 0
    assert np.isnan([row.teacher, row.delta, row.harm, row.ci_low]).all()
    assert (row.status, "no other member" in row.reason) == ("context", True)
    assert row.params["references"] == pytest.approx(found["r0"].beside.divergence.mean())
    # Of what is no level of its own nothing is told.
    assert isinstance(compare.pair(readings, ["m0"], "s0"), compare.Failure)


def test_what_has_nothing_to_show_of_a_model_is_not_measurable() -> None:
    class Picky(Own):
        def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
            if model.name == "m0":
                raise NotMeasurable("is the only one")
            return x

    found = World().gather(Picky())
    failed = compare.guarded(found["m0"], lambda e: e)
    assert failed == compare.Failure("not_measurable", "m0 is the only one")
    assert not found["s0"].failed


def test_the_measures_are_means_over_rows(rng: Any, seen: Any, setting: Any) -> None:
    x = rng.normal(size=(200, 3)).astype(np.float32)
    at = setting(x, rng.integers(0, 3, size=200), condition=Own())
    own, theirs = rng.integers(0, 3, size=(2, 200))
    beside = Beside(rng.random(200), rng.integers(0, 2, size=200).astype(float), theirs)
    one = seen(x, predictions=own, beside=beside)
    means = {
        Divergence: beside.divergence.mean(),
        Betrayal: (own != theirs).mean(),
        TeacherScore: beside.score.mean(),
    }
    for entry, mean in means.items():
        (reading,) = entry().read(one, at)
        assert isinstance(reading, Reading)
        assert reading.estimate.value == pytest.approx(mean)
        assert reading.estimate.units == 200
    same = seen(x, predictions=theirs, beside=beside)
    assert Betrayal().read(same, at)[0].estimate.value == 0
    np.testing.assert_array_equal(
        Divergence().read(one, at)[0].estimate.influence, row_mean(beside.divergence).influence
    )


@pytest.mark.parametrize(("condition", "scores"), [(Shaken(), 3), (Own(), 5 * 2)])
def test_what_all_saw_is_scored_once_a_member(
    condition: Condition, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members' own scores, besides one of each model and one of what it is held against."""
    world, calls = World(), []
    score = type(world.task).score

    def counted(self: Any, outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(outputs))
        return score(self, outputs, targets)

    monkeypatch.setattr(type(world.task), "score", counted)
    world.gather(condition)
    assert len(calls) == 2 * (2 * len(world.models) + scores)  # two blocks
