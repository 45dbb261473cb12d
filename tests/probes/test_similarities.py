"""Similarities of layers against scipy, other libraries, their definitions, and planted cases."""

import itertools
import math

import numpy as np
import oracles
import pytest
import torch
from oracles import oracle
from scipy import linalg, stats
from scipy.spatial.distance import pdist, squareform

from ringtest import blocks, inference, margins
from ringtest.measure import NotMeasurable, measures
from ringtest.moments import cka
from ringtest.probes import (
    distance_correlation,
    jaccard,
    neighbourhood,
    procrustes,
    rsa,
    second_order,
)
from ringtest.probes.neighbourhood import Neighbourhood

NEW = [
    "similarity.procrustes",
    "similarity.rsa",
    "similarity.distance_correlation",
    "similarity.second_order",
]
EVERY = [*NEW, "similarity.jaccard"]
FOLDS = margins.PROBE_FOLDS


@pytest.fixture
def golden() -> tuple[np.ndarray, np.ndarray]:
    """The published example: np.random.seed(0), then two uniform (30, 25) draws."""
    legacy = np.random.RandomState(0)
    return legacy.uniform(size=(30, 25)), legacy.uniform(size=(30, 25))


@pytest.fixture(scope="session")
def compared(seen, setting):
    """Estimate of a measure by id on the rows of two layers."""

    def read(name, x, y, **more):
        at = setting(np.zeros((len(x), 1), np.float32), **more)
        entry = measures[name]
        a, b = (entry.prepare(seen(np.asarray(v)), at) for v in (x, y))
        return entry.compare(a, b)

    return read


@pytest.fixture(scope="session")
def raw(compared):
    def read(name, x, y, **more):
        return measures[name].raw(compared(name, x, y, **more).value)

    return read


def pair(rng, n=60, p=4, q=6):
    x = rng.normal(size=(n, p)) * np.linspace(0.5, 2, p)
    y = np.hstack([x @ rng.normal(size=(p, q - 2)), 2 * rng.normal(size=(n, 2))]) + 3.0
    return x, y


def turned(rng, x):
    return 1e3 * x @ linalg.qr(rng.normal(size=(x.shape[1],) * 2))[0] - 7.0


def z(similarity: float) -> float:
    return math.atanh(margins.CKA_RELIABILITY * similarity)


def jackknife(deleted: np.ndarray) -> np.ndarray:
    n = len(deleted)
    return -(deleted - deleted.mean()) * math.sqrt((n - 1) / n)


# -- what all of them keep -------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_turned_copy_is_alike_and_a_stranger_is_not(name, rng, raw):
    x, y = pair(rng, 300)
    assert raw(name, x, turned(rng, x)) == pytest.approx(1, abs=1e-6)
    related, stranger = raw(name, x, y), raw(name, x, rng.normal(size=(300, 6)))
    assert (0.05 if name == "similarity.jaccard" else 0.3) < related < 0.95
    assert abs(stranger) < 0.1


@pytest.mark.parametrize("name", EVERY)
def test_the_scale_inverts_and_carries_the_error(name):
    entry = measures[name]
    for value in (-0.9, -0.3, -0.001):
        step = 1e-6
        numeric = (entry.raw(value + step) - entry.raw(value - step)) / (2 * step)
        assert entry.slope(value) == pytest.approx(numeric, rel=1e-5)
    for similarity in (0.1, 0.6, 1.0):
        on = math.log(similarity) if name == "similarity.jaccard" else z(similarity)
        assert entry.raw(on) == pytest.approx(similarity, abs=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_they_are_context_and_read_only_when_asked_for(name):
    entry = measures[name]
    assert not entry.default
    assert entry.group is None


@pytest.mark.parametrize("name", EVERY)
def test_units_of_any_scale_can_be_shown_at_one(name, rng, seen, setting):
    """A ReLU unit scaled, and read by inverse weights, is the same network."""
    x, _ = pair(rng, 200)
    at = setting(np.zeros((200, 1), np.float32))
    entry = measures[name]
    plain, scaled = (entry.forms(seen(v)) for v in (x, x * [100, 1, 0.01, 3]))
    got = [entry.compare(*(entry.prepare(f[form], at) for f in (plain, scaled))) for form in plain]
    assert entry.raw(got[1].value) == pytest.approx(1, abs=1e-6)
    assert entry.raw(got[0].value) < 0.95


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (np.full((60, 3), 0.1, np.float32), "varies"),
        (np.full((60, 3), np.nan), "NaN or infinity|varies"),
        (np.where(np.arange(180) == 7, np.inf, 1.0).reshape(60, 3), "NaN or infinity|varies"),
        (np.arange(12.0).reshape(4, 3), "rows"),
    ],
)
def test_nothing_to_measure_is_said_in_words(name, rows, why, compared):
    with pytest.raises(NotMeasurable, match=why), np.errstate(invalid="ignore"):
        compared(name, rows, rows)


