"""What JPEG leaves of a batch of images: baseline, quantised by the tables of its Annex K.

Nothing is coded, since coding loses nothing. Source: ITU-T T.81 (DCT, Annex K), JFIF (colour), and
the usual scale of qualities from 1 to 100, of the Independent JPEG Group.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

LUMINANCE: Final = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
"""Table K.1, row by row."""
CHROMINANCE: Final = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 32),
)
"""Table K.2, row by row."""
COLOUR: Final = (
    (0.299, 0.587, 0.114),
    (-0.299 / 1.772, -0.587 / 1.772, 0.5),
    (0.5, -0.587 / 1.402, -0.114 / 1.402),
)
"""JFIF: red, green and blue into luminance and two differences of colour."""


def compressed(x: Tensor, quality: int) -> Tensor:
    """Compress and decompress.

    Three channels are taken for red, green and blue: luminance, and chrominance at half the
    resolution (4:2:0). Of any other number each channel is a grey image of its own.

    Args:
        x: (b, c, h, w) float32 in [0, 1]; rounded to 256 levels, as in a file.
        quality: 1 to 100.

    Returns:
        (b, c, h, w) float32 in [0, 1], on 256 levels.
    """
    levels = (255 * x).round_()
    if x.shape[1] != 3:
        return _quantised(levels, LUMINANCE, quality) / 255
    mix = torch.tensor(COLOUR, dtype=x.dtype, device=x.device)
    # Differences of colour are centred on 128 in a file, which quantising takes off again.
    middle = torch.tensor([0.0, 128.0, 128.0], dtype=x.dtype, device=x.device)[:, None]
    planes = (mix @ levels.flatten(2) + middle).round_().clamp_(0, 255).reshape(x.shape)
    light = _quantised(planes[:, :1], LUMINANCE, quality)
    colours = _upsampled(
        _quantised(_halved(planes[:, 1:]), CHROMINANCE, quality), x.shape[2], x.shape[3]
    )
    back = torch.cat([light, colours], dim=1).flatten(2) - middle
    decoded: Tensor = (torch.linalg.inv(mix) @ back).round_().clamp_(0, 255)
    return decoded.reshape(x.shape) / 255


def table(base: tuple[int, ...], quality: int) -> Tensor:
    """(64,) steps of the coefficients at a quality, row by row."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return torch.tensor([min(255, max(1, (step * scale + 50) // 100)) for step in base])


def _quantised(planes: Tensor, base: tuple[int, ...], quality: int) -> Tensor:
    """Every 8 x 8 block of (b, c, h, w) planes of levels in 0 to 255, to steps and back."""
    height, width = planes.shape[2:]
    padded = functional.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
    down, across = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.reshape(-1, down, 8, across, 8).transpose(2, 3).reshape(-1, 64)
    dct = _transform().to(planes.device, planes.dtype)
    steps = table(base, quality).to(planes.device, planes.dtype)
    counts = (blocks - 128) @ dct.T / steps
    # Means of blocks are often half a step, which goes outwards; the product is right to less.
    coefficients = (counts.abs() + (0.5 + 1e-4)).floor_().copysign_(counts) * steps
    back = (coefficients @ dct + 128).round_().clamp_(0, 255)
    back = back.reshape(-1, down, across, 8, 8).transpose(2, 3).reshape(padded.shape)
    return back[:, :, :height, :width]


@cache
def _transform() -> Tensor:
    """(64, 64): the orthonormal DCT-II of a block, as one product with its 64 pixels."""
    at = torch.arange(8, dtype=torch.float64)
    one = torch.cos(math.pi * at[:, None] * (at + 0.5) / 8) / 2
    one[0] /= math.sqrt(2)
    return torch.kron(one, one).float()


def _halved(planes: Tensor) -> Tensor:
    """Means of two by two pixels, filled up with copies of the last column to blocks of 8."""
    even = functional.pad(planes, (0, -planes.shape[3] % 16, 0, planes.shape[2] % 2), "replicate")
    return _alternating(functional.avg_pool2d(even, 2), 0.25, 0.5)


def _upsampled(planes: Tensor, height: int, width: int) -> Tensor:
    """Twice as large, each pixel from the four nearest by 9, 3, 3 and 1 sixteenth, as libjpeg."""
    seen = planes[:, :, : (height + 1) // 2, : (width + 1) // 2]
    large = functional.interpolate(seen, scale_factor=2, mode="bilinear", align_corners=False)
    return _alternating(large[:, :, :height, :width], 8 / 16, 7 / 16)


def _alternating(planes: Tensor, even: float, odd: float) -> Tensor:
    """Whole levels: halves go down in every second column and up in the others, as in libjpeg.

    Rounded to one side all over, colours would be off by a part of a level everywhere.
    """
    bias = torch.tensor([even, odd], dtype=planes.dtype, device=planes.device)
    return (planes + bias.repeat(-(-planes.shape[3] // 2))[: planes.shape[3]]).floor_()
