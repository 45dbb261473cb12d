"""Checks for masked gradients: honest models pass, and each way of faking is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from quick import only_under
from torch import Tensor, nn

import ringtest
from ringtest import tasks
from ringtest.data import AuditData
from ringtest.evidence import Evidence
from ringtest.measure import Setting, measures
from ringtest.perturb import masking
from ringtest.perturb.apgd import APGD
from ringtest.perturb.fgsm import FGSM
from ringtest.perturb.pgd import PGD, PGDL2
from ringtest.trial import prepare

CHEAP, SEARCH = "attack.masking", "attack.masking_search"


class Behind(nn.Module):
    """A net behind something else, its logits scaled."""

    def __init__(
        self, net: nn.Module, front: Callable[[Tensor], Tensor], scale: float = 1.0
    ) -> None:
        super().__init__()
        self.net, self.front, self.scale = net, front, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.net(self.front(x))


def shattered(x: Tensor) -> Tensor:
    """Hardly moved, with a gradient that points anywhere."""
    return x + 0.03 * torch.sin(2000 * x)


def stairs(x: Tensor) -> Tensor:
    """Rounded to quarters, all but: between the steps there is no gradient to speak of."""
    z = 4 * x
    return (z.floor() + torch.sigmoid(300 * (z - z.floor() - 0.5))) / 4


def looked(
    net: nn.Module, x: Tensor, y: Tensor, attack: Any, *others: nn.Module
) -> tuple[Evidence, Setting]:
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    task = tasks.make("classification", data)
    model = prepare("model", "student", net.eval(), task, data)
    beside = [
        prepare(f"m{i}", "member", other.eval(), task, data) for i, other in enumerate(others)
    ]
    attack.fit([model, *beside], data, torch.Generator())
    evidence = Evidence("model", (), torch.empty(0, 0), {}, None, None, model=model)
    return evidence, Setting(data, task, attack, np.arange(len(x)), None, 0)


def checked(
    net: nn.Module, x: Tensor, y: Tensor, id_: str, attack: Any, *others: nn.Module
) -> tuple[dict[str, float], str]:
    entry: Any = measures[id_]
    evidence, at = looked(net, x, y, attack, *others)
    found = {r.statistic: r.estimate.value for r in entry.read(evidence, at)}
    assert all(-1 <= v <= 1 for v in found.values())
    return found, entry.objection(found)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "QUERIES", 200)


@pytest.fixture
def some(digits_cnn: Callable[..., Any]) -> Callable[..., Any]:
    def make(temperature: float = 1.0) -> Any:
        return tuple(p[:100] if isinstance(p, Tensor) else p for p in digits_cnn(temperature))

    return make


@pytest.mark.parametrize("attack", [PGD(severity=0.1), PGDL2(severity=0.6)], ids=lambda a: a.kind)
def test_an_honest_network_passes_every_check(attack: Any, some: Callable[..., Any]) -> None:
    for id_ in (CHEAP, SEARCH):
        found, why = checked(*some(), id_, attack)
        assert why == ""
        expected = {c.statistic for c in measures[id_].checks}  # type: ignore[attr-defined]
        unasked = {"transfer"} | ({"black box"} if attack.kind == "attack.pgd_l2" else set())
        assert found.keys() == expected - unasked
        assert all(v < 0.3 for k, v in found.items() if k != "tiny gradients")


@pytest.mark.parametrize("fake", ["logits x100", "trained at T=50"])
def test_a_temperature_is_found_out_by_the_gap_and_shows_in_tiny_gradients(
    fake: str, some: Callable[..., Any]
) -> None:
    net, x, y = some(50.0 if fake == "trained at T=50" else 1.0)
    hot = Behind(net, nn.Identity(), 100.0) if fake == "logits x100" else net
    found, why = checked(hot, x, y, CHEAP, PGD(severity=0.1))
    assert found["cross-entropy against DLR"] > 0.2
    assert found["tiny gradients"] > 0.8
    assert why.startswith("gradients are masked: CE and DLR differ by")
    assert "\n" not in why


def test_an_honest_network_that_is_sure_of_itself_is_not_refuted() -> None:
    """Tiny gradients of cross-entropy everywhere, and nothing that they hide."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 2
    x = (0.1 * torch.rand(120, 4, generator=g) + 0.8 * y[:, None]).clamp(0, 1)
    sure = nn.Linear(4, 2)
    with torch.no_grad():
        sure.weight.copy_(torch.tensor([[-20.0] * 4, [20.0] * 4]))
        sure.bias.copy_(torch.tensor([36.0, -36.0]))
    found, why = checked(sure, x, y, CHEAP, PGD(severity=0.05))
    assert found["tiny gradients"] == 1
    assert found["no gradients"] == 0
    assert why == ""