@pytest.mark.parametrize("name", ["similarity.rsa", "similarity.distance_correlation"])
def test_rows_that_all_lie_equally_far_apart_have_no_correlation(name, compared):
    """One-hot rows: every distance is the same, and rounding must not decide."""
    with pytest.raises(NotMeasurable, match="equally far apart"):
        compared(name, np.eye(40), np.eye(40))


@pytest.mark.parametrize("name", EVERY)
def test_clusters_are_the_units_of_the_error(name, rng, compared):
    x, y = pair(rng, 120)
    alone = compared(name, x, y)
    three = [np.repeat(v, 3, axis=0) for v in (x, y)]
    together = compared(name, *three, cluster=np.repeat(np.arange(120), 3))
    assert together.units in (20, 120)
    assert alone.units in (20, 120)
    # Copies of a row within its cluster are no new information.
    ratio = inference.standard_error(together) / inference.standard_error(alone)
    assert 0.6 < ratio < 1.6


@pytest.mark.parametrize("name", EVERY)
def test_the_standard_error_is_that_of_another_sample(name, compared):
    """Neighbours found again without a group of rows are conservative, as known of them."""
    values, errors = [], []
    for seed in range(40):
        g = np.random.default_rng(seed)
        s = g.normal(size=(150, 5)) * [2, 1.5, 1, 1, 0.7]
        x, y = (s + 0.7 * g.normal(size=s.shape) for _ in range(2))
        e = compared(name, x, y)
        values.append(e.value)
        errors.append(inference.standard_error(e))
    ratio = np.mean(errors) / np.std(values, ddof=1)
    assert 0.7 < ratio < (2.2 if name == "similarity.jaccard" else 1.5)


# -- Procrustes ------------------------------------------------------------------------------------


def test_golden_shape_distance(golden):
    found = procrustes.shape(*map(torch.as_tensor, golden))
    assert found.score == pytest.approx(math.cos(0.7629815799340967), abs=1e-12)
    assert found.score == pytest.approx(0.72277871, abs=1e-8)
    assert found.angular == pytest.approx(0.7629815799340967, abs=1e-12)
    assert found.squared == pytest.approx(34.23567637893643, abs=1e-10)


def padded(x, width):
    return np.hstack([x, np.zeros((len(x), width - x.shape[1]))])


def test_shape_is_that_of_scipy_with_zeros_in_the_narrower(rng):
    x, y = pair(rng)
    a, b = padded(x - x.mean(0), 6), y - y.mean(0)
    turn, total = linalg.orthogonal_procrustes(a, b)
    found = procrustes.shape(torch.as_tensor(x), torch.as_tensor(y))
    assert found.squared == pytest.approx(linalg.norm(a @ turn - b) ** 2, rel=1e-10)
    assert found.score == pytest.approx(total / linalg.norm(a) / linalg.norm(b), rel=1e-12)
    back = procrustes.shape(torch.as_tensor(y), torch.as_tensor(x))
    assert (back.score, back.squared) == pytest.approx((found.score, found.squared), rel=1e-10)


def folded_cosine(x, y, fold):
    """Fitted by scipy on the other folds, scored on rows that it has not seen."""
    along, size_x, size_y = 0.0, 0.0, 0.0
    for f in range(FOLDS):
        out = fold == f
        a, b = (v - v[~out].mean(0) for v in (x, y))
        # Scaled to unit norm on the training rows, and the held-out rows with it, then put back.
        na, nb = linalg.norm(a[~out]), linalg.norm(b[~out])
        turn, _ = linalg.orthogonal_procrustes(a[~out] / na, b[~out] / nb)
        along += na * nb * np.sum((a[out] / na @ turn) * (b[out] / nb))
        size_x, size_y = size_x + np.sum(a[out] ** 2), size_y + np.sum(b[out] ** 2)
    return along / math.sqrt(size_x * size_y)


