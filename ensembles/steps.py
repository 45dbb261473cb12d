"""Measure of every audit of an ensemble: mean member to oracle, and where the student is."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ringtest.ensembles import transfer
from ringtest.ensembles.measured import plain
from ringtest.ensembles.waterfall import Step, Waterfall, sentence, waterfall
from ringtest.estimate import NOTHING, Array, mean, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import Committee, EnsembleMeasure, NotMeasurable, Reading, Setting, measure


@measure
class EnsembleWaterfall(EnsembleMeasure):
    """Scores from the mean member to the oracle, and the student placed among them; all rows.

    ``mean member``; ``ensemble``, the members' mean prediction; ``oracle``, the best member of each
    row, which says what a perfect choice among them would have. Of the teacher the row holds the
    step, of the student its own score, with the interval of their paired difference.

    ``params``: ``teacher_interval``; ``rise`` and ``rise_interval`` over the step before; ``share``
    and ``share_interval``, (student - mean member) / (step - mean member), or ``share_reason``
    where the interval of the denominator spans 0. On ``ensemble``: ``answer`` and ``words``,
    whether the ensemble's predictions were transferred (:mod:`ringtest.ensembles.transfer`), and
    the score of the ``control``, if there is one, or ``control_reason``, why it has none. On
    ``mean member``: ``sentence``, the whole of it in words, and ``each``, every member's score. A
    share is about these rows and this student: another training run would be another one, as the
    members show.

    Source: the question of Stanton et al. 2021 (arXiv:2106.05945), on one paired bootstrap.
    """

    id = "ensemble.waterfall"
    about = "score of mean member, ensemble and oracle, and the student's share of each gain"
    range = (-np.inf, np.inf)
    unit = "score"
    source = "Stanton et al. 2021, arXiv:2106.05945"
    controlled = True

    def read(self, seen: Committee, at: Setting) -> list[Reading]:
        """A reading a step."""
        if at.units is not None and len(np.unique(at.units)) < 2:
            raise NotMeasurable("all rows are of one cluster, of which there is no interval")
        scores = np.stack([_score(m) for m in seen.members])
        way = partial(
            waterfall,
            mean([row_mean(s, at.units) for s in scores]),
            row_mean(_score(seen.combined), at.units),
            oracle=row_mean(scores.max(0), at.units),
            seed=at.seed,
            score=at.task.score_name,
        )
        try:
            theirs, why = [row_mean(_score(c), at.units) for c in seen.controls], ""
        except NotMeasurable as error:
            theirs, why = [], str(error)
        out = readings(
            way(None if seen.student is None else row_mean(_score(seen.student), at.units)),
            way(mean(theirs)) if theirs else None,
            at.seed,
        )
        out[0].params["each"] = [float(v) for v in scores.mean(1)]
        if why:
            out[1].params["control_reason"] = why
        return out


def readings(steps: Waterfall, control: Waterfall | None = None, seed: int = 0) -> list[Reading]:
    """A reading a step: the step is the teacher's value, the student's its own.

    ``control`` is the same with the student of a random teacher in the student's place, ``seed``
    that of the resamples in which the two are compared.
    """
    out = [_reading(step, steps) for step in steps.steps]
    first, second, *_ = out
    first.params["sentence"] = sentence(steps)
    if steps.student is not None:
        found = transfer.transfer(steps, control, seed=seed)
        second.params.update(answer=found.answer, words=found.words)
        if control is not None and control.student is not None:
            second.params["control"] = control.student.value.value
    return out


def _reading(step: Step, steps: Waterfall) -> Reading:
    mine = steps.student
    params: dict[str, Any] = {"teacher_interval": plain([step.low, step.high])}
    if mine is not None:
        params["student_interval"] = plain([mine.low, mine.high])
    if step is not steps.steps[0]:
        params["rise"] = step.rise.value
        params["rise_interval"] = plain([step.rise_low, step.rise_high])
    for placed in steps.placed:
        if placed.of != step.name:
            continue
        if placed.share.measured:
            params["share"] = placed.share.value
            params["share_interval"] = plain([placed.low, placed.high])
        else:
            params["share_reason"] = placed.share.reason
    student = NOTHING if mine is None else mine.value
    return Reading(student, step.name, params=params, unit=steps.score, teacher=step.value)


def _score(seen: Evidence) -> Array:
    if seen.score is None:
        raise NotMeasurable(f"{seen.subject} has no score")
    if infinite := int(np.isinf(seen.score).sum()):
        what = f"the score of {seen.subject} is infinite on {infinite:,} of {len(seen.score):,}"
        raise NotMeasurable(f"{what} rows")
    return seen.score
