"""Measure of every audit of an ensemble: how much do its members differ?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ringtest import estimate as estimates
from ringtest.ensembles import ambiguity, diversity
from ringtest.ensembles.ambiguity import Ambiguity
from ringtest.ensembles.diversity import Diversity
from ringtest.ensembles.effective import Effective
from ringtest.ensembles.measured import LEVEL, Measured, bounds, nothing, plain
from ringtest.estimate import NOTHING, Array, Estimate
from ringtest.evidence import Evidence
from ringtest.inference import interval, standard_error
from ringtest.measure import Committee, EnsembleMeasure, Reading, Setting, measure

_PAIRS: Final = {
    "correlation of errors": "rho",
    "error consistency": "error_consistency",
    "CAPA": "capa",
    "CAPA of answers": "capa_discrete",
    "Q": "q",
    "disagreement": "disagreement",
    "double fault": "double_fault",
}
"""Statistic -> id of the measure of pairs."""

Numbers = dict[str, Measured]
"""Statistic -> what it is of one committee."""


@measure
class CommitteeDiversity(EnsembleMeasure):
    """How much the members of an ensemble differ; the more they do, the more there is to distil.

    The teacher's value is that of the members. The student's is that of the committee in which it
    stands for one member, on average over whom: below the teacher's, it repeats what the others
    say. On the sample of rows, at most 2,048.

    ``effective votes`` is 1 where all err together and M where they err independently; its row says
    in words what its interval allows, and in ``params["answer"]``: ``one`` opinion, ``many`` (all
    M), ``some``, or ``open``. Every row holds ``params["teacher_interval"]``, 95 %.

    Classes: means over pairs of members of the correlation of errors, error consistency, CAPA, Q,
    disagreement and double fault (:mod:`ringtest.ensembles.pairwise`), the Vendi score, the mutual
    information of member and answer, and what averaging gains in log loss, which a probability of
    exactly 0 can make infinite: not measurable, like ``outputs.kl``. Values: the ambiguity, which
    is what averaging gains in squared error (:mod:`ringtest.ensembles.ambiguity`). Neither
    direction is better by itself: members that guess differ, too.

    Sources: those modules'.
    """

    id = "ensemble.diversity"
    about = "how much the members of the ensemble differ: effective votes, pairs, what a mean gains"
    range = (-np.inf, np.inf)
    source = "Kuncheva & Whitaker 2003; Wood et al. 2023, arXiv:2301.03962; Goel et al. 2025"

    def read(self, seen: Committee, at: Setting) -> list[Reading]:
        """A reading a statistic, ``effective votes`` first."""
        shown = [_shown(m, at) for m in seen.members]
        found, votes = _numbers(shown, at)
        told: dict[str, Any] = {"members": len(shown), **_votes(votes)}
        mixed = None
        if seen.student is not None:
            mixed, between = _with(_shown(seen.student, at), shown, at)
            if votes.votes.measured and mixed[VOTES].measured:
                told["student_interval"] = between
        readings = [_reading(name, found[name], mixed) for name in found]
        return [
            replace(r, params={**r.params, **told}) if r.statistic == VOTES else r for r in readings
        ]


VOTES: Final = "effective votes"


def _shown(seen: Evidence, at: Setting) -> Array:
    """(m, k) of one model on the sample of rows: probabilities, or errors in target SDs."""
    assert at.task.targets is not None
    if at.task.name == "regression":
        errors: Array = at.task.points(seen.outputs - at.task.targets[at.rows]).numpy()
        return errors
    shares: Array = seen.outputs.double().exp().numpy()
    if seen.certain:
        # What divides or takes a logarithm of it would else show a floor that we chose.
        shares[at.task.zeros(seen.outputs).numpy()] = 0.0
    return shares


def _numbers(shown: Sequence[Array], at: Setting) -> tuple[Numbers, Effective]:
    """All statistics of one committee, and its votes."""
    if at.task.name == "regression":
        split = ambiguity.of(np.stack(shown), at.sample_units)
        return _of_values(split), split.votes
    assert at.task.targets is not None
    found = diversity.of(np.stack(shown), at.task.targets[at.rows].numpy(), units=at.sample_units)
    assert found.effective is not None
    return _of_classes(found), found.effective


def _of_values(split: Ambiguity) -> Numbers:
    return {
        VOTES: split.votes.votes,
        "correlation of errors": split.votes.rho,
        "ambiguity": Measured(split.ambiguity),
    }


def _of_classes(found: Diversity) -> Numbers:
    assert found.effective is not None
    return {
        VOTES: found.effective.votes,
        **{name: found.pairs[key].mean for name, key in _PAIRS.items()},
        "Vendi score": found.vendi,
        "mutual information": found.mutual_information,
        "diversity of log loss": found.log_loss.diversity,
        "gain in log loss of the mean probability": found.log_loss.jensen_gap,
    }


def _votes(votes: Effective) -> dict[str, Any]:
    """What the row of the votes tells besides its value."""
    ends = plain(votes.interval()) if votes.votes.measured else None
    said = {"words": votes.words(), "answer": votes.answer()}
    return said if ends is None else {**said, "teacher_interval": ends}


def _with(student: Array, shown: list[Array], at: Setting) -> tuple[Numbers, list[float | None]]:
    """Statistics of the committees in which the student stands for a member, on average.

    The interval of their votes is the mean of theirs, as if they all erred alike: all but one of
    their members are the same. That of the delta method holds 95 % only where errors are many.
    """
    each = [_numbers([*shown[:k], student, *shown[k + 1 :]], at) for k in range(len(shown))]
    ends = np.mean([votes.interval() for _, votes in each], axis=0)
    found = {name: _mean([one[name] for one, _ in each]) for name in each[0][0]}
    return found, plain(ends.tolist())


def _mean(found: Sequence[Measured]) -> Measured:
    """Of all of them, or the reason of the first that has one."""
    for k, one in enumerate(found):
        if one.reason:
            return nothing(f"with the student for member {k}: {one.reason}")
    return Measured(estimates.mean([m.estimate for m in found]))


def _reading(name: str, teacher: Measured, mixed: Numbers | None) -> Reading:
    mine = NOTHING if mixed is None else mixed[name].estimate
    params: dict[str, Any] = {}
    if mixed is not None and mixed[name].reason:
        params["student_reason"] = mixed[name].reason
    if teacher.measured:
        params["teacher_interval"] = _ends(name, teacher.estimate)
    if mine.units and teacher.measured:
        params["student_interval"] = _ends(name, mine)
    return Reading(
        mine,
        name,
        reason=teacher.reason,
        params=params,
        unit=_unit(name),
        teacher=teacher.estimate,
    )


def _ends(name: str, value: Estimate) -> list[float | None]:
    """The 95 % interval; where nothing varied, a share minds what other items could do."""
    if _unit(name) == "share":
        return plain(bounds(value))
    return plain(interval(value.value, standard_error(value), value.dof, LEVEL))


def _unit(name: str) -> str:
    if name in (VOTES, "Vendi score"):
        return "votes"
    if "information" in name or "log loss" in name:
        return "nats"
    if name == "ambiguity":
        return "target variances"
    return "share" if name in ("disagreement", "double fault") else ""
