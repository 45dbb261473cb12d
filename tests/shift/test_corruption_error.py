"""Errors over the teacher's: by hand, beside a bootstrap, and nothing where there is no error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ringtest import inference
from ringtest.compare import Failure, Paired
from ringtest.condition import Clean, Condition
from ringtest.estimate import ratio, row_mean
from ringtest.measure import Reading, measures
from ringtest.measurement import ERROR_RATIO, RISE_RATIO
from ringtest.series import Series

ERROR = measures["outputs.corruption_error"]


class Fog(Condition):
    kind = "test.fog"

    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        return x


def told(mine: Any, theirs: Any) -> dict[str, Any]:
    """Rows by statistic, of (severities, n) errors that begin with those on clean rows."""
    found = Series()
    for severity, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        student, teacher = row_mean(np.asarray(a, float)), row_mean(np.asarray(b, float))
        pair = Paired(Reading(student, "error"), None, teacher.value, student - teacher)
        found.see(ERROR, Fog(severity=float(severity)) if severity else Clean(), [pair])
    return {r.statistic: r for r in found.rows(0)}


def errors(rng: np.random.Generator, n: int, rates: Any, shared: float = 0.5) -> Any:
    """(2, severities, n) errors of student and teacher, which share some rows."""
    base = rng.random((len(rates[0]), n))
    own = [np.where(rng.random(base.shape) < shared, base, rng.random(base.shape)) for _ in "ab"]
    return np.stack([o < np.array(r)[:, None] for o, r in zip(own, rates, strict=True)]) * 1.0


def test_both_ratios_are_those_of_hendrycks_and_dietterich(rng: np.random.Generator) -> None:
    mine, theirs = errors(rng, 500, ([0.1, 0.3, 0.5], [0.05, 0.2, 0.3]))
    rows = told(mine, theirs)
    s, t = mine.mean(1), theirs.mean(1)
    assert set(rows) == {ERROR_RATIO, RISE_RATIO}
    assert rows[ERROR_RATIO].student == pytest.approx(s[1:].sum() / t[1:].sum())
    rise = (s[1:] - s[0]).sum() / (t[1:] - t[0]).sum()
    assert rows[RISE_RATIO].student == pytest.approx(rise)
    for row in rows.values():
        assert row.teacher == 1.0
        assert row.delta == row.harm == pytest.approx(row.student - 1.0)
        assert (row.condition, row.unit, row.n) == ("test.fog", "times the teacher's", 500)
        assert row.params == {"severities": [0.0, 1.0, 2.0], "of": "error"}
        assert not row.headline


def test_an_equal_student_is_at_one_without_an_error(rng: np.random.Generator) -> None:
    mine, _ = errors(rng, 300, ([0.1, 0.3, 0.5], [0.1, 0.3, 0.5]))
    for row in told(mine, mine).values():
        assert (row.student, row.delta) == (1.0, 0.0)


def test_the_error_is_that_of_a_bootstrap_of_rows(rng: np.random.Generator) -> None:
    mine, theirs = errors(rng, 400, ([0.1, 0.3, 0.5], [0.1, 0.25, 0.4]))
    draws = rng.integers(0, 400, size=(3_000, 400))
    s, t = (v[:, draws].mean(2) for v in (mine, theirs))
    want = {
        ERROR_RATIO: s[1:].sum(0) / t[1:].sum(0),
        RISE_RATIO: (s[1:] - s[0]).sum(0) / (t[1:] - t[0]).sum(0),
    }
    for name, row in told(mine, theirs).items():
        assert row.se == pytest.approx(want[name].std(), rel=0.12)


@pytest.mark.parametrize(("n", "rate"), [(200, 0.05), (200, 0.2), (1_000, 0.05)])
def test_intervals_hold(rng: np.random.Generator, n: int, rate: float) -> None:
    hits = []
    for _ in range(200):
        mine, theirs = errors(
            rng, n, ([rate / 4, rate * 1.5, rate * 3], [rate / 4, rate, rate * 2])
        )
        found = told(mine, theirs)[ERROR_RATIO]
        hits.append(found.ci_low <= 0.5 <= found.ci_high)
    assert np.mean(hits) >= 0.9


@pytest.mark.parametrize(
    ("clean", "rates", "measurable"),
    [
        (0.0, (0.0, 0.0), set()),
        (0.0, (0.002, 0.002), set()),  # one row of 500
        (0.3, (0.3, 0.3), {ERROR_RATIO}),
        (0.3, (0.2, 0.2), {ERROR_RATIO}),  # the teacher gains
        (0.1, (0.2, 0.4), {ERROR_RATIO, RISE_RATIO}),
    ],
)
def test_there_is_no_ratio_to_next_to_nothing(clean: float, rates: Any, measurable: Any) -> None:
    def wrong(rate: float) -> Any:
        return (np.arange(500) < round(500 * rate)) * 1.0

    theirs = np.stack([wrong(r) for r in (clean, *rates)])
    rows = told(np.stack([wrong(r) for r in (0.1, 0.3, 0.4)]), theirs)
    for name, row in rows.items():
        assert np.isfinite(row.student) == (name in measurable)
        if name not in measurable:
            assert row.status == "not_measurable"
            assert "nothing to divide by" in row.reason


def test_a_student_without_errors_is_not_certain_to_have_none(rng: np.random.Generator) -> None:
    _, theirs = errors(rng, 300, ([0.1, 0.3, 0.5], [0.1, 0.3, 0.5]))
    row = told(np.zeros((3, 300)), theirs)[ERROR_RATIO]
    assert row.student == 0.0
    assert np.isnan([row.se, row.ci_low, row.ci_high]).all()


def test_what_failed_says_so_in_both_rows() -> None:
    found, some = Series(), row_mean(np.array([1.0, 0.0]))
    point = Paired(Reading(some, "error"), None, 0.5, some - some)
    found.see(ERROR, Clean(), [point])
    found.see(ERROR, Fog(severity=1.0), [point])
    found.see(ERROR, Fog(severity=2.0), Failure("error", "student raised"))
    rows = found.rows(0)
    assert [r.statistic for r in rows] == [ERROR_RATIO, RISE_RATIO]
    assert all(r.status == "error" and "raised" in r.reason for r in rows)


def test_the_error_of_rows_is_what_the_score_leaves(seen: Any, setting: Any) -> None:
    x = np.zeros((4, 1), dtype=np.float32)
    at = setting(x, np.array([0, 1, 0, 1]))
    (found,) = ERROR.read(seen(x, score=np.array([1.0, 0.0, 0.0, 0.0])), at)
    assert found.estimate.value == 0.75
    at.task.metric = lambda outputs, targets: targets
    assert not ERROR.applies(Clean(), at.data, at.task)


def test_a_ratio_has_the_influences_of_leaving_rows_out(rng: np.random.Generator) -> None:
    a, b = rng.random(2_000) + 1, rng.random(2_000) + 2
    found = ratio(row_mean(a), row_mean(b))
    assert found.value == pytest.approx(a.mean() / b.mean())
    rest = (a.sum() - a) / (b.sum() - b)
    jackknife = np.sqrt(1_999 / 2_000 * ((rest - rest.mean()) ** 2).sum())
    assert np.sqrt((found.influence**2).sum()) == pytest.approx(jackknife, rel=1e-3)
    assert np.isnan(ratio(row_mean(a), row_mean(b * 0)).value)
    assert np.isnan(inference.standard_error(ratio(row_mean(a), row_mean(b * 0))))
