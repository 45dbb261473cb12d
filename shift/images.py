"""Operations on a batch of images (b, channels, height, width): float32 in, float32 out.

Every row is treated by itself. Angles are in degrees, lengths in pixels.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

GRID: Final = 4
"""Patches are cut on a grid of 4 x 4."""


def warp(x: Tensor, matrix: Tensor, offset: Tensor, fill: float) -> Tensor:
    """Draw every output pixel, at p from the centre, from the input's ``matrix @ p + offset``.

    Args:
        x: (b, c, h, w).
        matrix: (b, 2, 2) in pixels, (x, y) with y downwards.
        offset: (b, 2) in pixels.
        fill: value of what lies outside the image.
    """
    height, width = x.shape[2:]
    size = torch.tensor([width, height], dtype=x.dtype, device=x.device)
    # affine_grid counts in halves of the image's sides, which differ: a rotation in these units
    # would shear an image that is not square.
    linear = matrix * size[None, None, :] / size[None, :, None]
    theta = torch.cat([linear, (2 * offset / size)[:, :, None]], dim=2)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    # Outside is 0 for grid_sample, hence the move.
    moved = functional.grid_sample(x - fill, grid, padding_mode="zeros", align_corners=False)
    return moved + fill


def rotated(x: Tensor, degrees: float | Tensor, fill: float) -> Tensor:
    """Rotate counter-clockwise about the centre, bilinear; one angle or (b,) angles."""
    angle = torch.as_tensor(degrees, dtype=x.dtype, device=x.device).expand(x.shape[0]).deg2rad()
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    return warp(x, matrix, torch.zeros_like(matrix[:, 0]), fill)


def scaled(x: Tensor, factor: float, fill: float) -> Tensor:
    """Enlarge about the centre by ``factor``, bilinear."""
    matrix = torch.eye(2, dtype=x.dtype, device=x.device).expand(x.shape[0], 2, 2) / factor
    return warp(x, matrix, torch.zeros_like(matrix[:, 0]), fill)


def translated(x: Tensor, by: Tensor, fill: float) -> Tensor:
    """Move every row by its own (b, 2) pixels, to the right and down, bilinear."""
    matrix = torch.eye(2, dtype=x.dtype, device=x.device).expand(x.shape[0], 2, 2)
    return warp(x, matrix, -by, fill)


def shifted(x: Tensor, right: int, down: int, fill: float) -> Tensor:
    """Move all rows by whole pixels, exactly."""
    return functional.pad(x, (right, -right, down, -down), value=fill)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian of ``sigma`` pixels; the edge is repeated outwards."""
    down, across = (_smoothing(side, sigma).to(x.device, x.dtype) for side in x.shape[2:])
    # Two matrix products: on a CPU several times faster than convolutions of single channels.
    return down @ x @ across.T


def _smoothing(side: int, sigma: float) -> Tensor:
    """(side, side) weights of the inputs in each output, along one side of an image."""
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    sources = (torch.arange(side)[:, None] + offsets).clamp(0, side - 1)
    weights = (kernel / kernel.sum()).expand(sources.shape)
    return torch.zeros(side, side).scatter_add(1, sources, weights)


def contrasted(x: Tensor, factor: float) -> Tensor:
    """Multiply the distance from the mean of each image and channel by ``factor``."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return mean + factor * (x - mean)


def patches_shuffled(x: Tensor, draws: Tensor, grid: int = GRID) -> Tensor:
    """Cut into ``grid`` x ``grid`` patches, in the order of ``draws`` (b, at least that many).

    What is left over at the right and bottom where a side does not divide by it stays in place; a
    shorter side is cut into single pixels.
    """
    rows, channels = x.shape[:2]
    down, across = (min(grid, side) for side in x.shape[2:])
    high, wide = x.shape[2] // down, x.shape[3] // across
    cut = x[:, :, : down * high, : across * wide]
    cut = cut.reshape(rows, channels, down, high, across, wide).permute(0, 2, 4, 1, 3, 5)
    cut = cut.reshape(rows, down * across, channels, high, wide)
    order = draws[:, : down * across].argsort(dim=1)
    cut = cut[torch.arange(rows, device=x.device)[:, None], order]
    cut = cut.reshape(rows, down, across, channels, high, wide).permute(0, 3, 1, 4, 2, 5)
    out = x.clone()
    out[:, :, : down * high, : across * wide] = cut.reshape(
        rows, channels, down * high, across * wide
    )
    return out


def phases_scrambled(x: Tensor, noise: Tensor, share: float = 1.0) -> Tensor:
    """Turn the phases of the 2-D Fourier transform by a share of those of ``noise`` (b, 1, h, w).

    The phases of a real image's transform are odd, so the result is real and no amplitude changes.
    All channels turn alike, which keeps their relation, and the mean stays.
    """
    angle = share * torch.fft.rfft2(noise).angle()
    turn = torch.polar(torch.ones_like(angle), angle)
    if share < 1:
        # Frequencies that are their own opposites are real, and a part of a half turn is not.
        own = [0, x.shape[2] // 2] if x.shape[2] % 2 == 0 else [0]
        wide = [0, x.shape[3] // 2] if x.shape[3] % 2 == 0 else [0]
        turn[:, :, torch.tensor(own)[:, None], torch.tensor(wide)] = 1.0
    turn[:, :, 0, 0] = 1.0
    scrambled: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * turn, s=x.shape[2:])
    return scrambled
