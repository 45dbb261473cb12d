"""``ensemble.verifier``: how good is what picks among the samples, and could the student do it?"""

from __future__ import annotations

import math

from ringtest.ensembles import ceiling, selection
from ringtest.ensembles.candidates import Candidates
from ringtest.ensembles.measured import spread
from ringtest.ensembles.recorded import Recorded
from ringtest.ensembles.recorded.rows import gained, joined, measured, row
from ringtest.estimate import NOTHING, Array, Estimate
from ringtest.measure import RecordedMeasure, measure
from ringtest.measurement import Measurement

POINTS = 9
"""Thresholds at which a ceiling is told."""


@measure
class Verifier(RecordedMeasure):
    """AUC of the verifier's scores, the ceiling that they imply, and what false positives cost.

    AUC is within items, averaged over those that have right and wrong samples: .5 is guessing.
    ``ceiling`` (severity: the threshold) is the accuracy of what is accepted, however many samples
    are drawn, with each item's own rates. ``effect of false positives`` (severity: k) is what a
    pick of k samples has less than pass@k, since a wrong one was believed; lower is better. With a
    student's scores of the *teacher's* candidates, it stands beside the verifier.
    Sources: Stroebl et al. 2024 (arXiv 2411.17501), DeLong et al. 1988.
    """

    id = "ensemble.verifier"
    about = "AUC of the verifier of recorded samples, its ceiling, and the student in its place"
    direction = "higher"
    range = (0.0, 1.0)
    unit = "AUC"
    told_as = "candidates"
    source = "Stroebl et al. 2024, arXiv:2411.17501; DeLong et al. 1988"

    def read(self, recorded: Recorded, student: str | None, seed: int) -> list[Measurement]:
        """All rows; nothing where neither verifier nor student scored the teacher's candidates."""
        theirs, own = recorded.candidates, recorded.of(student)
        if theirs is None or (theirs.scores is None and own.scores is None):
            return []
        mine = own.candidates
        mine = mine if mine is not None and mine.scores is not None else None
        rows = [] if theirs.scores is None else self._of_verifier(theirs, mine, seed)
        if own.scores is not None:
            rows.append(self._of_student(theirs, own.scores, seed))
        return rows if theirs.scores is None else rows + self._growth(theirs, mine, seed)

    def _of_verifier(
        self, theirs: Candidates, mine: Candidates | None, seed: int
    ) -> list[Measurement]:
        found = ceiling.auc(theirs)
        own = None if mine is None else ceiling.auc(mine)
        rows = []
        for name, kind in (("AUC", "within"), ("AUC over all items", "pooled")):
            auc = getattr(found, kind)
            beside = NOTHING if own is None else getattr(own, kind).estimate
            rows.append(row(self, name, auc.estimate, beside, seed=seed, reason=auc.reason))
        for point in ceiling.roc(theirs, POINTS):
            if not math.isfinite(point.threshold):
                continue
            told = {"tpr": _finite(point.tpr), "fpr": _finite(point.fpr)}
            rows.append(
                row(
                    self, "ceiling", point.ceiling, seed=seed, severity=point.threshold,
                    params=told, unit="accuracy",
                )
            )  # fmt: skip
        return rows

    def _growth(self, theirs: Candidates, mine: Candidates | None, seed: int) -> list[Measurement]:
        """What false positives cost as k grows; the last row tells whether more samples hurt."""
        found = ceiling.growth(theirs)
        rows = []
        for k, accuracy in zip(found.ks, found.accuracy, strict=True):
            lost = selection.pass_at_k(theirs, k) - accuracy
            beside = NOTHING
            if mine is not None and k <= mine.samples:
                beside = selection.pass_at_k(mine, k) - selection.best_of(mine, k)
            told = {"peak": found.peak, "falls": found.falls, "words": words(found)}
            rows.append(
                row(
                    self, "effect of false positives", lost, beside, seed=seed, severity=k,
                    lower=True, unit="accuracy", params=told if k == found.ks[-1] else None,
                )
            )  # fmt: skip
        return rows

    def _of_student(self, theirs: Candidates, scores: Array, seed: int) -> Measurement:
        """The student's AUC beside the verifier's, on the teacher's candidates."""
        found = ceiling.student_as_verifier(theirs, scores)
        own = found.student.within
        verifier = NOTHING if found.verifier is None else found.verifier.within.estimate
        told = {"words": _placed(own.estimate, found.behind)} if own.measured else {}
        return row(
            self, "AUC of the student as a verifier", verifier, own.estimate, seed=seed,
            reason=own.reason, params=told,
        )  # fmt: skip


def words(found: ceiling.Growth) -> str:
    """Whether more samples hurt, as far as the interval says."""
    last = found.ks[-1]
    if found.falls:
        return (
            f"More samples hurt: the pick is best at {found.peak}, and from there to {last} its "
            f"accuracy falls by {gained(found.fall).removeprefix('+')}, since wrong samples are "
            "believed."
        )
    return f"Up to {last} samples no fall of the pick's accuracy can be told from chance."


def _placed(own: Estimate, behind: Estimate) -> str:
    low, high = spread(own)
    said = [
        f"As a verifier of the teacher's samples the student has an AUC of {own.value:.3f} "
        f"({max(low, 0):.3f} to {min(high, 1):.3f}; .5 is guessing)."
    ]
    if measured(behind):
        low, high = spread(behind)
        place = "behind" if low > 0 else "ahead of" if high < 0 else "not told apart from"
        said.append(
            f"It is {place} the verifier: the difference is {-behind.value:+.3f} "
            f"({-high:+.3f} to {-low:+.3f})."
        )
    return joined(said)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
