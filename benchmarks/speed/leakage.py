"""What the search for near copies costs, beside the brute-force search of scikit-learn.

    python benchmarks/speed/leakage.py                     20,000 and 100,000 rows, 2 threads
    python benchmarks/speed/leakage.py --rows 2000 --widths 64 --rounds 1

Rows are Gaussian with a thousandth of them planted again with a little noise. ringtest gives the
pairs; scikit-learn the 17 nearest of each row, from which they could be read, up to 20,000 rows.
Every figure comes from a process of its own, after a small search that loads what is loaded once:
seconds of the clock and of all cores, and the growth of peak memory; medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import numpy as np
import torch
from cost import apart, cost

from ringtest import AuditData, leakage

MOST_SKLEARN = 20_000
BY = ("ringtest", "scikit-learn")


def rows_of(n: int, width: int) -> tuple[torch.Tensor, int]:
    """(n, width) rows, and how many of them are near copies of others."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, generator=g)
    copies = max(1, n // 1000)
    x[-copies:] = x[:copies] + 0.01 * torch.randn(copies, width, generator=g)
    return x, copies


def with_ringtest(x: torch.Tensor) -> int:
    found = leakage(AuditData(x), progress=False)
    return sum(f.count for f in found if f.kind == "near") // 2


def with_sklearn(x: torch.Tensor) -> int:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=17, algorithm="brute").fit(x.numpy())
    near = search.kneighbors(return_distance=True)[0]
    return int(np.sum(near[:, 0] < 0.3 * near[:, -1])) // 2


def child(name: str, n: int, width: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    run = {"ringtest": with_ringtest, "scikit-learn": with_sklearn}[name]
    run(rows_of(1000, width)[0])
    x, planted = rows_of(n, width)
    found, spent = cost(lambda: run(x))
    return {**spent, "found": found, "planted": planted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *sizes = options.child
        print(json.dumps(child(name, *map(int, sizes))))
        return
    print("| rows | width | by | seconds | of all cores | peak growth, MB | found of planted |")
    print("|---|---|---|---|---|---|---|")
    for n in options.rows:
        for width in options.widths:
            for name in BY if n <= MOST_SKLEARN else BY[:1]:
                rounds = [
                    apart(__file__, name, n, width, options.threads) for _ in range(options.rounds)
                ]
                middle = {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}
                print(
                    f"| {n:,} | {width} | {name} | {middle['seconds']:.1f} | {middle['work']:.1f} "
                    f"| {middle['mb']:.0f} | {middle['found']:.0f} of {middle['planted']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
