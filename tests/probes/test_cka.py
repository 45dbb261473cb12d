"""CKA of prepared rows: the jackknife against brute-force deletion, by both routes."""

import math

import numpy as np
import pytest
import torch

from ringtest import inference, margins
from ringtest.estimate import row_mean
from ringtest.evidence import GRAM_WIDTH
from ringtest.measure import NotMeasurable, measures
from ringtest.moments import Moments, cka
from ringtest.probes.cka import Prepared, compare
from ringtest.probes.layer_pairs import similarities


def z(x, y) -> float:
    return math.atanh(margins.CKA_RELIABILITY * min(cka(torch.as_tensor(x), torch.as_tensor(y)), 1))


def pair(rng, n=24, p=4, q=6):
    x = rng.normal(size=(n, p))
    y = np.hstack([x @ rng.normal(size=(p, q - 2)), rng.normal(size=(n, 2))]) + 3.0
    return x, y


WIDE = GRAM_WIDTH + 5


@pytest.mark.parametrize(("p", "q"), [(4, 6), (WIDE, 6), (4, WIDE), (WIDE, WIDE)])
def test_deletions_are_exact_by_features_and_by_gram_matrix(rng, p, q):
    x, y = pair(rng, 24, p, q)
    a, b = Prepared(torch.as_tensor(x)), Prepared(torch.as_tensor(y))
    assert (a.gram is None, b.gram is None) == (p < WIDE, q < WIDE)
    e = compare(a, b)
    brute = np.array([z(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(24)])
    assert e.value == pytest.approx(z(x, y), abs=1e-11)
    want = -(brute - brute.mean()) * math.sqrt(23 / 24)
    np.testing.assert_allclose(e.influence, want, atol=1e-9)
    closed = inference.standard_error(e)
    assert closed == pytest.approx(math.sqrt(23 / 24 * np.sum((brute - brute.mean()) ** 2)))


def test_clusters_sum_the_row_influences(rng):
    x, y = pair(rng)
    units = np.repeat(np.arange(6), 4)
    clustered = compare(Prepared(torch.as_tensor(x), units), Prepared(torch.as_tensor(y), units))
    rows = compare(Prepared(torch.as_tensor(x)), Prepared(torch.as_tensor(y)))
    assert clustered.units == 6
    assert clustered.dof == 5
    per_unit = np.bincount(units, rows.influence)
    ratio = clustered.influence / per_unit
    np.testing.assert_allclose(ratio, math.sqrt(6 / 5 * 23 / 24), rtol=1e-9)


def test_repeated_rows_with_their_cluster_keep_the_standard_error(rng):
    x, y = pair(rng, 120)
    units = np.tile(np.arange(120), 3)
    rep = [Prepared(torch.as_tensor(np.tile(v, (3, 1))), units) for v in (x, y)]
    single = inference.standard_error(
        compare(Prepared(torch.as_tensor(x)), Prepared(torch.as_tensor(y)))
    )
    assert inference.standard_error(compare(*rep)) == pytest.approx(single, rel=0.15)


def test_the_jackknife_covers_the_sampling_error():
    """At small n and low CKA, where influence values of the limit give a fraction of the truth."""
    found, errors = [], []
    for seed in range(60):
        g = np.random.default_rng(seed)
        s = g.normal(size=(60, 3))
        x, y = (s @ np.eye(3, 20) + g.normal(size=(60, 20)) for _ in range(2))
        e = compare(Prepared(torch.as_tensor(x)), Prepared(torch.as_tensor(y)))
        found.append(e.value)
        errors.append(inference.standard_error(e))
    assert 0.8 < np.mean(errors) / np.std(found, ddof=1) < 1.5


def test_copies_have_a_finite_z_and_no_error(rng):
    x, _ = pair(rng)
    e = compare(Prepared(torch.as_tensor(x)), Prepared(torch.as_tensor(2 * x + 1)))
    assert e.value == pytest.approx(math.atanh(margins.CKA_RELIABILITY))
    # The deletions are all 1 but for rounding.
    assert inference.standard_error(e) < 1e-12


def test_unrelated_rows_are_not_told_from_zero():
    p = []
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        a, b = (Prepared(torch.randn(80, 30, generator=g)) for _ in range(2))
        e = compare(a, b)
        p.append(inference.p_values(e.value, 0.0, inference.standard_error(e), e.dof, 1)[0])
    assert np.mean(np.array(p) < 0.05) <= 0.15


@pytest.mark.parametrize(
    "rows",
    [torch.zeros(20, 3), torch.full((20, 3), 0.1), torch.randn(4, 3), torch.full((9, 2), math.nan)],
)
def test_a_layer_with_nothing_left_is_not_measurable(rows):
    with pytest.raises(NotMeasurable):
        Prepared(rows)


def test_a_single_row_that_holds_all_variation_has_no_error_bar():
    """Without that row nothing varies, so the jackknife has nothing to say: NaN, not 0."""
    x = torch.zeros(30, 3)
    x[7] = 1
    e = compare(Prepared(x), Prepared(x))
    assert math.isnan(inference.standard_error(e))
    assert Prepared(x).heaviest > 0.9


def test_layer_pairs_take_moments_where_layers_are_narrow_else_the_sample(rng, seen):
    x, y = pair(rng, 40, 4, WIDE)
    a = seen({"narrow": torch.as_tensor(x), "dead": torch.ones(40, 2)})
    b = seen({"narrow": torch.as_tensor(x[:, :2]), "wide": torch.as_tensor(y)})
    cross = {("narrow", "narrow"): Moments().update(a.sample["narrow"], b.sample["narrow"])}
    a.moments["narrow"] = Moments().update(a.sample["narrow"])
    b.moments["narrow"] = Moments().update(b.sample["narrow"])
    found = similarities(a, b, cross)
    assert found == {
        ("narrow", "narrow"): pytest.approx(cka(torch.as_tensor(x), torch.as_tensor(x[:, :2]))),
        ("narrow", "wide"): pytest.approx(cka(torch.as_tensor(x), torch.as_tensor(y))),
    }


def test_the_measure_carries_its_error_to_the_raw_scale(rng):
    entry = measures["similarity.cka"]
    for value in (-0.3, 0.0, 0.7, 3.0):
        step = 1e-6
        numeric = (entry.raw(value + step) - entry.raw(value - step)) / (2 * step)
        assert entry.slope(value) == pytest.approx(numeric, rel=1e-5)
    for similarity in (-1.0, -0.2, 0.0, 0.4, 0.9, 1.0):
        judged = math.atanh(margins.CKA_RELIABILITY * similarity)
        assert entry.raw(judged) == pytest.approx(similarity, abs=1e-12)
    x, y = pair(rng)
    a, b = (torch.as_tensor(v) for v in (x, y))
    assert entry.raw(compare(Prepared(a), Prepared(b)).value) == pytest.approx(cka(a, b))
    assert row_mean(np.ones(3)).value == 1


def test_the_judged_scale_by_hand():
    """CKA .6 at reliability .9: atanh(.54) = ln(1.54 / .46) / 2, and its slope (1 - .54^2) / .9."""
    assert margins.CKA_RELIABILITY == 0.9
    entry = measures["similarity.cka"]
    assert entry.statistic == "atanh(0.9 cka)"
    judged = 0.5 * math.log(1.54 / 0.46)
    assert entry.raw(judged) == pytest.approx(0.6, abs=1e-12)
    assert entry.slope(judged) == pytest.approx(0.7084 / 0.9, abs=1e-12)


def similar(rng, wanted: float, n=400):
    """Two prepared layers of about this CKA: four columns are shared, four each has alone.

    With unit variance in the shared ones and v in the others CKA is 4 / (4 + 4 v^2).
    """
    shared, *own = (np.linalg.qr(rng.normal(size=(n, 4)))[0] * math.sqrt(n) for _ in range(3))
    scale = (1 / wanted - 1) ** 0.25
    return [Prepared(torch.as_tensor(np.hstack([shared, scale * o]))) for o in own]


def test_near_copies_lie_near_each_other(rng):
    """Atanh alone put .999 and .99 as far apart as .9 and .3."""
    seen = [compare(*similar(rng, wanted)) for wanted in (0.3, 0.9, 0.99, 0.999)]
    raw = [measures["similarity.cka"].raw(e.value) for e in seen]
    assert raw == pytest.approx([0.3, 0.9, 0.99, 0.999], abs=0.02)
    low, high, near, nearest = (e.value for e in seen)
    assert 0 < nearest - near < 0.1 * (high - low)
    assert nearest < math.atanh(margins.CKA_RELIABILITY)


@pytest.mark.parametrize("p", [3, WIDE])
def test_copies_that_rounding_puts_beyond_one_stay_finite(p):
    """A turned and scaled copy has CKA 1 give or take a bit, with and without each row."""
    most = math.atanh(margins.CKA_RELIABILITY)
    for seed in range(12):
        g = np.random.default_rng(seed)
        x = g.normal(size=(30, p)) + 100.0
        turned = 1e3 * x @ np.linalg.qr(g.normal(size=(p, p)))[0]
        e = compare(Prepared(torch.as_tensor(x)), Prepared(torch.as_tensor(turned)))
        assert e.value == pytest.approx(most, abs=1e-9)
        assert e.value <= most
        assert inference.standard_error(e) < 1e-9
