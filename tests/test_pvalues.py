"""Student's t in plain Python against scipy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from ringtest.pvalues import needed_n, student_t

DF = (1, 1.5, 2, 5, 19, 19.7, 60, 79.9, 80, 81, 500, 1199, 5e3, 1e5, 9.9e5, 1.1e6, 1e8, 1e12, 1e300)
T = (0, 1e-300, 1e-10, 1e-3, 0.1, 0.9, 1, 1.3, 1.645, 1.7, 1.8, 2, 3, 5, 8, 12, 1e4, 1e200, 1e308)


@pytest.mark.parametrize("df", DF)
def test_it_is_that_of_scipy(df):
    for t in T:
        for sign in (-1, 1):
            # Beyond a million degrees of freedom scipy itself is the normal's.
            want = float(special.stdtr(df, sign * t)) if df < 1e15 else stats.norm.cdf(sign * t)
            assert student_t(df, sign * t) == pytest.approx(want, rel=1e-9, abs=1e-14)


@given(st.floats(1, 1e9), st.floats(-40, 40), st.floats(0, 5))
def test_it_grows_and_is_symmetric(df, t, more):
    low, high = student_t(df, t), student_t(df, t + more)
    assert 0 <= low <= 1
    assert high >= low - 1e-13
    assert low + student_t(df, -t) == pytest.approx(1, abs=1e-12)


@given(st.floats(0.001, 0.4), st.floats(1.0, 500.0))
def test_it_is_the_inverse_of_the_quantile(p, df):
    assert student_t(df, float(special.stdtrit(df, p))) == pytest.approx(p, rel=1e-8)


def test_needed_n_uses_the_normal_quantiles():
    z = float(special.ndtri(0.95) + special.ndtri(0.8))
    assert needed_n(0.1, 0.12, 0.03, 400, 0.05) == math.ceil(400 * (z * 0.03 / 0.02) ** 2)