def test_held_out_rows_are_scored_as_by_scipy(rng, raw):
    x, y = pair(rng)
    want = folded_cosine(padded(x, 6), y, blocks.folds(60, FOLDS))
    assert raw("similarity.procrustes", x, y) == pytest.approx(want, abs=1e-10)
    assert raw("similarity.procrustes", y, x) == pytest.approx(want, abs=1e-10)
    units = np.repeat(np.arange(15), 4)
    want = folded_cosine(padded(x, 6), y, blocks.folds(60, FOLDS, units))
    assert raw("similarity.procrustes", x, y, cluster=units) == pytest.approx(want, abs=1e-10)


def test_layers_wider_than_long_keep_their_angles(rng):
    """In the basis of their rows, against the plain fit by the directions that training shows."""
    x, y = rng.normal(size=(30, 50)), rng.normal(size=(30, 70))
    y[:, :50] += x
    fold = torch.as_tensor(blocks.folds(30, FOLDS))
    a, b = (procrustes.Prepared(torch.as_tensor(v), fold, None, "l") for v in (x, y))
    assert a.x.shape == b.x.shape == (30, 30)
    along = np.zeros(3)
    for f in range(FOLDS):
        out = fold.numpy() == f
        xa, yb = (v - v[~out].mean(0) for v in (x, y))
        u, s, vt = linalg.svd(xa[~out].T @ yb[~out], full_matrices=False)
        turn = u[:, s > 1e-8] @ vt[s > 1e-8]
        parts = (xa[out] @ turn) * yb[out], xa[out] ** 2, yb[out] ** 2
        along += [p.sum() for p in parts]
    want = z(along[0] / math.sqrt(along[1] * along[2]))
    assert procrustes.compare(a, b).value == pytest.approx(want, abs=1e-9)


def test_what_has_as_many_units_as_rows_looks_alike_only_without_folds(raw):
    found, plain = [], []
    for seed in range(10):
        x, y = np.random.default_rng(seed).normal(size=(2, 100, 80))
        found.append(raw("similarity.procrustes", x, y))
        plain.append(procrustes.shape(torch.as_tensor(x), torch.as_tensor(y)).score)
    assert min(plain) > 0.65
    assert abs(np.mean(found)) < 0.03


def test_it_sees_small_directions_that_cka_passes_over(rng, raw):
    """One large direction is shared, 20 small ones are not: variances are 400 to 1."""
    large = 20 * rng.normal(size=(400, 1))
    x, y = (np.hstack([large, rng.normal(size=(400, 20))]) for _ in range(2))
    assert raw("similarity.cka", x, y) > 0.98
    assert raw("similarity.procrustes", x, y) < 0.97
    small = [v[:, 1:] for v in (x, y)]
    assert raw("similarity.procrustes", *small) < 0.2


def test_the_jackknife_of_procrustes_leaves_rows_out_of_the_score(rng, compared):
    """Against refits without each row: the fits hardly change, as the envelope theorem says."""
    x, y = pair(rng, 200)
    e = compared("similarity.procrustes", x, y)
    fold = blocks.folds(200, FOLDS)
    keep = np.arange(200)
    refit = np.array(
        [z(folded_cosine(padded(x, 6)[k], y[k], fold[k])) for k in (keep[keep != i] for i in keep)]
    )
    assert np.corrcoef(jackknife(refit), e.influence)[0, 1] > 0.95
    assert linalg.norm(jackknife(refit)) == pytest.approx(linalg.norm(e.influence), rel=0.1)


def test_fewer_clusters_than_folds_are_refused(rng, compared):
    x, y = pair(rng)
    with pytest.raises(NotMeasurable, match="4 independent rows are fewer than 5 folds"):
        compared("similarity.procrustes", x, y, cluster=np.arange(60) % 4)


