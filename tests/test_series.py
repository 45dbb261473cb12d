"""Curves over severity: areas known by hand, paired row by row, and never made of half a curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ringtest
from ringtest import AuditData, inference, series
from ringtest.compare import Failure, Paired
from ringtest.condition import Clean, Condition
from ringtest.estimate import row_mean
from ringtest.measure import Reading, measures
from ringtest.measurement import AREA
from ringtest.series import Series

SCORE, STAY = measures["outputs.score"], measures["outputs.consistency"]


class Fading(Condition):
    kind = "test.fading"

    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        return x * (1 - 0.2 * (self.severity or 0.0))


def paired(student: Any, teacher: Any, **more: Any) -> Paired:
    mine, theirs = (row_mean(np.asarray(v, float)) for v in (student, teacher))
    return Paired(Reading(mine, "accuracy", **more), None, theirs.value, mine - theirs)


def seen(entry: Any, points: dict[float, Any]) -> list[Any]:
    found = Series()
    for severity, what in points.items():
        at = Fading(severity=severity) if severity else Clean()
        found.see(entry, at, what)
    return found.rows(0)


def test_weights_are_those_of_the_trapezoidal_rule(rng: np.random.Generator) -> None:
    points = [0.0, 0.5, 0.7, 3.0]
    values = rng.normal(size=4)
    expected = np.trapezoid(values, points) / 3.0
    assert np.dot(series.weights(points), values) == pytest.approx(expected, abs=1e-12)
    assert sum(series.weights(points)) == pytest.approx(1.0)


def test_an_area_is_known_by_hand_and_its_interval_is_paired(rng: np.random.Generator) -> None:
    mine, theirs = (rng.integers(0, 2, size=(3, 200)).astype(float) for _ in range(2))
    points = {0: [paired(mine[0], theirs[0])], 0.1: [paired(mine[1], theirs[1])],
              0.3: [paired(mine[2], theirs[2])]}  # fmt: skip
    (row,) = seen(SCORE, points)
    # (0 + .1) / 2 * ... over .3: .1/2, (.1 + .2)/2 and .2/2, each over .3.
    shares = np.array([0.05, 0.15, 0.1]) / 0.3
    assert row.student == pytest.approx(float(shares @ mine.mean(1)))
    assert row.teacher == pytest.approx(float(shares @ theirs.mean(1)))
    assert row.delta == pytest.approx(row.student - row.teacher)
    assert row.harm == pytest.approx(-row.delta)
    # Row by row: as if every row had a score of its own under all severities together.
    whole = row_mean(shares @ (mine - theirs))
    assert row.se == pytest.approx(inference.standard_error(whole, 0))
    assert (row.statistic, row.severity, row.condition) == (AREA, None, "test.fading")
    assert row.params == {"severities": [0.0, 0.1, 0.3], "of": "accuracy"}
    assert row.n == 200
    assert row.status == "context"
    assert not row.headline


def test_severities_may_come_in_any_order() -> None:
    low, high, start = ([paired(v, [1, 1])] for v in ([1, 0], [0, 0], [1, 1]))
    a = seen(SCORE, {0: start, 1: low, 2: high})
    b = seen(SCORE, {0: start, 2: high, 1: low})
    assert a[0].as_dict() == b[0].as_dict()
    assert a[0].student == pytest.approx(0.5)


def test_no_curve_without_a_clean_row_or_a_second_severity() -> None:
    some = [paired([1, 0], [1, 1])]
    assert not seen(SCORE, {0.1: some, 0.3: some})
    assert not seen(SCORE, {0: some, 0.3: some})
    assert not seen(measures["shift.domain_auc"], {0: some, 0.1: some, 0.3: some})
    assert len(seen(SCORE, {0: some, 0.1: some, 0.3: some})) == 1


def test_what_changes_nothing_changes_no_output() -> None:
    """Consistency is 1 at severity 0 by definition, of every model and without an error."""
    (row,) = seen(STAY, {1: [paired([1, 1, 0, 1], [1, 1, 1, 1])], 2: [paired([0] * 4, [1] * 4)]})
    assert row.teacher == 1.0
    assert row.student == pytest.approx((1 + 0.75) / 4 + (0.75 + 0) / 4)


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (Failure("error", "student raised"), "student raised"),
        ([paired([1, 0], [1, 1], reason="too few")], "too few"),
        ([paired([1, 0, 1], [1, 1, 1])], "not the same"),
        ([], "not read at every severity"),
    ],
)
def test_a_point_without_a_value_leaves_no_area(last: Any, says: str) -> None:
    some = [paired([1, 0], [1, 1])]
    (row,) = seen(SCORE, {0: some, 0.1: some, 0.3: last})
    assert says in row.reason
    assert row.status in ("not_measurable", "error")
    assert np.isnan([row.student, row.delta, row.se]).all()


def test_slices_have_no_curve_of_their_own() -> None:
    whole, part = paired([1, 0], [1, 1]), paired([1], [1], slice="a=1")
    points = {s: [whole, part] for s in (0, 0.1, 0.3)}
    (row,) = seen(SCORE, points)
    assert row.n == 2


def test_an_audit_tells_the_area_of_what_it_looked_under() -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        nets = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2)]
    x = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    data = AuditData(x, (x[:, 0] > 0).long())
    mine = [Fading(severity=s) for s in (1.0, 4.0)]
    report = ringtest.audit(nets[0], nets[1], data, conditions=mine, progress=False)
    rows = [r for r in report.verdict.rows if r.measure == "outputs.score" and r.slice is None]
    at = {(r.condition, r.severity): r for r in rows}
    areas = [r for r in rows if r.statistic == AREA]
    # attack.pgd, noise.input, the corruption of tables, and the user's own.
    assert len(areas) == 4
    (area,) = [r for r in areas if r.condition == "test.fading"]
    clean, low, high = at["clean", None], at["test.fading", 1.0], at["test.fading", 4.0]
    for who in ("teacher", "student", "delta"):
        values = [getattr(r, who) for r in (clean, low, high)]
        assert getattr(area, who) == pytest.approx(np.dot([0.125, 0.5, 0.375], values))
    assert area.status == "context"
