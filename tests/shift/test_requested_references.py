"""Corruptions on request, and the operations under them, against direct computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor

from ringtest.shift import corruption_blur as blur
from ringtest.shift import corruption_noise as noise
from ringtest.shift import corruption_weather as weather
from ringtest.shift import images, images_fields, images_filters
from tests.support.pictures import each, near, rng, rough, run


def grey(value: float, channels: int = 1, side: int = 32) -> Tensor:
    return torch.full((40, channels, side, side), value)


# Noise


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_shot_noise_is_poisson(severity: int) -> None:
    condition = noise.ShotNoise(severity=severity)
    photons, level = condition.strength(), 51 / 255
    counts = run(condition, grey(level)) * photons
    near(counts, counts.round(), 1e-4)
    # Half of the values would lie below white's clip: at this level none comes near it.
    law, n = stats.poisson(photons * level), counts.numel()
    assert counts.mean() == pytest.approx(law.mean(), abs=5 * law.std() / n**0.5)
    if severity == 1:
        assert counts.var() == pytest.approx(law.var(), rel=0.03)
    k = np.arange(int(photons))
    seen = np.bincount(counts.round().int().flatten().numpy(), minlength=len(k))[: len(k)] / n
    assert np.abs(seen - law.pmf(k)).max() < 5 * (0.25 / n) ** 0.5


def test_photons_are_the_quantiles_of_scipy() -> None:
    found = (noise.photons(12.0) * 12).round().numpy()[::15]
    chances = (np.arange(noise.CHANCES) + 0.5) / noise.CHANCES
    level = np.linspace(0, 12, noise.LEVELS)[::15, None]
    assert (found == stats.poisson.ppf(chances, level)).mean() > 0.99999
    # What the table leaves out of the tails is next to nothing.
    np.testing.assert_allclose(found[1:].mean(1), level[1:, 0], rtol=2e-3)
    np.testing.assert_allclose(found[1:].var(1), level[1:, 0], rtol=2e-3)


@pytest.mark.parametrize("severity", [1, 5])
def test_impulses_are_salt_and_pepper(severity: int) -> None:
    condition = noise.ImpulseNoise(severity=severity)
    changed = run(condition, grey(0.5, channels=3))
    error = 5 * (0.25 / changed.numel()) ** 0.5
    for extreme in (0.0, 1.0):
        share = (changed == extreme).double().mean()
        assert share == pytest.approx(condition.strength() / 2, abs=error)
    assert set(changed.unique().tolist()) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("value", [0.1, 0.3])
def test_speckle_grows_with_the_value(value: float) -> None:
    changed = run(noise.SpeckleNoise(severity=2), grey(value))
    assert changed.mean() == pytest.approx(value, rel=0.01)
    assert changed.std() == pytest.approx(0.2 * value, rel=0.03)


# Blur


@pytest.mark.parametrize("sigma", [0.4, 1.3, 4.0])
def test_gaussian_blur(sigma: float) -> None:
    x = rough(3, 2, 13, 21)
    radius = int(np.ceil(3 * sigma))
    near(
        images.blurred(x, sigma),
        each(x, lambda p: ndimage.gaussian_filter(p, sigma, mode="nearest", radius=radius)),
    )


@pytest.mark.parametrize("size", [(3, 3), (5, 1), (9, 7), (15, 15)])
def test_box_blur(size: tuple[int, int]) -> None:
    x = rough(3, 2, 10, 14)
    box = torch.full(size, 1 / (size[0] * size[1]))
    near(
        images_filters.convolved(x, box),
        each(x, lambda p: ndimage.uniform_filter(p, size, mode="nearest")),
    )


def test_a_convolution_turns_its_kernel() -> None:
    x, kernel = rough(2, 3, 12, 9), rough(5, 3)
    expected = each(x, lambda p: ndimage.convolve(p, kernel.double().numpy(), mode="nearest"))
    near(images_filters.convolved(x, kernel), expected, 1e-5)


@pytest.mark.parametrize(("side", "severity"), [(8, 1), (32, 5), (112, 4)])
def test_defocus_is_a_disc(side: int, severity: int) -> None:
    condition = blur.DefocusBlur(severity=severity)
    radius = 0.5 + condition.strength() * side
    # How much of each pixel the disc covers, by counting points.
    fine = (np.arange(-1000, 1001) + 0.0) / 80
    pixel = np.floor(fine + 0.5).astype(int)
    inside = (fine[:, None] ** 2 + fine**2) <= radius**2
    kernel = np.zeros((31, 31))
    keep = np.abs(pixel) <= 12
    rows = np.broadcast_to(pixel[:, None], inside.shape)[keep][:, keep]
    columns = np.broadcast_to(pixel, inside.shape)[keep][:, keep]
    np.add.at(kernel, (rows + 15, columns + 15), inside[keep][:, keep])
    kernel /= kernel.sum()
    x = rough(2, 1, side, side)
    expected = each(x, lambda p: ndimage.convolve(p, kernel, mode="nearest"))
    # The rim fades over a pixel instead of being counted; that is all the difference.
    if radius > 1:
        assert (run(condition, x) - expected).abs().mean() < 0.15 * (x - expected).abs().mean()
    exact = images_filters.disc(radius, x)
    reach = exact.shape[0] // 2
    at = np.arange(-reach, reach + 1)
    by_hand = np.clip(radius + 0.5 - np.hypot(at[:, None], at), 0, 1)
    expected = each(x, lambda p: ndimage.convolve(p, by_hand / by_hand.sum(), mode="nearest"))
    near(run(condition, x), expected)


def test_motion_is_along_a_line() -> None:
    x = rough(4, 2, 20, 17)
    angles = torch.tensor([0.0, 90.0, 45.0, -30.0])
    kernels = images_filters.lines(5.0, angles)
    # Level and upright: five pixels, each a fifth.
    level = torch.zeros(5, 5)
    level[2] = 0.2
    near(kernels[0, 0], level, 1e-6)
    near(kernels[1, 0], level.T, 1e-6)
    at = torch.arange(-2.0, 3)
    for kernel, degrees in zip(kernels[:, 0], angles, strict=True):
        cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
        along = at * cos + at[:, None] * sin
        across = at[:, None] * cos - at * sin
        assert kernel.sum() == pytest.approx(1)
        assert (kernel * along**2).sum() == pytest.approx(2.0, rel=0.2)  # of -2 to 2
        assert (kernel * across**2).sum() < 0.25
    moved = images_filters.convolved(x, kernels)
    for row, kernel in enumerate(kernels[:, 0].double().numpy()):
        one = x[row : row + 1]
        near(moved[row : row + 1], each(one, lambda p: ndimage.convolve(p, kernel, mode="nearest")))  # noqa: B023


def test_motion_has_an_angle_for_each_row() -> None:
    point = torch.zeros(200, 1, 41, 41)
    point[:, :, 20, 20] = 1
    spread = run(blur.MotionBlur(severity=5), point)[:, 0]
    at = torch.arange(41.0) - 20
    xy = (spread * at[:, None] * at).sum((1, 2))
    xx = (spread * at**2).sum((1, 2))
    yy = (spread * at[:, None] ** 2).sum((1, 2))
    angle = (0.5 * torch.atan2(2 * xy, xx - yy)).rad2deg()
    assert angle.abs().max() < 47
    assert stats.kstest(angle.numpy(), stats.uniform(-45, 90).cdf).pvalue > 0.01


def test_zoom_is_a_mean_of_zooms() -> None:
    x = rough(2, 3, 12, 17)
    row, column = np.mgrid[:12, :17].astype(float)

    def zoomed(plane: NDArray[Any]) -> NDArray[Any]:
        factors = np.linspace(1, 1.3, 7)
        at = [((row - 5.5) / f + 5.5, (column - 8) / f + 8) for f in factors]
        return np.mean([ndimage.map_coordinates(plane, p, order=1) for p in at], axis=0)

    near(images_filters.zoomed(x, 1.3, 7), each(x, zoomed), 1e-5)


def test_glass_shows_pixels_from_nearby() -> None:
    x, draws = rough(2, 3, 6, 7), torch.rand(2, 2, 6, 7, generator=rng())
    reach = 2.2
    found = images_filters.jumbled(x, reach, draws)
    offsets = np.rint((2 * draws.numpy() - 1) * np.float32(reach)).astype(int)
    assert set(np.unique(offsets)) == {-2, -1, 0, 1, 2}
    for b, i, j in np.ndindex(2, 6, 7):
        down, across = offsets[b, :, i, j]
        source = x[b, :, np.clip(i + down, 0, 5), np.clip(j + across, 0, 6)]
        assert torch.equal(found[b, :, i, j], source)
    assert torch.equal(images_filters.jumbled(x, 0.5 - 1e-6, draws), x)


# Weather


@pytest.mark.parametrize("scale", [0.6, 3.0, 20.0])
def test_smooth_fields_are_gaussian_of_variance_1(scale: float) -> None:
    field = images_fields.smooth(torch.zeros(3000, 1, 12, 9), 2, scale, rng())
    assert field.shape == (3000, 2, 12, 9)
    flat = field.reshape(6000, 108)
    error = 5 / 6000**0.5
    near(flat.mean(0), torch.zeros(108), error)
    near(flat.var(0), torch.ones(108), 2 * error)
    # Two bumps of this scale overlap with the square of the distance, over 4 scale squared.
    row, column = (
        t.flatten().float()
        for t in torch.meshgrid(torch.arange(12), torch.arange(9), indexing="ij")
    )
    distance2 = (row - row[:, None]) ** 2 + (column - column[:, None]) ** 2
    expected = torch.exp(-distance2 / (4 * scale**2))
    near(torch.corrcoef(flat.T), expected, error + 0.02)
    assert stats.kstest(flat[:, 50].numpy(), "norm").pvalue > 0.01


def test_clouds_have_variance_1_and_differ() -> None:
    field = images_fields.cloud(torch.zeros(2000, 3, 16, 12), rng())
    assert field.shape == (2000, 1, 16, 12)
    assert field.var(0).mean() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_patches_cover_their_share(share: float) -> None:
    field = images_fields.smooth(torch.zeros(400, 1, 32, 32), 1, 2.0, rng())
    assert images_fields.patches(field, share, 0.01).mean() == pytest.approx(share, rel=0.1)


def test_fog_is_as_thick_as_it_says() -> None:
    black = torch.zeros(300, 3, 24, 24)
    fog = run(weather.Fog(severity=3), black)
    assert fog.mean() == pytest.approx(0.4, rel=0.03)
    assert fog.std() == pytest.approx(0.12, rel=0.1)
    assert torch.equal(fog[:, 0], fog[:, 2])
    assert (run(weather.Fog(severity=3), torch.ones(2, 1, 8, 8)) == 1).all()


def test_frost_is_at_least_half_as_thick_everywhere() -> None:
    black, strength = torch.zeros(50, 3, 32, 32), 0.54
    ice = run(weather.Frost(severity=3), black) / torch.tensor(weather.ICE)[:, None, None]
    near(ice[:, 0], ice[:, 2], 1e-5)
    assert ice.min() == pytest.approx(strength / 2, abs=1e-5)
    assert 0.95 * strength < ice.max() <= strength + 1e-5


def test_snow_covers_its_share_over_a_haze() -> None:
    strength = weather.Snow.strengths[2]
    snow = run(weather.Snow(severity=3), torch.zeros(200, 1, 48, 48))
    assert snow.min() >= strength - 1e-5
    flakes = 1 - (1 - snow) / (1 - strength)
    assert flakes.mean() == pytest.approx(strength, rel=0.1)
    assert (run(weather.Snow(severity=3), torch.ones(2, 1, 8, 8)) == 1).all()


def test_spatter_is_water_or_mud() -> None:
    half = run(weather.Spatter(severity=4), torch.full((200, 3, 32, 32), 0.5))
    wet, dirty = (half > 0.5).any(3).any(2).all(1), (half < 0.5).any(3).any(2).all(1)
    assert (wet ^ dirty).all()
    assert 60 < wet.sum() < 140
    cover = []
    for rows, liquid in ((wet, weather.WATER), (dirty, weather.MUD)):
        opacity = (half[rows] - 0.5) / (torch.tensor(liquid) - 0.5)[:, None, None]
        near(opacity[:, 0], opacity[:, 2], 1e-5)
        assert opacity.max() == pytest.approx(0.8, abs=1e-5)
        cover.append(opacity[:, 0].mean() / 0.8)
    assert sum(cover) / 2 == pytest.approx(weather.Spatter.strengths[3], rel=0.1)