def test_rows_that_stay_right_without_any_gradient_are_no_robust_rows(
    some: Callable[..., Any],
) -> None:
    net, x, y = some()

    class Deaf(nn.Module):
        """Half of the rows have no gradient."""

        def forward(self, z: Tensor) -> Tensor:
            out: Tensor = net(z)
            dark = z.flatten(1).mean(1, keepdim=True) < x.flatten(1).mean(1).median()
            return torch.where(dark, out.detach(), out)

    found, why = checked(Deaf(), x, y, CHEAP, PGD(severity=0.03))
    assert found["no gradients"] > 0.3
    assert "no gradient at all" in why


def test_a_scale_of_logits_changes_nothing_under_dlr(some: Callable[..., Any]) -> None:
    net, x, y = some()
    attack = PGD(severity=0.1)
    left = []
    for scale in (1.0, 100.0):
        evidence, at = looked(Behind(net, nn.Identity(), scale), x, y, attack)
        assert evidence.model is not None
        left.append(masking.Bench(evidence.model, attack, at).alone("dlr"))
    assert (left[0] == left[1]).mean() > 0.99


@pytest.mark.parametrize("front", [shattered, stairs])
def test_gradients_that_lead_nowhere_are_found_out_by_a_blind_search(
    front: Any, some: Callable[..., Any]
) -> None:
    net, x, y = some()
    found, why = checked(Behind(net, front), x, y, SEARCH, PGD(severity=0.1))
    assert found["black box"] > 0.1
    assert "a black-box attack is stronger" in why


def test_gradients_that_lead_nowhere_are_found_out_by_an_attack_on_another_model(
    some: Callable[..., Any],
) -> None:
    net, x, y = some()
    found, objection = checked(Behind(net, shattered), x, y, SEARCH, PGD(severity=0.1), net)
    assert found["transfer"] > 0.1
    assert "an attack made on another model is stronger" in objection
    found, objection = checked(net, x, y, SEARCH, PGD(severity=0.1), Behind(net, shattered))
    assert found["transfer"] < 0
    assert not objection
    # Nobody else to make one on.
    assert "transfer" not in checked(net, x, y, SEARCH, PGD(severity=0.1))[0]


def test_an_attack_that_has_not_converged_is_told_by_more_steps(some: Callable[..., Any]) -> None:
    attack = PGD(severity=0.1, steps=1)
    attack.rate = 0.2  # type: ignore[misc]
    found, why = checked(*some(), SEARCH, attack)
    assert found["more steps"] > 0.1
    assert "more steps break another" in why


class Constant(nn.Module):
    """One answer to everything, whatever its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        z = 1e-3 * x.flatten(1)[:, :10]
        return z + 5 * torch.nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), 10)


def test_an_unbounded_attack_must_reach_nothing(some: Callable[..., Any]) -> None:
    _, x, y = some()
    found, why = checked(Constant(), x, y, SEARCH, PGD(severity=0.1))
    assert found["unbounded"] == pytest.approx(float((y == 0).double().mean()))
    assert "stay right under an unbounded attack" in why


class Unsteady(nn.Module):
    """Draws anew on every call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.rng = net, torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(len(x), 10, generator=self.rng)
        return self.net(x) + noise * self.steady

    steady = 0.0


def test_outputs_that_change_by_themselves_are_told(some: Callable[..., Any]) -> None:
    net, x, y = some()
    model = Unsteady(net)
    evidence, at = looked(model, x, y, PGD(severity=0.1))
    model.steady = 0.1
    entry: Any = measures[CHEAP]
    found = {r.statistic: r.estimate.value for r in entry.read(evidence, at)}
    assert found["unsteady outputs"] > 0.9
    assert "answered differently twice" in entry.objection(found)