def test_a_row_that_holds_all_variation_has_no_error_bar(compared):
    """Without it nothing varies, so the jackknife has nothing to say; and no fold can turn it."""
    x = np.zeros((30, 3))
    x[7] = 1
    assert math.isnan(inference.standard_error(compared("similarity.rsa", x, x)))
    with pytest.raises(NotMeasurable, match="equally far apart"):
        compared("similarity.distance_correlation", x, x)
    assert measures[NEW[0]].raw(compared(NEW[0], x, x).value) < 0.1


# -- RSA -------------------------------------------------------------------------------------------


def pearson(x, y, kept=slice(None)):
    """Of scipy's cosine distances; the centre is that of all rows."""
    a, b = (pdist((v - v.mean(0))[kept], "cosine") for v in (x, y))
    return stats.pearsonr(a, b).statistic


@pytest.mark.parametrize(("p", "q"), [(4, 6), (300, 6), (4, 300), (300, 310)])
def test_rsa_is_scipys_correlation_of_scipys_distances(p, q, rng, compared):
    """By features where layers are narrow, by cosines of pairs where they are wide."""
    x, y = pair(rng, 40, p, q)
    e = compared("similarity.rsa", x, y)
    assert e.value == pytest.approx(z(pearson(x, y)), abs=1e-10)
    deleted = np.array([z(pearson(x, y, np.arange(40) != i)) for i in range(40)])
    np.testing.assert_allclose(e.influence, jackknife(deleted), atol=1e-9)


def test_rsa_in_pieces_as_at_once(rng, compared, monkeypatch):
    x, y = pair(rng, 40, 300, 310)
    before = compared("similarity.rsa", x, y)
    monkeypatch.setattr(rsa, "_CHUNK", 7)
    after = compared("similarity.rsa", x, y)
    assert after.value == pytest.approx(before.value, abs=1e-12)


def test_rsa_over_all_orders_of_the_rows_is_nothing(rng):
    """The mean over all 720 permutations is 0 exactly: no bias, however wide the layers."""
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 50))
    a = rsa.Prepared(torch.as_tensor(x), None, "x")
    found = []
    for order in itertools.permutations(range(6)):
        b = rsa.Prepared(torch.as_tensor(y[list(order)]), None, "y")
        found.append(math.tanh(rsa.compare(a, b).value))
    assert np.mean(found) == pytest.approx(0, abs=1e-12)
    assert np.std(found) > 0.1


def test_one_far_row_does_not_decide_rsa(rng, raw):
    """It takes CKA below a fourth; RSA sees it by the little that it moves the centre."""
    x = rng.normal(size=(1000, 20))
    y = x.copy()
    y[17] = 0
    y[17, 3] = 400
    assert raw("similarity.cka", x, y) < 0.25
    assert raw("similarity.rsa", x, y) > 0.9


def rdms(*codes):
    """Squared Euclidean distances as rsatoolbox takes them."""
    return [oracle("rsatoolbox.rdm").RDMs(pdist(v, "sqeuclidean")[None]) for v in codes]


def test_rsatoolbox_gives_the_same_correlation(rng, raw):
    x, y = pair(rng, 40)
    unit = [(v - v.mean(0)) / linalg.norm(v - v.mean(0), axis=1)[:, None] for v in (x, y)]
    want = float(oracle("rsatoolbox.rdm").compare(*rdms(*unit), method="corr").item())
    assert raw("similarity.rsa", x, y) == pytest.approx(want, abs=1e-10)


def biased_cka(x, y):
    return cka(torch.as_tensor(x), torch.as_tensor(y), debiased=False)


def test_a_whitened_cosine_of_squared_distances_is_biased_cka(golden):
    """Why RSA here takes other distances: with these it would be CKA over again."""
    assert biased_cka(*golden) == pytest.approx(0.4893427391044152, abs=1e-12)
    got = float(oracle("rsatoolbox.rdm").compare(*rdms(*golden), method="cosine_cov").item())
    assert got == pytest.approx(biased_cka(*golden), abs=1e-10)


def test_centred_squared_distances_are_biased_cka(golden):
    """The same relation without the toolbox: double centring whitens squared distances."""
    h = np.eye(30) - 1 / 30
    k, m = (h @ squareform(pdist(v, "sqeuclidean")) @ h for v in golden)
    cosine = np.sum(k * m) / linalg.norm(k) / linalg.norm(m)
    assert biased_cka(*golden) == pytest.approx(cosine, abs=1e-12)


