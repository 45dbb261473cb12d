"""Slice transfer on codes whose truth is known."""

import math

import numpy as np
import pytest
import torch

from ringtest import margins
from ringtest.measure import measures
from ringtest.probes.linear import Concept, by_fold, fold_probes

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


def test_values_by_hand(rng, seen, setting):
    """Own and lent probes alike leave out a fold."""
    x, y, where = data(rng, 300, 2)
    code = torch.as_tensor(rng.normal(size=(300, 3)) + y[:, None]).float()
    (r,) = ENTRY.read(seen(code), setting(x, y, groups={"domain": where}))
    c = Concept.of("target", y)
    from ringtest import blocks
    from ringtest.probes.linear import cross_validated

    want = []
    for s in (0, 1):
        mine, other = np.flatnonzero(where == s), np.flatnonzero(where != s)
        z = code.double()
        fold = torch.as_tensor(blocks.folds(150, margins.PROBE_FOLDS))
        own = c.score(cross_validated(z[mine], c.columns[mine], fold), torch.as_tensor(mine))
        lent = by_fold(fold_probes(z[other], c.columns[other], fold), z[mine], fold)
        want.append(float((own - c.score(lent, torch.as_tensor(mine))).mean()))
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


def test_clusters_widen_the_error(rng, seen, setting):
    x, y, where = data(rng, 400, 2)
    cluster = np.repeat(np.arange(50), 8)
    y = (np.arange(50) % 2)[cluster] ^ (rng.random(400) < 0.1)
    code = rng.normal(size=(400, 4)) + y[:, None]
    (alone,) = read(code, x, y.astype(int), where, seen, setting)
    (kept,) = read(code, x, y.astype(int), where, seen, setting, cluster=cluster)
    assert alone.estimate.units == 400
    assert kept.estimate.units == 50
