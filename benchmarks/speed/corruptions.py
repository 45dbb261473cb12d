"""What corruptions of images cost: the 19 kinds of ImageNet-C, beside a library that has them, too.

    python benchmarks/speed/corruptions.py                 about seven minutes on 2 cores
    python benchmarks/speed/corruptions.py --images 64 --peer-images 2 --rounds 1

Each kind at severities 1 to 5, on colour images of 32 x 32 and of 224 x 224. Ringtest takes blocks
of 256, as an audit does, as floats; the library takes images one by one, as bytes, as its own
users have them. Neither is charged for making them. Strengths are each side's own.

The library is corrupt-tta (``pip install corrupt-tta``), a port of the paper's code to today's
numpy; without it ringtest is timed alone. It takes ten times as long, so it gets fewer images, and
both are counted in images a second.

Each round runs both sides of a kind in turn, in one process with the same number of threads
(PyTorch's and OpenCV's). Figures are medians over the rounds. ``all in turn``: an image under all
kinds, one after the other; ``median``: over the kinds, of the ratios, too.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ringtest import blocks
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.shift.corruption import Corruption

SEVERITIES = range(1, 6)
NO_MODEL: Any = None
Peer = Callable[..., Any]


@dataclass(frozen=True)
class Timed:
    """Seconds that an image takes, mean of the severities."""

    ours: float
    its: float | None


def images(count: int, side: int) -> Tensor:
    """Smooth colour images with a little noise, on 256 levels."""
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=g)
    x = functional.interpolate(coarse, size=(side, side), mode="bicubic")
    x = (x + 0.05 * torch.randn(x.shape, generator=g)).clamp(0, 1)
    return (255 * x).round() / 255


def kinds() -> dict[str, type[Corruption]]:
    """The kinds by their names in ImageNet-C."""
    found = [k.make for k in conditions if issubclass(k.make, Corruption)]
    parts = {make: make.source.partition(", ") for make in found}
    # "fog, Hendrycks & ..."; kinds of no such name are not the paper's.
    return {name: make for make, (name, _, rest) in parts.items() if rest.startswith("Hendrycks")}


def peer(threads: int) -> Peer | None:
    """The library's function, or None and a word if it is not here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module("corrupt_tta")
            importlib.import_module("cv2").setNumThreads(threads)
        except ImportError as error:
            print(f"corrupt-tta cannot be imported ({error}): ringtest is timed alone\n")
            return None
    corrupt: Peer = module.corrupt
    return corrupt


def ours(make: type[Corruption], data: AuditData) -> float:
    """Seconds an image."""
    start = time.perf_counter()
    for severity in SEVERITIES:
        condition = make(severity=severity)
        condition.fit([], data, torch.Generator())
        for number, part in blocks.blocks(data.n):
            rng = torch.Generator().manual_seed(number)
            condition.batch(NO_MODEL, data.inputs[part], None, rng)
    return (time.perf_counter() - start) / data.n / len(SEVERITIES)


def its(corrupt: Peer, name: str, rows: np.ndarray[Any, Any]) -> float:
    """Seconds an image."""
    np.random.seed(0)  # noqa: NPY002 - it draws from the global state
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        for severity in SEVERITIES:
            for row in rows:
                corrupt(row, severity=severity, corruption_name=name)
    return (time.perf_counter() - start) / len(rows) / len(SEVERITIES)


def compare(side: int, corrupt: Peer | None, options: Any) -> None:
    """Print the table of one size."""
    x = images(options.images, side)
    data = AuditData(x, bounds=(0.0, 1.0))
    few = x[: options.peer_images].permute(0, 2, 3, 1)
    rows = np.ascontiguousarray((255 * few).round().byte().numpy())
    found: dict[str, Timed] = {}
    for name, make in kinds().items():
        ours(make, AuditData(x[:2], bounds=(0.0, 1.0)))  # tables and plans are made once
        if corrupt is not None:
            its(corrupt, name, rows[:1])
        pairs = [
            (ours(make, data), None if corrupt is None else its(corrupt, name, rows))
            for _ in range(options.rounds)
        ]
        theirs = [b for _, b in pairs if b is not None]
        found[name] = Timed(
            statistics.median(a for a, _ in pairs), statistics.median(theirs) if theirs else None
        )
        line(side, name, found[name])
    all_ours = [t.ours for t in found.values()]
    known = [t.its for t in found.values() if t.its is not None]
    line(side, "all in turn", Timed(sum(all_ours), sum(known) if known else None))
    ratios = [b / a for a, b in zip(all_ours, known, strict=True)] if known else [0.0]
    middle = Timed(statistics.median(all_ours), statistics.median(known) if known else None)
    line(side, "median", middle, statistics.median(ratios))


def line(side: int, name: str, timed: Timed, ratio: float | None = None) -> None:
    """Print a row of the table; the ratio is that of the two, if no other is given."""
    cells = [f"{side} x {side}", name, f"{1 / timed.ours:,.1f}"]
    if timed.its is not None:
        ratio = timed.its / timed.ours if ratio is None else ratio
        cells += [f"{1 / timed.its:,.1f}", f"{ratio:.1f}x"]
    print(f"| {' | '.join(cells)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--peer-images", type=int, default=10, help="images for the library")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    corrupt = peer(options.threads)
    print(
        f"{options.images} images ({options.peer_images} for the library), severities 1 to 5, "
        f"{options.threads} threads, median of {options.rounds} rounds\n"
    )
    heads = ["images", "kind", "ringtest, images/s"]
    if corrupt is not None:
        heads += ["corrupt-tta, images/s", "ratio"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|", flush=True)
    for side in options.sides:
        compare(side, corrupt, options)


if __name__ == "__main__":
    main()
