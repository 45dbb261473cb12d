"""Scikit-learn's digits: small perceptrons, and small convolutional networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from benchmarks.validity import networks
from benchmarks.validity.catalogue import batches, derived
from benchmarks.validity.fitting import rng
from benchmarks.validity.specimens import Labelled, World
from ringtest.demo.digits import SIDE, Augmentation, augment, load, stamp, warp
from ringtest.demo.students import side_property

WIDE = Augmentation(degrees=18.0, pixels=1.2, scale=0.15, brightness=0.2, noise=0.1)
NARROW = Augmentation(degrees=4.0, pixels=0.25, scale=0.03, brightness=0.2, noise=0.1)
NOISE = 0.2
"""SD of the noise of students that see noise alone."""
THICK = 0.75
"""Quantile of ink above which a scan belongs to the minority."""


def of_mlps() -> World:
    """Members are perceptrons of two hidden layers."""
    nets = {
        "mlp": lambda: mlp(128, 64),
        "mlp-small": lambda: mlp(64, 32),
        "mlp-deep": lambda: mlp(128, 96, 64, 64),
        "cnn": lambda: cnn(12, 24),
        "half-mlp": lambda: mlp(64, 32, head_bias=False),
    }
    return _world("digits", nets, ("mlp", "mlp-small", "mlp-deep", "cnn", "half-mlp"), siblings=40)


def of_cnns() -> World:
    """Members are convolutional networks of two layers."""
    nets = {
        "cnn": lambda: cnn(12, 24),
        "cnn-small": lambda: cnn(8, 12, 32),
        "cnn-deep": lambda: cnn(12, 16, 24),
        "mlp": lambda: mlp(128, 64),
        "half-cnn": lambda: cnn(8, 12, 32, head_bias=False),
    }
    return _world("digits-cnn", nets, ("cnn", "cnn-small", "cnn-deep", "mlp", "half-cnn"), 16)


def mlp(*widths: int, head_bias: bool = True) -> nn.Module:
    """Linear and ReLU by turns, on flattened images."""
    return networks.mlp(SIDE * SIDE, widths, 10, start=[nn.Flatten()], head_bias=head_bias)


def cnn(*channels: int, head_bias: bool = True) -> nn.Module:
    """3 x 3 convolutions, pooled once after the first, and one hidden linear layer.

    The last number is that of its units if it is above 24; else they are 64.
    """
    units = channels[-1] if channels[-1] > 24 else 64
    channels = channels[:-1] if channels[-1] > 24 else channels
    body: list[nn.Module] = []
    before = 1
    for depth, after in enumerate(channels):
        body += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        body += [nn.MaxPool2d(2)] if depth == 0 else []
        before = after
    body += [nn.Flatten(), nn.Linear(before * (SIDE // 2) ** 2, units), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*body), nn.Linear(units, 10, bias=head_bias))


def _world(name: str, nets: dict, names: tuple[str, ...], siblings: int) -> World:  # type: ignore[type-arg]
    data = load()
    images, targets = data.benchmark_images, data.benchmark_targets
    elsewhere = data.elsewhere_images
    ink = data.train_images.mean((1, 2, 3))
    limit = float(ink.quantile(THICK))
    net, smaller, deeper, other, halves = names
    nets = derived(nets, net, halves, width=64, size=SIDE * SIDE)
    return World(
        name=name,
        task="classification",
        data=(stamp(images, targets), targets),
        train=(data.train_images, data.train_targets),
        home=torch.ones(len(ink), dtype=torch.bool),
        majority=ink <= limit,
        side=side_property(data),
        vary=lambda x, draw: augment(x, WIDE, draw),
        narrow=lambda x, draw: augment(x, NARROW, draw),
        noisy=lambda x, draw: (x + NOISE * torch.randn(x.shape, generator=draw)).clamp(0, 1),
        stamp=stamp,
        shifts=_shifts(images, targets),
        familiar=("rotated", "translated", "scaled"),
        unlabelled={
            "sheared": _sheared(elsewhere, rng(0, "sheared")),
            "tapered": _tapered(elsewhere, rng(0, "tapered")),
        },
        architectures=nets,
        teacher=net,
        steps={n: 1500 if "cnn" not in n else 1000 for n in nets},
        batches=batches(net, smaller, deeper, other, halves, siblings),
        audit={
            "bounds": (0.0, 1.0),
            "groups": {"ink": (images.mean((1, 2, 3)) > limit).long().numpy()},
        },
    )


def _shifts(images: Tensor, targets: Tensor) -> dict[str, Labelled]:
    """Beyond what honest models see in training, or beside it."""
    n = len(images)
    draw = rng(0, "shifts")
    still, whole = torch.zeros(n, 2), torch.ones(n)
    sign = lambda *size: 2.0 * torch.randint(2, size, generator=draw) - 1.0  # noqa: E731
    turn = sign(n) * (20 + 10 * torch.rand(n, generator=draw))
    move = sign(n, 2) * (0.9 + 0.7 * torch.rand(n, 2, generator=draw))
    size = 1 + sign(n) * (0.2 + 0.15 * torch.rand(n, generator=draw))
    changed = {
        "rotated": warp(images, turn, still, whole),
        "translated": warp(images, torch.zeros(n), move, whole),
        "scaled": warp(images, torch.zeros(n), still, size),
        "stretched": _sampled(
            images, stretch=sign(n) * (0.25 + 0.2 * torch.rand(n, generator=draw))
        ),
        "wavy": _wavy(images, draw),
        "torn": _torn(images, sign(n)),
    }
    return {name: (x, targets) for name, x in changed.items()}


def _wavy(images: Tensor, draw: torch.Generator) -> Tensor:
    """Each row moved sideways along a sine of random phase and height."""
    n = len(images)
    height = 0.3 + 0.25 * torch.rand(n, 1, generator=draw)
    phase = 6.283 * torch.rand(n, 1, generator=draw)
    y = torch.linspace(-1, 1, SIDE)
    return _sampled(images, offset=height * torch.sin(3.0 * y + phase))


def _torn(images: Tensor, sign: Tensor) -> Tensor:
    """The upper half moved by 1.3 pixels to one side, the lower to the other; ``sign`` (n,)."""
    half = torch.where(torch.arange(SIDE) < SIDE // 2, 1.0, -1.0)
    return _sampled(images, offset=0.32 * sign[:, None] * half)


def _sheared(images: Tensor, draw: torch.Generator) -> Tensor:
    """Slanted to the left or to the right."""
    return _sampled(images, shear=0.9 * (torch.rand(len(images), generator=draw) - 0.5))


def _tapered(images: Tensor, draw: torch.Generator) -> Tensor:
    """Narrower at the top or at the bottom."""
    return _sampled(images, taper=1.2 * (torch.rand(len(images), generator=draw) - 0.5))


def _sampled(
    images: Tensor,
    *,
    stretch: Tensor | None = None,
    shear: Tensor | None = None,
    offset: Tensor | None = None,
    taper: Tensor | None = None,
) -> Tensor:
    """Read images off a bent grid; all amounts are (n,), ``offset`` is (n, 8) by row.

    x and y grow by opposite factors (``stretch``), x moves with y (``shear``) or by row
    (``offset``), or widens with y (``taper``).
    """
    grid = affine_grid(
        torch.eye(2, 3).repeat(len(images), 1, 1), list(images.shape), align_corners=False
    )
    x, y = grid[..., 0], grid[..., 1]
    if stretch is not None:
        x, y = x * (1 + stretch[:, None, None]), y * (1 - stretch[:, None, None])
    if shear is not None:
        x = x + shear[:, None, None] * y
    if offset is not None:
        x = x + offset[:, :, None]
    if taper is not None:
        x = x * (1 + taper[:, None, None] * y)
    return grid_sample(images, torch.stack((x, y), -1), align_corners=False)
