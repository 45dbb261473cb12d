"""The verifier's AUC against scikit-learn, its ceiling against simulation, and where k hurts."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from ringtest.ensembles.candidates import candidates
from ringtest.ensembles.ceiling import (
    at_threshold,
    auc,
    ceiling,
    doublings,
    growth,
    roc,
    student_as_verifier,
)
from ringtest.ensembles.measured import spread
from ringtest.ensembles.selection import best_of
from ringtest.errors import DataError
from ringtest.inference import standard_error


def judged(items: int = 60, n: int = 9, seed: int = 0, easy: float = 0.0):
    """Scores on a grid, so that many tie; ``easy`` lets them also rise with the item's chance."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1.2, 1.8, (items, 1))
    right = rng.random((items, n)) < p
    return right, np.round(0.6 * right + easy * p + rng.normal(0, 0.5, (items, n)), 1)


def test_auc_is_scikit_learns():
    right, scores = judged()
    found = auc(candidates(right, scores=scores))
    assert found.pooled.estimate.value == pytest.approx(
        roc_auc_score(right.ravel(), scores.ravel())
    )
    both = right.any(axis=1) & ~right.all(axis=1)
    each = [roc_auc_score(r, s) for r, s in zip(right[both], scores[both], strict=True)]
    assert 2 < both.sum() < both.size
    within = found.within.estimate
    assert within.value == pytest.approx(np.mean(each))
    assert within.n == both.sum()
    assert standard_error(within) == pytest.approx(stats.sem(each), rel=0.05)
    assert not within.influence[~both].any()


def test_knowing_which_items_are_easy_is_no_selection():
    right, _ = judged(items=400)
    scores = np.repeat(right.mean(axis=1, keepdims=True), right.shape[1], axis=1)
    found = auc(candidates(right, scores=scores))
    assert found.within.estimate.value == 0.5
    assert found.pooled.estimate.value > 0.7


def test_intervals_of_the_auc_cover():
    truth = {}
    right, scores = judged(20_000, easy=0.5, seed=99)
    large = auc(candidates(right, scores=scores))
    truth = {"within": large.within.estimate.value, "pooled": large.pooled.estimate.value}
    hits = dict.fromkeys(truth, 0)
    for seed in range(120):
        right, scores = judged(80, easy=0.5, seed=seed)
        found = auc(candidates(right, scores=scores))
        for name in truth:
            low, high = spread(getattr(found, name).estimate)
            hits[name] += low <= truth[name] <= high
    for name, hit in hits.items():
        assert stats.binomtest(hit, 120, 0.95).pvalue > 0.001, (name, hit)


@pytest.mark.parametrize(("right", "why"), [(True, "every sample"), (False, "no sample")])
def test_all_or_none_right_has_no_auc(right: bool, why: str):
    c = candidates(np.full((5, 4), right), scores=np.random.default_rng(0).random((5, 4)))
    found = auc(c)
    assert math.isnan(found.within.estimate.value)
    assert "0 of 5 items" in found.within.reason
    assert why in found.pooled.reason
    point = at_threshold(c, 0.5)
    assert point.ceiling.value == float(right)
    assert why in point.shared.reason


def test_one_item_with_both_has_no_interval_to_pass_by():
    right = [[1, 0], [1, 1], [0, 0]]
    found = auc(candidates(right, scores=[[2, 1], [1, 2], [1, 2]]))
    assert "1 of 3 items" in found.within.reason


def test_golden_ceiling():
    assert ceiling(0.3, 0.9, 0.1) == pytest.approx(0.79412, abs=5e-6)
    np.testing.assert_allclose(ceiling([0.0, 0.4, 1.0], 0.0, 0.0), [0.0, 0.4, 1.0])
    assert ceiling(0.3, 0.9, 0.0) == 1
    assert ceiling(0.3, 0.2, 0.2) == pytest.approx(0.3)


def test_ceiling_is_what_the_first_accepted_of_many_samples_reaches():
    rng = np.random.default_rng(2)
    items, n, tpr, fpr = 2_000, 250, 0.7, 0.2
    p = rng.beta(2, 3, (items, 1))
    right = rng.random((items, n)) < p
    accepted = rng.random((items, n)) < np.where(right, tpr, fpr)
    first = accepted.argmax(axis=1)
    taken = right[np.arange(items), first]
    truth = ceiling(p, tpr, fpr).mean()
    # Not that of the mean item: the ceiling is not linear in p
    assert abs(truth - ceiling(p.mean(), tpr, fpr)) > 0.02
    assert taken.mean() == pytest.approx(truth, abs=4 * taken.std() / math.sqrt(items))
    c = candidates(right, scores=accepted.astype(float))
    point = at_threshold(c, 1.0)
    assert point.tpr == pytest.approx(tpr, abs=0.005)
    assert point.fpr == pytest.approx(fpr, abs=0.005)
    for estimate in (point.ceiling, point.shared.estimate):
        assert estimate.value == pytest.approx(truth, abs=0.003)
    assert best_of(c).value == pytest.approx(point.ceiling.value)
    assert best_of(c, 100).value == pytest.approx(truth, abs=0.003)


