"""Online code lengths by hand, against scikit-learn, and on layers whose truth is known."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ringtest import margins
from ringtest.measure import measures
from ringtest.probes.description_length import LEAST, lengths, order
from ringtest.probes.predictive import fit_classes

MDL, LENGTH = measures["probe.mdl"], measures["probe.code_length"]


def read(entry, layers, y, seen, setting, **more):
    layers = layers if isinstance(layers, dict) else {"last": layers}
    count = len(next(iter(layers.values())))
    layers = {k: np.asarray(v, dtype=np.float32) for k, v in layers.items()}
    at = setting(np.arange(count, dtype=np.float32)[:, None], y, **more)
    return entry.read(seen(layers), at), at


# -- the formula -----------------------------------------------------------------------------------


def test_by_hand_where_the_layer_says_nothing():
    """Two classes; 16 rows that cost a bit each, then 16 by frequency: 12 of class 0, 4 of 1."""
    codes = torch.tensor([0] * 12 + [1] * 4 + [0] * 14 + [1] * 2)
    got = lengths(torch.full((32, 3), 2.0).double(), codes, 2, (16, 32))
    # (12 + 1/2) / 17 = .735294 is .443607 bits, (4 + 1/2) / 17 = .264706 is 1.917538 bits.
    assert got[:16].tolist() == [1.0] * 16
    np.testing.assert_allclose(got[16:], [0.443607] * 14 + [1.917538] * 2, atol=1e-6)
    # 16 + 14 * .443607 + 2 * 1.917538 = 26.045569 bits, where the uniform code takes 32.
    assert 32 / float(got.sum()) == pytest.approx(1.228616, abs=1e-6)


def test_by_hand_where_one_unit_says_it_all():
    """A balanced unit of -1 and 1: one weight w, that minimises log(1 + e^-w) + .01 w^2 / 2."""
    codes = torch.arange(32) % 2
    x = (2.0 * codes - 1)[:, None].double() * 7 + 3
    got = lengths(x, codes, 2, (16, 32))
    w = 3.359275  # the root of w (1 + e^w) = 100
    assert w * (1 + math.exp(w)) == pytest.approx(100, abs=1e-3)
    # The probe says 1 / (1 + e^-w) = .966407; mixed, (16 * .966407 + .5) / 17 = .938972.
    assert got[16:].tolist() == pytest.approx([-math.log2(0.938972)] * 16, abs=1e-5)
    wrong = lengths(torch.cat([x[:16], -x[16:] + 6]), codes, 2, (16, 32))
    assert wrong[16:].tolist() == pytest.approx([-math.log2(1 - 0.938972)] * 16, abs=1e-4)


def test_a_class_that_was_never_seen_costs_its_share_of_the_uniform_code(rng):
    codes = torch.tensor([0, 1] * 16 + [2] * 16)
    got = lengths(torch.as_tensor(rng.normal(size=(48, 3))), codes, 3, (16, 32, 48))
    assert got[32:].tolist() == pytest.approx([math.log2(3 * 33)] * 16)
    # Of one class only, the probe is certain.
    got = lengths(torch.as_tensor(rng.normal(size=(32, 3))), codes[:32] * 0, 3, (16, 32))
    assert got[16:].tolist() == pytest.approx([-math.log2((16 + 1 / 3) / 17)] * 16)


# -- against scikit-learn --------------------------------------------------------------------------


def slow(x, y, told):
    """Bits of each row by scikit-learn's LogisticRegression, block by block."""
    # Standardised once, on all rows: who is told the classes has the layer.
    x = StandardScaler().fit_transform(np.float64(np.float32(x)))[told.rows]
    y = np.unique(y, return_inverse=True)[1][told.rows]
    classes = len(np.unique(y))
    out = np.full(len(y), math.log2(classes))
    for n, end in pairwise(told.ends):
        p = np.zeros((end - n, classes))
        if len(np.unique(y[:n])) == 1:
            p[:, y[0]] = 1
        else:
            c = 1 / (margins.PROBE_RIDGE * n)
            model = LogisticRegression(C=c, tol=1e-10, max_iter=20_000)
            model = model.fit(x[:n], y[:n])
            p[:, model.classes_] = model.predict_proba(x[n:end])
        p = p * n / (n + 1) + 1 / (n + 1) / classes
        out[n:end] = -np.log2(p[np.arange(end - n), y[n:end]])
    back = np.empty(len(y))
    back[told.rows] = out
    return back


