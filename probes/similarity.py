"""What similarities in [-1, 1] have in common: their scale, and what they cannot see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ringtest import margins
from ringtest.condition import Role
from ringtest.evidence import Evidence
from ringtest.measure import ORTHOGONAL, PERMUTATION, SCALE, NotMeasurable, PairMeasure
from ringtest.representations import in_unit_sd

SCALED = f"atanh({margins.CKA_RELIABILITY:g} %s)"
"""Name of the scale of a similarity; CKA is judged on the same."""


def z(value: Tensor) -> Tensor:
    """Atanh of an attenuated similarity in [-1, 1], on which margins travel."""
    return (margins.CKA_RELIABILITY * value.clamp(-1.0, 1.0)).atanh()


def centred(rows: Tensor, least: int, layer: str) -> Tensor:
    """(m, d) float64 rows less their mean; units that do not vary are exactly 0.

    Raises NotMeasurable for under ``least`` rows, NaN or infinity, or if no unit varies.
    """
    x = rows.detach().double()
    if x.shape[0] < least:
        raise NotMeasurable(f"{x.shape[0]} rows of layer {layer} are fewer than {least}")
    if not bool(torch.isfinite(x).all()):
        raise NotMeasurable(f"layer {layer} holds NaN or infinity")
    varies = (x != x[0]).any(0)
    if not bool(varies.any()):
        raise NotMeasurable(f"no unit of layer {layer} varies")
    return torch.where(varies, x - x.mean(0), torch.zeros_like(x[0]))


def directions(rows: Tensor, least: int, layer: str) -> Tensor:
    """(m, d) centred rows at unit length; a row at the centre stays 0. Raises as `centred`."""
    x = centred(rows, least, layer)
    norm = x.norm(dim=1, keepdim=True)
    return x / torch.where(norm > 0, norm, torch.ones_like(norm))


class Similarity(PairMeasure):
    """A similarity in [-1, 1] that rotations and one scale for all units leave as it is.

    1 for equal codes, 0 in expectation for unrelated ones. Context, read when asked for, unless a
    subclass says otherwise.
    """

    direction = "higher"
    range = (-1.0, 1.0)
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, SCALE})
    null_value: ClassVar[float | None] = 0.0
    default = False
    unit = "z"
    needs = frozenset({"sample"})
    on: ClassVar[tuple[Role, ...]] = ("clean", "off_support", "certified", "unlabelled")

    def forms(self, evidence: Evidence) -> dict[str, Evidence]:
        """As it is, and with all units at one scale."""
        return {"": evidence, "units at SD 1": in_unit_sd(evidence)}

    def raw(self, value: float) -> float:
        """The similarity from z."""
        return math.tanh(value) / margins.CKA_RELIABILITY

    def slope(self, value: float) -> float:
        """Derivative of the similarity by z."""
        return (1.0 - math.tanh(value) ** 2) / margins.CKA_RELIABILITY

    def chance(self, prepared: Sequence[Any]) -> float:
        """Unrelated codes have similarity 0."""
        return 0.0
