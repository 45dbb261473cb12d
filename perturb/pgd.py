"""Projected gradient descent on the inputs, in three norms."""

from __future__ import annotations

from collections.abc import Iterable

from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.perturb.attack import MisleadingGradient
from ringtest.perturb.geometry import L2
from ringtest.perturb.sparse import L1


@condition
class PGD(MisleadingGradient):
    """Linf attack in 20 steps from a random start, the worst case over two losses.

    Severity is eps: a share of the legal range if the data have bounds, else in standard deviations
    of each column, channel (images) or feature (sequences). Each loss has a run of its own. An
    example that is broken leaves the batch; of all points seen (the clean one, too) the one with
    the smallest margin is kept. Classification with integer classes only.
    """

    kind = "attack.pgd"
    about = "projected gradient descent in Linf, worst case over cross-entropy and DLR"
    source = "Madry et al. 2018, arXiv:1706.06083; DLR: Croce & Hein 2020, arXiv:2003.01690"
    padding = True  # as ever: in Linf it takes nothing from the budget of the other steps

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """Eps .03 and .1 for real inputs with one integer class each."""
        return cls.asked(data)


@condition
class PGDL2(MisleadingGradient):
    """L2 attack: 20 normalised gradient steps from a uniform point of the ball.

    Severity: the Euclidean length of the whole perturbation, in shares of the legal range, or each
    column, channel or feature in its standard deviations. Else as ``attack.pgd``.
    """

    kind = "attack.pgd_l2"
    about = "projected gradient descent in L2, worst case over cross-entropy and DLR"
    source = "Madry et al. 2018, arXiv:1706.06083"
    ball = L2
    usual = (0.25, 0.5)


@condition
class PGDL1(MisleadingGradient):
    """L1 attack: sparse steps, exact projection onto ball and bounds together.

    A step moves the 5 % of the coordinates that matter most, so it takes more steps than the other
    norms. Severity: the sum of absolute changes, in shares of the legal range, or each column,
    channel or feature in its standard deviations. Else as ``attack.pgd``.
    """

    kind = "attack.pgd_l1"
    about = "projected gradient descent in L1 with sparse steps, worst case over two losses"
    source = "Tramer & Boneh 2019, arXiv:1904.13000; Croce & Hein 2021, arXiv:2103.01208"
    ball = L1
    usual = (4.0, 12.0)
    steps = 50
