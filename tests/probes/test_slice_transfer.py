"""Slice transfer on codes whose truth is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from ringtest import blocks, margins
from ringtest.compare import pair
from ringtest.condition import Clean
from ringtest.headlines import Judge
from ringtest.likeness import Layers
from ringtest.measure import measures
from ringtest.policy import Policy
from ringtest.probes.concepts import Concept
from ringtest.probes.linear import by_fold, fold_probes
from ringtest.verdict import decide

ENTRY = measures["probe.slice_transfer"]


def data(rng, n=600, slices=3):
    where = np.arange(n) % slices
    y = rng.integers(0, 2, size=n)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    return x, y, where


def read(layer, x, y, where, seen, setting, **more):
    at = setting(x, y, groups={"domain": where}, **more)
    return ENTRY.read(seen(layer.astype(np.float32)), at)


def test_one_direction_for_all_slices_is_zero(rng, seen, setting):
    x, y, where = data(rng)
    code = np.hstack(
        [(2 * y - 1)[:, None] * 2 + rng.normal(size=(600, 1)), rng.normal(size=(600, 5))]
    )
    (r,) = read(code, x, y, where, seen, setting)
    assert abs(r.estimate.value) < 0.03
    assert (r.slice, r.concept, r.estimate.n) == ("domain", "target", 600)


def test_one_direction_each_is_lost_across_slices(rng, seen, setting):
    x, y, where = data(rng)
    code = rng.normal(size=(600, 6))
    code[np.arange(600), where] = (2 * y - 1) * 3 + rng.normal(size=600)
    (r,) = read(code, x, y, where, seen, setting)
    assert 0.35 < r.estimate.value < 0.6


def as_seen_from(own, code):
    """Units in their standard deviations on a slice's own rows, without what stands still."""
    code = np.float64(np.float32(code))
    live = np.ptp(code[own], axis=0) > 1e-6
    return (code[:, live] - code[own][:, live].mean(0)) / code[own][:, live].std(0)


def by_live_units(code, y, where):
    """Own score less the others', by scikit-learn, as each probe's slice sees the units."""
    slices = [np.flatnonzero(where == s) for s in range(3)]
    fold = blocks.folds(len(slices[0]), margins.PROBE_FOLDS)
    right = np.empty((3, 3))
    for a, own in enumerate(slices):
        z = as_seen_from(own, code)
        for b, rows in enumerate(slices):
            said = np.empty(len(rows))
            for f in range(margins.PROBE_FOLDS):
                fit, left = own[fold != f], rows[fold == f]
                model = Ridge(margins.PROBE_RIDGE * len(fit))
                model.fit(z[fit], 2 * y[fit] - 1)
                said[fold == f] = model.predict(z[left]) > 0
            right[a, b] = (said == y[rows]).mean()
    others = (right.sum(0) - np.diag(right)) / 2
    return float((np.diag(right) - others).mean())


@pytest.mark.parametrize("split", [True, False])
def test_a_part_for_each_slice_or_one_beside_units_that_stand_still(rng, seen, setting, split):
    """Units at rest lie anywhere but at 0: rounding in sums of squares must give them no weight."""
    n, d = 900, 12
    where, y = np.arange(n) % 3, rng.integers(0, 2, size=n)
    code = np.maximum((2 * y - 1)[:, None] + rng.normal(size=(n, d)), 0)
    rest = rng.uniform(0.1, 2, size=(3, d))
    part = np.arange(d) % 3
    moves = part == where[:, None] if split else np.broadcast_to(part == 0, (n, d))
    code = np.where(moves, code, rest[0] if split else rest[where]).astype(np.float32)
    (r,) = read(code, rng.normal(size=(n, 2)).astype(np.float32), y, where, seen, setting)
    want = by_live_units(code.astype(np.float64), y, where)
    assert r.estimate.value == pytest.approx(want, abs=1e-9)
    assert r.estimate.value > 0.3 if split else abs(r.estimate.value) < 0.03


