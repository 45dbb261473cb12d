"""Corruptions of files and lenses, on request, against direct computations."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib import colors
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images
from torch import Tensor

from ringtest.shift import corruption_digital as digital
from ringtest.shift import images_jpeg, images_resampled
from tests.support.pictures import each, near, rng, rough, run


def test_elastic_moves_pixels() -> None:
    x, by = rough(2, 3, 11, 8), 2.5 * torch.randn(2, 2, 11, 8, generator=rng())
    found = images_resampled.displaced(x, by)
    row, column = np.mgrid[:11, :8].astype(float)
    for b in range(2):
        at = (row + by[b, 0].numpy(), column + by[b, 1].numpy())
        one = x[b : b + 1]
        expected = each(one, lambda p: ndimage.map_coordinates(p, at, order=1, mode="nearest"))  # noqa: B023
        near(found[b : b + 1], expected, 1e-5)


def test_elastic_moves_as_far_as_it_says() -> None:
    # What a ramp shows is where it was taken from.
    ramp = torch.linspace(0, 1, 64).expand(200, 1, 64, 64)
    moved = (run(digital.ElasticTransform(severity=3), ramp) - ramp)[:, :, :, 12:-12] * 63
    assert moved.square().mean().sqrt() == pytest.approx(0.022 * 64, rel=0.05)


@pytest.mark.parametrize(("size", "width"), [((8, 12), 2), ((12, 12), 4), ((15, 9), 3)])
def test_pixels_are_means_of_blocks(size: tuple[int, int], width: int) -> None:
    x = rough(3, 2, *size)
    cut = x.numpy().reshape(3, 2, size[0] // width, width, size[1] // width, width)
    means = cut.mean((3, 5), keepdims=True)
    near(
        images_resampled.pixelated(x, width),
        torch.tensor(np.broadcast_to(means, cut.shape)).reshape(x.shape),
    )


@pytest.mark.parametrize(("side", "count"), [(8, 7), (8, 5), (10, 4)])
def test_pixels_on_a_border_count_by_their_share(side: int, count: int) -> None:
    x = rough(1, 1, side, side)
    # Every pixel as count by count fine ones: then all borders lie between fine pixels.
    fine = np.kron(x[0, 0].double().numpy(), np.ones((count, count)))
    means = fine.reshape(count, side, count, side).mean((1, 3))
    back = np.kron(means, np.ones((side, side)))
    expected = back.reshape(side, count, side, count).mean((1, 3))
    near(images_resampled.pixelated(x, side / count)[0, 0], torch.tensor(expected).float())


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 2.0, 20.0])
def test_saturation_is_that_of_hsv(factor: float) -> None:
    x = rough(2, 3, 9, 7)
    x[0, :, 0, :2] = torch.tensor([0.0, 0.6])  # black and grey have no hue
    hsv = colors.rgb_to_hsv(x.double().permute(0, 2, 3, 1).numpy())
    hsv[..., 1] = np.clip(factor * hsv[..., 1], 0, 1)
    expected = torch.tensor(colors.hsv_to_rgb(hsv)).permute(0, 3, 1, 2).float()
    near(images_resampled.saturated(x, factor), expected, 1e-5)


# JPEG, beside the library behind Pillow


def pillow(x: Tensor, quality: int) -> Tensor:
    """(h, w) or (3, h, w) levels in 0 to 255, through a file."""
    levels = x.byte().numpy() if x.ndim == 2 else x.byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    back = torch.tensor(np.asarray(Image.open(file)).astype(np.float32))
    return back if x.ndim == 2 else back.permute(2, 0, 1)


def photos(height: int, width: int, count: int) -> Tensor:
    """(count, 3, h, w) levels of parts of a photograph."""
    temple = torch.tensor(load_sample_images().images[0]).permute(2, 0, 1).float()
    corners = [(190 - 3 * i, 20 + 13 * i) for i in range(count)]
    return torch.stack([temple[:, i : i + height, j : j + width] for i, j in corners])


@pytest.mark.parametrize("quality", [6, 10, 25, 48, 75, 92])
@pytest.mark.parametrize(
    ("size", "count"),
    [((8, 8), 30), ((32, 32), 30), ((41, 30), 30), ((33, 47), 30), ((224, 224), 2)],
)
def test_jpeg_is_that_of_libjpeg(size: tuple[int, int], count: int, quality: int) -> None:
    """Within half a level of 255 on average, and the same damage.

    Both round to levels after the same steps, but libjpeg's transforms are of integers: a
    coefficient between two steps may fall to either, and then a block differs by a step. At a
    quality of 92 the damage itself is as small as that, so only its size is compared.
    """
    x = photos(*size, count)
    found = 255 * images_jpeg.compressed(x / 255, quality)
    expected = torch.stack([pillow(row, quality) for row in x])
    planes = x.reshape(-1, 1, *size)
    grey = 255 * images_jpeg.compressed(planes / 255, quality)
    expected_grey = torch.stack([pillow(plane[0], quality)[None] for plane in planes])
    for x_, ours, theirs in ((x, found, expected), (planes, grey, expected_grey)):
        assert (ours - theirs).abs().mean() < 0.5
        damage = torch.stack([ours - x_, theirs - x_]).flatten(1)
        assert quality > 90 or torch.corrcoef(damage)[0, 1] > 0.98


@pytest.mark.parametrize("quality", [1, 10, 25, 50, 75, 95, 100])
def test_jpeg_has_the_tables_of_libjpeg(quality: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    tables = Image.open(file).quantization  # type: ignore[attr-defined]
    for number, base in enumerate((images_jpeg.LUMINANCE, images_jpeg.CHROMINANCE)):
        assert images_jpeg.table(base, quality).tolist() == list(tables[number])


def test_jpeg_treats_other_channels_as_grey() -> None:
    x = torch.cat([photos(24, 24, 1), photos(24, 24, 1)[:, :1].flip(3)], dim=1) / 255
    alone = [images_jpeg.compressed(x[:, c : c + 1], 20) for c in range(4)]
    assert torch.equal(images_jpeg.compressed(x, 20), torch.cat(alone, dim=1))


def test_the_quality_of_a_severity() -> None:
    found = [digital.JpegCompression(severity=s).quality(224) for s in range(1, 6)]
    assert found == [25, 18, 13, 9, 6]
    assert digital.JpegCompression(severity=1).quality(1000) == 25
    assert digital.JpegCompression(severity=1).quality(28) == 50  # 224 = 8 * 28
    assert digital.JpegCompression(severity=1).quality(1) == 100
