"""Random fields over images: smooth ones, and clouds of many scales. No photograph is needed."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor

from ringtest.shift import common

OCTAVES = 6
"""Scales of a cloud, each half of the one before."""


def smooth(x: Tensor, fields: int, scale: float, rng: torch.Generator) -> Tensor:
    """Gaussian random fields that vary over about ``scale`` pixels, alike in all directions.

    Sums of Gaussian bumps with heights at random, on a grid that goes on beyond the edges. Every
    point has mean 0 and variance exactly 1.

    Args:
        x: (b, c, h, w) images that say how many and how large.
        fields: how many for each image.
        scale: standard deviation of a bump in pixels.
        rng: source of the heights.

    Returns:
        (b, fields, h, w) float32.
    """
    down, across = (_bumps(side, scale).to(x.device) for side in x.shape[2:])
    heights = common.normal((x.shape[0], fields, down.shape[1], across.shape[1]), rng, x)
    return down @ heights @ across.T


def _bumps(side: int, scale: float) -> Tensor:
    """(side, bumps) values of the bumps of one axis at its pixels; squares of a row sum to 1."""
    count = math.ceil(side / scale + 6)
    # One bump for each scale, and three beyond each edge; the grid is centred.
    at = (torch.arange(count) - (count - 1) / 2) * scale
    pixels = torch.arange(side) - (side - 1) / 2
    values = torch.exp(-0.5 * ((pixels[:, None] - at) / scale) ** 2)
    norm: Tensor = values.norm(dim=1, keepdim=True)
    return values / norm


def cloud(x: Tensor, rng: torch.Generator) -> Tensor:
    """Plasma noise: smooth fields from half of the shorter side down, halved in scale and height.

    Returns:
        (b, 1, h, w) float32 of mean 0 and variance 1.
    """
    side = min(x.shape[2:])
    weights = [0.5**octave for octave in range(OCTAVES)]
    norm = math.hypot(*weights)
    # No bump is finer than half a pixel, where there is nothing left to see.
    scales = [max(0.5, side * weight / 2) for weight in weights]
    fields = [w / norm * smooth(x, 1, s, rng) for w, s in zip(weights, scales, strict=True)]
    return torch.stack(fields).sum(0)


def patches(field: Tensor, share: float, soft: float) -> Tensor:
    """Where a field of variance 1 is high: 1 inside of about ``share`` of the area, 0 outside.

    Args:
        field: (b, 1, h, w) of :func:`smooth`.
        share: of the area, between 0 and 1.
        soft: over how much of the field's standard deviation the rim fades.
    """
    threshold = NormalDist().inv_cdf(1 - share)
    return ((field - threshold) / soft + 0.5).clamp_(0, 1)
