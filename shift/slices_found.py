"""Where does a model fall behind the teacher? Found on half of the rows, judged on the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringtest import attributes, blocks, inference, margins
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.errors import SubjectError
from ringtest.estimate import Array, Estimate, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, NotMeasurable, Reading, Setting, measure
from ringtest.pvalues import benjamini_hochberg, p_values
from ringtest.shift import literals, stability
from ringtest.shift.beam import all_hold
from ringtest.tasks import AnyTask

FDR: Final = 0.10
"""Expected share of false ones among the slices that are told."""
LEAST: Final = margins.MIN_N // 2
"""Rows of the smallest slice on the half that is searched: on all rows it can then be judged."""
HELD_LEAST: Final = 30
"""Rows, and 10 independent units, on which a slice can be judged."""
SEARCHED: Final = 25_000
"""Rows that are searched at most."""
MARGIN: Final = margins.BENCHMARK
"""Harm that training runs differ by anyway."""


@dataclass(frozen=True)
class Halves:
    """Rows that are searched, and rows that are judged; independent units stay whole."""

    searched: NDArray[np.int64]
    held: NDArray[np.int64]

    @classmethod
    def of(cls, at: Setting, n: int) -> Halves:
        """The same for all models and conditions of an audit; NotMeasurable if too small."""
        side = blocks.folds(n, 2, at.units, blocks.derive(at.seed, "slices"))
        searched, held = np.flatnonzero(side == 0), np.flatnonzero(side == 1)
        sizes = (len(searched), len(held))
        if min(sizes) < 2 * LEAST:
            raise NotMeasurable(
                f"one half finds slices, the other judges them: of {sizes[0]} and {sizes[1]} rows "
                f"one has under {2 * LEAST}"
            )
        if at.units is not None:
            count = min(len(np.unique(at.units[h])) for h in (searched, held))
            if count < 20:
                raise NotMeasurable(f"a half has {count} independent clusters, under 20")
        if len(searched) > SEARCHED:
            searched = searched[blocks.sample_rows(len(searched), SEARCHED)]
        return cls(searched, held)


@measure
class DiscoveredSlices(ModelMeasure):
    """Slices in which a model falls behind the teacher; higher is better.

    Slices are conjunctions of up to three conditions on the target, group columns, concepts,
    descriptors and k-means clusters of the raw inputs, see :mod:`ringtest.attributes`. Half of the
    rows is searched, by the paired difference of the mean member's score and the model's. A slice
    counts if it comes back on at least .6 of 50 halves of that half. On the other half it is judged
    once, by a one-sided t-test of harm above .03 (the margin of the benchmark), and told if the
    false discovery rate over all slices so judged is at most .1 (Benjamini-Hochberg; tests of means
    over overlapping rows are positively dependent). Values, errors and intervals are those of the
    other half. Intervals are not widened for having been told.

    A row a slice: the model's mean score beside that of the mean member; ``params`` hold its rule,
    which ``AuditData(slices=...)`` and ``[[slice]]`` take. Besides: the score of all rows of the
    judging half, and the share of them that lie in no slice found, compared with members held
    against the other members: how much is found of honest models.

    Source: Meinshausen & Buhlmann 2010 (arXiv:0809.2932), Shah & Samworth 2013 (arXiv:1105.5578);
    Benjamini & Yekutieli 2001; slices as in Chung et al. 2019 (Slice Finder, arXiv:1807.06068).
    """

    id = "slices.discovered"
    about = "slices in which a model falls behind the mean member: found on half of the rows"
    range = (-np.inf, np.inf)
    unit = "score"
    needs = frozenset({"teacher", "outcomes"})
    default = False
    source = "Shah & Samworth 2013, arXiv:1105.5578; Chung et al. 2019, arXiv:1807.06068"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Targets must hold."""
        return condition.keeps_targets and condition.keeps_rows and task.targets is not None

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """All rows of the judging half, what no slice holds, and a reading a slice."""
        mine, theirs = _scores(evidence)
        if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
            raise NotMeasurable("some rows have no finite score")
        halves = Halves.of(at, len(mine))
        made = _literals(at, halves)
        harm = theirs - mine
        kept = stability.select(
            made, halves.searched, harm, at.units, LEAST, MARGIN, blocks.derive(at.seed, "halves")
        )
        every = (_Judged.of(made, k, halves, mine, theirs, at) for k in kept)
        judged = [j for j in every if j is not None]
        adjusted = benjamini_hochberg([j.p for j in judged])
        found = [j for j, q in zip(judged, adjusted, strict=True) if q <= FDR]
        told = {j.words: q for j, q in zip(judged, adjusted, strict=True)}
        params = {
            "conditions": len(made.each),
            "came back": len(kept),
            "found": len(found),
            "searched rows": len(halves.searched),
            "unconfirmed": [j.words for j in judged if j not in found],
            **({"skipped": list(made.skipped)} if made.skipped else {}),
        }
        free = np.ones(len(mine), dtype=np.bool_)
        for j in found:
            free &= ~j.rows
        whole = np.zeros(len(mine), dtype=np.bool_)
        whole[halves.held] = True
        name = at.task.score_name
        share = _mean(free.astype(np.float64), whole, at)
        return [
            Reading(_mean(mine, whole, at), name, teacher=_mean(theirs, whole, at)),
            Reading(share, "share of rows in no found slice", unit="share", params=params),
            *(j.reading(name, told[j.words]) for j in found),
        ]


