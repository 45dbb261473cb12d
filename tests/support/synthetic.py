"""Similarities and readings whose right judgement is known by hand."""

from dataclasses import replace

import numpy as np

from ringtest.compare import Paired
from ringtest.condition import Condition
from ringtest.estimate import Estimate
from ringtest.headlines import Judge
from ringtest.likeness import Layers, Likeness
from ringtest.measure import Reading, measures

CKA, NEAR, AGREE = (
    measures[m] for m in ("similarity.cka", "similarity.neighbours", "outputs.agreement")
)
SCORE, TWINS, STAY, SPREAD = (
    measures[m]
    for m in (
        "outputs.score",
        "structure.twin_spread",
        "outputs.consistency",
        "structure.invariance_spread",
    )
)
SIMILARITIES = (CKA, NEAR, AGREE)


class At(Condition):
    """A condition of any role, which is never applied here."""

    kind = "test"

    def __init__(self, role: str, name: str = "a") -> None:
        super().__init__(name)
        self.role, self.kind = role, f"shift.{role}"


def estimate(value: float, se: float = 0.001, units: int = 400, pattern: int = 0) -> Estimate:
    """An estimate whose standard error is ``se``; patterns are uncorrelated."""
    sign = np.random.default_rng(pattern).choice([-1.0, 1.0], size=units)
    sign -= sign.mean()
    return Estimate(value, se * sign / np.sqrt(np.sum(sign**2)), units)


def like(student, members=1.0, *, left_out=(1.0, 1.0, 1.0), references=None, chance=0.0, se=0.001):
    return Likeness(
        estimate(student, se, pattern=1),
        None if members is None else estimate(members, se, pattern=2),
        None if references is None else estimate(references, se, pattern=3),
        left_out,
        chance,
        None,
    )


def judge(members=3, same=True, references=False, embedding=False, kindred=True) -> Judge:
    return Judge(members, same, references, embedding, Layers("t", "s"), 0, kindred)


def paired(student, teacher, se=0.001, statistic="x", **more) -> Paired:
    e = estimate(student, se)
    return Paired(Reading(e, statistic, **more), None, teacher, replace(e, value=student - teacher))


def only(rows, **fields):
    found = [r for r in rows if all(getattr(r, k) == v for k, v in fields.items())]
    assert len(found) == 1, found
    return found[0]