@pytest.mark.parametrize("clusters", [None, 60])
def test_code_lengths_are_those_of_scikit_learn(rng, seen, setting, clusters):
    """Three classes of which one is rare, narrow and wide layers, and one with a dead unit."""
    n = 240
    y = rng.choice(3, size=n, p=[0.6, 0.37, 0.03])
    mid = rng.normal(size=(n, 5)) * np.exp(rng.normal(size=5)) + y[:, None] + 5
    wide = rng.normal(size=(n, 90)) + 0.3 * y[:, None]
    dead = np.hstack([mid[:, :2], np.full((n, 1), 3.0), np.eye(n)[:, :1]])
    units = None if clusters is None else np.arange(n) // (n // clusters)
    layers = {"mid": mid, "dead": dead, "wide": wide}
    found, at = read(LENGTH, layers, y, seen, setting, cluster=units)
    told = at.shared["order told"]
    assert told.ends[-3:] == (60, 120, 240)
    ratios = {r.layer: r for r in read(MDL, layers, y, seen, setting, cluster=units)[0]}
    for r in found:
        want = slow(layers[r.layer], y, told)
        assert r.estimate.value == pytest.approx(want.mean(), abs=1e-6)
        assert r.estimate.units == (clusters or n)
        ratio = ratios[r.layer].estimate
        assert ratio.value == pytest.approx(math.log2(3) / want.mean(), abs=1e-6)
        # By hand: the ratio without each unit, code lengths as they are.
        of = np.arange(n) if units is None else units
        without = [math.log2(3) / want[of != u].mean() for u in range(of.max() + 1)]
        spread = (len(without) - 1) * np.std(without)
        se = math.sqrt(float((ratio.influence**2).sum()))
        assert se == pytest.approx(spread / math.sqrt(len(without) - 1), rel=0.04)
        assert np.corrcoef(ratio.influence, -np.array(without))[0, 1] > 0.999


@pytest.mark.parametrize(("n", "d", "classes"), [(50, 3, 2), (50, 3, 4), (40, 120, 3), (300, 8, 9)])
def test_probes_are_those_of_scikit_learn(rng, n, d, classes):
    x = rng.normal(size=(n, d)) * np.exp(rng.normal(size=d)) - 2
    seen = 2.0 * rng.normal(size=(n, classes))
    y = ((x - x.mean(0)) / x.std(0) @ rng.normal(size=(d, classes)) + seen).argmax(1)
    c = 1 / (margins.PROBE_RIDGE * n)
    model = LogisticRegression(C=c, tol=1e-11, max_iter=50_000)
    model = make_pipeline(StandardScaler(), model).fit(x, y)
    new = rng.normal(size=(20, d)) * 3
    got = fit_classes(torch.as_tensor(x), torch.as_tensor(y), classes)(torch.as_tensor(new))
    shown = np.unique(y)
    np.testing.assert_allclose(got.exp()[:, shown], model.predict_proba(new), atol=2e-6)
    # And nothing is left to gain: the mean loss and its penalty at scikit-learn's own solution.
    assert bool((got.exp().sum(1) - 1).abs().max() < 1e-12)


# -- planted ---------------------------------------------------------------------------------------


def test_what_is_there_compresses_and_what_is_scrambled_does_not(rng, seen, setting):
    n = 1000
    y = np.arange(n) % 4
    code = 4 * np.eye(4)[y] + 0.5 * rng.normal(size=(n, 4))
    layers = {"noise": rng.normal(size=(n, 4)), "code": code}
    more = {"concepts": {"control": rng.permutation(y)}}
    (found, _), (bits, _) = (read(e, layers, y, seen, setting, **more) for e in (MDL, LENGTH))
    got = {(r.layer, r.concept): r.estimate for r in found}
    assert got["code", "target"].value > 8
    for place in (("code", "control"), ("noise", "target"), ("noise", "control")):
        assert 0.9 < got[place].value < 1.02
        se = math.sqrt(float((got[place].influence ** 2).sum()))
        assert got["code", "target"].value - got[place].value > 20 * se > 0
    assert {r.statistic for r in found} == {"compression"}
    for r in bits:
        assert r.statistic == "bits a row"
        assert r.estimate.value == pytest.approx(2 / got[r.layer, r.concept].value)
    assert (MDL.direction, LENGTH.direction) == ("higher", "lower")


def test_the_easier_a_layer_makes_it_the_shorter_the_code(rng, seen, setting):
    """Both layers hold the answer in full; a probe of few rows finds it in one of them only."""
    n = 600
    y = rng.integers(0, 2, size=n)
    plain = np.hstack([(2 * y - 1)[:, None] * 2.0, rng.normal(size=(n, 2))])
    buried = np.hstack([(2 * y - 1)[:, None] * 2.0, rng.normal(size=(n, 200))])
    found, _ = read(MDL, {"plain": plain, "buried": buried}, y, seen, setting)
    plain, buried = (r.estimate.value for r in found)
    assert plain > buried + 1 > 2