@pytest.mark.parametrize("id_", [CHEAP, SEARCH])
def test_each_check_fails_beyond_its_slack_and_on_nan(id_: str) -> None:
    entry: Any = measures[id_]
    healthy = {c.statistic: c.slack for c in entry.checks}
    assert entry.objection(healthy) == ""
    for check in entry.checks:
        for bad in (check.slack + 1e-6, float("nan")):
            if np.isinf(bad):
                continue  # told, and no failure
            why = entry.objection({**healthy, check.statistic: bad})
            assert check.words.partition("{}")[2] in why
            assert check.words.partition("{}")[0] in why


def test_it_is_read_under_attacks_up_gradients_alone(some: Callable[..., Any]) -> None:
    _, x, y = some()
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    task = tasks.make("classification", data)
    entry = measures[CHEAP]
    assert entry.applies(PGD(severity=0.1), data, task)
    assert entry.applies(PGD(severity=0.1, restarts=2), data, task)
    for other in (FGSM(), APGD(), ringtest.condition.Clean()):
        assert not entry.applies(other, data, task)


def scores(report: Any) -> dict[float | None, Any]:
    rows = report.verdict.rows
    return {
        r.severity: r for r in rows if r.measure == "outputs.score" and r.condition == "attack.pgd"
    }


def test_the_score_of_a_masked_student_is_not_measurable(some: Callable[..., Any]) -> None:
    net, x, y = some()
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    students = {"hot": Behind(net, nn.Identity(), 100.0), "honest": Behind(net, nn.Identity(), 1.5)}
    cells = [(CHEAP, "attack.pgd@0.1")]
    # Besides the attack what a label rests on.
    with only_under("attack.pgd", "shift.off_support.*", "shift.certified"):
        reports = ringtest.audit(net, students, data, cells=cells, progress=False)
    hot, honest = (scores(reports[name]) for name in ("hot", "honest"))
    assert hot[0.1].status == "not_measurable"
    assert hot[0.1].reason.startswith("student 'hot': gradients are masked: CE and DLR differ by")
    assert np.isnan([hot[0.1].student, hot[0.1].delta]).all()
    assert honest[0.1].status == "context"
    assert 0 <= honest[0.1].student < honest[0.03].student
    # What was not checked is not doubted, and nothing else is.
    assert hot[0.03].status == "context"
    checks = [r for r in reports["hot"].verdict.rows if r.measure == CHEAP]
    assert {r.statistic for r in checks} == {c.statistic for c in measures[CHEAP].checks}  # type: ignore[attr-defined]
    assert {(r.condition, r.severity) for r in checks} == {("attack.pgd", 0.1)}
    (gap,) = (r for r in checks if r.statistic == "cross-entropy against DLR")
    assert gap.harm > 0.2 > abs(gap.teacher)
    assert reports["hot"].verdict.label == reports["honest"].verdict.label


def test_a_masked_member_leaves_nothing_to_compare_with(some: Callable[..., Any]) -> None:
    net, x, y = some(50.0)
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    student = some()[0]
    cells = [(CHEAP, "attack.pgd@0.1")]
    with only_under():
        report = ringtest.audit(net, student, data, cells=cells, progress=False)
    row = scores(report)[0.1]
    assert row.status == "not_measurable"
    assert "gradients are masked" in row.reason
    assert not row.reason.startswith("student")


def test_examples_outside_the_budget_are_counted_by_another_arithmetic(
    some: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack's own check is switched off, and its examples leave the ball or the bounds."""
    net, x, y = some()
    honest = PGD.batch

    def too_far(self: Any, model: Any, x: Tensor, y: Any, rng: Any) -> Tensor:
        out = honest(self, model, x, y, rng)
        out[0] = (x[0] + 1.5 * self.eps).clamp(0, 1)
        out[1] = out[1] - 0.01 * (out[1] == 0)
        return out

    monkeypatch.setattr(PGD, "batch", too_far)
    found, why = checked(net, x, y, CHEAP, PGD(severity=0.1))
    assert found["outside"] == pytest.approx(0.02)
    assert "0.02 of examples lie outside eps or the bounds" in why