# -- what CKA shows by chance ----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p", "q"), [(50, 500, 500), (50, 30, 400), (200, 20, 20)])
def test_chance_of_biased_cka_is_known_and_of_debiased_is_nothing(n, p, q):
    """Independent Gaussians: sqrt(p q / ((n + p) (n + q))), from Wishart moments; .909 at first."""
    found, biased = [], []
    for seed in range(20):
        g = np.random.default_rng(seed)
        x, y = g.normal(size=(n, p)), g.normal(size=(n, q))
        biased.append(biased_cka(x, y))
        found.append(cka(torch.as_tensor(x), torch.as_tensor(y)))
    assert np.mean(biased) == pytest.approx(math.sqrt(p * q / ((n + p) * (n + q))), rel=0.05)
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(20)


def test_over_all_orders_of_rows_cka_has_its_expectation(rng):
    """Exactly, for any codes: tr K tr L / ((n - 1) |K| |L|) biased, and 0 debiased."""
    x, y = rng.normal(size=(6, 9)), rng.exponential(size=(6, 2))
    orders = [list(o) for o in itertools.permutations(range(6))]
    a, b = x - x.mean(0), y - y.mean(0)
    k, m = a @ a.T, b @ b.T
    want = np.trace(k) * np.trace(m) / (5 * linalg.norm(k) * linalg.norm(m))
    assert np.mean([biased_cka(x, y[o]) for o in orders]) == pytest.approx(want, abs=1e-12)
    assert want > 0.2
    debiased = [cka(torch.as_tensor(x), torch.as_tensor(y[o])) for o in orders]
    assert np.mean(debiased) == pytest.approx(0, abs=1e-12)


# -- distance correlation --------------------------------------------------------------------------


def u_centred(x):
    """Szekely and Rizzo 2013, as it stands."""
    a = squareform(pdist(x))
    n = len(a)
    row, column, total = a.sum(1, keepdims=True), a.sum(0, keepdims=True), a.sum()
    out = a - row / (n - 2) - column / (n - 2) + total / ((n - 1) * (n - 2))
    np.fill_diagonal(out, 0)
    return out


def corrected(x, y):
    a, b = u_centred(x), u_centred(y)
    return np.sum(a * b) / linalg.norm(a) / linalg.norm(b)


def test_distance_correlation_is_that_of_the_definition(rng, compared):
    x, y = pair(rng, 40)
    e = compared("similarity.distance_correlation", x, y)
    assert e.value == pytest.approx(z(corrected(x, y)), abs=1e-11)
    kept = [np.arange(40) != i for i in range(40)]
    deleted = np.array([z(corrected(x[k], y[k])) for k in kept])
    np.testing.assert_allclose(e.influence, jackknife(deleted), atol=1e-9)


def test_the_dcor_package_gives_the_same(rng, raw):
    x, y = pair(rng, 80)
    want = float(oracles.dcor().u_distance_correlation_sqr(x, y, method="naive"))
    assert raw("similarity.distance_correlation", x, y) == pytest.approx(want, abs=1e-10)


def test_distances_in_pieces_as_at_once(rng, compared, monkeypatch):
    x, y = pair(rng)
    before = compared("similarity.distance_correlation", x, y)
    monkeypatch.setattr(distance_correlation, "_CHUNK", 7)
    after = compared("similarity.distance_correlation", x, y)
    assert after.value == pytest.approx(before.value, abs=1e-12)
    np.testing.assert_allclose(after.influence, before.influence, atol=1e-12)


def test_dependence_without_correlation_is_seen(rng, raw):
    x = rng.normal(size=(400, 1))
    assert abs(raw("similarity.cka", x, np.abs(x))) < 0.02
    assert raw("similarity.distance_correlation", x, np.abs(x)) > 0.15


def test_independent_codes_have_no_distance_correlation_however_wide(raw):
    found = [
        raw("similarity.distance_correlation", *np.random.default_rng(s).normal(size=(2, 60, 300)))
        for s in range(20)
    ]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(20)
    assert max(map(abs, found)) < 0.2


# -- neighbourhoods --------------------------------------------------------------------------------


