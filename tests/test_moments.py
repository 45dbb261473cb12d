"""Moments that add over blocks and shards, and exact debiased CKA, against brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ringtest.moments import Moments, cka, hsic, ratio, ridge


def gram_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, equation 5, as it stands, on n x n Gram matrices."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    value = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return float((value - 2 / (n - 2) * one @ k @ m @ one) / (n * (n - 3)))


def gram_cka(x: np.ndarray, y: np.ndarray) -> float:
    x, y = (np.asarray(v, np.float64) for v in (x, y))
    # Subtracting the mean changes nothing in exact arithmetic and keeps the oracle exact in ours.
    x, y = x - x.mean(0), y - y.mean(0)
    k, m = x @ x.T, y @ y.T
    return gram_hsic(k, m) / math.sqrt(gram_hsic(k, k) * gram_hsic(m, m))


def in_batches(x, y, size: int) -> float:
    cross, own_x, own_y = Moments(), Moments(), Moments()
    for low in range(0, len(x), size):
        a, b = torch.as_tensor(x[low : low + size]), torch.as_tensor(y[low : low + size])
        cross.update(a, b)
        own_x.update(a)
        own_y.update(b)
    return float(ratio(cross.hsic(), own_x.hsic(), own_y.hsic()))


@pytest.fixture
def golden() -> tuple[np.ndarray, np.ndarray]:
    """The published example: np.random.seed(0), then two uniform (30, 25) draws."""
    legacy = np.random.RandomState(0)
    return legacy.uniform(size=(30, 25)), legacy.uniform(size=(30, 25))


def test_golden_debiased_cka(golden):
    x, y = (torch.as_tensor(v) for v in golden)
    assert cka(x, y) == pytest.approx(0.0235986985804644, abs=1e-12)
    assert gram_cka(*golden) == pytest.approx(0.0235986985804644, abs=1e-12)


@pytest.mark.parametrize("size", [1, 7, 30])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_batches_and_offsets_agree_with_the_gram_form(golden, size, offset):
    x, y = golden
    assert in_batches(x + offset, y - offset, size) == pytest.approx(gram_cka(x, y), abs=1e-12)


@given(st.integers(4, 25), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_any_shape_agrees_with_the_gram_form(n, p, q, seed):
    g = np.random.default_rng(seed)
    x, y = g.normal(size=(n, p)), g.normal(size=(n, q))
    y[:, 0] += 2 * x[:, 0]
    m = Moments().update(torch.as_tensor(x), torch.as_tensor(y))
    k, kk = x @ x.T, y @ y.T
    assert float(m.hsic()) == pytest.approx(gram_hsic(k, kk), rel=1e-9, abs=1e-11)


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=6),
    st.sampled_from([0.0, 1.0, 1e4]),
    st.integers(0, 10**6),
)
def test_shards_with_other_shifts_merge_to_the_whole(sizes, offset, seed):
    """Each shard is shifted by its own first row; empty shards add nothing; order is free."""
    g = np.random.default_rng(seed)
    n = sum(sizes) + 8
    x, y = g.normal(size=(n, 3)) + offset, g.normal(size=(n, 4)) - offset
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    whole = Moments().update(x, y)
    cuts = np.cumsum([0, 8, *sizes])
    shards = [Moments().update(x[a:b], y[a:b]) for a, b in itertools.pairwise(cuts)]
    g.shuffle(shards)
    merged = Moments()
    for shard in shards:
        merged.merge(shard)
    assert merged.n == n
    assert float(merged.hsic()) == pytest.approx(float(whole.hsic()), rel=1e-9, abs=1e-11)
    torch.testing.assert_close(merged.mean, x.mean(0))
    want = (x - x.mean(0)).T @ (y - y.mean(0)) / n
    torch.testing.assert_close(merged.covariance, want, atol=1e-10, rtol=1e-8)


def test_merging_leaves_the_other_shard_as_it_was():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    other, first = Moments().update(x), Moments()
    before = float(other.hsic())
    first.merge(other).update(x + 1)
    assert (float(other.hsic()), other.n) == (before, 20)


def test_column_mean_of_a_million_keeps_the_covariance():
    """Naive X'X - n mu mu' is off by 10 % here, in float32 altogether wrong."""
    g = np.random.default_rng(3)
    x = g.normal(size=(500, 4)) * 0.01 + 1e6
    m = Moments().update(torch.as_tensor(x[:123])).merge(Moments().update(torch.as_tensor(x[123:])))
    want = np.cov(x.T, bias=True)
    np.testing.assert_allclose(m.covariance.numpy(), want, rtol=1e-6, atol=1e-10)
    naive = (x.T @ x - 500 * np.outer(x.mean(0), x.mean(0))) / 500
    assert np.abs(naive - want).max() > 10 * np.abs(m.covariance.numpy() - want).max()
    # CKA of exactly the values that float64 holds at this offset
    centred = x - 1e6
    assert in_batches(x, x**2 / 1e6, 100) == pytest.approx(gram_cka(x, x**2 / 1e6), abs=1e-9)
    assert in_batches(x, centred, 100) == pytest.approx(1.0, abs=1e-12)


def test_independent_gaussians_are_near_zero_where_biased_cka_says_point_nine():
    got, biased = [], []
    for seed in range(20):
        g = np.random.default_rng(seed)
        x, y = g.normal(size=(50, 500)), g.normal(size=(50, 500))
        got.append(cka(torch.as_tensor(x), torch.as_tensor(y)))
        biased.append(cka(torch.as_tensor(x), torch.as_tensor(y), debiased=False))
        a, b = x - x.mean(0), y - y.mean(0)
        cross, own = (a.T @ b), (np.linalg.norm(a @ a.T) * np.linalg.norm(b @ b.T))
        assert biased[-1] == pytest.approx(np.linalg.norm(cross) ** 2 / own, abs=1e-12)
    assert np.mean(biased) == pytest.approx(0.909, abs=0.01)
    assert abs(np.mean(got)) < 4 * np.std(got) / math.sqrt(20) + 1e-3
    assert max(map(abs, got)) < 0.2


def test_orthogonal_mixing_and_scale_leave_cka_at_one():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(200, 12, generator=g, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(12, 12, generator=g, dtype=torch.float64)).Q
    assert cka(x, 37.0 * x @ q + 5) == pytest.approx(1.0, abs=1e-12)
    assert cka(x, x[:, :6]) < 0.95


def test_one_row_of_a_thousand_moved_far_drives_cka_to_nothing():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(1000, 20, generator=g, dtype=torch.float64)
    y = x.clone()
    y[17] = 0
    y[17, 3] = 1e4
    assert cka(x, x) == pytest.approx(1.0, abs=1e-12)
    assert abs(cka(x, y)) < 0.02


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_fewer_than_four_rows_have_no_hsic(n):
    m = Moments()
    if n:
        m.update(torch.randn(n, 3))
    assert math.isnan(float(m.hsic()))


def test_a_constant_layer_has_no_cka():
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    assert math.isnan(cka(x, torch.full((30, 2), 0.1)))
    assert math.isnan(float(ratio(*(torch.tensor(v) for v in (1.0, 0.0, 1.0)))))


def test_rows_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"3 rows of x beside 4"):
        Moments().update(torch.zeros(3, 2), torch.zeros(4, 2))


def test_nan_rows_give_nan_and_nothing_else():
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    y = x.clone()
    y[4, 1] = math.nan
    assert math.isnan(cka(x, y))


def test_hsic_broadcasts_over_deletions():
    t = [torch.arange(3, dtype=torch.float64) + k for k in range(4)]
    many = hsic(*t, torch.full((3,), 9.0))
    for i in range(3):
        assert float(many[i]) == float(hsic(*(v[i] for v in t), 9))


def test_ridge_solves_the_normal_equations():
    g = torch.Generator().manual_seed(4)
    x = torch.randn(40, 5, generator=g, dtype=torch.float64)
    y = torch.randn(40, 2, generator=g, dtype=torch.float64)
    w = ridge(x.T @ x, x.T @ y, 0.7)
    torch.testing.assert_close(x.T @ (y - x @ w), 0.7 * w)
    both = ridge(torch.stack([x.T @ x] * 2), torch.stack([x.T @ y] * 2), torch.tensor([0.7, 3.0]))
    torch.testing.assert_close(both[0], w)
