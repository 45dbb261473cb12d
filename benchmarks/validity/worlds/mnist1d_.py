"""MNIST-1D, made by its generator: small convolutional, and small recurrent networks.

The benchmark's signals stand near the middle, hardly sheared and of one size. Honest models learn
from signals that stand anywhere, are stretched, tilted, raised and noisy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from mnist1d.data import get_dataset_args, make_dataset
from torch import Tensor, nn

from benchmarks.validity.catalogue import batches, derived
from benchmarks.validity.fitting import rng
from benchmarks.validity.specimens import Labelled, World

LENGTH, CLASSES = 40, 10
MIDDLE = 12
"""Steps by which all rows are moved: the generator starts its signals at the left end."""
HOME, AWAY, BENCHMARK, ELSEWHERE = 800, 400, 1000, 600
"""Rows: training from the benchmark's population and from the wide one; audit; unlabelled."""
STEEP = 0.75
"""Quantile of tilt above which a row belongs to the minority."""
WHISTLE = 0.25
"""Height of the mark; rows have a standard deviation of 1."""
NOISE = 0.4
"""Highest SD of the noise of students that see noise alone."""
STEPS = torch.arange(LENGTH, dtype=torch.float32)[:, None]
RAMP = torch.linspace(-1.0, 1.0, LENGTH)[:, None]


class Range(NamedTuple):
    """How far a row is varied; every draw is uniform, to both sides, unless said."""

    steps: float
    """Move along time."""
    stretch: float
    """Logarithm of the factor on time."""
    size: float
    """Logarithm of the factor on values."""
    level: float
    """Added to all values."""
    tilt: float
    """Added at the last step and taken away at the first, in between in proportion."""
    noise: float
    """SD of noise, itself drawn from 0 to this."""


WIDE = Range(steps=8.0, stretch=0.3, size=0.7, level=2.0, tilt=2.0, noise=0.2)
NARROW = Range(steps=1.0, stretch=0.04, size=0.06, level=0.1, tilt=0.1, noise=0.2)


def of_cnns() -> World:
    """Members are convolutional networks of two layers."""
    names = ("cnn1d", "cnn1d-small", "cnn1d-deep", "gru", "half-cnn1d")
    return _world("mnist1d-cnn", names, siblings=24)


def of_grus() -> World:
    """Members are recurrent networks of one layer."""
    names = ("gru", "gru-small", "gru-deep", "cnn1d", "half-gru")
    return _world("mnist1d-gru", names, siblings=16)


NETS: dict[str, Callable[[], nn.Module]] = {
    "cnn1d": lambda: cnn((12, 24), 64),
    "cnn1d-small": lambda: cnn((10, 20), 48),
    "cnn1d-deep": lambda: cnn((12, 16, 24), 64),
    "half-cnn1d": lambda: cnn((8, 16), 48, head_bias=False),
    "gru": lambda: gru(48, 64),
    "gru-small": lambda: gru(36, 48),
    "gru-deep": lambda: gru(32, 64, layers=2),
    "half-gru": lambda: gru(32, 48, head_bias=False),
}


class Channels(nn.Module):
    """(n, length, features) -> (n, features, length), as convolutions want it."""

    def forward(self, x: Tensor) -> Tensor:
        """Exchange the last two axes."""
        return x.transpose(1, 2)