def test_one_roc_for_all_items_is_off_where_wrong_answers_pass_on_the_hard_ones():
    rng = np.random.default_rng(4)
    p = rng.choice([0.1, 0.8], (2_000, 1))
    right = rng.random((2_000, 60)) < p
    accepted = rng.random(right.shape) < np.where(right, 0.9, np.where(p < 0.5, 0.5, 0.05))
    point = at_threshold(candidates(right, scores=accepted.astype(float)), 1.0)
    fpr = np.where(p < 0.5, 0.5, 0.05)
    truth = ceiling(p, 0.9, fpr).mean()
    assert point.ceiling.value == pytest.approx(truth, abs=0.005)
    mixed = ((1 - p) * fpr).sum() / (1 - p).sum()
    assert point.shared.estimate.value == pytest.approx(ceiling(p, 0.9, mixed).mean(), abs=0.005)
    assert spread(point.shared.estimate - point.ceiling)[1] < -0.02


def test_standard_error_of_the_shared_ceiling_is_that_over_new_data():
    values, errors = [], []
    for seed in range(150):
        right, scores = judged(100, easy=0.5, seed=seed)
        shared = at_threshold(candidates(right, scores=scores), 0.5).shared.estimate
        values.append(shared.value)
        errors.append(standard_error(shared))
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.2)


def test_roc_is_scikit_learns_from_strict_to_lax():
    right, scores = judged()
    points = roc(candidates(right, scores=scores), points=7)
    fpr, tpr, cuts = roc_curve(right.ravel(), scores.ravel(), drop_intermediate=False)
    known = {cut: (f, t) for cut, f, t in zip(cuts, fpr, tpr, strict=True)}
    assert 1 < len(points) <= 7
    for point in points:
        np.testing.assert_allclose((point.fpr, point.tpr), known[point.threshold])
    assert points[-1].tpr == points[-1].fpr == 1
    assert points[-1].ceiling.value == pytest.approx(right.mean())
    with_infinite = np.where(scores < 0, -math.inf, scores)
    assert all(not math.isnan(p.threshold) for p in roc(candidates(right, scores=with_infinite)))


# -- more samples ---------------------------------------------------------------------------------


def trap(items: int = 500, n: int = 16):
    """Right half of the time; in a fifth of the samples something wrong that scores highest."""
    rng = np.random.default_rng(6)
    kind = rng.choice(3, size=(items, n), p=[0.5, 0.3, 0.2])
    return candidates(kind == 0, scores=np.array([1.0, 0.0, 2.0])[kind])


def test_false_positives_bend_the_curve_down():
    found = growth(trap())
    assert found.ks == (1, 2, 4, 8, 16)
    assert found.peak == 2
    assert found.falls
    # Right is picked where nothing false scores higher: .8^k - .3^k
    for k, accuracy in zip(found.ks, found.accuracy, strict=True):
        assert accuracy.value == pytest.approx(0.8**k - 0.3**k, abs=0.03)


def test_a_good_verifier_does_not_fall():
    right, _ = judged(300)
    found = growth(candidates(right, scores=right.astype(float)))
    assert found.peak == 9
    assert not found.falls
    assert found.fall.value == 0


def test_a_threshold_makes_the_verifier_binary():
    c = trap()
    found = growth(c, (16,), threshold=1.0)
    assert found.accuracy[0].value == pytest.approx(0.5 / 0.7, abs=0.02)


@pytest.mark.parametrize(
    ("n", "ks"), [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (9, (1, 2, 4, 8, 9))]
)
def test_doublings(n: int, ks: tuple[int, ...]):
    assert doublings(n) == ks


# -- the student as a verifier --------------------------------------------------------------------


def test_the_student_is_compared_with_the_verifier_on_the_same_items():
    right, scores = judged(300)
    teacher = candidates(right, scores=right + 0.01 * scores)
    found = student_as_verifier(teacher, scores)
    assert found.verifier is not None
    assert found.verifier.within.estimate.value == 1
    gap = 1 - found.student.within.estimate.value
    assert found.behind.value == pytest.approx(gap)
    assert spread(found.behind)[0] > 0
    alone = student_as_verifier(candidates(right), scores)
    assert alone.verifier is None
    assert math.isnan(alone.behind.value)


BAD = {
    "NaN of the student": (
        lambda c: student_as_verifier(c, np.full(c.correct.shape, math.nan)),
        "scores: NaN in item 0",
    ),
    "another shape": (lambda c: student_as_verifier(c, np.zeros((2, 2))), "scores: shape"),
    "k above n": (lambda c: growth(c, (1, 99)), "k=99 .* n=16"),
    "no ks": (lambda c: growth(c, ()), "^ks: is empty"),
    "no points": (lambda c: roc(c, 0), "^points: 0"),
    "NaN threshold of growth": (lambda c: growth(c, threshold=math.nan), "^threshold: is NaN"),
    "no chance": (lambda c: ceiling(1.1, 0.5, 0.5), "^p: is no chance"),
    "NaN chance": (lambda c: ceiling(0.1, 0.5, [0.5, math.nan]), "^fpr: is no chance"),
    "NaN threshold": (lambda c: at_threshold(c, math.nan), "^threshold: is NaN"),
    "no scores": (lambda c: auc(candidates(c.correct)), "^scores: none"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str):
    call, message = BAD[case]
    with pytest.raises(DataError, match=message):
        call(trap(20))
