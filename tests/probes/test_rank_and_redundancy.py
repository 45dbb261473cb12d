"""Effective rank and redundancy against brute force, and on units whose truth is known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from ringtest import blocks, inference, margins
from ringtest.measure import measures
from ringtest.probes.effective_rank import effective_ranks
from ringtest.probes.redundancy import distinct, told_by_others, varying

RANK, REDUNDANCY = measures["structure.effective_rank"], measures["structure.redundancy"]


def read(entry, rows, seen, setting, **more):
    layers = rows if isinstance(rows, dict) else {"last": rows}
    n = len(next(iter(layers.values())))
    return entry.read(seen(layers), setting(np.zeros((n, 2), dtype=np.float32), **more))


def ranks_by_hand(x):
    """From numpy's correlations and scipy's entropy."""
    values = np.linalg.eigvalsh(np.corrcoef(x.T)).clip(0)
    return values.sum() ** 2 / (values**2).sum(), math.exp(stats.entropy(values))


def correlated(rng, n, d):
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d))) * np.exp(rng.normal(size=d)) + 3


# -- effective rank --------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(200, 7), (70, 69), (70, 150)])
@pytest.mark.parametrize("clusters", [None, 35])
def test_both_ranks_and_their_jackknife_by_hand(rng, n, d, clusters):
    """Every deletion done anew from the rows, wider than long, too."""
    x = correlated(rng, n, d)
    units = None if clusters is None else np.arange(n) % clusters
    groups = blocks.folds(n, margins.JACKKNIFE_GROUPS, units)
    found = effective_ranks(torch.as_tensor(x), groups)
    deleted = np.array([ranks_by_hand(x[groups != g]) for g in range(20)])
    errors = np.sqrt(19 / 20 * ((deleted - deleted.mean(0)) ** 2).sum(0))
    for estimate, want, error in zip(found, ranks_by_hand(x), errors, strict=True):
        assert estimate.value == pytest.approx(want, rel=1e-9)
        assert inference.standard_error(estimate) == pytest.approx(error, rel=1e-6)
        assert (estimate.n, estimate.units) == (n, 20)


def test_equal_directions_count_one_each_and_one_direction_is_one(rng, seen, setting):
    x = rng.normal(size=(400, 9))
    x = np.linalg.qr(x - x.mean(0))[0]  # uncorrelated to the last bit
    for r in read(RANK, x, seen, setting):
        assert r.estimate.value == pytest.approx(9, rel=1e-9)
    line = rng.normal(size=(400, 1)) @ np.ones((1, 9)) + 1e-9 * rng.normal(size=(400, 9))
    for r in read(RANK, line, seen, setting):
        assert r.estimate.value == pytest.approx(1, abs=1e-6)
    # k of d: a rank-3 layer of many units
    low = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 60))
    ratio, entropy = (r.estimate.value for r in read(RANK, low, seen, setting))
    assert 1 < ratio < entropy < 3 + 1e-6


def test_weak_directions_count_for_more_in_the_entropy(rng):
    """Two units at correlation c have eigenvalues 1 + c and 1 - c."""
    c = 0.8
    x = rng.normal(size=(400, 2))
    x = np.linalg.qr(x - x.mean(0))[0] @ np.linalg.cholesky([[1, c], [c, 1]]).T
    ratio, entropy = effective_ranks(torch.as_tensor(x), blocks.folds(400, 20))
    assert ratio.value == pytest.approx(4 / (2 + 2 * c**2), rel=1e-9)
    p = np.array([1 + c, 1 - c]) / 2
    assert entropy.value == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-9)


def copied(rng, x):
    """Every unit again: equal, scaled, negative, moved; among constant ones; in any order."""
    factor = rng.choice([1.0, 3.0, 0.01, -2.0], size=x.shape[1])
    more = [x, x * factor + rng.normal(size=x.shape[1]), x[:, :3], np.full((len(x), 2), 0.1)]
    wide = np.concatenate(more, axis=1)
    return wide[:, rng.permutation(wide.shape[1])]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [300, 30])
def test_copies_of_units_change_neither_rank_nor_redundancy(rng, n, dtype, seen, setting):
    """On both sides of the width from which rows are multiplied instead of units."""
    x = correlated(rng, n, 40).astype(dtype)
    more = copied(rng, x).astype(dtype)
    tolerance = 1e-8 if dtype is np.float64 else 1e-3

    def near(value):
        return pytest.approx(value, rel=tolerance, abs=tolerance)

    for entry in (RANK, REDUNDANCY):
        before, after = (read(entry, rows, seen, setting) for rows in (x, more))
        assert after[0].estimate.value == near(before[0].estimate.value)
        se = [inference.standard_error(f[0].estimate) for f in (before, after)]
        assert se[1] == pytest.approx(se[0], rel=max(1e-6, tolerance))
    assert before[1].estimate.value == 0
    assert after[1].estimate.value == pytest.approx(43 / 83, abs=1e-12)


def test_a_unit_that_is_nearly_a_copy_is_none(rng):
    x = rng.normal(size=(200, 1))
    groups = blocks.folds(200, 20)

    def kept(noise):
        pair = np.hstack([x, 5 * x + noise * rng.normal(size=(200, 1))])
        return distinct(varying(torch.as_tensor(pair)), groups)[0][0].tolist()

    assert kept(1e-6) == [True, False]
    assert kept(1e-2) == [True, True]


def test_units_that_fire_in_one_row_alone_are_copies_of_each_other(rng, seen, setting):
    """Sparse units: 30 that fire in the same row count once, and die with it in the jackknife."""
    x = rng.normal(size=(200, 4))
    spikes = np.zeros((200, 30))
    spikes[17] = rng.uniform(1, 9, size=30)
    found = read(RANK, np.hstack([x, spikes]), seen, setting)
    want = ranks_by_hand(np.hstack([x, spikes[:, :1]]))
    groups = blocks.folds(200, 20)
    for i, r in enumerate(found):
        assert r.estimate.value == pytest.approx(want[i], rel=1e-9)
        left = [
            ranks_by_hand(np.hstack([x, spikes[:, : int(groups[17] != g)]])[groups != g])[i]
            for g in range(20)
        ]
        error = math.sqrt(19 / 20 * np.sum((left - np.mean(left)) ** 2))
        assert inference.standard_error(r.estimate) == pytest.approx(error, rel=1e-6)
    copies = read(REDUNDANCY, np.hstack([x, spikes]), seen, setting)[1]
    assert copies.estimate.value == pytest.approx(29 / 34)


@pytest.mark.parametrize("numbers", [1, 700, 1 << 21])
def test_copies_are_found_whatever_the_chunk(rng, monkeypatch, numbers):
    monkeypatch.setattr("ringtest.probes.redundancy._NUMBERS", numbers)
    x = copied(rng, rng.normal(size=(100, 11)))
    groups = blocks.folds(100, 20)
    kept, live = distinct(varying(torch.as_tensor(x)), groups)
    c = np.corrcoef(x[:, x.std(0) > 1e-9].T) ** 2
    want = [not (c[j, :j] > 1 - 1e-8).any() for j in range(len(c))]
    assert kept[0].tolist() == want
    assert bool((kept == kept[0]).all())
    assert bool(live.all())


# -- redundancy ------------------------------------------------------------------------------------


def told_by_hand(x, fold):
    """One scikit-learn ridge a unit."""
    x = (x - x.mean(0)) / x.std(0)
    scores = []
    for i in range(x.shape[1]):

        class Probe(Ridge):
            def fit(self, rows, y):
                self.alpha = margins.PROBE_RIDGE * len(rows)
                return super().fit(rows, y)

        told = cross_val_predict(Probe(), np.delete(x, i, 1), x[:, i], cv=PredefinedSplit(fold))
        scores.append(1 - (x[:, i] - told) ** 2)
    return np.mean(scores, axis=0)


@pytest.mark.parametrize(("n", "d"), [(200, 6), (60, 47), (60, 48), (60, 49), (50, 90)])
def test_all_units_at_once_are_one_ridge_each(rng, n, d):
    """Around the width (four fifths of the rows) from which another inverse is taken."""
    x, fold = correlated(rng, n, d), blocks.folds(n, 5)
    got = told_by_others(varying(torch.as_tensor(x)), torch.as_tensor(fold))
    np.testing.assert_allclose(got, told_by_hand(x, fold), atol=1e-8)


def test_the_closed_form_is_the_textbooks(rng):
    """In the sample and almost without penalty, R^2 = 1 - 1 / (C^-1)_ii: variance inflation."""
    from ringtest.probes.redundancy import _errors

    x = varying(torch.as_tensor(correlated(rng, 300, 5)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(margins, "PROBE_RIDGE", 1e-12)
        found = 1 - _errors(x, x).square().mean(0)
    want = 1 - 1 / np.linalg.inv(np.corrcoef(x.numpy().T)).diagonal()
    np.testing.assert_allclose(found, want, atol=1e-8)


def test_units_that_know_nothing_of_each_other_and_units_that_know_all(rng, seen, setting):
    apart = rng.normal(size=(1_000, 8))
    told, copies = read(REDUNDANCY, apart, seen, setting)
    assert told.estimate.value == pytest.approx(0, abs=0.03)
    assert told.estimate.value < 0  # out of fold, no chance fit counts for anything
    assert copies.estimate.value == 0
    spread = rng.normal(size=(1_000, 3)) @ rng.normal(size=(3, 40))
    told, copies = read(REDUNDANCY, spread, seen, setting)
    assert told.estimate.value > 0.98
    assert copies.estimate.value == 0
    # Signal and noise of equal size in 2 units: each tells a quarter of the other.
    s = rng.normal(size=(20_000, 1))
    pair = s + rng.normal(size=(20_000, 2))
    told, _ = read(REDUNDANCY, pair, seen, setting)
    assert told.estimate.value == pytest.approx(0.25, abs=0.03)


def test_a_wide_layer_of_noise_is_not_redundant(rng, seen, setting):
    """More units than rows fit each other perfectly, and tell nothing of new rows."""
    told, _ = read(REDUNDANCY, rng.normal(size=(80, 300)), seen, setting)
    assert told.estimate.value < 0.25


# -- what cannot be measured -----------------------------------------------------------------------


@pytest.mark.parametrize("entry", [RANK, REDUNDANCY], ids=lambda e: e.id)
def test_a_damaged_layer_has_a_reason_and_leaves_the_others_alone(entry, rng, seen, setting):
    good = rng.normal(size=(100, 4))
    bad, dead = good.copy(), np.full((100, 4), 0.1)
    bad[3, 1] = np.nan
    layers = {"bad": bad, "dead": dead, "last": good}
    found = read(entry, layers, seen, setting)
    alone = read(entry, good, seen, setting)
    assert [r.layer for r in found] == ["bad", "bad", "dead", "dead", "last", "last"]
    for r in found[:4]:
        assert math.isnan(r.estimate.value)
        assert r.layer in r.reason
    assert [r.estimate.value for r in found[4:]] == [r.estimate.value for r in alone]
    assert not any(r.reason for r in found[4:])
    few = read(entry, good, seen, setting, cluster=np.arange(100) % 4)
    assert all("fewer than 5 folds" in r.reason for r in few)


def test_a_lone_unit_has_a_rank_but_no_others(rng, seen, setting):
    lone = rng.normal(size=(100, 1)) @ np.array([[1.0, -2.0]])
    told, copies = read(REDUNDANCY, lone, seen, setting)
    assert "one distinct unit" in told.reason
    assert copies.estimate.value == 0.5
    assert [r.estimate.value for r in read(RANK, lone, seen, setting)] == [1, 1]


def test_a_layer_that_varies_in_one_row_alone_has_no_error(seen, setting):
    spike = np.zeros((100, 3))
    spike[5, 0] = 1.0
    for r in read(RANK, spike, seen, setting):
        assert math.isnan(r.estimate.value)
        assert "one group" in r.reason