def weights(x, k, kept, tie=1e-9):
    """(m, m): nearer than the k-th kept neighbour 1, tied with it a share of what is left of k."""
    x = x - x.mean(0)
    norm = linalg.norm(x, axis=1, keepdims=True)
    unit = x / np.where(norm > 0, norm, 1)
    w = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i and kept[j]]
        s = {j: float(unit[i] @ unit[j]) for j in others}
        threshold = sorted(s.values(), reverse=True)[min(k, len(others)) - 1]
        near = [j for j in others if s[j] > threshold + tie]
        tied = [j for j in others if abs(s[j] - threshold) <= tie]
        w[i, near] = 1
        w[i, tied] = min((k - len(near)) / len(tied), 1)
    return w, unit @ unit.T


def slow_jaccard(x, y, k, kept):
    a, b = weights(x, k, kept)[0], weights(y, k, kept)[0]
    return (np.minimum(a, b).sum(1) / np.maximum(a, b).sum(1))[kept].mean()


def few(rng, m, values, width=3):
    return rng.normal(size=(values, width))[rng.integers(0, values, size=m)]


def cases(rng):
    distinct = rng.normal(size=(60, 5))
    twice = np.repeat(rng.normal(size=(30, 4)), 2, axis=0)
    return {
        "distinct": (distinct, distinct + 0.7 * rng.normal(size=(60, 5))),
        "duplicates": (twice, np.repeat(rng.normal(size=(30, 3)), 2, axis=0)),
        "few values": (few(rng, 60, 5), few(rng, 60, 4)),
        "few against distinct": (few(rng, 60, 6), distinct),
    }


