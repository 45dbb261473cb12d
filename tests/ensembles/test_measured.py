"""Intervals of outcomes where nothing varies, and shares of what may be nothing."""

import math

import numpy as np
import pytest
from scipy import stats

from ringtest.ensembles.measured import bounds, check_level, mean_where, share_of, spread, unseen
from ringtest.errors import ConfigError
from ringtest.estimate import row_mean


@pytest.mark.parametrize("n", [1, 7, 400])
def test_unseen_is_the_end_of_the_exact_binomial_interval(n: int):
    both = stats.binomtest(0, n).proportion_ci(0.95).high
    one = stats.binomtest(0, n, alternative="less").proportion_ci(0.95).high
    assert unseen(n, 0.95) == pytest.approx(both)
    assert unseen(n, 0.95, sides=1) == pytest.approx(one)


def test_items_of_one_unit_say_it_once():
    """100 rows of two units that are all right tell as much as two."""
    units = np.repeat([0, 1], 50)
    for of in (spread, bounds):
        clustered, two = of(row_mean(np.ones(100), units)), of(row_mean(np.ones(2)))
        assert clustered == pytest.approx(two)
        assert of(row_mean(np.ones(100)))[0] > clustered[0]


def test_items_that_were_not_chosen_say_nothing():
    chosen = np.arange(100) < 4
    found = mean_where(np.ones(100), chosen, "count")
    assert bounds(found.estimate)[0] == pytest.approx(1 - unseen(4, 0.95))


def test_of_a_loss_or_nothing_there_is_no_share():
    loss, gain = row_mean(np.full(50, -0.5)), row_mean(np.full(50, 0.5))
    assert "lies below 0" in share_of(gain, loss, "a - b").reason
    assert "spans 0" in share_of(gain, row_mean(np.zeros(50)), "a - b").reason
    assert share_of(gain, gain, "a - b").value == 1


@pytest.mark.parametrize("level", [0.0, 1.0, 95, math.nan])
def test_a_level_that_is_none(level: float):
    with pytest.raises(ConfigError, match=r"^level: "):
        check_level(level)
    for of in (spread, bounds):
        with pytest.raises(ConfigError, match=r"^level: "):
            of(row_mean(np.arange(3.0)), level)
