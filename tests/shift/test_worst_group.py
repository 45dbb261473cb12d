"""The worst group: who it is, who may not be, and an interval that minds the choice."""

import numpy as np
import pytest
from scipy import stats

from ringtest import compare, inference
from ringtest.measure import measures
from ringtest.shift.worst_group import crossed, widening

WORST = measures["outputs.worst_group"]


def read(seen, setting, score, groups, cluster=None):
    x = np.arange(len(score), dtype=np.float32)[:, None]
    at = setting(x, groups=groups, cluster=cluster)
    return {r.slice: r for r in WORST.read(seen(x, score=np.asarray(score, float)), at)}


def test_the_worst_of_those_that_are_large_enough(seen, setting):
    site = np.repeat(["a", "b", "c", "d"], [200, 150, 99, 1])
    score = np.concatenate([np.arange(200) < 160, np.arange(150) < 105, np.zeros(100)])
    (found,) = read(seen, setting, score, {"site": site}).values()
    assert found.estimate.value == pytest.approx(0.7)
    assert found.params == {
        "groups": 2, "below_minimum": ["c (99)", "d (1)"], "group": "b", "rows": 150,
    }  # fmt: skip
    assert found.estimate.n == 150
    # Of two groups: both means lie within z(2) errors in 95 % of samples.
    z = stats.norm.ppf(0.5 + 0.95**0.5 / 2) / stats.norm.ppf(0.975)
    alone = np.sqrt(0.7 * 0.3 / 150)
    assert inference.standard_error(found.estimate) == pytest.approx(z * alone, rel=0.06)


@pytest.mark.parametrize("sizes", [[450], [400, 50], [50] * 9])
def test_without_two_groups_there_is_no_worst(seen, setting, sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    (found,) = read(seen, setting, np.ones(450), {"site": labels}).values()
    assert "under two groups" in found.reason
    assert np.isnan(found.estimate.value)
    assert found.estimate.units == 0


def test_columns_are_crossed(seen, setting):
    n = 1_000
    a, b = np.arange(n) % 2, np.arange(n) // 2 % 2
    score = 1.0 - 0.6 * (a == 1) * (b == 0) * (np.arange(n) % 8 < 4)
    found = read(seen, setting, score, {"a": a, "b": b})
    assert set(found) == {"a", "b", "a x b"}
    assert found["a x b"].params["group"] == "1 x 0"
    assert found["a x b"].estimate.value == pytest.approx(0.7, abs=0.01)
    assert found["a"].estimate.value == pytest.approx(0.85, abs=0.01)
    assert crossed([a, b]).tolist()[:4] == ["0 x 0", "1 x 0", "0 x 1", "1 x 1"]


def test_a_group_of_one_cluster_is_none(seen, setting):
    """All its rows are one unit, which has no error: it would be certain."""
    site = np.repeat([0, 1, 2], 150)
    cluster = np.arange(450) // 10
    cluster[site == 2] = 99
    (found,) = read(seen, setting, site < 2, {"site": site}, cluster).values()
    assert found.params["groups"] == 2
    assert found.params["below_minimum"] == ["2 (150)"]


def test_identities_are_no_groups(seen, setting):
    (found,) = read(seen, setting, np.ones(1_200), {"id": np.arange(1_200)}).values()
    assert "identities" in found.reason


def test_each_model_has_a_worst_group_of_its_own(seen, setting):
    site = np.repeat([0, 1], 200)
    low = {"student": 0, "member": 1}
    readings = {
        name: list(read(seen, setting, np.where(site == g, np.arange(400) % 2, 1.0),
                        {"site": site}).values())
        for name, g in low.items()
    }  # fmt: skip
    (pair,) = compare.pair(readings, ["member"], "student")
    assert pair.delta.value == pytest.approx(0.0)
    # Two groups of 200 independent rows: their errors add.
    one = inference.standard_error(readings["student"][0].estimate)
    assert inference.standard_error(pair.delta) == pytest.approx(one * np.sqrt(2), rel=0.05)


def coverage(rng, groups, rows, gap, runs=400):
    """Share of intervals that hold: plain, as told, and as told of the difference to a member."""
    p = np.full(groups, 0.8)
    p[0] -= gap
    found = []
    for _ in range(runs):
        ease = rng.random((groups, rows))
        other = np.where(rng.random((groups, rows)) < 0.7, ease, rng.random((groups, rows)))
        values = []
        for score in (ease < p[:, None], other < 0.8):
            low = score.mean(1).argmin()
            influence = np.zeros((groups, rows))
            influence[low] = (score[low] - score[low].mean()) / rows
            values.append((score[low].mean(), influence))
        (mine, a), (theirs, b) = values
        se, both = np.sqrt(np.sum(a**2)), np.sqrt(np.sum((a - b) ** 2))
        off, apart = abs(mine - p.min()), abs(mine - theirs - (p.min() - 0.8))
        z = 1.96 * widening(groups)
        found.append((off <= 1.96 * se, off <= z * se, apart <= z * both))
    return np.mean(found, 0)


@pytest.mark.parametrize("groups", [2, 10, 30])
@pytest.mark.parametrize("gap", [0.0, 0.08, 0.2])
def test_the_interval_minds_the_choice(rng, groups, gap):
    plain, told, apart = coverage(rng, groups, 200, gap)
    assert told >= 0.94
    assert apart >= 0.85
    if groups > 2 and gap == 0:
        assert plain < 0.9
