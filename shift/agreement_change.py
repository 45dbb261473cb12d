"""Do student and members still answer alike where the data have moved?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ringtest import blocks
from ringtest.condition import Clean
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, PairMeasure, Setting, measure
from ringtest.shift.agreement import Agreement

_AGREEMENT = Agreement()


@dataclass(frozen=True)
class _Both:
    """One model under the condition, and on the clean rows, as agreement prepares it."""

    now: Any
    then: Any
    paired: bool
    """Whether row i of the one is row i of the other."""


@measure
class AgreementChange(PairMeasure):
    """Agreement of two models under a condition minus their agreement on clean rows.

    Below 0 they have parted, so higher is better; on the scale of ``outputs.agreement``, of which
    it is the difference: classes in [-1, 1], values in (-inf, inf), embeddings in [-2, 2]. Students
    are held to the members, members to each other: what the members themselves lose is the shift's
    doing, and the rest is the student's.

    Paired row by row where the condition keeps rows. Else the two sets of rows are taken to be
    independent, which is wrong on the safe side where one is part of the other.

    Source: Stanton et al. 2021 (arXiv:2106.05945), on and off the training distribution.
    """

    id = "outputs.agreement_change"
    about = "agreement of student and members under a condition minus that on clean rows"
    range = (-np.inf, np.inf)
    statistic = "change of agreement"
    unit = "share"
    needs = frozenset({"outcomes", "sample", "clean_pair"})
    on = ("context", "off_support", "certified", "unlabelled")
    default = False
    source = "Stanton et al. 2021, arXiv:2106.05945"

    def prepare(self, evidence: Evidence, at: Setting) -> Any:
        """What agreement makes of one model, twice."""
        if evidence.clean is None:
            raise NotMeasurable("there are no clean rows to hold it against")
        data = at.data
        rows = blocks.sample_rows(data.n)
        clean = replace(at, condition=Clean(), rows=rows, units=data.cluster)
        return _Both(
            _AGREEMENT.prepare(evidence, at),
            _AGREEMENT.prepare(evidence.clean, clean),
            at.condition.keeps_rows,
        )

    def compare(self, a: Any, b: Any) -> Estimate:
        """Agreement now minus agreement then."""
        now, then = a.now.agree(b.now), a.then.agree(b.then)
        found: Estimate = now - then if a.paired else now.minus_independent(then)
        return found

    def chance(self, prepared: Sequence[Any]) -> float:
        """What unrelated models with these marginals would show."""
        now, then = ([getattr(p, side) for p in prepared] for side in ("now", "then"))
        return _AGREEMENT.chance(now) - _AGREEMENT.chance(then)
