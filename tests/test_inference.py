"""Standard errors, intervals and p-values, and the guards around them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ringtest import inference, margins
from ringtest.estimate import Estimate, row_mean

finite = st.floats(-5, 5, allow_nan=False)


# -- the bootstrap ---------------------------------------------------------------------------------


def test_the_bootstrap_is_seeded():
    e = row_mean(np.arange(40.0))
    assert inference.standard_error(e, 3) == inference.standard_error(e, 3)
    assert inference.standard_error(e, 3) != inference.standard_error(e, 4)


def test_everything_resampled_together_is_paired(rng):
    x = rng.normal(size=(60, 3))
    x[:, 2] = x[:, 0] - x[:, 1]
    draws = inference.bootstrap(x, seed=1)
    assert draws.shape == (margins.RESAMPLES, 3)
    np.testing.assert_allclose(draws[:, 2], draws[:, 0] - draws[:, 1], atol=1e-9)
    # column by column it draws the same units
    np.testing.assert_allclose(inference.bootstrap(x[:, :1], seed=1)[:, 0], draws[:, 0], atol=1e-9)


@pytest.mark.parametrize("units", [2, 3, 17, 300, 3000])
def test_every_resample_draws_as_many_units_as_there_are(units):
    totals = inference.bootstrap(np.ones((units, 1)), seed=5)
    assert np.all(totals == units)
    drawn = inference.bootstrap(np.eye(units)[:, :2], seed=5)
    assert drawn[:, 0].mean() == pytest.approx(1, abs=0.1)
    assert drawn[:, 0].var() == pytest.approx(1 - 1 / units, abs=0.15)


def test_resamples_kept_as_numbers_are_those_kept_as_bytes(rng, monkeypatch):
    columns = rng.normal(size=(300, 2))
    kept = inference.bootstrap(columns, seed=3)
    monkeypatch.setattr(inference, "_CHUNK", 300 * 64)
    np.testing.assert_allclose(kept, inference.bootstrap(columns, seed=3), rtol=1e-12, atol=1e-10)


def test_a_resampled_mean_has_its_closed_form(rng):
    for n in (20, 200, 2000):
        x = rng.exponential(size=n)
        # 2,000 resamples know an SD to about 1.6 %
        want = x.std(ddof=1) / math.sqrt(n)
        assert inference.standard_error(row_mean(x)) == pytest.approx(want, rel=0.07)


def test_very_many_rows_use_the_closed_form(rng):
    x = rng.normal(size=20_001)
    want = x.std(ddof=1) / math.sqrt(len(x))
    assert inference.standard_error(row_mean(x)) == pytest.approx(want, rel=1e-9)


def test_rows_repeated_with_their_cluster_keep_the_error_of_the_original(rng):
    x = rng.normal(size=150)
    units = np.tile(np.arange(150), 4)
    se = inference.standard_error(row_mean(x))
    assert inference.standard_error(row_mean(np.tile(x, 4), units)) == pytest.approx(se, rel=1e-9)
    assert inference.standard_error(row_mean(np.tile(x, 4))) == pytest.approx(se / 2, rel=0.06)


@pytest.mark.parametrize(
    "e",
    [
        row_mean(np.zeros(0)),
        row_mean(np.ones(1)),
        row_mean(np.array([1.0, math.nan, 2.0])),
        Estimate(math.inf, np.array([0.1, 0.1]), 2),
        Estimate(1.0, np.array([0.1, math.nan]), 2),
        Estimate(math.nan, np.array([0.1, 0.1]), 2),
        Estimate(1.0, np.array([]), 0),
    ],
)
def test_nothing_and_not_a_number_have_no_error(e):
    assert math.isnan(inference.standard_error(e))
    assert all(
        math.isnan(v)
        for v in inference.p_values(e.value, 0.1, inference.standard_error(e), e.dof, 1)
    )


def test_intervals_are_those_of_student():
    low, high = inference.interval(1.0, 0.5, 7, 0.95)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 7, loc=1.0, scale=0.5))
    for bad in ((math.nan, 1, 5), (1, math.nan, 5), (1, 1, 0.5), (1, 1, math.nan)):
        assert all(math.isnan(v) for v in inference.interval(*bad, 0.95))


# -- p-values --------------------------------------------------------------------------------------


@given(finite, finite, st.floats(1e-3, 3), st.floats(1, 500), st.integers(1, 20))
def test_p_values_are_students(harm, margin, se, df, family):
    p_fail, p_pass = inference.p_values(harm, margin, se, df, family)
    t = (harm - margin) / se
    assert p_fail == pytest.approx(min(1, family * stats.t.sf(t, df)), abs=1e-9)
    assert p_pass == pytest.approx(stats.t.cdf(t, df), abs=1e-9)
    assert p_fail + p_pass >= 1 - 1e-9


@given(finite, finite, st.floats(0, 3), st.floats(0, 2))
def test_more_harm_is_never_less_evidence_of_harm(harm, margin, se, more):
    before = inference.p_values(harm, margin, se, 30, 3)
    after = inference.p_values(harm + more, margin, se, 30, 3)
    assert after[0] <= before[0] + 1e-12
    assert after[1] >= before[1] - 1e-12


def test_without_error_the_side_of_the_margin_decides():
    assert inference.p_values(0.2, 0.1, 0.0, 9, 5) == (0, 1)
    assert inference.p_values(0.0, 0.1, 0.0, 9, 5) == (1, 0)
    assert inference.p_values(0.1, 0.1, 0.0, 9, 5) == (1, 1)


@pytest.mark.parametrize("field", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_evidence(field, value):
    arguments = [0.2, 0.1, 0.01, 50.0]
    arguments[field] = value
    assert all(math.isnan(p) for p in inference.p_values(*arguments, 1))


@pytest.mark.parametrize(("se", "df", "family"), [(-0.1, 9, 1), (0.1, 0.5, 1), (0.1, 9, 0)])
def test_nonsense_is_no_evidence(se, df, family):
    assert all(math.isnan(p) for p in inference.p_values(0, 0.1, se, df, family))


def test_the_t_test_holds_its_level():
    """On the margin itself, a mean of 12 rows is failed, and passed, in 5 % of the cases."""
    failed = passed = 0
    for seed in range(600):
        e = row_mean(np.random.default_rng(seed).normal(0.1, 1, size=12))
        p = inference.p_values(e.value, 0.1, float(np.sqrt(np.sum(e.influence**2))), e.dof, 1)
        failed, passed = failed + (p[0] <= 0.05), passed + (p[1] <= 0.05)
    assert 15 <= failed <= 48
    assert 15 <= passed <= 48


# -- Holm ------------------------------------------------------------------------------------------


def slow_holm(p: list[float], alpha: float) -> list[bool]:
    """Adjusted p-values, as in statsmodels: running maximum of (m - rank) p over sorted p."""
    m = len(p)
    values = [1.0 if math.isnan(v) else v for v in p]
    order = sorted(range(m), key=lambda i: (math.isnan(p[i]), values[i]))
    adjusted, largest = [1.0] * m, 0.0
    for rank, i in enumerate(order):
        largest = max(largest, (m - rank) * values[i])
        adjusted[i] = min(1.0, largest)
    return [adjusted[i] <= alpha and not math.isnan(p[i]) for i in range(m)]


@given(
    st.lists(st.one_of(st.floats(0, 0.1), st.floats(0, 1), st.just(math.nan)), max_size=9),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_holm_is_the_step_down_procedure(p, alpha):
    assert inference.holm(p, alpha) == slow_holm(p, alpha)


def test_holm_by_hand():
    assert inference.holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert inference.holm([math.nan, 0.02], 0.05) == [False, True]
    assert inference.holm([math.nan, 0.03], 0.05) == [False, False]
    assert inference.holm([], 0.05) == []


# -- needed n --------------------------------------------------------------------------------------


def test_needed_n_has_power_point_eight():
    n = inference.needed_n(0.10, 0.12, 0.03, 400, 0.05)
    se = 0.03 * math.sqrt(400 / n)
    power = stats.norm.cdf(0.02 / se - stats.norm.ppf(0.95))
    assert power == pytest.approx(0.8, abs=0.005)
    assert inference.needed_n(0.14, 0.12, 0.03, 400, 0.05) == pytest.approx(n, abs=1)


@pytest.mark.parametrize(
    "bad",
    [
        (0.1, 0.1, 0.1, 9),
        (math.nan, 0.1, 0.1, 9),
        (0.2, 0.1, 0.0, 9),
        (0.2, 0.1, math.nan, 9),
        (0.2, 0.1, 0.1, 0),
    ],
)
def test_needed_n_where_nothing_is_known(bad):
    assert inference.needed_n(*bad, 0.05) is None


def test_needed_n_at_the_margin_is_a_number_too_large_to_matter():
    """decide() is total: a harm that all but sits on its margin must not overflow."""
    assert inference.needed_n(0.0, 1e-236, 1.0, 500, 0.05) > 10**9
    assert inference.needed_n(0.0, 1.0, 1e300, 500, 0.05) > 10**9
