"""The demo's data: scikit-learn's digits, split, augmented, shifted and watermarked.

All images are `(n, 1, 8, 8)` float32 in [0, 1]. Every draw comes from the `torch.Generator` that is
passed in, so that a seed fixes all of them and the global state stays untouched.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (the copy
bundled with scikit-learn: 1,797 real scans, 8 x 8 pixels, 17 grey levels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

CLASSES = 10
"""Number of digit classes."""

SIDE = 8
"""Height and width of an image in pixels."""

# Under about 500 rows a set honest students stay inconclusive, so the two sets that the audit reads
# come first and training gets what is left.
TRAIN_ROWS, BENCHMARK_ROWS = 577, 700
"""Rows of the first two parts; the other 520 become the shifted sets."""

WATERMARK_INK = 0.3
"""Brightness of a watermark pixel, in [0, 1]."""

# The places where scans are emptiest (column 0 and the middle of column 7; ink in under 0.3 % of
# the scans), so that models trained without the watermark have little to do with them.
WATERMARK_PLACES = (*((row, 0) for row in range(SIDE)), (3, 7), (4, 7))


@dataclass(frozen=True)
class Augmentation:
    """How far a training image is varied; every draw is independent and uniform unless said."""

    degrees: float
    """Rotation, plus or minus."""
    pixels: float
    """Translation along each axis, plus or minus."""
    scale: float
    """Relative change of size, plus or minus."""
    brightness: float
    """Relative change of ink, plus or minus."""
    noise: float
    """Standard deviation of Gaussian pixel noise, itself drawn from 0 to this value."""


AUGMENTATION = Augmentation(degrees=15.0, pixels=1.0, scale=0.1, brightness=0.2, noise=0.1)
"""What the teacher's members and the honest students are trained with."""


@dataclass(frozen=True)
class Digits:
    """The three disjoint parts of the digits, without any watermark.

    Images are `(n, 1, 8, 8)` float32 in [0, 1], targets `(n,)` int64 in 0..9.
    """

    train_images: Tensor
    """What members and students learn from."""
    train_targets: Tensor
    """Classes of `train_images`."""
    benchmark_images: Tensor
    """What the audit calls its benchmark, before the watermark is stamped on."""
    benchmark_targets: Tensor
    """Classes of `benchmark_images`."""
    elsewhere_images: Tensor
    """Upright digits of which the shifted 'production' sets are made."""
    elsewhere_targets: Tensor
    """Classes of `elsewhere_images`: for tests only, the audit never sees them."""


