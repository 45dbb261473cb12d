"""Operations on images against exact answers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ringtest.shift import images


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(x: Tensor, turns: int) -> None:
    turned = images.rotated(x, 90.0 * turns, 0.0)
    torch.testing.assert_close(turned, torch.rot90(x, turns, (2, 3)), atol=1e-5, rtol=0)


def test_each_row_its_own_angle(x: Tensor) -> None:
    turned = images.rotated(x, torch.tensor([0.0, 90, 180, -90, 360]), 0.0)
    for row, turns in enumerate([0, 1, 2, 3, 0]):
        torch.testing.assert_close(turned[row], x[row].rot90(turns, (1, 2)), atol=1e-5, rtol=0)


def test_rotation_does_not_shear_what_is_not_square() -> None:
    # A disc stays a disc: its second moments are equal in both directions.
    row, column = torch.meshgrid(torch.arange(21.0) - 10, torch.arange(41.0) - 20, indexing="ij")
    disc = (row**2 + column**2 < 49).float()[None, None]
    turned = images.rotated(disc, 37.0, 0.0)[0, 0]
    assert (turned * row**2).sum() == pytest.approx(float((turned * column**2).sum()), rel=0.01)
    assert turned.sum() == pytest.approx(float(disc.sum()), rel=0.01)


def test_translation_by_whole_pixels_is_exact(x: Tensor) -> None:
    moved = images.shifted(x, 2, -1, -7.0)
    assert torch.equal(moved[:, :, :-1, 2:], x[:, :, 1:, :-2])
    assert (moved[:, :, :, :2] == -7).all()
    assert (moved[:, :, -1] == -7).all()
    warped = images.translated(x, torch.tensor([[2.0, -1.0]]).expand(5, 2), -7.0)
    torch.testing.assert_close(warped, moved, atol=1e-5, rtol=0)


def test_scaling_by_two_keeps_the_centre() -> None:
    ramp = torch.arange(9.0).expand(1, 1, 9, 9) - 4
    torch.testing.assert_close(images.scaled(ramp, 2.0, 0.0), ramp / 2)


def test_blur_keeps_constants_and_the_mass_of_a_point() -> None:
    flat = torch.full((1, 2, 5, 7), 3.0)
    torch.testing.assert_close(images.blurred(flat, 4.0), flat)
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1
    soft = images.blurred(point, 1.5)
    assert soft.sum() == pytest.approx(1.0, abs=1e-5)
    at = torch.arange(21.0) - 10
    assert (soft.sum(2).flatten() * at**2).sum() == pytest.approx(1.5**2, rel=0.05)


@pytest.mark.parametrize("size", [(8, 8), (9, 11), (3, 10), (1, 1)])
def test_patches_keep_every_pixel_and_patch(size: tuple[int, int]) -> None:
    g = torch.Generator().manual_seed(1)
    x = torch.rand(6, 2, *size, generator=g)
    draws = torch.rand(6, 16, generator=g)
    mixed = images.patches_shuffled(x, draws)
    assert torch.equal(mixed.flatten(2).sort(2).values, x.flatten(2).sort(2).values)
    if size == (8, 8):
        cells = mixed.unfold(2, 2, 2).unfold(3, 2, 2).flatten(2, 3).transpose(1, 2).flatten(2)
        old = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(2, 3).transpose(1, 2).flatten(2)
        assert torch.equal(cells, old.gather(1, draws.argsort(1)[:, :, None].expand_as(old)))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 6)])
def test_phases_keep_amplitudes_and_means(size: tuple[int, int]) -> None:
    g = torch.Generator().manual_seed(1)
    x = torch.rand(4, 3, *size, generator=g)
    mixed = images.phases_scrambled(x, torch.randn(4, 1, *size, generator=g))
    before, after = torch.fft.fft2(x).abs(), torch.fft.fft2(mixed).abs()
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mixed.mean((2, 3)), x.mean((2, 3)))
    assert (mixed - x).abs().mean() > 0.05