def test_values_by_hand(rng, seen, setting):
    """Own and lent probes alike leave out a fold."""
    x, y, where = data(rng, 300, 2)
    code = torch.as_tensor(rng.normal(size=(300, 3)) + y[:, None]).float()
    (r,) = ENTRY.read(seen(code), setting(x, y, groups={"domain": where}))
    c = Concept.of("target", y)
    want = []
    for s in (0, 1):
        mine, other = np.flatnonzero(where == s), np.flatnonzero(where != s)
        fold = torch.as_tensor(blocks.folds(150, margins.PROBE_FOLDS))
        scores = []
        for rows in (mine, other):
            z = torch.as_tensor(as_seen_from(rows, code.numpy()))
            probes = fold_probes(z[rows], c.columns[rows], fold, scale=False)
            scores.append(c.score(by_fold(probes, z[mine], fold), torch.as_tensor(mine)))
        want.append(float((scores[0] - scores[1]).mean()))
    assert r.estimate.value == pytest.approx(np.mean(want), abs=1e-9)


@pytest.mark.parametrize(
    "d",
    [40, 150, 400],
)
def test_wide_layers_compare_like_with_like(rng, seen, setting, d):
    """Random slices of one distribution: no direction is lost, however wide the layer is."""
    x, y, where = data(rng, 300, 2)
    s = (2 * y - 1)[:, None] + 0.5 * rng.normal(size=(300, 1))
    code = s @ rng.normal(size=(1, d)) + rng.normal(size=(300, d))
    (r,) = read(code, x, y, where, seen, setting)
    se = float(np.sqrt((r.estimate.influence**2).sum()))
    assert abs(r.estimate.value) < 2.5 * se < 0.07


def test_slices_weigh_alike_whatever_their_size(rng, seen, setting):
    x, y, _ = data(rng, 700)
    where = np.repeat([0, 1], [600, 100])
    code = rng.normal(size=(700, 4))
    code[np.arange(700), where] = (2 * y - 1) * 3 + rng.normal(size=700)
    (r,) = read(code, x, y, where, seen, setting)
    assert 0.3 < r.estimate.value < 0.6
    assert r.estimate.n == 200


def test_small_slices_are_left_out_and_one_alone_says_so(rng, seen, setting):
    x, y, _ = data(rng, 320)
    where = np.repeat(["big", "small"], [240, 80])
    (r,) = read(x, x, y, where, seen, setting)
    assert math.isnan(r.estimate.value)
    assert f"at least {margins.MIN_N} rows" in r.reason
    assert not ENTRY.applies(setting(x, y).condition, setting(x, y).data, setting(x, y).task)


def test_what_is_damaged_or_stands_still_within_slices_says_so(rng, seen, setting):
    """A dead layer loses nothing across slices, and would pass."""
    x, y, where = data(rng)
    nan = x.copy()
    nan[7] = np.nan
    cases = {
        "model: layer last holds NaN or infinity": nan,
        "model: no unit of layer last varies": np.full_like(x, 0.3),
        # Exactly, and up to what float32 leaves of one thing done three ways.
        "domain 0: no unit of layer last of model varies": x[where],
        "domain 0: no unit of layer last of model varies ": (
            (1 + 0.3 * where[:, None]) * (1 + 1e-7 * rng.integers(-1, 2, size=(600, 2)))
        ),
    }
    for why, rows in cases.items():
        (r,) = read(rows, x, y, where, seen, setting)
        assert (r.reason, r.estimate.units) == (why.strip(), 0)
        assert math.isnan(r.estimate.value)


def test_a_slice_with_one_answer_says_so_and_other_columns_are_read(rng, seen, setting):
    """The probe of such a slice would be right every time."""
    x, y, where = data(rng)
    y[where == 2] = 1
    code = (rng.normal(size=(600, 4)) + y[:, None]).astype(np.float32)
    half = np.arange(600) // 300
    at = setting(x, y, groups={"domain": where, "half": half})
    got = {r.slice: r for r in ENTRY.read(seen(code), at)}
    assert got["domain"].reason == "domain 2: target has one value only"
    assert math.isnan(got["domain"].estimate.value)
    assert (got["half"].reason, got["half"].estimate.units) == ("", 600)
    assert math.isfinite(got["half"].estimate.value)


def test_clusters_widen_the_error(rng, seen, setting):
    x, y, where = data(rng, 400, 2)
    cluster = np.repeat(np.arange(50), 8)
    y = (np.arange(50) % 2)[cluster] ^ (rng.random(400) < 0.1)
    code = rng.normal(size=(400, 4)) + y[:, None]
    (alone,) = read(code, x, y.astype(int), where, seen, setting)
    (kept,) = read(code, x, y.astype(int), where, seen, setting, cluster=cluster)
    assert alone.estimate.units == 400
    assert kept.estimate.units == 50