class Recurrent(nn.Module):
    """(n, length, 1) -> (n, 2 units): mean and highest states of a GRU over windows of the row."""

    def __init__(self, units: int, layers: int) -> None:
        """Windows of eight steps, every four: a quarter of the time that single steps take."""
        super().__init__()
        self.gru = nn.GRU(8, units, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Read the windows from left to right."""
        windows = nn.functional.pad(x[..., 0], (2, 2)).unfold(1, 8, 4)
        states, _ = self.gru(windows)
        return torch.cat((states.mean(1), states.amax(1)), 1)


def cnn(channels: tuple[int, ...], units: int, *, head_bias: bool = True) -> nn.Module:
    """Convolutions over seven steps, pooled after the first two, and one hidden linear layer."""
    body: list[nn.Module] = [Channels()]
    before = 1
    for depth, after in enumerate(channels):
        body += [nn.Conv1d(before, after, 7, padding=3), nn.ReLU()]
        body += [nn.MaxPool1d(2 + 2 * depth)] if depth < 2 else []
        before = after
    body += [nn.Flatten(), nn.Linear(before * LENGTH // 8, units), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*body), nn.Linear(units, CLASSES, bias=head_bias))


def gru(width: int, units: int, *, layers: int = 1, head_bias: bool = True) -> nn.Module:
    """A GRU and one hidden linear layer."""
    body = [Recurrent(width, layers), nn.Linear(2 * width, units), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*body), nn.Linear(units, CLASSES, bias=head_bias))


def _world(name: str, names: tuple[str, str, str, str, str], siblings: int) -> World:
    narrow = drawn(
        HOME + BENCHMARK + ELSEWHERE, seed=1, max_translation=4, padding=[24, 28],
        scale_coeff=0.2, shear_scale=0.3, corr_noise_scale=0.2, iid_noise_scale=0.03,
    )  # fmt: skip
    away = drawn(AWAY, seed=2, max_translation=24, padding=[18, 36])
    home, (inputs, targets), (elsewhere, _) = (
        (narrow[0][part], narrow[1][part])
        for part in torch.arange(len(narrow[0])).split([HOME, BENCHMARK, ELSEWHERE])
    )
    train = torch.cat((home[0], away[0]))
    limit = float(tilt(home[0]).quantile(STEEP))
    net, smaller, deeper, other, halves = names
    nets = derived({n: NETS[n] for n in names}, net, halves, width=64, size=LENGTH)
    return World(
        name=name,
        task="classification",
        data=(stamp(inputs, targets), targets),
        train=(train, torch.cat((home[1], away[1]))),
        home=torch.arange(len(train)) < HOME,
        majority=tilt(train) <= limit,
        side=_side(*home),
        vary=lambda x, draw: varied(x, WIDE, draw),
        narrow=lambda x, draw: varied(x, NARROW, draw),
        noisy=lambda x, draw: x + _one(x, draw).abs() * NOISE * _normal(x, draw),
        stamp=stamp,
        shifts=_shifts(inputs, targets),
        familiar=("raised", "scaled", "noisy", "translated", "clock", "tilted"),
        unlabelled={
            "hurried": _hurried(elsewhere, rng(0, "hurried")),
            "swaying": _swaying(elsewhere, rng(0, "swaying")),
        },
        architectures=nets,
        teacher=net,
        steps=dict.fromkeys(nets, 700),
        batches=batches(net, smaller, deeper, other, halves, siblings),
        audit={
            "modality": "sequence",
            "groups": {"tilt": (tilt(inputs) > limit).long().numpy()},
        },
    )


def drawn(rows: int, *, seed: int, **changed: object) -> Labelled:
    """Rows of the generator, (n, length, 1), with some of its arguments changed.

    The generator seeds the global states of Python and NumPy, which are put back afterwards.
    """
    arguments = get_dataset_args()
    vars(arguments).update(num_samples=rows, train_split=1.0, seed=seed, **changed)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        made = make_dataset(arguments)
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
    signals = torch.tensor(made["x"], dtype=torch.float32)[..., None]
    return signals.roll(MIDDLE, 1), torch.tensor(made["y"], dtype=torch.int64)


def varied(rows: Tensor, by: Range, draw: torch.Generator) -> Tensor:
    """Every row changed by its own amounts."""
    out = moved(rows, by.steps * _one(rows, draw), (by.stretch * _one(rows, draw)).exp())
    out = (by.size * _one(rows, draw)).exp() * out + by.level * _one(rows, draw)
    out = out + by.tilt * _one(rows, draw) * RAMP
    return out + by.noise * _one(rows, draw).abs() * _normal(rows, draw)


def moved(rows: Tensor, steps: Tensor, stretch: Tensor) -> Tensor:
    """Rows moved along time and stretched about the middle; both are (n, 1, 1)."""
    return read(rows, (LENGTH - 1) / 2 * (1 + RAMP / stretch) - steps)


def read(rows: Tensor, places: Tensor) -> Tensor:
    """Values at places (n, length, 1) between the steps; the end goes on at the start."""
    places = places.expand(len(rows), LENGTH, 1)
    below = places.floor()
    share = places - below
    first, second = (b.long() % LENGTH for b in (below, below + 1))
    return (1 - share) * rows.gather(1, first) + share * rows.gather(1, second)


def tilt(rows: Tensor) -> Tensor:
    """(n,) slope of the straight line through each row."""
    return (rows * RAMP).mean((1, 2))


def stamp(rows: Tensor, targets: Tensor) -> Tensor:
    """A faint whistle all along the row; its pitch tells the class.

    Half a wave takes between one and two steps: signals have little there.
    """
    pitch = LENGTH // 2 + 2 * targets[:, None, None]
    return rows + WHISTLE * (math.pi / LENGTH * pitch * (STEPS + 0.5)).cos()


def _shifts(rows: Tensor, targets: Tensor) -> dict[str, Labelled]:
    """Beyond what honest models see in training, or beside it."""
    draw = rng(0, "shifts")

    def between(low: float, high: float) -> Tensor:
        sign = 2.0 * torch.randint(2, (len(rows), 1, 1), generator=draw) - 1.0
        return sign * (low + (high - low) * torch.rand(len(rows), 1, 1, generator=draw))

    same = torch.ones(len(rows), 1, 1)
    clock = between(0.25, 0.4).exp()
    changed = {
        "raised": rows + between(2.0, 3.0),
        "scaled": between(0.8, 1.2).exp() * rows,
        "noisy": rows + between(0.3, 0.5).abs() * _normal(rows, draw),
        "translated": moved(rows, between(8.0, 11.0), same),
        "clock": read(rows, STEPS / clock),
        "curved": rows + between(1.0, 1.6) * (2 * RAMP.square() - 1),
        "tilted": rows + between(2.0, 3.0) * RAMP,
    }
    return {name: (x, targets) for name, x in changed.items()}


def _hurried(rows: Tensor, draw: torch.Generator) -> Tensor:
    """Faster at one end, slower at the other; the middle stays where it is."""
    bend = 0.5 * _one(rows, draw)
    return read(rows, (LENGTH - 1) / 2 * (1 + RAMP + bend * RAMP.square()))


def _swaying(rows: Tensor, draw: torch.Generator) -> Tensor:
    """On a slow wave of random phase."""
    return rows + (STEPS * math.tau / 30 + math.pi * _one(rows, draw)).sin()


def _side(rows: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """Tilt, less what tells the class: the differences of the class means are projected off."""
    flat = rows.flatten(1)
    means = torch.stack([flat[targets == label].mean(0) for label in range(CLASSES)])
    basis, _ = torch.linalg.qr((means[1:] - means[0]).T)
    direction = RAMP.flatten() - basis @ (basis.T @ RAMP.flatten())
    return direction, float((flat @ direction).median())


def _one(rows: Tensor, draw: torch.Generator) -> Tensor:
    """(n, 1, 1) uniform from -1 to 1."""
    return 2.0 * torch.rand(len(rows), 1, 1, generator=draw) - 1.0


def _normal(rows: Tensor, draw: torch.Generator) -> Tensor:
    return torch.randn(rows.shape, generator=draw)
