"""How good a verifier is, the ceiling that its false positives set, and where more samples hurt."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ringtest.ensembles.candidates import Candidates, candidates, check_k
from ringtest.ensembles.measured import (
    LEVEL,
    Measured,
    difference,
    mean_where,
    nothing,
    spread,
)
from ringtest.ensembles.selection import best_of, ranks
from ringtest.errors import DataError
from ringtest.estimate import NOTHING, Array, Estimate, row_mean, to_units

POINTS = 21
"""Thresholds of a ROC."""
_ROUNDING = 1e-9


def ceiling(p: ArrayLike, tpr: ArrayLike, fpr: ArrayLike) -> Array:
    """Accuracy of what a verifier lets pass, however many samples: p tpr / (p tpr + (1-p) fpr).

    Args:
        p: chance that a sample is right, 0..1; arrays broadcast.
        tpr: chance that the verifier accepts a right sample.
        fpr: chance that it accepts a wrong one.

    Returns:
        0..1, higher is better; p where it accepts nothing, since then every pick is a guess.
        Not linear in p: take it per item, then average (2411.17501).

    >>> ceiling(0.3, 0.9, 0.1).round(5).item()
    0.79412
    """
    chance, true, false = (_rates(name, x) for name, x in (("p", p), ("tpr", tpr), ("fpr", fpr)))
    right = chance * true
    accepted = right + (1 - chance) * false
    some = accepted > 0
    return np.where(some, right / np.where(some, accepted, 1.0), chance)


def _rates(name: str, given: ArrayLike) -> Array:
    rates = np.asarray(given, np.float64)
    near = (rates >= -_ROUNDING) & (rates <= 1 + _ROUNDING)
    if not near.all():  # NaN compares false
        raise DataError(name, "is no chance", "give numbers from 0 to 1")
    return np.clip(rates, 0.0, 1.0)


@dataclass(frozen=True)
class Auc:
    """Chance that a right sample is scored above a wrong one, ties half; 0.5 is guessing."""

    within: Measured
    """Per item, averaged over the items that have both: what selection within an item needs."""
    pooled: Measured
    """Over all pairs: also rewards a verifier that only knows which items are easy."""


def auc(c: Candidates) -> Auc:
    """AUC of the verifier's scores, 0..1, higher is better.

    Args:
        c: candidates with scores.

    Returns:
        Not measurable where right or wrong samples are missing. Influences of the pooled one are
        the placements of DeLong (1988), summed within items (Obuchowski 1997).
    """
    scores, right = c.need_scores(), c.correct
    n_right = right.sum(axis=1)
    n_wrong = c.samples - n_right
    both = (n_right > 0) & (n_wrong > 0)
    lower, upto = ranks(scores)
    midrank = (lower + upto + 1) / 2
    pairs = np.maximum(n_right * n_wrong, 1)
    wins = ((midrank * right).sum(axis=1) - n_right * (n_right + 1) / 2) / pairs
    return Auc(mean_where(wins, both, "have right and wrong samples"), _pooled(scores, right))


def _pooled(scores: Array, right: NDArray[np.bool_]) -> Measured:
    total, items = int(right.sum()), right.shape[0]
    wrong = right.size - total
    if total == 0 or wrong == 0:
        return nothing(f"{'no' if total == 0 else 'every'} sample is right")
    of_right, of_wrong = np.sort(scores[right]), np.sort(scores[~right])
    value, place = 0.0, np.empty(right.shape)
    place[right] = _below(scores[right], of_wrong)
    place[~right] = 1 - _below(scores[~right], of_right)
    value = float(place[right].mean())
    influence = (place - value) * np.where(right, 1 / total, 1 / wrong)
    return Measured(
        Estimate(value, to_units(influence.sum(axis=1), None), items, "bootstrap"),
    )


def _below(scores: Array, others: Array) -> Array:
    """Share of the (sorted) others that are lower, ties half."""
    low, high = (np.searchsorted(others, scores, side) for side in ("left", "right"))
    share: Array = (low + high) / (2 * others.shape[0])
    return share


@dataclass(frozen=True)
class Point:
    """A verifier that accepts what scores ``threshold`` or more."""

    threshold: float
    tpr: float
    """Share of all right samples accepted."""
    fpr: float
    """Share of all wrong samples accepted."""
    ceiling: Estimate
    """Accuracy at any number of samples, with each item's own rates: of what passes, the share that
    is right; averaged over items. The pick is random where an item has nothing accepted."""
    shared: Measured
    """The same with the rates of all items for each. Off wherever the rates go with the items'
    difficulty, up or down, as they do for unit tests (2411.17501): how far it lies from
    ``ceiling`` is how much one ROC for all items hides."""


def roc(c: Candidates, points: int = POINTS) -> tuple[Point, ...]:
    """The verifier's ROC and the ceiling implied at each threshold, from strict to lax.

    Args:
        c: candidates with scores.
        points: thresholds, at most; quantiles of the scores.

    Returns:
        One point per threshold; tpr and fpr are NaN where there are no right, or no wrong, samples.
    """
    if points < 1:
        raise DataError("points", f"{points} thresholds are none", "give 1 or more")
    scores = c.need_scores()
    cuts = np.unique(np.quantile(scores, np.linspace(0, 1, points), method="nearest"))
    return tuple(at_threshold(c, float(cut)) for cut in cuts[::-1])


def at_threshold(c: Candidates, threshold: float) -> Point:
    """Rates and ceilings of a verifier that accepts scores of ``threshold`` or more."""
    accepted, right = _accepted(c, threshold), c.correct
    p = right.mean(axis=1)
    true = (accepted & right).mean(axis=1)
    false = (accepted & ~right).mean(axis=1)
    all_true, all_false = float(p.sum()), float((1 - p).sum())
    tpr = float(true.sum()) / all_true if all_true else math.nan
    fpr = float(false.sum()) / all_false if all_false else math.nan
    # With an item's own rates p tpr is its share of samples that are right and accepted
    passed = true + false
    own = np.where(passed > 0, true / np.where(passed > 0, passed, 1.0), p)
    if not (all_true and all_false):
        why = "no sample is right" if not all_true else "every sample is right"
        return Point(threshold, tpr, fpr, row_mean(own), nothing(why))
    return Point(threshold, tpr, fpr, row_mean(own), Measured(_shared(p, true, false, tpr, fpr)))


def _accepted(c: Candidates, threshold: float) -> NDArray[np.bool_]:
    if math.isnan(threshold):
        raise DataError("threshold", "is NaN", "give a number on the scale of the scores")
    return np.asarray(c.need_scores() >= threshold)


def _shared(p: Array, true: Array, false: Array, tpr: float, fpr: float) -> Estimate:
    """Mean ceiling under one tpr and fpr; the influences of both come in by the delta method."""
    each = ceiling(p, tpr, fpr)
    estimate = row_mean(each)
    total = p * tpr + (1 - p) * fpr
    if not (total > 0).all():
        # One rate is 0 and some items have nothing that passes: the rates stand as they are
        return estimate
    slope = p * (1 - p) / total**2
    of_tpr = float((slope * fpr).mean()) * (true - tpr * p) / p.sum()
    of_fpr = -float((slope * tpr).mean()) * (false - fpr * (1 - p)) / (1 - p).sum()
    return replace(estimate, influence=estimate.influence + to_units(of_tpr + of_fpr, None))


@dataclass(frozen=True)
class Growth:
    """Best of k by the verifier as k grows."""

    ks: tuple[int, ...]
    accuracy: tuple[Estimate, ...]
    """At each k, 0..1."""
    peak: int
    """The k of highest accuracy."""
    fall: Estimate
    """Accuracy at the peak - at the largest k; not negative."""
    falls: bool
    """Whether the fall's interval lies above 0, at the level divided by the number of ks, since the
    peak was looked for: false positives then win over finding more (2411.17501, figure 1)."""


def growth(
    c: Candidates,
    ks: tuple[int, ...] | None = None,
    threshold: float | None = None,
    level: float = LEVEL,
) -> Growth:
    """Accuracy of the best of k samples over k.

    Args:
        c: candidates with scores.
        ks: numbers of samples; None: 1, 2, 4, ... and n.
        threshold: the verifier only accepts or rejects, and the first accepted sample is taken (of
            none, a random one); None: the highest score is taken.
        level: confidence level of the fall.

    Raises:
        DataError: k > n, or no scores.
    """
    sizes = numbers_of_samples(c, ks)
    judged = c
    if threshold is not None:
        judged = replace(c, scores=_accepted(c, threshold).astype(np.float64))
    accuracy = tuple(best_of(judged, k) for k in sizes)
    top = int(np.argmax([a.value for a in accuracy]))
    fall = accuracy[top] - accuracy[-1]
    low, _ = spread(fall, 1 - (1 - level) / len(sizes))
    return Growth(sizes, accuracy, sizes[top], fall, top < len(sizes) - 1 and low > 0)


def numbers_of_samples(c: Candidates, ks: Iterable[int] | None) -> tuple[int, ...]:
    """What was asked for, in order and once each; None: doublings.

    Raises DataError for k > n, or for none.
    """
    if ks is None:
        return doublings(c.samples)
    sizes = tuple(sorted({check_k(k, c.samples) for k in ks}))
    if not sizes:
        raise DataError("ks", "is empty", "give at least one number of samples")
    return sizes


def doublings(n: int) -> tuple[int, ...]:
    """1, 2, 4, ... below n, and n."""
    return (*(2**i for i in range((n - 1).bit_length())), n)


@dataclass(frozen=True)
class StudentVerifier:
    """The student's scores as a verifier of the teacher's candidates."""

    student: Auc
    verifier: Auc | None
    """The verifier's own on the same candidates, where there is one."""
    behind: Estimate
    """Verifier - student, AUC within items, paired; NOTHING where either is not measurable."""


def student_as_verifier(teacher: Candidates, student_scores: ArrayLike) -> StudentVerifier:
    """AUC of the student's scores on the teacher's candidates: was the verifier distilled too?

    Args:
        teacher: its candidates; with the verifier's scores they are compared.
        student_scores: (items, samples) that the student gives them, such as mean log probability.

    Raises:
        DataError: another shape, or NaN.
    """
    student = auc(candidates(teacher.correct, scores=student_scores))
    if teacher.scores is None:
        return StudentVerifier(student, None, NOTHING)
    verifier = auc(teacher)
    behind = difference(verifier.within.estimate, student.within.estimate)
    return StudentVerifier(student, verifier, behind)
