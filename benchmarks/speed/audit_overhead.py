"""What the inside costs: the clean part of an audit against the bare forward passes.

    python benchmarks/speed/audit_overhead.py            both parts, about 10 minutes on 2 cores
    python benchmarks/speed/audit_overhead.py --rows 512 --rounds 1 --no-memory

1. A 6-layer transformer encoder of width 384 on 64 tokens as teacher and as student: seconds of
   the bare forward passes of both over the rows, and of the clean stage (capture of all layers,
   CKA of all layer pairs, probes and their controls, slice transfer, neighbours, twins) over the
   same rows. Pairs are measured in turn in one process; the median of their ratios is the figure.
2. Peak memory of a whole audit of a small MLP at 10,000 and 100,000 rows, each in a process of its
   own, beyond the bytes of the data themselves.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ringtest import AuditData, blocks, road

THREADS = 2
WIDTH, TOKENS, DEPTH, CLASSES = 384, 64, 6, 10


class Encoder(nn.Module):
    """A plain transformer classifier on float token sequences (b, TOKENS, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, 6, 4 * WIDTH, batch_first=True, activation="gelu", dropout=0.0
        )
        self.encoder = nn.TransformerEncoder(layer, DEPTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, CLASSES)."""
        return self.head(self.encoder(x).mean(1))


def overhead(rows: int, rounds: int) -> None:
    """Print seconds and ratios of the clean stage and the bare passes."""
    torch.manual_seed(0)
    data = AuditData(
        torch.randn(rows, TOKENS, WIDTH),
        torch.arange(rows) % CLASSES,
        groups={"domain": torch.arange(rows) // 7 % 4},
    )
    models = [Encoder().eval(), Encoder().eval()]
    case = road.prepare(models[0], models[1], data)
    clean = replace(case, plan=replace(case.plan, stages=case.plan.stages[:1]))
    ratios = []
    for number in range(rounds):
        bare = _timed(lambda: _forward(models, data.inputs))
        whole = _timed(lambda: road.run(clean, lambda _what, _share: None))
        ratios.append(whole / bare)
        print(f"round {number + 1}: bare {bare:.2f} s, clean part {whole:.2f} s, {ratios[-1]:.3f}x")
    print(
        f"transformer {DEPTH} x {WIDTH}, {TOKENS} tokens, {rows} rows, {THREADS} threads: "
        f"clean part / bare forward passes, median {statistics.median(ratios):.3f}x "
        f"(from {min(ratios):.3f} to {max(ratios):.3f})"
    )


def _forward(models: list[nn.Module], inputs: Tensor) -> None:
    with torch.no_grad():
        for model in models:
            for _, part in blocks.blocks(inputs.shape[0]):
                model(inputs[part])


def _timed(function: object) -> float:
    start = time.perf_counter()
    function()  # type: ignore[operator]
    return time.perf_counter() - start


def memory() -> None:
    """Print peak memory at two sizes and the growth beyond the data."""
    peaks = {}
    for rows in (10_000, 100_000):
        out = subprocess.run(
            [sys.executable, __file__, "--one", str(rows)],
            capture_output=True,
            text=True,
            check=True,
        )
        peak, size = (float(v) for v in out.stdout.split()[-2:])
        peaks[rows] = peak - size
        print(f"{rows:>7,} rows: peak {peak:.1f} MiB, data {size:.1f}, beyond {peak - size:.1f}")
    low, high = peaks.values()
    print(f"growth beyond the data from 10,000 to 100,000 rows: {100 * (high / low - 1):.1f} %")


def one(rows: int) -> None:
    """Audit a small MLP and print this process's peak and the data's size in MiB."""
    torch.manual_seed(0)

    def mlp() -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    data = AuditData(torch.randn(rows, 64), torch.arange(rows) % 10)
    road.audit([mlp(), mlp(), mlp()], mlp(), data, progress=False)
    # ru_maxrss would be that of the parent, from which this process was forked.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(peak, data.inputs.numel() * 4 / 2**20)


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--no-overhead", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    if options.one:
        one(options.one)
        return
    if not options.no_overhead:
        overhead(options.rows, options.rounds)
    if not options.no_memory:
        memory()


if __name__ == "__main__":
    main()
