"""Is a model robust, or is it the attack that fails: checks for masked gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch

from ringtest import blocks, rerun
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Array, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, Reading, Setting, measure
from ringtest.perturb.attack import MisleadingGradient
from ringtest.perturb.bench import Bench, Right
from ringtest.perturb.geometry import Linf
from ringtest.perturb.square import Square
from ringtest.tasks import AnyTask


@dataclass(frozen=True)
class Check:
    """One sign of masked gradients."""

    statistic: str
    """Name of its row."""
    values: Callable[[Bench], Array]
    """(m,) of each row; their mean is 0 or less where nothing is wrong."""
    words: str
    """What a failed check says; ``{}`` is its value."""
    slack: float = 0.05
    """Up to here the mean is no failure; infinite: it is told, and refutes nothing."""


def _minus(a: Right, b: Right) -> Array:
    """How much of the accuracy of ``a`` is lost in ``b``."""
    return a.astype(np.float64) - b


def _gap(at: Bench) -> Array:
    return _minus(at.alone("ce"), at.alone("dlr"))


def _one_step(at: Bench) -> Array:
    once = at.attack.but(steps=1, rate=1.0, restarts=1, random_start=False)
    return _minus(at.usual(), at.under("one step", once))


def _twice(at: Bench) -> Array:
    return _minus(at.under("twice eps", at.attack.but(severity=2 * at.attack.eps)), at.usual())


def _tiny(at: Bench) -> Array:
    entropy, margin = at.slopes()
    # Not `slope <= limit`: a NaN is no gradient either.
    return (~(entropy > TINY * margin)).astype(np.float64)


def _none(at: Bench) -> Array:
    _, margin = at.slopes()
    usual = np.nanmedian(margin) if np.isfinite(margin).any() else np.inf
    return (at.usual() & ~(margin > TINY * usual)).astype(np.float64)


def _unsteady(at: Bench) -> Array:
    out = np.empty(len(at.at.rows))
    for part, x, _ in at.blocks():
        with torch.no_grad():
            first, second = at.model.outputs(x), at.model.outputs(x)
        moved = ~torch.isclose(first, second, rtol=1e-3, atol=1e-3).all(1)
        out[part] = moved.double().cpu().numpy()
    return out


def _outside(at: Bench) -> Array:
    return at.outside().astype(np.float64)


def _noise(at: Bench) -> Array:
    return _minus(at.usual(), at.noise(NOISES))


def _blind(at: Bench) -> Array:
    blind = Square(severity=at.attack.eps, queries=QUERIES)
    blind.fit([], at.at.data, blocks.generator(at.at.seed, "masking", "fit"))
    return _minus(at.usual(), at.under("black box", blind))


def _lent(at: Bench) -> Array:
    assert at.other is not None
    return _minus(at.usual(), at.made_on(at.other))


def _longer(at: Bench) -> Array:
    attack = at.attack
    more = attack.but(steps=LONGER * attack.steps, rate=LONGER * attack.rate)  # as large as before
    return _minus(at.usual(), at.usual() & at.under("more steps", more))


def _unbounded(at: Bench) -> Array:
    far = 1.0 if at.at.data.bounds is not None else FAR
    return at.under("unbounded", at.attack.but(severity=far, ball=Linf)).astype(np.float64)


TINY: Final = 1e-8
"""Share of the margin's gradient below which that of cross-entropy is tiny: 1 - p of the class."""
NOISES: Final = 20
"""Points that are drawn from the ball."""
QUERIES: Final = 500
"""Of the black-box attack."""
LONGER: Final = 5
"""How many times the usual steps are more steps."""
FAR: Final = 10.0
"""Eps, in standard deviations, that leaves nothing of an input whose range has no bounds."""


