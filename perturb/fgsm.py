"""One step."""

from __future__ import annotations

from typing import ClassVar

from ringtest.condition import condition
from ringtest.perturb.attack import MisleadingGradient


@condition
class FGSM(MisleadingGradient):
    """One step of eps along the signs of the gradient, from the clean point.

    No measure of robustness, but a check: an attack in many steps that does no better is broken, or
    the model masks its gradients.
    """

    kind = "attack.fgsm"
    about = "one signed gradient step in Linf, worst case over cross-entropy and DLR"
    source = "Goodfellow et al. 2015, arXiv:1412.6572"
    efforts: ClassVar[tuple[str, ...]] = ()
    steps = 1
    rate = 1.0
    random_start = False
