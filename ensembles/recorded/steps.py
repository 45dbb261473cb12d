"""``ensemble.waterfall`` of recorded samples: a single one, the vote, the pick, the oracle."""

from __future__ import annotations

from ringtest import compare
from ringtest.ensemble_rows import ensemble_row
from ringtest.ensembles import selection, steps, votes
from ringtest.ensembles.recorded import Recorded
from ringtest.ensembles.waterfall import waterfall
from ringtest.measure import measures
from ringtest.measurement import Measurement

MEASURE = steps.EnsembleWaterfall.id
TOLD_AS = "candidates"


def rows(recorded: Recorded, student: str | None, seed: int) -> list[Measurement]:
    """A row a step, under the condition ``candidates``; nothing without the teacher's answers.

    ``mean member`` is a single sample of the teacher, ``ensemble`` the vote of all of them,
    ``selected`` the verifier's pick. The student's is a single sample of its own.
    """
    theirs, mine = recorded.candidates, recorded.of(student).candidates
    if theirs is None or theirs.codes is None:
        return []
    entry = measures[MEASURE]
    if theirs.items < 2 or theirs.samples < 2:
        few = "item has no interval" if theirs.items < 2 else "sample of an item leaves no vote"
        why = compare.Failure("not_measurable", f"one {few}")
        return [compare.failed_row(entry, TOLD_AS, why)]
    found = waterfall(
        selection.mean_single(theirs),
        votes.majority(theirs, seed=seed).estimate,
        None if mine is None else selection.mean_single(mine),
        None if theirs.scores is None else selection.best_of(theirs),
        selection.oracle(theirs),
        seed=seed,
    )
    readings = steps.readings(found)
    return [ensemble_row(entry, TOLD_AS, r, seed) for r in readings]