class Checks(ModelMeasure):
    """Base: checks of an attack on one model; what fails one is no robust accuracy."""

    direction = "lower"
    range = (-1.0, 1.0)
    unit = "share"
    needs = frozenset({"gradients"})
    on = ("context",)
    default = False
    refutes = ("outputs.score",)
    source = "Carlini et al. 2019, arXiv:1902.06705"
    rows: ClassVar[int] = 256
    """Sampled rows that are looked at, at most."""
    checks: ClassVar[tuple[Check, ...]]

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """An attack in many steps up gradients of cross-entropy and DLR."""
        return (
            isinstance(condition, MisleadingGradient)
            and condition.kind.startswith("attack.pgd")
            and {"ce", "dlr"} <= condition.losses.keys()
        )

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a check."""
        model, (some, _) = rerun.runnable(evidence), rerun.few(at, self.rows)
        assert isinstance(at.condition, MisleadingGradient)
        made = evidence.derived.setdefault("masking", Bench(model, at.condition, some))
        units = some.sample_units
        return [Reading(row_mean(c.values(made), units), c.statistic) for c in self._asked(made)]

    def _asked(self, bench: Bench) -> list[Check]:
        return list(self.checks)

    def objection(self, readings: Mapping[str, float]) -> str:
        """The failed checks in words; NaN fails, too."""
        failed = [
            check.words.format(f"{readings[check.statistic]:.2f}")
            for check in self.checks
            if check.statistic in readings and not readings[check.statistic] <= check.slack
        ]
        return "gradients are masked: " + ", and ".join(failed) if failed else ""


@measure
class Masking(Checks):
    """Cheap checks whether an attack's failure is robustness: a positive number is a bad sign.

    Read under ``attack.pgd``, ``attack.pgd_l2`` or ``attack.pgd_l1``, with that attack's eps and
    budget, on at most 256 rows. In [-1, 1], lower is better. Each is a share of rows, or an
    accuracy less another on the same rows, and fails above 0.05 if nothing else is said:

    - cross-entropy against DLR: accuracy under CE alone less that under DLR alone.
    - tiny gradients: rows whose gradient of CE is at most 1e-8 of the margin's. Told, and no
      failure: honest, confident networks have them, and the attack climbs DLR as well.
    - no gradients: rows that the attack leaves right and whose margin has none, either, or one of
      at most 1e-8 of its median.
    - one step: accuracy under all steps less that under one step from the clean row.
    - larger eps: accuracy under twice the eps less that under eps.
    - unsteady outputs: rows that are not answered alike in two passes; fails above 0.
    - outside: rows of which an example lies outside eps or the bounds, counted anew by plain
      arithmetic; fails above 0.

    A temperature hides gradients from cross-entropy (CE) and not from DLR. Of a gradient the
    largest number counts. Alike are log-probabilities within
    1e-3, absolute and relative.

    Where one fails, the model's score under the attack is not measurable, and the reason says
    which.

    Source: Carlini et al. 2019, arXiv:1902.06705, section 4; Athalye et al. 2018, arXiv:1802.00420.
    """

    id = "attack.masking"
    about = (
        "cheap checks whether gradients are masked: losses, tiny gradients, one step, larger eps"
    )
    checks = (
        Check("cross-entropy against DLR", _gap, "CE and DLR differ by {}"),
        # Honest, confident networks have them, too; where they hide an error, DLR finds it.
        Check("tiny gradients", _tiny, "{} of rows have almost no gradient of CE", np.inf),
        Check("no gradients", _none, "{} of rows stay right and have no gradient at all"),
        Check("one step", _one_step, "one step is stronger than many by {}"),
        Check("larger eps", _twice, "accuracy rises by {} under twice the eps"),
        Check("unsteady outputs", _unsteady, "{} of rows are answered differently twice", 0.0),
        Check("outside", _outside, "{} of examples lie outside eps or the bounds", 0.0),
    )


@measure
class MaskingSearch(Checks):
    """Costly checks whether an attack's failure is robustness: a positive number is a bad sign.

    As ``attack.masking``, by what a longer or a blind search finds:

    - noise: accuracy under the attack less that on the worst of 20 points drawn from the ball.
    - black box: accuracy under the attack less that under ``attack.square``, 500 queries.
    - transfer: accuracy under the attack less that under the same attack made on another model: a
      member, another one for a member. Left out where no other model gives gradients.
    - more steps: rows that the attack leaves right and five times its steps break.
    - unbounded: accuracy under the attack in Linf with the whole range as eps.

    The black box is tried in Linf only. Without bounds the whole range is 10 standard deviations. A
    model that has one answer to everything fails the last check, too.

    Source: Carlini et al. 2019, arXiv:1902.06705, section 4; Athalye et al. 2018, arXiv:1802.00420.
    """

    id = "attack.masking_search"
    about = "costly checks whether gradients are masked: noise, black box, more steps, no bound"
    checks = (
        Check("noise", _noise, "noise is stronger than the attack by {}"),
        Check("black box", _blind, "a black-box attack is stronger by {}"),
        Check("transfer", _lent, "an attack made on another model is stronger by {}"),
        Check("more steps", _longer, "more steps break another {}"),
        Check("unbounded", _unbounded, "{} of rows stay right under an unbounded attack"),
    )

    def _asked(self, bench: Bench) -> list[Check]:
        """The black box knows one norm, and an attack is lent by another model."""
        unasked = {"black box"} if bench.attack.ball is not Linf else set()
        unasked |= {"transfer"} if bench.other is None else set()
        return [check for check in self.checks if check.statistic not in unasked]
