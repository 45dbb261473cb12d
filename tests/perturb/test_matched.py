"""Noise matched on the movement of outputs, and the movement of layers that it is read by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ringtest
from ringtest import evidence, tasks
from ringtest.compare import Failure, guarded
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.evidence import Gathered, Wanted
from ringtest.measure import NotMeasurable, Setting, measures
from ringtest.model import Model, evaluating
from ringtest.perturb.displacement import displacement
from ringtest.perturb.matching import STRONGEST, TOLERANCE, match
from ringtest.trial import prepare

N, COPIES = 400, 16
KINDS = ["noise.weight_matched", "noise.activation_matched"]


class Net(nn.Module):
    """One hidden layer; each of its units may stand there several times, each with its share."""

    def __init__(self, copies: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(3)
        first, second = torch.randn(8, 6, generator=g), torch.randn(3, 8, generator=g)
        self.a, self.b = nn.Linear(6, 8 * copies), nn.Linear(8 * copies, 3)
        with torch.no_grad():
            self.a.weight.copy_(gain * first.repeat(copies, 1))
            self.b.weight.copy_(second.repeat(1, copies) / (copies * gain))
            self.a.bias.zero_()
            self.b.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x).relu())
        return out


def rows(task: str = "classification", n: int = N) -> AuditData:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z = Net()(x)
    return AuditData(x, z.argmax(1).numpy() if task == "classification" else z.numpy())


def model(net: Any, at: AuditData, name: str, task: str) -> Model:
    return prepare(name, "member", net, tasks.make(task, at), at)


def looked(condition: Any, models: list[Model], at: AuditData, task: str, seed: int = 0) -> Any:
    wanted = Wanted(outcomes=True, sample=True, layers=True)
    with evaluating(models):
        found: Gathered = evidence.gather(
            condition, models, (), at, tasks.make(task, at), wanted, seed
        )
    return found.evidence


def movement(task: Any, changed: Tensor, clean: Tensor) -> float:
    """The formula, computed anew over all pairs."""
    p, q = (task.points(v).double() for v in (clean, changed))
    pairs = torch.cdist(p, p).square().sum() / (len(p) * (len(p) - 1))
    return float((q - p).square().sum(1).mean() / pairs)


def strength(condition: Any, found: Any, at: AuditData, task: str) -> Any:
    setting = Setting(at, tasks.make(task, at), condition, np.arange(at.n), at.cluster, 0)
    entry: Any = measures["noise.strength"]
    assert entry.applies(condition, at, None)
    return guarded(found, lambda e: entry.read(e, setting))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("id_", KINDS)
def test_outputs_move_equally_whatever_a_network_tolerates(id_: str, task: str) -> None:
    """Copies average noise out: one function, and four times the tolerance."""
    at = rows(task)
    both = [model(Net(), at, "plain", task), model(Net(COPIES), at, "copied", task)]
    kind = tasks.make(task, at)
    clean = looked(conditions["clean"].make(), both, at, task)
    torch.testing.assert_close(clean["plain"].outputs, clean["copied"].outputs)
    condition: Any = conditions[id_].make(severity=0.1)
    found = looked(condition, both, at, task)
    # The same strength does not do the same to both.
    same = looked(conditions[id_.removesuffix("_matched")].make(severity=0.3), both, at, task)
    moved, alike = (
        {k: movement(kind, seen[k].outputs, clean[k].outputs) for k in clean}
        for seen in (found, same)
    )
    assert alike["plain"] > 2 * alike["copied"]
    # Weights are matched on these very rows and draws; layers get other draws of that strength.
    close = 2 * TOLERANCE if id_ == "noise.weight_matched" else 0.2
    for name in clean:
        assert moved[name] == pytest.approx(0.1, rel=close)
    read = {k: strength(condition, v, at, task)[0].estimate for k, v in found.items()}
    assert read["plain"].value == condition.found["plain"].strength
    ratio = read["copied"].value / read["plain"].value
    assert 2 < ratio < 2 * COPIES**0.5
    assert measures["noise.strength"].direction == "higher"


def test_units_made_larger_change_nothing() -> None:
    """A ReLU network computes the same with larger units and smaller weights that read them."""
    at, task = rows(), "classification"
    both = [model(Net(), at, "plain", task), model(Net(gain=50), at, "loud", task)]
    for id_ in KINDS:
        condition: Any = conditions[id_].make(severity=0.1)
        looked(condition, both, at, task)
        found = [condition.found[m.name].strength for m in both]
        assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize("target", [0.02, 0.3, 0.9])
def test_the_strength_of_a_known_curve(target: float) -> None:
    """Points moved by s along fixed draws: the movement is s^2 times a number known in advance."""
    g = torch.Generator().manual_seed(0)
    clean, draws = torch.randn(200, 3, generator=g), torch.randn(200, 3, generator=g)
    pairs = float(torch.pdist(clean).square().mean())
    found = match(lambda s: clean + s * draws, target)
    exact = (target * pairs / float(draws.square().sum(1).mean())) ** 0.5
    assert found.strength == pytest.approx(exact, rel=TOLERANCE)
    assert float(found.apart.mean()) == pytest.approx(1)
    assert float(found.moved.mean()) == pytest.approx(target, rel=TOLERANCE)
    # d s^2 / d log s = 2 s^2
    assert found.slope == pytest.approx(2 * target, rel=0.02)


def test_the_error_of_a_strength_is_that_over_samples_of_rows() -> None:
    g = torch.Generator().manual_seed(0)

    def one() -> Any:
        clean = torch.randn(150, 2, generator=g)
        draws = torch.randn(150, 2, generator=g) * torch.rand(150, 1, generator=g)
        found = match(lambda s: clean + s * draws, 0.2)
        at = Setting(AuditData(clean, np.arange(150) % 2), None, None, np.arange(150), None, 0)  # type: ignore[arg-type]
        from ringtest.perturb.matched import _estimate

        return _estimate(found, at)

    draws = [one() for _ in range(60)]
    over = np.std([e.value for e in draws], ddof=1)
    said = np.mean([np.sqrt((e.influence**2).sum()) for e in draws])
    assert said == pytest.approx(over, rel=0.35)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (lambda s: torch.ones(20, 2), "do not vary"),
        (lambda s: torch.eye(20) * (1 + 1e-3 * s), f"at a noise of {STRONGEST:g}"),
        (lambda s: torch.eye(20) * (1 if s < 1 else 9), "jump over"),
        (lambda s: torch.eye(20) * (1 if s < 1 else torch.nan), "jump over"),
    ],
)
def test_what_cannot_be_matched_says_why(points: Any, why: str) -> None:
    with pytest.raises(NotMeasurable, match=why):
        match(points, 0.2)


def test_a_model_that_cannot_be_moved_is_not_measurable_and_alone() -> None:
    class Deaf(Net):
        """Its weights hardly matter: a fixed path carries the answer."""

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :3] + 1e-6 * super().forward(x)

    at, task = rows(), "classification"
    both = [model(Deaf(), at, "deaf", task), model(Net(), at, "plain", task)]
    condition: Any = conditions["noise.weight_matched"].make(severity=0.2)
    found = looked(condition, both, at, task)
    assert found["deaf"].failure == "not_measurable"
    told = strength(condition, found["deaf"], at, task)
    assert isinstance(told, Failure)
    assert told.status == "not_measurable"
    assert "moves its outputs by" in told.reason
    assert not found["plain"].failed
    assert strength(condition, found["plain"], at, task)[0].estimate.value > 0


@pytest.mark.usefixtures("asked_alone")
def test_an_audit_reads_what_broke_at_equal_movement() -> None:
    at = rows()
    cells = [
        (m, "noise.weight_matched@0.1")
        for m in ("probe.decodability", "representation.displacement", "probe.condition_matrix")
    ]
    report = ringtest.audit(Net(), Net(COPIES), at, cells=cells, progress=False)
    found: dict[str, list[Any]] = {}
    for row in report.verdict.rows:
        if row.condition == "noise.weight_matched":
            found.setdefault(row.measure, []).append(row)
    assert set(found) >= {"noise.strength", "outputs.score", *(m for m, _ in cells)}
    (row,) = found["noise.strength"]
    assert row.student > 2 * row.teacher
    assert row.status == "context"
    assert row.area == "perturb"
    moved = found["representation.displacement"]
    assert [r.params["depth"] for r in moved] == [0.0, 1.0]
    assert all(np.isfinite([r.student, r.teacher, r.se]).all() for r in moved)
    assert "representation.displacement" in report.to_html() if hasattr(report, "to_html") else True


def test_nothing_of_it_is_part_of_an_audit_that_does_not_ask() -> None:
    report = ringtest.audit(Net(), Net(2), rows(n=200), progress=False)
    assert not [r for r in report.verdict.rows if r.area == "perturb"]
    kinds = ("noise.weight", "noise.activation", "ablate.", "attack.representation", "attack.guide")
    assert not [r for r in report.verdict.rows if r.condition.startswith(kinds)]


# -- displacement ----------------------------------------------------------------------------------


def test_displacement_by_hand_and_its_error_over_samples() -> None:
    g = torch.Generator().manual_seed(0)
    clean, shift = torch.randn(500, 7, generator=g) * 3 + 100, torch.tensor([3.0, 4, 0, 0, 0, 0, 0])
    rms = float((clean.double() - clean.double().mean(0)).square().sum(1).mean() ** 0.5)
    assert displacement(clean, clean + shift, None).value == pytest.approx(5 / rms, rel=1e-5)
    assert displacement(clean, clean, None).value == 0
    # To other rows: sqrt 2, but for the mean of lengths being below the root of the mean square.
    wide = torch.randn(2000, 400, generator=g)
    assert displacement(wide, wide.roll(1, 0), None).value == pytest.approx(2**0.5, rel=0.01)

    def one() -> Any:
        x = torch.randn(80, 3, generator=g) * torch.rand(80, 1, generator=g)
        return displacement(x, 1.7 * x, None)

    draws = [one() for _ in range(200)]
    said = np.mean([np.sqrt((e.influence**2).sum()) for e in draws])
    assert said == pytest.approx(np.std([e.value for e in draws], ddof=1), rel=0.25)


def test_noise_on_a_lone_wide_layer_displaces_it_by_its_severity() -> None:
    class Lone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(300, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(x)
            return out

    x = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    at, task = AuditData(x, np.arange(300) % 2), "classification"
    own = model(Lone(), at, "m", task)
    clean = looked(conditions["clean"].make(), [own], at, task)["m"]
    found = looked(conditions["noise.activation"].make(severity=0.25), [own], at, task)["m"]
    assert displacement(clean.last, found.last, None).value == pytest.approx(0.25, rel=0.02)
