"""What keeping cells costs, and how near `ringtest plan` comes to what an audit takes.

    python benchmarks/speed/store_and_plan.py                 everything, about 10 minutes
    python benchmarks/speed/store_and_plan.py --rounds 3 --only store

1. Store: the digits audit of `ringtest demo` (three members, six students) without a folder, with
   a new one and with a finished one, in turn in one process. The figures are the medians of the
   ratios within a round, and the bytes of all cells.
2. Plan: the estimate of time and peak memory beside those of the audit itself, each in a process of
   its own, for the digits and for a transformer. Both include drawing the pages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ringtest import AuditData, demo, road
from ringtest.cells.store import Store
from ringtest.commands import pilot
from ringtest.files import CELLS

WIDTH, TOKENS, DEPTH, CLASSES, ROWS = 96, 16, 3, 5, 1_000


class Encoder(nn.Module):
    """A plain transformer classifier on float token sequences (b, TOKENS, WIDTH)."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 4 * WIDTH, batch_first=True, activation="gelu", dropout=0.0
        )
        self.encoder = nn.TransformerEncoder(layer, DEPTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, CLASSES)."""
        return self.head(self.encoder(x).mean(1))


def digits() -> dict[str, Any]:
    """The audit of the demo."""
    built = demo.build(0)
    data = AuditData(
        built.inputs,
        built.targets,
        bounds=built.bounds,
        unlabelled=built.production,
        modality="image",
    )
    return {"teacher": built.teacher, "student": built.students, "data": data}


def transformer() -> dict[str, Any]:
    """Two members and a student on random sequences."""
    torch.manual_seed(0)
    x = torch.randn(ROWS, TOKENS, WIDTH)
    data = AuditData(x, x[:, 0, :CLASSES].argmax(1), groups={"g": torch.arange(ROWS) // 7 % 4})
    return {"teacher": [Encoder(1), Encoder(2)], "student": Encoder(3), "data": data}


CASES = {"digits": digits, "transformer": transformer}


def store(rounds: int) -> None:
    """Print what a store costs and saves on the digits."""
    given = digits()
    ratios, again = [], []
    road.run(road.prepare(**given), lambda *_: None)  # the first run of a process is slow
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            plain = _run(given, None)
            kept = _run(given, Path(folder))
            found = _run(given, Path(folder))
            size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
            count = len(list(Path(folder).rglob("*.cell")))
        ratios.append(kept / plain)
        again.append(found / plain)
        print(f"round {number + 1}: without {plain:.2f} s, with {kept:.2f}, again {found:.2f}")
    print(
        f"digits, {count} cells, {size / 1e6:.2f} MB: with a store / without, median "
        f"{statistics.median(ratios):.3f}x (from {min(ratios):.3f} to {max(ratios):.3f}); "
        f"a finished one {statistics.median(again):.3f}x"
    )


def _run(given: dict[str, Any], folder: Path | None) -> float:
    case = road.prepare(**given)
    start = time.perf_counter()
    road.run(case, lambda *_: None, None if folder is None else Store(folder / CELLS))
    return time.perf_counter() - start


def plan() -> None:
    """Print estimates beside what was taken."""
    for name in CASES:
        said, took = (_child(name, part) for part in ("estimate", "audit"))
        for what, unit in (("seconds", "s"), ("megabytes", "MB")):
            a, b = said[what], took[what]
            print(f"{name}: {what} estimated {a:.1f} {unit}, taken {b:.1f}: {a / b:.2f}x")
        print(f"{name}: the estimate itself took {said['took']:.1f} s; {said['untimed']} untimed")


def _child(name: str, part: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, part]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def child(name: str, part: str) -> None:
    """Estimate, or audit, and print what it says."""
    given = CASES[name]()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        if part == "estimate":
            cost = pilot.estimate(road.prepare(**given), Path(folder), lambda *_: None)
            said = {
                "seconds": cost.seconds,
                "megabytes": sum(cost.memory.values()) / 1e6,
                "took": time.perf_counter() - start,
                "untimed": len(cost.untimed),
            }
            print("\n".join(cost.lines(0)))
        else:
            road.audit(**given, out=folder, progress=False)
            peak = pilot.peak()
            assert peak is not None
            said = {"seconds": time.perf_counter() - start, "megabytes": peak / 1e6}
    print(json.dumps(said))


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["store", "plan"])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        child(*options.child)
        return
    if options.only != "plan":
        store(options.rounds)
    if options.only != "store":
        plan()


if __name__ == "__main__":
    main()
