"""Probes of clean rows in changed ones: where what they read is lost, and where it has moved."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

import ringtest
from ringtest import blocks, inference, margins
from ringtest.condition import Condition
from ringtest.measure import measures

MATRIX = measures["probe.condition_matrix"]
COSINE = "mean cosine of directions"


class Turned(Condition):
    """Any change of the rows."""

    kind = "shift.turned"


def read(clean, changed, y, seen, setting, **more):
    """Readings by statistic, layer and slice."""
    given = [x if isinstance(x, dict) else {"last": x} for x in (clean, changed)]
    before, after = ({k: np.asarray(v, np.float32) for k, v in x.items()} for x in given)
    at = setting(np.zeros((len(y), 2), np.float32), y, condition=Turned(), **more)
    found = MATRIX.read(seen(after, clean=seen(before)), at)
    return {(r.statistic, r.layer, r.slice): r for r in found}


def scores(got, statistic="accuracy"):
    """The four scores, from clean or changed (down) in clean or changed (across)."""
    names = ("clean", "shift.turned")
    return np.array(
        [
            [got[statistic, "last", f"condition: {a} -> {b}"].estimate.value for b in names]
            for a in names
        ]
    )


def code(rng, n=400):
    """Classes on the first of four equal directions."""
    y = np.arange(n) % 2
    return rng.normal(size=(n, 4)) + 3 * np.outer(2 * y - 1, [1, 0, 0, 0]), y


def test_a_code_that_moved_is_told_from_one_that_is_lost(rng, seen, setting):
    x, y = code(rng)
    swapped = x[:, [1, 0, 2, 3]]
    moved = read(x, swapped, y, seen, setting)
    lost = read(x, rng.normal(size=x.shape), y, seen, setting)
    kept = read(x, x + 0.1 * rng.normal(size=x.shape), y, seen, setting)
    (_, there), (back, own) = scores(moved)
    assert own > 0.97
    assert max(there, back) < 0.65
    assert abs(moved[COSINE, "last", "condition"].estimate.value) < 0.1
    (clean, there), (_, own) = scores(lost)
    assert clean > 0.97
    assert max(there, own) < 0.6
    assert scores(kept).min() > 0.97
    assert kept[COSINE, "last", "condition"].estimate.value > 0.98


@pytest.mark.parametrize("units", [None, np.arange(300) // 3])
@pytest.mark.parametrize("kind", ["classes", "values"])
def test_by_brute_force_no_probe_meets_a_row_that_it_was_fitted_on(rng, seen, setting, kind, units):
    y = rng.integers(0, 3, size=300)
    target = y if kind == "classes" else (y + rng.normal(size=300)).astype(np.float32)
    x = rng.normal(size=(300, 5)) + y[:, None]
    changed = x * [1, 2, -1, 0, 1] + 0.5 * rng.normal(size=(300, 5))
    task, statistic = ("classification", "accuracy") if kind == "classes" else ("regression", "R^2")
    got = read(x, changed, target, seen, setting, task=task, cluster=units)
    both = np.float64(np.float32(np.concatenate([x, changed])))
    parts = np.split(both, 2)
    answers = np.eye(3)[y] if kind == "classes" else np.float64(target)[:, None]
    fold = blocks.folds(300, margins.PROBE_FOLDS, units)
    want = np.empty((2, 2))
    for a in range(2):
        # The constant unit weighs nothing.
        spread = np.where(parts[a].std(0) > 0, parts[a].std(0), np.inf)
        rows = [(part - parts[a].mean(0)) / spread for part in parts]
        for b in range(2):
            said = np.empty(answers.shape)
            for f in range(margins.PROBE_FOLDS):
                fit = fold != f
                alpha = margins.PROBE_RIDGE * int(fit.sum())
                probe = Ridge(alpha=alpha).fit(rows[a][fit], answers[fit])
                said[~fit] = probe.predict(rows[b][~fit]).reshape(-1, answers.shape[1])
            if kind == "classes":
                want[a, b] = (said.argmax(1) == y).mean()
            else:
                wrong = (said - answers) ** 2 / answers.var()
                want[a, b] = np.maximum(1 - wrong, -1).mean()
    np.testing.assert_allclose(scores(got, statistic), want, atol=1e-9)
    # A row and its changed self are one: no interval is narrower for having both.
    estimate = got[statistic, "last", "condition: clean -> shift.turned"].estimate
    assert estimate.n == 300
    assert estimate.units == (300 if units is None else 100)


def test_the_error_of_the_cosine_takes_a_row_and_its_changed_self_together(rng, seen, setting):
    x, y = code(rng)
    same = read(x, x, y, seen, setting)[COSINE, "last", "condition"].estimate
    assert same.value == pytest.approx(1, abs=1e-9)
    # Left out apart, the two directions would differ: an error where there is none.
    assert inference.standard_error(same) < 1e-9


def test_earlier_layers_say_what_the_clean_probe_is_worth(rng, seen, setting):
    x, y = code(rng)
    clean, changed = {"early": x, "last": x}, {"early": x[:, [1, 0, 2, 3]], "last": x}
    got = read(clean, changed, y, seen, setting)
    place = "condition: clean -> shift.turned"
    assert got["accuracy", "early", place].estimate.value < 0.65
    assert got["accuracy", "last", place].estimate.value > 0.97
    assert [k for k in got if k[1] == "early"] == [
        (COSINE, "early", "condition"),
        ("accuracy", "early", place),
    ]


def test_what_cannot_be_read_says_where_and_why(rng, seen, setting):
    x, y = code(rng)
    bad = x.copy()
    bad[3, 1] = math.inf
    layers = {"bad": bad, "flat": np.ones_like(x), "last": x}
    whole = {"bad": x, "flat": x, "last": x}
    for clean, changed in ((layers, whole), (whole, layers)):
        got = read(clean, changed, y, seen, setting)
        assert "NaN or infinity" in got[COSINE, "bad", "condition"].reason
        assert "no unit of layer flat varies" in got[COSINE, "flat", "condition"].reason
        assert math.isfinite(got[COSINE, "last", "condition"].estimate.value)
    (few,) = read(x[:60], x[:60], y[:60], seen, setting).values()
    assert math.isnan(few.estimate.value)
    assert few.reason == f"60 rows are fewer than {margins.MIN_N}"
    one = read(x, x, np.ones(400, dtype=int), seen, setting)
    assert all(math.isnan(r.estimate.value) and "one value only" in r.reason for r in one.values())


def test_it_is_read_under_conditions_that_keep_rows_and_targets(setting):
    assert not MATRIX.default
    x, y = torch.randn(300, 3), np.arange(300) % 2
    at = setting(x, y, condition=Turned())
    assert MATRIX.applies(at.condition, at.data, at.task)
    at.condition.keeps_targets = False
    assert not MATRIX.applies(at.condition, at.data, at.task)


@pytest.mark.usefixtures("asked_alone")
def test_an_audit_reads_it_where_it_is_asked_for(rng):
    x, y = torch.randn(300, 4), np.arange(300) % 2
    teacher, student = (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)) for _ in "ab")
    cells = [("probe.condition_matrix", c) for c in ("clean", "noise.input@0.3")]
    report = ringtest.audit(teacher, student, ringtest.AuditData(x, y), cells=cells)
    rows = [r for r in report.verdict.rows if r.measure == MATRIX.id]
    assert {r.condition for r in rows} == {"noise.input"}
    assert any(r.slice == "condition: clean -> noise.input@0.3" for r in rows)
    left = [m for m in report.data["not_measured"] if m["measure"] == MATRIX.id]
    assert [m["reason"] for m in left] == ["compares with the clean rows, which these are"]
