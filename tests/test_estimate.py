"""Estimates: influences, paired and independent differences, clusters, the jackknife."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ringtest import estimate as estimates
from ringtest.estimate import Estimate, combine, from_deletions, row_mean, t_quantile, weighted_mean

values = hnp.arrays(
    np.float64, st.integers(2, 40), elements=st.floats(-1e3, 1e3, allow_nan=False, width=32)
)


def variance(e: Estimate) -> float:
    return float(np.sum(e.influence**2))


@given(values)
def test_the_influences_of_a_mean_give_the_textbook_variance(x):
    e = row_mean(x)
    assert e.value == pytest.approx(x.mean(), abs=1e-9)
    assert variance(e) == pytest.approx(x.var(ddof=1) / len(x), rel=1e-9, abs=1e-15)
    assert e.dof == len(x) - 1


@given(values)
def test_paired_arithmetic_is_that_of_the_row_differences(x):
    y = np.cos(x) * 10
    got, want = row_mean(x) - row_mean(y), row_mean(x - y)
    assert got.value == pytest.approx(want.value, abs=1e-9)
    np.testing.assert_allclose(got.influence, want.influence, atol=1e-9)
    total = row_mean(x) + row_mean(y)
    np.testing.assert_allclose(total.influence, row_mean(x + y).influence, atol=1e-9)
    np.testing.assert_allclose((-row_mean(x)).influence, row_mean(-x).influence, atol=1e-12)
    half = estimates.mean([row_mean(x), row_mean(y)])
    np.testing.assert_allclose(half.influence, row_mean((x + y) / 2).influence, atol=1e-9)


@given(values, st.integers(2, 5))
def test_rows_repeated_with_their_cluster_add_nothing(x, times):
    """Rows duplicated k times, with the cluster named, have the SE of the original."""
    units = np.tile(np.arange(len(x)), times)
    repeated, original = row_mean(np.tile(x, times), units), row_mean(x)
    assert repeated.value == pytest.approx(original.value, abs=1e-9)
    assert variance(repeated) == pytest.approx(variance(original), rel=1e-9, abs=1e-15)
    assert repeated.dof == original.dof
    assert variance(row_mean(np.tile(x, times))) <= variance(original) + 1e-15


def test_clusters_kept_together_widen_the_error(rng):
    cluster = np.repeat(np.arange(50), 8)
    x = rng.normal(size=50)[cluster] + 0.3 * rng.normal(size=400)
    assert variance(row_mean(x, cluster)) > 3 * variance(row_mean(x))


def test_independent_sets_add_in_quadrature_with_welchs_degrees_of_freedom(rng):
    a, b = rng.normal(size=30), 3 * rng.normal(size=80)
    d = row_mean(a).minus_independent(row_mean(b))
    va, vb = a.var(ddof=1) / 30, b.var(ddof=1) / 80
    assert d.value == pytest.approx(a.mean() - b.mean())
    assert variance(d) == pytest.approx(va + vb)
    assert d.df == pytest.approx((va + vb) ** 2 / (va**2 / 29 + vb**2 / 79))
    assert d.n == 30
    constant = row_mean(np.ones(5)).minus_independent(row_mean(np.zeros(9)))
    assert (constant.value, variance(constant), constant.df) == (1.0, 0.0, 4.0)


def test_pairing_other_rows_is_an_error():
    with pytest.raises(ValueError, match="same units"):
        combine([row_mean(np.arange(3.0)), row_mean(np.arange(4.0))], [1, -1])


def test_nothing_has_no_mean():
    empty = row_mean(np.zeros(0))
    assert math.isnan(empty.value)
    assert empty.units == empty.n == 0


def test_weighted_mean_matches_slices_weighted_alike(rng):
    x, size = rng.normal(size=130), (100, 30)
    w = np.repeat([1 / (2 * s) for s in size], size)
    e = weighted_mean(x, w, None)
    assert e.value == pytest.approx((x[:100].mean() + x[100:].mean()) / 2)
    want = sum(p.var() / len(p) / 4 for p in (x[:100], x[100:]))
    # Centred on the whole, so a difference between slices counts as noise: never too narrow.
    assert want * 0.99 < variance(e) < want * 1.3


@given(values)
def test_the_jackknife_of_a_mean_is_exact(x):
    n = len(x)
    deleted = (x.sum() - x) / (n - 1)
    e = from_deletions(float(x.mean()), deleted, n)
    assert variance(e) == pytest.approx(x.var(ddof=1) / n, rel=1e-8, abs=1e-12)
    # and its influences pair with those of the mean itself
    np.testing.assert_allclose(e.influence, row_mean(x).influence, atol=1e-7)


def test_the_jackknife_sums_rows_within_clusters(rng):
    x, units = rng.normal(size=60), np.repeat(np.arange(12), 5)
    deleted = (x.sum() - x) / 59
    e = from_deletions(float(x.mean()), deleted, 60, units)
    np.testing.assert_allclose(e.influence, row_mean(x, units).influence, atol=1e-12)


def test_t_quantile():
    assert t_quantile(0.95, 1e9) == pytest.approx(1.959964, abs=1e-5)
    assert t_quantile(0.95, 1) == pytest.approx(12.7062, abs=1e-4)
