"""Inputs on which members disagree: known optima, a grid, the budget, and who is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from linear_reach import moved_as_far_as_it_goes
from scipy.stats import entropy
from torch import Tensor, nn

from ringtest import AuditData, audit, evidence, plan, tasks
from ringtest.condition import conditions
from ringtest.evidence import Wanted
from ringtest.measure import NotMeasurable
from ringtest.model import Model, evaluating
from ringtest.perturb.disagreement import Disagreement
from ringtest.trial import prepare


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(weights: Tensor, bias: Tensor | float = 0.0) -> nn.Module:
    layer = nn.Linear(len(weights), weights.shape[1])
    with torch.no_grad():
        layer.weight.copy_(weights.T)
        layer.bias.copy_(torch.as_tensor(bias).expand(weights.shape[1]))
    return layer


def net(seed: int, width: int = 3, sharp: float = 4.0) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, 3))
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(sharp)
    return made


def world(
    x: Tensor, members: list[nn.Module], student: Any = None, y: Any = None, task: str = ""
) -> tuple[AuditData, list[Model]]:
    with torch.no_grad():
        y = members[0](x).argmax(1).numpy() if y is None else y
    data = AuditData(x, y, bounds=(0.0, 1.0) if x.is_floating_point() else None)
    kind = tasks.make(task or "classification", data)
    models = [prepare(f"m{i}", "member", m, kind, data) for i, m in enumerate(members)]
    student = members[-1] if student is None else student
    return data, [*models, prepare("s", "student", student, kind, data)]


def moved(condition: Disagreement, data: AuditData, models: list[Model], of: int = 0) -> Tensor:
    condition.fit(models, data, rng())
    return condition.batch(models[of], data.inputs, None, rng(1))


def information(models: list[Model], x: Tensor) -> np.ndarray:
    """H(mean p) - mean H(p) of the members, by scipy."""
    with torch.no_grad():
        p = np.stack([m.function(x).double().softmax(1).numpy() for m in models[:-1]])
    found: np.ndarray = entropy(p.mean(0), axis=1) - entropy(p, axis=2).mean(0)
    return found


# -- how far they are driven apart -----------------------------------------------------------------


def test_two_linear_members_are_driven_to_the_known_optimum() -> None:
    """Opposite logits s and -s: the information grows with |s|, and |s| by eps |w|_1."""
    x = 0.1 + 0.8 * torch.rand(300, 5, generator=rng())
    w = torch.randn(5, generator=rng(1))
    members = [linear(side * torch.stack([w, -w], 1), 0.0) for side in (1.0, -1.0)]
    for m, side in zip(members, (1.0, -1.0), strict=True):
        with torch.no_grad():
            m.bias.copy_(side * torch.tensor([-0.5, 0.5]) * w.sum())
    data, models = world(x, members)
    eps = 0.05
    found = moved(Disagreement(severity=eps), data, models)
    with torch.no_grad():
        before, after = (members[0](v).diff(dim=1)[:, 0].abs() for v in (x, found))
    reach = 2 * eps * w.abs().sum()
    moved_as_far_as_it_goes(before, after, reach, 0.1)


def test_the_variance_of_two_linear_members_has_a_closed_form() -> None:
    x = 0.3 + 0.4 * torch.rand(200, 4, generator=rng())
    a, b = torch.randn(2, 4, generator=rng(2))
    data, models = world(
        x, [linear(a[:, None]), linear(b[:, None])], y=(3 * x[:, :1]).numpy(), task="regression"
    )
    condition = Disagreement(severity=0.1)
    found = moved(condition, data, models)
    gap, reach = x @ (a - b), 0.1 * (a - b).abs().sum()
    best = (gap.abs() + reach).square() / 4
    got = (found @ (a - b)).square() / 4
    far = gap.abs() > reach
    assert far.float().mean() > 0.3
    torch.testing.assert_close(got[far], best[far], rtol=1e-3, atol=1e-5)
    # In variances of the targets, as the divergence of outputs is.
    outputs = torch.stack([m.outputs(found) for m in models[:2]], 1)
    of_search = condition._apart(outputs).detach()
    scaled = got / (3 * x[:, 0]).var(correction=0)
    torch.testing.assert_close(of_search, scaled.to(of_search), rtol=1e-3, atol=1e-4)


def test_it_comes_near_the_best_point_of_a_grid_and_keeps_the_budget() -> None:
    x = torch.rand(60, 2, generator=rng())  # some at the bounds
    members = [net(i, 2, sharp=1.0) for i in range(3)]
    with torch.no_grad():
        for m in members:
            # Of one mind, but for where the boundaries run.
            for own, first in zip(m.parameters(), net(0, 2, sharp=1.0).parameters(), strict=True):
                own.copy_(first + 0.15 * (own - first))
            m[0].weight.mul_(6)  # type: ignore[index,union-attr]
            m[2].weight.mul_(12)  # type: ignore[index,union-attr]
    data, models = world(x, members)
    eps = 0.1
    step = torch.linspace(-eps, eps, 41)
    offsets = torch.cartesian_prod(step, step)
    points = (x[:, None] + offsets).clamp(0, 1)
    best = information(models, points.reshape(-1, 2)).reshape(60, -1).max(1)
    found = moved(Disagreement(severity=eps), data, models)
    assert (found - x).abs().max() <= eps * (1 + 1e-5)
    assert found.min() >= 0
    assert found.max() <= 1
    got, clean = information(models, found), information(models, x)
    assert (got <= best * 1.02 + 1e-5).all()
    assert (got > 0.95 * best).mean() > 0.8
    assert (got >= clean - 1e-6).all(), "the clean point is one of those seen"
    assert got.mean() > 2 * clean.mean()
    assert (clean < 0.95 * best).mean() > 0.8, "to do nothing would be enough"


def test_sure_members_are_driven_apart_where_the_information_has_no_gradient() -> None:
    x = 0.3 + 0.4 * torch.rand(200, 3, generator=rng())
    side = torch.tensor([[1.0, -1.0]])
    ways = torch.eye(3)
    # Each reads an input of its own, which on the data says the same; none is near its boundary.
    first = torch.where(x[:, :1] > 0.5, 0.56, 0.44)
    x = torch.where(torch.arange(3) < 2, first, x)
    members = [linear(4000 * ways[:, i : i + 1] * side, -2000 * side[0]) for i in (0, 1)]
    data, models = world(x, members)

    class OneRun(Disagreement):
        def runs(self, goal: Any, outputs: Tensor) -> Any:
            yield goal.damage, goal.aims

        random_start = False

    def split(condition: Disagreement) -> Tensor:
        with torch.no_grad():
            y = [m(moved(condition, data, models)).argmax(1) for m in members]
        return y[0] != y[1]

    assert not split(OneRun(severity=0.1)).any(), "the trap is no longer set"
    assert split(Disagreement(severity=0.1)).all()


# -- the same for all, and of whom it can be asked -------------------------------------------------


def test_all_models_see_the_same_whatever_the_student() -> None:
    x = torch.rand(300, 3, generator=rng())
    shown: dict[str, list[Tensor]] = {}

    class Seen(nn.Module):
        def __init__(self, name: str, inner: nn.Module) -> None:
            super().__init__()
            self.name, self.inner = name, inner

        def forward(self, z: Tensor) -> Tensor:
            shown.setdefault(self.name, []).append(z.detach())
            out: Tensor = self.inner(z)
            return out

    members, found = [net(i) for i in range(3)], []
    for seed in (7, 8):
        data, models = world(
            x, [Seen(str(i), m) for i, m in enumerate(members)], Seen("s", net(seed))
        )
        shown.clear()
        with evaluating(models):
            wanted = Wanted(outcomes=True, teacher=True)
            got = evidence.gather(
                *(Disagreement(), models, [], data, models[0].task, wanted, 0)
            ).evidence
        assert not any(e.failed for e in got.values())
        # The members last see what all of them are shown.
        last = {k: torch.cat([v for v in s if len(v) in (256, 44)][-2:]) for k, s in shown.items()}
        found.append(last["s"])
        assert (last["s"] - x).abs().max() > 0.05
    assert torch.equal(*found), "it hangs on the student"
    of_each = [moved(Disagreement(), data, models, i) for i in range(4)]
    assert all(torch.equal(of_each[0], o) for o in of_each)


def test_members_without_gradients_and_a_lone_one_are_told() -> None:
    x = torch.rand(60, 3, generator=rng())
    data, models = world(x, [net(0), net(1)], net(2))
    models[1].gradients = False
    with pytest.raises(NotMeasurable, match="m1 gives no gradients"):
        moved(Disagreement(), data, models)
    with pytest.raises(NotMeasurable, match="one model"):
        moved(Disagreement(), *world(x, [net(0)], net(1)))


def test_embeddings_are_driven_apart_where_they_share_a_width() -> None:
    x = torch.rand(80, 3, generator=rng())
    data, models = world(x, [net(0), net(1)], y=np.arange(80) % 2, task="embedding")

    def apart(points: Tensor) -> Tensor:
        with torch.no_grad():
            a, b = (m.function(points) for m in models[:2])
        return torch.cosine_similarity(a, b)

    assert apart(moved(Disagreement(), data, models)).mean() < apart(x).mean() - 0.02
    other = nn.Sequential(net(1), nn.Linear(3, 5))
    with pytest.raises(NotMeasurable, match="another width"):
        moved(Disagreement(), *world(x, [net(0), other], y=np.arange(80) % 2, task="embedding"))


READ = {"outputs.fidelity", "outputs.kl", "outputs.calibration", "outputs.score"}


def stages(data: AuditData, models: list[Model], **more: Any) -> dict[str, set[str]]:
    made = plan.make(data, models[0].task, models, **more)
    return {s.condition.key: {m.id for m in s.measures} for s in made.stages}


def test_it_is_looked_under_by_default_of_an_ensemble_that_classifies_real_numbers() -> None:
    x = torch.rand(60, 3, generator=rng())
    assert stages(*world(x, [net(0), net(1)]))["attack.disagreement@0.1"] == READ
    assert not any("disagreement" in c for c in stages(*world(x, [net(0)], net(1))))
    assert conditions["attack.disagreement"].role == "context"
    values = world(x, [net(0), net(1)], y=x.numpy(), task="regression")
    assert not any("disagreement" in c for c in stages(*values))
    asked = stages(*values, extra=[("outputs.divergence", "attack.disagreement@0.05")])
    assert "outputs.divergence" in asked["attack.disagreement@0.05"]
    with torch.random.fork_rng([]):
        read = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 3))
    tokens = torch.randint(0, 5, (60, 3), generator=rng())
    assert not any("disagreement" in c for c in stages(*world(tokens, [read, read], read)))


@pytest.mark.parametrize("lacks", ["members", "gradients"])
def test_where_it_cannot_be_asked_every_row_says_why(lacks: str) -> None:
    x = torch.rand(90, 3, generator=rng())
    first, second = net(0), net(1)
    hidden = [lambda z: first(z).detach(), lambda z: second(z).detach()]
    teacher: Any = first if lacks == "members" else hidden
    cell = ("outputs.kl", "attack.disagreement@0.05")
    data = AuditData(x, np.arange(90) % 3, bounds=(0.0, 1.0))
    report: Any = audit(teacher, net(5), data, cells=[cell], progress=False)
    rows = [r for r in report.rows if r.condition == "attack.disagreement"]
    said = "one model" if lacks == "members" else "gives no gradients"
    of_curves = [r for r in rows if r.statistic == "area over severity"]
    assert {r.severity for r in rows if r not in of_curves} == (
        {0.05} if lacks == "members" else {0.05, 0.1}
    )
    assert rows
    assert all(r.status == "not_measurable" and said in r.reason for r in rows)
    assert "outputs.kl" in {r.measure for r in rows}
