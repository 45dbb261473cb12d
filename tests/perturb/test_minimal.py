"""Smallest eps against closed forms and two libraries; curve, median and censoring by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from oracles import oracle
from torch import Tensor, nn
from usage_models import linear, one

import ringtest
from ringtest import estimate, inference
from ringtest.data import AuditData
from ringtest.measure import measures
from ringtest.perturb.minimal import Nearest

MINIMAL = pytest.mark.parametrize(
    ("id_", "norm"), [("attack.minimal", np.inf), ("attack.minimal_l2", 2)]
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distances(id_: str, net: nn.Module, data: AuditData) -> np.ndarray:
    evidence, at = one(net, data)
    found: np.ndarray = measures[id_].distances(evidence.model, at)
    return found


def readings(id_: str, net: nn.Module, data: AuditData) -> dict[str, Any]:
    evidence, at = one(net, data)
    return {
        r.statistic.partition(",")[0].partition(" up")[0]: r
        for r in measures[id_].read(evidence, at)
    }


@MINIMAL
def test_of_a_linear_model_it_is_the_distance_to_the_boundary(id_: str, norm: float) -> None:
    weight = torch.randn(2, 6, generator=rng())
    x = torch.randn(300, 6, generator=rng(1)) * torch.linspace(0.5, 4, 6)
    net = linear(weight)
    y = net(x).argmax(1)
    y[:20] = 1 - y[:20]
    found = distances(id_, net, AuditData(x, y.numpy()))
    # A step of one SD along each column changes the margin by the slope in units of SDs.
    slope = (weight[1] - weight[0]).double() * x.double().std(0, correction=0)
    margin = (net(x)[:, 1] - net(x)[:, 0]).double().abs()
    dual = torch.linalg.vector_norm(slope, ord=1 if norm == np.inf else 2)
    expected = (margin / dual).detach().numpy()
    expected[:20] = 0
    top = measures[id_].top
    near, far = expected < 0.999 * top, expected > 1.001 * top
    assert (near[20:]).sum() > 50
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-3)
    assert (found[near] >= expected[near] * (1 - 1e-4)).all(), "nothing breaks before the boundary"
    assert np.isinf(found[far]).all()
    if norm == np.inf:
        assert far.sum() > 20


def test_points_break_where_they_are_said_to(digits_cnn: Callable[..., Any]) -> None:
    net, x, y = (part[:80] if isinstance(part, Tensor) else part for part in digits_cnn())
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    evidence, _ = one(net, data)
    attack = Nearest(severity=0.15)
    attack.fit([], data, rng())
    found = attack.batch(evidence.model, x, y, rng(1))
    moved = (found != x).flatten(1).any(1)
    right = net(x).argmax(1) == y
    assert not moved[~right].any()
    assert (net(found[moved]).argmax(1) != y[moved]).float().mean() > 0.98
    assert 0.5 < moved.float().mean() < 1
    # What is not broken up to the top is broken farther away, and no row breaks anywhere near.
    strong = ringtest.condition.conditions["attack.apgd"].make(severity=0.15)
    strong.fit([], data, rng())
    broken = net(strong.batch(evidence.model, x, y, rng(2))).argmax(1) != y
    assert ((moved | ~right) == broken).float().mean() > 0.97


def foolbox(net: nn.Module, x: Tensor, y: Tensor, norm: float) -> np.ndarray:
    fb = oracle("foolbox")
    attack = (
        fb.attacks.LInfFMNAttack(steps=100) if norm == np.inf else fb.attacks.DDNAttack(steps=100)
    )
    model = fb.PyTorchModel(net, bounds=(0, 1), device="cpu")
    moved = attack(model, x, y, epsilons=None)[0]
    size = torch.linalg.vector_norm((moved - x).flatten(1), ord=norm, dim=1)
    size[net(moved).argmax(1) == y] = torch.inf
    size[net(x).argmax(1) != y] = 0
    return size.numpy()


@pytest.mark.filterwarnings("ignore")
@MINIMAL
def test_a_cnn_breaks_as_near_as_foolbox_says(
    id_: str, norm: float, digits_cnn: Callable[..., Any]
) -> None:
    net, x, y = (part[:150] if isinstance(part, Tensor) else part for part in digits_cnn())
    found = distances(id_, net, AuditData(x, y.numpy(), bounds=(0.0, 1.0)))
    expected = foolbox(net, x, y, norm)
    assert np.median(found) <= 1.03 * np.median(expected)
    assert found.mean() <= 1.05 * expected.mean()
    assert (found == 0).sum() == (expected == 0).sum() > 0
    # Neither finds anything that the other cannot believe.
    assert np.median(found) >= 0.9 * np.median(expected)


class Steps(nn.Module):
    """A margin that falls to below 0 at the first number of a row: its minimal eps is known."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], torch.zeros_like(x[:, 0])], 1)


def known(eps: np.ndarray) -> AuditData:
    x = torch.rand(len(eps), 3, generator=rng())
    x[:, 0] = torch.as_tensor(eps)
    return AuditData(x, np.zeros(len(eps), dtype=int), bounds=(-1.0, 1.0))