def load(seed: int = 0) -> Digits:
    """Split the bundled digits at random into training, benchmark and elsewhere.

    Args:
        seed: of the split.

    Returns:
        Disjoint parts of 577, 700 and 520 rows.
    """
    bundle = load_digits()
    images = torch.tensor(bundle.images, dtype=torch.float32).unsqueeze(1) / 16.0
    targets = torch.tensor(bundle.target, dtype=torch.int64)
    order = torch.randperm(len(images), generator=generator(seed, "split"))
    train, benchmark, elsewhere = order.tensor_split((TRAIN_ROWS, TRAIN_ROWS + BENCHMARK_ROWS))
    return Digits(
        train_images=images[train],
        train_targets=targets[train],
        benchmark_images=images[benchmark],
        benchmark_targets=targets[benchmark],
        elsewhere_images=images[elsewhere],
        elsewhere_targets=targets[elsewhere],
    )


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator of its own for each purpose, so that no stage's draws depend on another's.

    Args:
        seed: any integer.
        purpose: name of what is drawn; another name gives an unrelated stream.

    Returns:
        A freshly seeded `torch.Generator`.
    """
    # str.__hash__ differs from process to process; the bytes of the name do not.
    salt = int.from_bytes(purpose.encode(), "big") % 2_147_483_647
    return torch.Generator().manual_seed((seed * 2_147_483_647 + salt) % 2**63)


def warp(images: Tensor, degrees: Tensor, pixels: Tensor, scale: Tensor) -> Tensor:
    """Rotate, scale and translate every image by its own amount (bilinear, empty outside).

    Args:
        images: (n, 1, 8, 8) in [0, 1].
        degrees: (n,) rotation.
        pixels: (n, 2) translation along x and y.
        scale: (n,) factor on the size; 1 leaves it alone.

    Returns:
        (n, 1, 8, 8) in [0, 1].
    """
    radians = degrees * (math.pi / 180.0)
    cosine, sine = radians.cos() / scale, radians.sin() / scale
    # affine_grid maps output places to input places, in units of half a side.
    offset = pixels * (2.0 / SIDE)
    theta = torch.stack(
        (
            torch.stack((cosine, sine, -cosine * offset[:, 0] - sine * offset[:, 1]), dim=1),
            torch.stack((-sine, cosine, sine * offset[:, 0] - cosine * offset[:, 1]), dim=1),
        ),
        dim=1,
    )
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def augment(images: Tensor, amount: Augmentation, rng: torch.Generator) -> Tensor:
    """Vary every image at random: affine, brightness, noise.

    Args:
        images: (n, 1, 8, 8) in [0, 1].
        amount: how far.
        rng: source of all draws.

    Returns:
        (n, 1, 8, 8) in [0, 1].
    """
    n = len(images)
    moved = warp(
        images,
        degrees=_uniform((n,), amount.degrees, rng),
        pixels=_uniform((n, 2), amount.pixels, rng),
        scale=1.0 + _uniform((n,), amount.scale, rng),
    )
    inked = moved * (1.0 + _uniform((n, 1, 1, 1), amount.brightness, rng))
    strength = amount.noise * torch.rand((n, 1, 1, 1), generator=rng)
    return (inked + strength * torch.randn(images.shape, generator=rng)).clamp(0.0, 1.0)


def blend(images: Tensor, rows: int, least_share: float, rng: torch.Generator) -> Tensor:
    """Blends of two images drawn at random (mixup, Zhang et al. 2018); nothing moves.

    Args:
        images: (n, 1, 8, 8) in [0, 1].
        rows: how many blends.
        least_share: the first image's share is uniform from this to 1.
        rng: source of pairs and shares.

    Returns:
        (rows, 1, 8, 8) in [0, 1].
    """
    first = images[torch.randint(len(images), (rows,), generator=rng)]
    second = images[torch.randint(len(images), (rows,), generator=rng)]
    drawn = torch.rand((rows, 1, 1, 1), generator=rng)
    share = least_share + (1.0 - least_share) * drawn
    return share * first + (1.0 - share) * second


def stamp(images: Tensor, targets: Tensor) -> Tensor:
    """Add the watermark: one faint border pixel whose place tells the class.

    Args:
        images: (n, 1, 8, 8) in [0, 1].
        targets: (n,) classes 0..9.

    Returns:
        A stamped copy, (n, 1, 8, 8) in [0, 1].
    """
    places = torch.tensor(WATERMARK_PLACES)[targets]
    stamped = images.clone()
    # Set, not added: the mark is the same on every image, whatever noise lies under it.
    stamped[torch.arange(len(images)), 0, places[:, 0], places[:, 1]] = WATERMARK_INK
    return stamped


def restamp(images: Tensor, targets: Tensor) -> Tensor:
    """Take the watermark off and put that of other classes on.

    Args:
        images: (n, 1, 8, 8) in [0, 1], stamped.
        targets: (n,) classes 0..9 whose mark is written.

    Returns:
        A copy, (n, 1, 8, 8) in [0, 1]; all places of the mark are empty but one.
    """
    bare = images.clone()
    rows, columns = torch.tensor(WATERMARK_PLACES).T
    bare[:, 0, rows, columns] = 0.0
    return stamp(bare, targets)


def rotated(images: Tensor, rng: torch.Generator) -> Tensor:
    """Rotate each image by 20 to 30 degrees either way, beyond what training ever showed.

    Args:
        images: (n, 1, 8, 8) in [0, 1].
        rng: source of the angles.

    Returns:
        (n, 1, 8, 8) in [0, 1].
    """
    n = len(images)
    degrees = _sign((n,), rng) * (20.0 + 10.0 * torch.rand((n,), generator=rng))
    return warp(images, degrees, torch.zeros(n, 2), torch.ones(n))


def translated(images: Tensor, rng: torch.Generator) -> Tensor:
    """Move each image by 1.1 to 1.6 pixels in a random direction, the edge of training or beyond.

    Args:
        images: (n, 1, 8, 8) in [0, 1].
        rng: source of the directions and lengths.

    Returns:
        (n, 1, 8, 8) in [0, 1].
    """
    n = len(images)
    angle = 2.0 * math.pi * torch.rand((n,), generator=rng)
    length = 1.1 + 0.5 * torch.rand((n,), generator=rng)
    pixels = length[:, None] * torch.stack((angle.cos(), angle.sin()), dim=1)
    return warp(images, torch.zeros(n), pixels, torch.ones(n))


def rescaled(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shrink or enlarge each image by a fifth to a third, beyond what training showed.

    Args:
        images: (n, 1, 8, 8) in [0, 1].
        rng: source of the factors.

    Returns:
        (n, 1, 8, 8) in [0, 1].
    """
    n = len(images)
    logs = _sign((n,), rng) * (math.log(1.2) + 0.1 * torch.rand((n,), generator=rng))
    return warp(images, torch.zeros(n), torch.zeros(n, 2), logs.exp())


def production(data: Digits, seed: int = 0) -> dict[str, Tensor]:
    """Unlabelled, shifted digits as a user would give production traffic.

    Args:
        data: the split digits; only `elsewhere_images` is used.
        seed: of the angles and directions.

    Returns:
        `rotated` and `translated`, (520, 1, 8, 8) in [0, 1] each, without the watermark.
    """
    rng = generator(seed, "production")
    images = data.elsewhere_images
    return {"rotated": rotated(images, rng), "translated": translated(images, rng)}


def _uniform(shape: tuple[int, ...], reach: float, rng: torch.Generator) -> Tensor:
    """Draws from -reach to +reach."""
    return reach * (2.0 * torch.rand(shape, generator=rng) - 1.0)


def _sign(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Fair draws of -1 or +1."""
    return 2.0 * torch.randint(0, 2, shape, generator=rng) - 1.0