def far_apart(rng, n=400):
    """Values that a line fits in each of two slices, and that the other's line misses by far."""
    where = np.arange(n) % 2
    near = rng.normal(size=n)
    code = np.stack([near + 50.0 * where, rng.normal(size=n)], 1)
    y = np.where(where == 0, near, -near) + 0.1 * rng.normal(size=n)
    return code, y.astype(np.float32), where


def regressed(code, y, where, seen, setting):
    x = np.zeros((len(y), 2), dtype=np.float32)
    (r,) = read(code, x, y, where, seen, setting, task="regression")
    return r


def test_lines_that_extrapolate_lose_no_more_than_2(rng, seen, setting):
    """Without an end to it one row far out would decide: here a row scores -2,500 on average."""
    code, y, where = far_apart(rng)
    r = regressed(code, y, where, seen, setting)
    assert r.statistic == "R^2 lost across slices"
    # Its own line explains nearly all, and each row of the other's counts -1.
    assert 1.9 < r.estimate.value < ENTRY.range[1] == 2.0
    # Ten times as far apart, ten times as wrong: no row has more to say than before.
    more = regressed(code + 450.0 * where[:, None] * [1, 0], y, where, seen, setting)
    assert more.estimate.value == pytest.approx(r.estimate.value, abs=0.02)
    assert np.abs(more.estimate.influence).max() < 3 * 2 / 400


def test_each_row_of_values_scores_at_least_minus_1(rng, seen, setting):
    """By hand, on rows of which some lie beyond the limit and some within."""
    code, y, where = far_apart(rng)
    code[:, 0] -= 48.0 * where  # two apart: the lines cross, and the slices overlap
    r = regressed(code, y, where, seen, setting)
    t = torch.as_tensor(y).double()[:, None]
    variance = float(t.var(unbiased=False))
    fold = torch.as_tensor(blocks.folds(200, margins.PROBE_FOLDS))
    want, ends = [], 0
    for s in (0, 1):
        mine, other = np.flatnonzero(where == s), np.flatnonzero(where != s)
        scores = []
        for rows in (mine, other):
            z = torch.as_tensor(as_seen_from(rows, code))
            probes = fold_probes(z[rows], t[rows], fold, scale=False)
            found = by_fold(probes, z[mine], fold)
            raw = 1 - ((found - t[mine]) ** 2)[:, 0] / variance
            ends += int((raw < -1).sum())
            scores.append(np.maximum(raw.numpy(), -1))
        want.append(np.mean(scores[0] - scores[1]))
    assert 50 < ends < 350
    assert r.estimate.value == pytest.approx(np.mean(want), abs=1e-6)


def verdict_of(student, *members):
    """The judged row of a student's reading beside the members'."""
    names = [f"m{k}" for k in range(len(members))]
    readings = {"s": [student], **{n: [m] for n, m in zip(names, members, strict=True)}}
    judge = Judge(
        members=len(members), same_architecture=True, references=False, embedding=False,
        layers=Layers("last", "last"), seed=0,
    )  # fmt: skip
    left = judge.see_readings(ENTRY, Clean(), pair(readings, names, "s"))
    assert left == []
    (row,) = judge.headlines()
    return row


def test_what_the_teachers_own_probes_lose_is_asked_of_no_student(rng, seen, setting):
    """On an extrapolating regression the teacher has no such structure to hand on."""
    code, y, where = far_apart(rng)
    bad = regressed(code, y, where, seen, setting)
    good = regressed(np.stack([y, rng.normal(size=len(y))], 1), y, where, seen, setting)
    assert abs(good.estimate.value) < 0.05
    assert good.estimate.value < margins.SLICE_TRANSFER < bad.estimate.value

    row = verdict_of(bad, bad, bad)
    assert (row.headline, row.required) == (False, False)
    assert row.reason == (
        f"The teacher's own probes lose {row.teacher:.2f} across domain, "
        "so slice transfer is context there."
    )
    v = decide([row], Policy())
    assert v.rows[0].status == "context"
    assert row.reason in v.reasons
    assert "slice transfer" not in v.groups
    # A better student is asked for no more than a worse one.
    assert not verdict_of(good, bad, bad).headline

    row = verdict_of(bad, good, good)
    assert (row.headline, row.required, row.reason) == (True, True, "")
    assert row.harm > 1.5
    assert decide([row], Policy()).rows[0].status == "fail"
    assert decide([verdict_of(good, good, good)], Policy()).rows[0].status == "pass"
