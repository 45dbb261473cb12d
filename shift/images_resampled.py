"""Operations on images (b, channels, height, width) that move, merge or recolour pixels.

Float32 in, float32 out; lengths are in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def displaced(x: Tensor, by: Tensor) -> Tensor:
    """Every pixel shows what lies ``by`` (b, 2, h, w) pixels down and across from it, bilinear.

    Beyond its edge an image goes on as it ends.
    """
    height, width = x.shape[2:]
    row = torch.arange(height, dtype=x.dtype, device=x.device)[:, None] + by[:, 0]
    column = torch.arange(width, dtype=x.dtype, device=x.device) + by[:, 1]
    # grid_sample counts from -1 at the outer edge of the first pixel to 1 at that of the last.
    grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=3)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def pixelated(x: Tensor, width: float) -> Tensor:
    """Means over equal blocks of about ``width`` by ``width`` pixels.

    A side is cut into the whole number of blocks nearest to that, but always into fewer than it
    has pixels. A pixel on the border of two blocks counts in each, and shows of each, by the share
    of it that lies there: by whole pixels the width of blocks would vary, and with it the damage.
    """
    down, across = (_shares(side, width).to(x.device, x.dtype) for side in x.shape[2:])
    small = (down / down.sum(1, keepdim=True)) @ x @ (across / across.sum(1, keepdim=True)).T
    return down.T @ small @ across


def _shares(side: int, width: float) -> Tensor:
    """(blocks, side): how much of each pixel of an axis lies in each block."""
    count = max(1, min(side - 1, round(side / width)))
    edges = torch.arange(count + 1, dtype=torch.float64)[:, None] * side / count
    pixel = torch.arange(side, dtype=torch.float64)
    overlap = torch.minimum(edges[1:], pixel + 1) - torch.maximum(edges[:-1], pixel)
    return overlap.clamp_min(0)


def saturated(x: Tensor, factor: float) -> Tensor:
    """Multiply the saturation of colours by ``factor`` and cut it at 1; hue and value stay.

    Args:
        x: (b, 3, h, w) red, green and blue in [0, 1].
        factor: from 0, which leaves grey.
    """
    value = x.amax(1, keepdim=True)
    saturation = (value - x.amin(1, keepdim=True)) / value.clamp_min(1e-12)
    # In HSV the channels' distances below the largest are proportional to the saturation.
    ratio = torch.minimum(torch.full_like(value, factor), 1 / saturation.clamp_min(1e-12))
    return value - (value - x) * ratio