NAMES = ["distinct", "duplicates", "few values", "few against distinct"]


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("bits", [True, False])
def test_jaccard_is_that_of_a_slow_reference_with_ties(case, bits, rng, monkeypatch):
    x, y = cases(rng)[case]
    if not bits:
        monkeypatch.setattr(neighbourhood, "_BITS", 1)
        monkeypatch.setattr(neighbourhood, "_STEP", 100)
    groups = np.minimum(np.arange(60) // 3, 17)
    a, b = (Neighbourhood(torch.as_tensor(v), 5, torch.as_tensor(groups)) for v in (x, y))
    whole, without = jaccard.jaccard(a, b)
    assert whole == pytest.approx(slow_jaccard(x, y, 5, np.ones(60, bool)), abs=1e-6)
    for g, value in enumerate(without):
        assert value == pytest.approx(slow_jaccard(x, y, 5, groups != g), abs=1e-6)
    assert 0 < whole < 0.9


def test_where_fewer_than_k_rows_stay_all_of_them_are_shared(rng):
    x, y = rng.normal(size=(2, 60, 4))
    groups = torch.as_tensor(np.where(np.arange(60) < 57, 0, 1))
    a, b = (Neighbourhood(torch.as_tensor(v), 5, groups) for v in (x, y))
    assert jaccard.jaccard(a, b)[1][0] == pytest.approx(1)


@pytest.mark.parametrize("values", [None, 4])
def test_chance_of_jaccard_is_that_of_permuted_rows(values, rng):
    groups = torch.arange(300) % 20
    made = []
    for _ in range(2):
        code = rng.normal(size=(300, 3)) if values is None else few(rng, 300, values)
        made.append(code)
    fixed = Neighbourhood(torch.as_tensor(made[0]), 6, groups)
    found = [
        jaccard.jaccard(fixed, Neighbourhood(torch.as_tensor(made[1][o]), 6, groups))[0]
        for o in (rng.permutation(300) for _ in range(100))
    ]
    want = jaccard.chance(fixed, Neighbourhood(torch.as_tensor(made[1]), 6, groups))
    assert np.mean(found) == pytest.approx(want, rel=0.06)
    entry = measures["similarity.jaccard"]
    assert entry.chance([fixed]) == pytest.approx(math.log(jaccard.chance(fixed, fixed)))


def test_jaccard_is_below_the_overlap_and_above_it_never(rng, raw):
    """J = o / (2 - o) row by row, so its mean lies between that of the mean overlap and 1."""
    x = rng.normal(size=(300, 5))
    y = x + 0.5 * rng.normal(size=x.shape)
    o, j = raw("similarity.neighbours", x, y), raw("similarity.jaccard", x, y)
    assert o / (2 - o) <= j < o


def slow_second_order(x, y, k, kept):
    (a, s), (b, t) = weights(x, k, kept), weights(y, k, kept)
    w = np.maximum(a, b)
    size = (w * s * s).sum(1) * (w * t * t).sum(1)
    return np.divide((w * s * t).sum(1), np.sqrt(size), out=np.zeros(len(x)), where=size > 0)


def near(x, groups=None):
    groups = np.minimum(np.arange(len(x)) // 3, 17) if groups is None else groups
    return second_order.Prepared(torch.as_tensor(x), 5, torch.as_tensor(groups), "l")


@pytest.mark.parametrize("case", NAMES)
def test_second_order_is_that_of_a_slow_reference_with_ties(case, rng, monkeypatch):
    """Whole, and with neighbours found again without each group."""
    x, y = cases(rng)[case]
    a, b = near(x), near(y)
    monkeypatch.setattr(second_order, "_CHUNK", 17)
    monkeypatch.setattr(second_order, "_STEP", 8_000)
    got = second_order.similarities(a, b).numpy()
    assert got.shape == (19, 60)
    groups = a.near.groups.numpy()
    for g in range(19):
        kept = groups != g
        want = np.where(kept, slow_second_order(x, y, 5, kept), 0)
        np.testing.assert_allclose(got[g], want, atol=1e-6)


def test_second_order_without_ties_is_the_plain_cosine_over_the_union(rng):
    """Hamilton et al. 2016 row by row, with sets."""
    x, y = pair(rng)
    a, b = (near(v) for v in (x, y))
    got = second_order.similarities(a, b)[-1].numpy()
    cosine = [1 - squareform(pdist(v - v.mean(0), "cosine")) for v in (x, y)]
    for i in range(60):
        both = [set(np.argsort(-np.where(np.arange(60) == i, -2, c[i]))[:5]) for c in cosine]
        union = sorted(both[0] | both[1])
        s, t = (c[i, union] for c in cosine)
        assert got[i] == pytest.approx(s @ t / linalg.norm(s) / linalg.norm(t), abs=1e-9)


def test_the_order_of_equal_rows_does_not_matter(rng):
    x, y = few(rng, 80, 6), few(rng, 80, 7)
    order = rng.permutation(80)
    values = []
    for rows in (slice(None), order):
        a, b = (near(v[rows]) for v in (x, y))
        values.append(second_order.similarities(a, b)[-1].numpy())
    np.testing.assert_allclose(values[0][order], values[1], atol=1e-7)


def test_a_row_at_the_centre_has_no_direction_and_counts_as_nothing(rng):
    some = rng.integers(1, 50, size=(30, 4)).astype(float)
    a = near(np.vstack([some, -some, np.zeros((1, 4))]))
    got = second_order.similarities(a, a)[-1].numpy()
    assert got[:60] == pytest.approx(1)
    assert got[60] == 0


def test_a_neighbour_that_moves_a_little_costs_a_little(rng, raw):
    x = rng.normal(size=(300, 8))
    y = x + 0.15 * rng.normal(size=x.shape)
    assert raw("similarity.second_order", x, y) > 0.97
    assert raw("similarity.neighbours", x, y) < 0.85


def test_second_order_of_unrelated_codes_is_no_one_value(rng):
    """In one dimension, of ++, +- and -+ the last two speak against: -1/3."""
    assert measures["similarity.second_order"].null_value is None

    def mean(d):
        a, b = (near(rng.normal(size=(300, d)), np.arange(300) % 2) for _ in range(2))
        return float(second_order.similarities(a, b)[-1].mean())

    assert mean(1) == pytest.approx(-1 / 3, abs=0.05)
    assert abs(mean(64)) < 0.1


def test_the_jackknife_of_second_order_leaves_groups_out(rng, compared):
    x, y = pair(rng)
    e = compared("similarity.second_order", x, y)
    groups = blocks.folds(60, margins.JACKKNIFE_GROUPS)
    kept = [groups != g for g in range(20)]
    deleted = np.array([z(slow_second_order(x, y, 5, k)[k].mean()) for k in kept])
    assert e.value == pytest.approx(z(slow_second_order(x, y, 5, groups >= 0).mean()), abs=1e-7)
    np.testing.assert_allclose(e.influence, jackknife(deleted), atol=1e-6)
