"""Blurs of a batch of images (b, channels, height, width): kernels, and what needs no kernel.

Float32 in, float32 out. Beyond its edge an image goes on as it ends. Lengths are in pixels.
"""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from ringtest.shift import images


def convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve every channel with a kernel of odd sides, by way of the Fourier transform.

    Args:
        x: (b, c, h, w).
        kernel: (k, l) for all rows, or (b, 1, k, l) with one for each.
    """
    height, width = x.shape[2:]
    down, across = (side // 2 for side in kernel.shape[-2:])
    padded = functional.pad(x, (across, across, down, down), mode="replicate")
    # What the transform wraps around falls into the padding, so no more is needed than that.
    size = [int(next_fast_len(side, real=True)) for side in padded.shape[2:]]
    product = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernel, s=size)
    full: Tensor = torch.fft.irfft2(product, s=size)
    return full[:, :, 2 * down : 2 * down + height, 2 * across : 2 * across + width]


def disc(radius: float, like: Tensor) -> Tensor:
    """The (k, k) kernel of a lens out of focus: a disc whose rim fades over one pixel.

    A radius of .5 is a single pixel, which changes nothing.
    """
    reach = math.ceil(radius + 0.5) - 1
    at = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    kernel = (radius + 0.5 - torch.hypot(at[:, None], at)).clamp(0, 1)
    return kernel / kernel.sum()


def lines(length: float, degrees: Tensor) -> Tensor:
    """The (b, 1, k, k) kernels of movement along (b,) angles: lines one pixel wide that fade.

    A length of 1 is a single pixel at angle 0, which changes nothing.
    """
    reach = math.ceil(length / 2 + 0.5) - 1
    at = torch.arange(-reach, reach + 1, dtype=degrees.dtype, device=degrees.device)
    angle = degrees.deg2rad()[:, None, None]
    along = at * angle.cos() + at[:, None] * angle.sin()
    across = at[:, None] * angle.cos() - at * angle.sin()
    kernel = (1 - across.abs()).clamp_min(0) * (length / 2 + 0.5 - along.abs()).clamp(0, 1)
    return (kernel / kernel.sum(dim=(1, 2), keepdim=True))[:, None]


def zoomed(x: Tensor, largest: float, steps: int) -> Tensor:
    """The mean of ``steps`` bilinear zooms about the centre, evenly from 1 to ``largest``."""
    # All rows as channels of one: where the pixels come from is then worked out once.
    flat = x.reshape(1, -1, *x.shape[2:])
    total = flat.clone()
    for step in range(1, steps):
        total += images.scaled(flat, 1 + (largest - 1) * step / (steps - 1), 0.0)
    return (total / steps).reshape(x.shape)


def jumbled(x: Tensor, reach: float, draws: Tensor) -> Tensor:
    """Every pixel shows one near it, all channels alike.

    Args:
        x: (b, c, h, w).
        reach: furthest offset along each axis; uniform, rounded to whole pixels, so that one of .5
            changes nothing. What would lie outside is taken from the edge.
        draws: (b, 2, h, w) in [0, 1), down and across.
    """
    height, width = x.shape[2:]
    offset = ((2 * draws - 1) * reach).round_().long()
    row = (torch.arange(height, device=x.device)[:, None] + offset[:, 0]).clamp_(0, height - 1)
    column = (torch.arange(width, device=x.device) + offset[:, 1]).clamp_(0, width - 1)
    source = (row * width + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, source).reshape(x.shape)
