"""When taking a concept out of a layer says something: it is there, and it leaves room."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from ringtest import inference
from ringtest.estimate import row_mean
from ringtest.measure import Setting
from ringtest.probes.concepts import Concept

DECODABLE: Final = 0.1
"""Least score over the best constant answer, as a share of the way from there to perfect, that
leaves something to lose."""


def unheld(concept: Concept, scores: Tensor, at: Setting) -> str:
    """Why a concept cannot be lost from a layer that does not hold it; empty if it holds it.

    Args:
        concept: what was decoded.
        scores: (m,) of each sampled row, out of its fold.
        at: whose rows they are.
    """
    held = row_mean(scores.numpy(), at.sample_units)
    least = concept.chance + DECODABLE * (1.0 - concept.chance)
    # Not `held < least`: NaN holds nothing either.
    if held.value - 2.0 * inference.standard_error(held) >= least:
        return ""
    return (
        f"{concept.name} cannot be decoded from the layer ({concept.statistic} "
        f"{held.value:.2f}, at least {least:.2f} by two standard errors is needed)"
    )


def crowded(concept: Concept, rank: int, live: int) -> str:
    """Why no random subspace is a fair comparison; empty if one is.

    Args:
        concept: what is taken out.
        rank: directions that it takes.
        live: directions that the layer has.
    """
    if 2 * rank <= live:
        return ""
    return (
        f"{concept.name} takes {rank} of {live} directions of the layer: "
        "a random subspace takes most of them, too"
    )