@dataclass(frozen=True, eq=False)
class _Judged:
    """A slice that came back, on the half that judges."""

    words: str
    where: dict[str, Any]
    rows: NDArray[np.bool_]
    """(n,) all its rows."""
    searched: int
    came_back: float
    mine: Estimate
    theirs: Estimate
    p: float

    @classmethod
    def of(
        cls,
        made: literals.Literals,
        kept: stability.Kept,
        halves: Halves,
        mine: Array,
        theirs: Array,
        at: Setting,
    ) -> _Judged | None:
        """None if too few rows of it are left to judge by."""
        rows = all_hold(made.holds, [kept.chosen])[:, 0]
        held = np.zeros_like(rows)
        held[halves.held] = rows[halves.held]
        a, b = (_mean(v, held, at) for v in (mine, theirs))
        if a.n < HELD_LEAST or a.units < 10:
            return None
        harm = b - a
        se = inference.standard_error(harm, at.seed)
        p = p_values(harm.value, MARGIN, se, harm.dof, 1)[0]
        searched = int(rows[halves.searched].sum())
        words, where = made.words(kept.chosen), made.rule(kept.chosen)
        return cls(words, where, rows, searched, kept.came_back, a, b, p)

    def reading(self, statistic: str, adjusted: float) -> Reading:
        """What is told of it."""
        return Reading(
            self.mine,
            statistic,
            slice=self.words,
            teacher=self.theirs,
            params={
                "where": self.where,
                "rows": int(self.rows.sum()),
                "searched rows": self.searched,
                "came back": round(self.came_back, 2),
                "p": self.p,
                "p adjusted": adjusted,
                "tolerated": MARGIN,
            },
        )


def _scores(evidence: Evidence) -> tuple[Array, Array]:
    """(n,) scores of a model and of the mean member beside it."""
    beside = evidence.beside
    if beside is None:
        raise NotMeasurable("there is no other member to hold it against")
    if beside.apart:
        raise NotMeasurable(beside.apart)
    if beside.failed:
        raise SubjectError("teacher", f"cannot be asked: {beside.failed}", "mend the member")
    assert evidence.score is not None
    assert beside.typical is not None
    return evidence.score, beside.typical


def _literals(at: Setting, halves: Halves) -> literals.Literals:
    """What slices are put together from, made once for all models."""
    if "literals" not in at.shared:
        columns = attributes.columns(at.data)
        at.shared["literals"] = literals.make(columns, halves.searched, LEAST)
    made: literals.Literals = at.shared["literals"]
    if not made.each:
        why = "; ".join(made.skipped) or "no column"
        raise NotMeasurable(f"there is nothing to slice by: {why}")
    return made


def _mean(values: Array, rows: NDArray[np.bool_], at: Setting) -> Estimate:
    """Mean over some rows, whose clusters stay units."""
    return row_mean(values[rows], at.units_of(rows))
