"""The truth about a specimen: how far it falls under shifts that no audit sees.

``python -m benchmarks.validity.truth WORLD`` trains what is missing and prints the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor, nn

from benchmarks.validity import cache
from benchmarks.validity.fitting import outputs
from benchmarks.validity.specimens import (
    MEMBERS,
    Batch,
    Side,
    World,
)

SOUND, FRACTURED = 0.05, 0.12
"""A fall of at most the first is sound, of at least the second fractured; between them is grey."""


@dataclass(frozen=True)
class Truth:
    """What is known of one specimen without any audit."""

    world: str
    name: str
    family: str
    architecture: str
    side: Side
    planted: bool
    benchmark: float
    """Score on the benchmark minus that of the mean member."""
    fall: float
    """Mean over the shifts of (own fall in score - mean member's fall)."""
    familiar: float
    """The same over shifts that are stronger versions of what the certified dictionary holds."""
    foreign: float
    """The same over the other shifts."""
    by_shift: dict[str, float] = field(default_factory=dict)

    @property
    def truth(self) -> Literal["sound", "fractured", "grey"]:
        """Planted truth, or that of the measured fall."""
        return self.side if self.planted else of_fall(self.fall)


def of_fall(fall: float) -> Literal["sound", "fractured", "grey"]:
    """What a measured fall says."""
    if fall <= SOUND:
        return "sound"
    return "fractured" if fall >= FRACTURED else "grey"


def score(world: World, model: nn.Module, rows: tuple[Tensor, Tensor]) -> float:
    """Accuracy, or R^2 (mean over columns)."""
    said, targets = outputs(model, rows[0]), rows[1]
    if world.task == "classification":
        return float((said.argmax(1) == targets).float().mean())
    spread = (targets - targets.mean(0)).square().sum(0)
    return float((1 - (said - targets).square().sum(0) / spread).mean())


def scores(world: World, model: nn.Module) -> dict[str, float]:
    """Score on the benchmark ("") and under every shift."""
    return {n: score(world, model, rows) for n, rows in {"": world.data, **world.shifts}.items()}


def measure(world: World, batch: Batch, models: Mapping[str, nn.Module],
            members: Sequence[Mapping[str, float]]) -> list[Truth]:  # fmt: skip
    """The truth of every model of a batch, given the members' `scores`."""
    mean = {n: float(np.mean([m[n] for m in members])) for n in members[0]}
    out = []
    for name, model in models.items():
        own = scores(world, model)
        falls = {n: (own[""] - own[n]) - (mean[""] - mean[n]) for n in world.shifts}
        known = [f for n, f in falls.items() if n in world.familiar]
        other = [f for n, f in falls.items() if n not in world.familiar]
        out.append(
            Truth(
                world.name, name, batch.family, batch.architecture, batch.side, batch.planted,
                own[""] - mean[""], float(np.mean(list(falls.values()) or [0.0])),
                float(np.mean(known or [np.nan])), float(np.mean(other or [np.nan])), falls,
            )
        )  # fmt: skip
    return out


def table(world: World, everyone: Iterable[tuple[Batch, Mapping[str, nn.Module]]]) -> list[Truth]:
    """The truth of all specimens and references of a world, members first."""
    found, members = [], []
    for batch, models in everyone:
        if batch.family == MEMBERS:
            members = [scores(world, m) for m in models.values()]
        found += measure(world, batch, models, members)
    return found


if __name__ == "__main__":
    import time

    import pandas as pd
    import torch

    from benchmarks.validity.worlds import load

    torch.set_num_threads(1)
    start = time.perf_counter()
    world = load(sys.argv[1])
    rows = table(world, cache.everything(world))
    members = [scores(world, m) for m in cache.teacher(world).values()]
    print(pd.DataFrame(members).round(3).to_string())
    frame = pd.DataFrame([{**asdict(r), "truth": r.truth} for r in rows])
    shown = frame.groupby(["family", "architecture"], sort=False)
    print(
        shown.agg(
            n=("name", "size"), benchmark=("benchmark", "mean"), worst=("benchmark", "min"),
            low=("fall", "min"), fall=("fall", "mean"), high=("fall", "max"),
            familiar=("familiar", "mean"), foreign=("foreign", "mean"),
            truth=("truth", lambda t: dict(t.value_counts())),
        ).round(3).to_string()
    )  # fmt: skip
    print(f"{len(frame)} models, {time.perf_counter() - start:.0f} s")