def test_the_curve_and_the_area_under_it() -> None:
    # In shares of a range of 2: a third is wrong, a third breaks at .05 to .15, a third beyond .3.
    eps = np.concatenate([np.full(50, -0.1), np.linspace(0.1, 0.3, 50), np.linspace(0.7, 0.9, 50)])
    found = readings("attack.minimal", Steps(), known(eps))
    exact = np.maximum(eps / 2, 0)
    area = found["mean"].estimate
    assert area.value == pytest.approx(np.minimum(exact, 0.3).mean(), rel=2e-3)
    assert area.n == 150
    se = np.minimum(exact, 0.3).std(ddof=1) / np.sqrt(150)
    assert inference.standard_error(area) == pytest.approx(se, rel=0.1)
    grid = (np.arange(3000) + 0.5) / 3000 * 0.3
    curve = (exact[:, None] > grid).mean(0)
    assert area.value == pytest.approx(curve.mean() * 0.3, rel=2e-3)
    for level in (0.01, 0.03, 0.1, 0.2, 0.3):
        reading = found[f"accuracy at eps {level:.3g}"]
        assert reading.estimate.value == pytest.approx((exact > level).mean(), abs=0.011)
        assert reading.unit == "share"
    assert found["accuracy at eps 0.3"].estimate.value == pytest.approx(1 / 3)
    assert found["median"].estimate.value == pytest.approx(np.median(exact), rel=2e-3)


@pytest.mark.parametrize("share", [0.7, 0.48])
def test_a_median_beyond_the_largest_eps_is_no_number(share: float) -> None:
    eps = np.where(np.arange(150) < share * 150, 0.8, 0.2)
    found = readings("attack.minimal", Steps(), known(eps))
    assert np.isnan(found["median"].estimate.value)
    assert "rows do not break up to an eps of 0.3" in found["median"].reason
    # Never a mean of what is known alone.
    beyond = (eps == 0.8).mean()
    expected = beyond * 0.3 + (1 - beyond) * 0.1
    assert found["mean"].estimate.value == pytest.approx(expected, rel=2e-3)
    assert found["accuracy at eps 0.3"].estimate.value == pytest.approx(beyond)


def test_the_error_of_a_median() -> None:
    g = np.random.default_rng(0)
    samples = g.exponential(size=(400, 300))
    found = [estimate.median(s) for s in samples]
    true = np.std([f.value for f in found], ddof=1)
    said = np.mean([np.sqrt(np.sum(f.influence**2)) for f in found])
    # The farther side counts, and whole ranks: never less than it is.
    assert 0.97 * true < said < 1.3 * true
    np.testing.assert_allclose([f.value for f in found], np.median(samples, axis=1))
    np.testing.assert_allclose([f.influence.sum() for f in found], 0, atol=1e-12)
    # Rows of one unit that are copies of each other are one.
    one_unit = estimate.median(np.repeat(samples[0], 2), np.repeat(np.arange(300), 2))
    error = float(np.sqrt(np.sum(one_unit.influence**2)))
    assert error == pytest.approx(float(np.sqrt(np.sum(found[0].influence ** 2))), rel=0.3)
    assert np.isnan(estimate.median(np.array([0.0, np.inf, np.inf])).value)
    assert np.isnan(estimate.median(np.zeros(0)).value)
    assert estimate.median(np.zeros(9)).value == 0


@pytest.mark.parametrize("zeros", [0.3, 0.45, 0.48, 0.52, 0.6])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_interval_of_a_median_covers_beside_many_zeros(zeros: float, rows: int) -> None:
    """A gap between rows that are wrong and those that break; units of equal rows."""
    g, units = np.random.default_rng(0), np.repeat(np.arange(100), rows)
    true, covered = 0.0 if zeros > 0.5 else 0.1 + 0.2 * (0.5 - zeros) / (1 - zeros), []
    for _ in range(400):
        drawn = np.where(g.random(100) < zeros, 0.0, g.uniform(0.1, 0.3, 100))
        found = estimate.median(np.repeat(drawn, rows), units)
        se = np.sqrt(np.sum(found.influence**2))
        low, high = inference.interval(found.value, se, found.dof, 0.95)
        covered.append(low <= true + 1e-12 and true <= high + 1e-12)
    assert np.mean(covered) > 0.93


def test_units_that_never_break_leave_no_median() -> None:
    """Were rows of one unit taken for independent, one sample in seven would give a number."""
    g, units = np.random.default_rng(0), np.repeat(np.arange(20), 20)
    given = [
        estimate.median(np.repeat(np.where(g.random(20) < 0.55, np.inf, g.random(20)), 20), units)
        for _ in range(400)
    ]
    assert np.mean([np.isfinite(e.value) for e in given]) < 0.025
    assert np.isnan(estimate.median(np.array([*np.zeros(99), np.nan])).value)


@pytest.mark.usefixtures("asked_alone")
def test_in_an_audit_student_and_teacher_are_paired() -> None:
    data = known(np.random.default_rng(1).uniform(0.02, 0.5, 120))
    nets = [
        linear([[1.0, 0, 0], [0, 0, 0]], [0.0, 0.0]),
        linear([[1.0, 0, 0], [0, 0, 0]], [0.02, 0.0]),
    ]
    report = ringtest.audit(*nets, data, cells=[("attack.minimal", "clean")], progress=False)
    rows = [r for r in report.verdict.rows if r.measure == "attack.minimal"]
    (mean,) = (r for r in rows if r.statistic.startswith("mean"))
    # Every row lies .02 of a range of 2 farther from the boundary, so the difference has no error.
    assert mean.delta == pytest.approx(0.01, rel=1e-2)
    assert mean.harm < 0
    assert mean.se < 1e-3 < mean.teacher
    assert {r.unit for r in rows} == {"eps", "share"}
    assert not any(r.headline for r in rows)
    assert [r for r in rows if r.status == "context"] == rows
