"""Neighbourhood overlap against a slow, obvious reference, with ties of every kind."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ringtest import blocks, inference, margins
from ringtest.measure import NotMeasurable, measures
from ringtest.probes import neighbourhood
from ringtest.probes.neighbourhood import Neighbourhood, chance, neighbourhood_size, overlap

TIE = 1e-9


def slow_weights(x: np.ndarray, k: int, kept: np.ndarray) -> np.ndarray:
    """(m, m) weights: nearer than the k-th kept neighbour 1, tied with it a share of the rest."""
    x = np.asarray(x, np.float64)
    x = x - x.mean(0)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    unit = x / np.where(norm > 0, norm, 1)
    w = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i and kept[j]]
        s = {j: float(unit[i] @ unit[j]) for j in others}
        threshold = sorted(s.values(), reverse=True)[k - 1]
        near = [j for j in others if s[j] > threshold + TIE]
        tied = [j for j in others if abs(s[j] - threshold) <= TIE]
        w[i, near] = 1
        w[i, tied] = (k - len(near)) / len(tied)
    return w


def slow_overlap(x, y, k, kept) -> float:
    a, b = slow_weights(x, k, kept), slow_weights(y, k, kept)
    return float(np.minimum(a, b).sum(1)[kept].mean() / k)


def fast(x, y, k, groups=None):
    m = len(x)
    groups = blocks.folds(m, margins.JACKKNIFE_GROUPS) if groups is None else groups
    g = torch.as_tensor(groups)
    return overlap(*(Neighbourhood(torch.as_tensor(v), k, g) for v in (x, y))), groups


def check(x, y, k, groups=None):
    (whole, without), groups = fast(x, y, k, groups)
    everyone = np.ones(len(x), bool)
    assert whole == pytest.approx(slow_overlap(x, y, k, everyone), abs=1e-6)
    for g in np.unique(groups):
        # The centre is held fixed: it belongs to the code, not to the rows that are left out.
        assert without[g] == pytest.approx(slow_overlap(x, y, k, groups != g), abs=1e-6)
    return whole


def test_distinct_rows(rng):
    x = rng.normal(size=(80, 6))
    check(x, x + 0.7 * rng.normal(size=x.shape), 5)


def test_duplicate_rows(rng):
    """'Self' is then not the first of the sorted list, and equal rows must share their places."""
    x = np.repeat(rng.normal(size=(20, 5)), 4, axis=0)
    whole = check(x, np.repeat(rng.normal(size=(20, 3)), 4, axis=0), 5)
    assert 3 / 5 < whole < 1
    assert check(x, x @ np.linalg.qr(rng.normal(size=(5, 5)))[0], 5) == pytest.approx(1)


@given(st.integers(2, 6), st.integers(2, 6), st.integers(41, 70), st.integers(0, 10**6))
def test_codes_of_a_few_values(a, b, m, seed):
    g = np.random.default_rng(seed)
    codes = [g.normal(size=(c, 3))[g.integers(0, c, size=m)] for c in (a, b)]
    if any((v == v[0]).all() for v in codes):
        return
    check(*codes, 6)


@pytest.mark.parametrize(("m", "k"), [(60, 5), (600, 48)])
def test_two_unrelated_codes_of_four_values_share_what_their_classes_share(m, k):
    """Ties broken by index gave .68 for unrelated codes.

    All of a row's neighbours are tied, so each class shares its places evenly and what two codes
    have in common is the share of rows that fall into one class in both: 1/4, whatever k is. A
    draw of k among the ties would have given k/m (.08), but then a code would not equal itself.
    """
    g = np.random.default_rng(0)
    codes = [np.eye(4)[g.permutation(np.arange(m) % 4)] for _ in range(2)]
    (whole, _), _ = fast(*codes, k)
    assert whole == pytest.approx(1 / 4, abs=0.03)
    (own, _), _ = fast(codes[0], codes[0] @ np.diag([1, 1, 1, 1]), k)
    assert own == pytest.approx(1)


def test_unequal_groups_such_as_clusters(rng):
    x = rng.normal(size=(60, 4))
    groups = np.minimum(np.arange(60) // 2, 19)
    check(x, x + rng.normal(size=x.shape), 5, groups)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_neighbours_nearly_all_in_one_other_group(share, rng):
    """Without it, the k-th neighbour lies far beyond the first list: up to its own size."""
    centres = 5 * rng.normal(size=(2, 4))
    x = centres[np.arange(120) % 2] + rng.normal(size=(120, 4))
    groups = np.where(rng.random(120) < share, 0, rng.integers(1, 4, size=120))
    assert (groups == 3).any()
    check(x, x + 0.5 * rng.normal(size=x.shape), 5, groups)


def test_where_fewer_than_k_rows_stay_all_of_them_are_neighbours(rng):
    x, y = rng.normal(size=(2, 60, 4))
    groups = np.where(np.arange(60) < 57, 0, 1)
    (_, without), _ = fast(x, y, 5, groups)
    assert without[0] == pytest.approx(2 / 5)


@pytest.mark.parametrize("limit", ["_WHOLE", "_CACHED", "_STEP", "_TABLE", "_BITS"])
@pytest.mark.parametrize("values", [None, 7])
def test_in_pieces_as_at_once(limit, values, rng, monkeypatch):
    """Cosines of some rows at a time, weights not kept, a few deletions at a time; places searched
    for, not looked up; weights as numbers although all are 0 or 1."""
    x, y = rng.normal(size=(2, 150, 4))
    if values:
        x, y = x[rng.integers(0, values, size=150)], y[rng.integers(0, values, size=150)]
    groups = np.minimum(np.arange(150) // 5, 19)
    (whole, without), _ = fast(x, y, 6, groups)
    if limit in ("_CACHED", "_STEP"):
        monkeypatch.setattr(neighbourhood, "_BITS", 1)
    small = {"_CACHED": 5000, "_BITS": 1}
    monkeypatch.setattr(neighbourhood, limit, small.get(limit, 100))
    monkeypatch.setattr(neighbourhood, "_CHUNK", 64)
    (again, pieces), _ = fast(x, y, 6, groups)
    assert again == pytest.approx(whole, abs=1e-9)
    assert pieces == pytest.approx(without, abs=1e-9)


def test_blocks_of_columns_lose_no_neighbour(rng):
    """Enough rows for the search in blocks, and the nearest all in a few of them."""
    x = rng.normal(size=(230, 3))
    x[::4] = x[0] + 0.01 * rng.normal(size=(58, 3))
    check(x, x + 0.3 * rng.normal(size=x.shape), 5, np.arange(230) % 3)


def test_long_lists_of_ties_are_resolved_exactly(rng):
    """Ties at the k-th distance run far beyond the first list of k + 8."""
    x = np.vstack([np.tile([1.0, 0.0], (70, 1)), np.tile([0.0, 1.0], (50, 1))])
    x[:, 0] += 0.1
    y = np.vstack([np.tile([1.0, 0.0], (60, 1)), np.tile([0.0, 1.0], (60, 1))])
    check(x, y, 5)


def test_zero_rows_are_neighbours_of_all_alike(rng):
    x = rng.normal(size=(60, 3))
    x -= x.mean(0)
    x[::2] = 0
    x -= 0  # half of the rows sit at the centre, about
    check(x - x.mean(0), x - x.mean(0) + 1e-13, 5)


def test_the_standard_error_is_conservative_but_not_wild():
    values, errors = [], []
    entry = measures["similarity.neighbours"]
    for seed in range(30):
        g = np.random.default_rng(seed)
        s = g.normal(size=(150, 8))
        a, b = (s + 0.8 * g.normal(size=s.shape) for _ in range(2))
        groups = torch.as_tensor(blocks.folds(150, margins.JACKKNIFE_GROUPS))
        e = entry.compare(*(Neighbourhood(torch.as_tensor(v), 5, groups) for v in (a, b)))
        values.append(e.value)
        errors.append(inference.standard_error(e))
    assert 0.9 < np.mean(errors) / np.std(values, ddof=1) < 2.2


def test_size_and_floor():
    assert [neighbourhood_size(n) for n in (50, 249, 300, 2048)] == [5, 5, 6, 41]
    entry = measures["similarity.neighbours"]
    g = torch.Generator().manual_seed(0)
    made = [
        Neighbourhood(torch.randn(200, 5, generator=g), 5, torch.arange(200) % 20) for _ in range(2)
    ]
    floor = math.log(5 / 199)
    assert entry.compare(*made).value >= floor
    assert entry.chance(made) == pytest.approx(floor)
    assert entry.compare(made[0], made[0]).value == pytest.approx(0)


@pytest.mark.parametrize(
    "rows", [torch.ones(60, 3), torch.randn(10, 3), torch.full((60, 3), math.nan)]
)
def test_nothing_to_measure(rows):
    with pytest.raises(NotMeasurable):
        Neighbourhood(rows, 5, torch.arange(len(rows)) % 20)


@pytest.mark.parametrize("clusters", [2, 5, 12])
def test_fewer_clusters_than_groups_give_no_more_degrees_of_freedom(clusters, rng, seen, setting):
    """20 'groups' of which 15 are empty would claim 19 degrees of freedom."""
    x = rng.normal(size=(240, 5)).astype(np.float32)
    at = setting(x, cluster=np.arange(240) % clusters)
    entry = measures["similarity.neighbours"]
    a, b = (entry.prepare(seen(v), at) for v in (x, x + rng.normal(size=x.shape)))
    assert entry.compare(a, b).dof <= clusters - 1


def test_chance_is_the_overlap_of_permuted_rows(rng):
    """k / (m - 1) without ties; codes of few values share neighbours by chance alone."""
    groups = torch.arange(400) % 20
    values = rng.normal(size=(2, 4, 3))
    codes = [values[i][rng.integers(0, 4, size=400)] for i in (0, 1)]
    tied = [Neighbourhood(torch.as_tensor(c), 8, groups) for c in codes]
    assert chance(*tied) == pytest.approx(overlap(*tied)[0], abs=0.02)
    plain = [Neighbourhood(torch.as_tensor(rng.normal(size=(400, 3))), 8, groups) for _ in "ab"]
    assert chance(*plain) == pytest.approx(8 / 399)
