"""Ridge probes whose weights have a low rank: how few directions hold a concept?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from ringtest.measure import Setting, measure
from ringtest.probes.concepts import Concept
from ringtest.probes.layer_probe import LayerProbe, side_by_side
from ringtest.probes.linear import cross_validated

RANK: Final = 2
"""Directions that a probe may read; a concept of fewer columns needs fewer."""


@measure
class LowRank(LayerProbe):
    """Cross-validated score of a ridge probe that reads two directions of the layer at most.

    Reduced-rank ridge regression in closed form, otherwise the probe of ``probe.decodability``,
    and equal to it for up to two classes or columns of values (three classes differ by the common
    mean alone). Accuracy in [0, 1] for classes, R^2 in (-inf, 1] for values; higher is better. Set
    beside the full probe it says whether many classes lie in few directions.

    Source: Izenman 1975; Mukherjee & Zhu 2011.
    """

    id = "probe.low_rank"
    about = f"score of a ridge probe that reads {RANK} directions of the layer at most"
    default = False
    source = "Mukherjee & Zhu 2011"

    def scores(
        self, layers: Sequence[Tensor], concept: Concept, fold: Tensor, at: Setting
    ) -> Tensor:
        """(layers, m) scores out of fold."""

        def one(x: Tensor) -> Tensor:
            return concept.score(cross_validated(x, concept.columns, fold, rank=RANK))

        return torch.stack(side_by_side(one, layers))