@pytest.mark.parametrize("rest", [0.0, 1e-6, 1e-4])
def test_a_unit_that_next_to_no_row_moves_costs_next_to_nothing(rng, seen, setting, rest):
    n = 400
    y = rng.integers(0, 2, size=n)
    plain = rng.normal(size=(n, 6)) + y[:, None]
    rare = rest * np.abs(rng.normal(size=(n, 40)))
    rare[rng.permutation(n)[:40], range(40)] = 1.0
    layers = {"plain": plain, "both": np.hstack([plain, rare])}
    found, _ = read(LENGTH, layers, y, seen, setting)
    a, b = (r.estimate.value for r in found)
    assert a < 0.8
    assert b == pytest.approx(a, abs=0.05)


# -- order -----------------------------------------------------------------------------------------


def test_blocks_end_where_the_paper_has_them():
    told = order(np.arange(100_000), None, 5)
    shares = [100, 200, 400, 800, 1600, 3200, 6250, 12500, 25000, 50000, 100000]
    assert list(told.ends) == shares
    assert order(np.arange(2048), None, 5).ends == (16, 33, 66, 128, 256, 512, 1024, 2048)
    assert sorted(told.rows.tolist()) == list(range(100_000))
    assert told.rows.tolist() == order(np.arange(100_000), None, 5).rows.tolist()
    assert told.rows.tolist() != order(np.arange(100_000), None, 6).rows.tolist()


def test_clusters_are_told_in_one_piece():
    units = np.arange(300) % 23
    told = order(np.arange(300), units, 1)
    of = units[told.rows.numpy()]
    assert (np.diff(of) != 0).sum() == 22
    ends = np.array(told.ends)
    assert (of[ends[:-1] - 1] != of[ends[:-1]]).all()
    assert np.diff(ends, prepend=0).min() >= LEAST
    assert ends[-1] == 300
    for m in range(1, 60):
        ends = np.array(order(np.arange(m), None, 0).ends)
        assert ends[-1] == m
        assert len(ends) == 1 or np.diff(ends, prepend=0).min() >= LEAST


def test_copies_are_told_together_and_are_no_new_information(rng, seen, setting):
    """Told apart, a row would be predicted by a probe that was fitted on its copy."""
    y = rng.integers(0, 2, size=200)
    code = rng.normal(size=(200, 60)).astype(np.float32) + 0.2 * y[:, None]
    inputs, ratio = rng.normal(size=(200, 2)), {}
    for copies in (1, 4):
        x = np.repeat(inputs, copies, 0).astype(np.float32)
        at = setting(x, np.repeat(y, copies))
        rows = np.repeat(code, copies, 0).astype(np.float32)
        ratio[copies] = MDL.read(seen(rows), at)[0].estimate.value
        told = at.shared["order told"].rows.numpy() // copies
        assert (np.diff(told) != 0).sum() == 199
        apart = MDL.read(
            seen(rows),
            setting(rng.normal(size=x.shape).astype(np.float32), at.task.targets.numpy()),
        )
        ratio["apart"] = apart[0].estimate.value
    assert ratio[4] == pytest.approx(ratio[1], abs=0.1)
    assert ratio["apart"] > ratio[4] + 0.3


# -- what cannot be measured -----------------------------------------------------------------------


@pytest.mark.parametrize("entry", [MDL, LENGTH])
def test_what_has_no_length_says_why(rng, seen, setting, entry):
    n = 120
    y = rng.integers(0, 2, size=n)
    bad = rng.normal(size=(n, 3))
    bad[3, 1] = np.inf
    layers = {"bad": bad, "flat": np.ones((n, 3)), "good": rng.normal(size=(n, 3)) + y[:, None]}
    concepts = {"size": rng.normal(size=n), "one": np.zeros(n, dtype=int)}
    found, _ = read(entry, layers, y, seen, setting, concepts=concepts)
    got = {(r.layer, r.concept): r for r in found}
    assert len(got) == 9
    assert math.isfinite(got["good", "target"].estimate.value)
    assert "NaN or infinity" in got["bad", "target"].reason
    assert "no unit of layer flat varies" in got["flat", "target"].reason
    assert "no length of its own" in got["good", "size"].reason
    assert "one value only" in got["good", "one"].reason
    for place, r in got.items():
        assert math.isnan(r.estimate.value) == (place != ("good", "target")) == bool(r.reason)


def test_rows_that_make_one_block_are_no_compression_of_1(rng, seen, setting):
    y = np.arange(30) % 2
    (r,), _ = read(MDL, rng.normal(size=(30, 3)), y, seen, setting)
    assert math.isnan(r.estimate.value)
    assert r.reason == "30 rows make no two blocks of 16 inputs, clusters and copies whole"
    # Enough rows, but nearly all of them in one cluster
    units = np.maximum(np.arange(100) - 90, 0)
    (r,), _ = read(MDL, rng.normal(size=(100, 3)), np.arange(100) % 2, seen, setting, cluster=units)
    assert math.isnan(r.estimate.value)
    assert "no two blocks" in r.reason


def test_it_is_read_only_when_asked_for():
    assert not MDL.default
    assert not LENGTH.default
    assert MDL.group is None
