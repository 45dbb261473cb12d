"""What all measures of diversity of an ensemble cost, streamed in one pass, beside other libraries.

    python benchmarks/speed/ensembles.py                   10 members, 50,000 items, 1,000 classes
    python benchmarks/speed/ensembles.py --items 2000 --classes 10 --peer-items 100

Blocks of float32 probabilities are drawn as they are needed; drawing them is not counted. lm-sim
(error consistency, CAPA of both kinds) and deslib (Q, rho, disagreement, double fault) are called
for every pair on the first items, and their seconds scaled up to all. Every figure comes from a
process of its own: seconds of the clock and of all cores, and the growth of peak memory, which for
ringtest holds one block of float32 as well.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from cost import apart, cost
from numpy.typing import NDArray

from ringtest.ensembles.diversity import Members

BY = ("ringtest", "lm-sim", "deslib")
Block = tuple[NDArray[np.float32], NDArray[np.int64]]


def blocks(members: int, items: int, classes: int, size: int) -> Iterator[Block]:
    """Members whose logits share four fifths of their variance."""
    rng = np.random.default_rng(0)
    for low in range(0, items, size):
        n = min(size, items - low)
        logits = rng.standard_normal((members, n, classes), dtype=np.float32)
        shared = 2 * rng.standard_normal((n, classes), dtype=np.float32)
        logits += shared
        np.exp(logits, out=logits)
        logits /= logits.sum(2, keepdims=True)
        yield logits, shared.argmax(1)


def with_ringtest(given: Iterator[Block]) -> tuple[float, float]:
    clock = work = 0.0
    members = Members()
    for block, targets in given:
        start, begun = time.perf_counter(), time.process_time()
        members.add(block, targets)
        clock, work = clock + time.perf_counter() - start, work + time.process_time() - begun
    start, begun = time.perf_counter(), time.process_time()
    found = members.result()
    means = {name: pairs.mean.value for name, pairs in found.pairs.items()}
    print(found.words(), {k: round(v, 4) for k, v in means.items()}, file=sys.stderr)
    return clock + time.perf_counter() - start, work + time.process_time() - begun


def with_lmsim(given: Iterator[Block]) -> tuple[float, float]:
    from lmsim.metrics import CAPA, EC

    p, y = next(given)
    p = p.astype(np.float64)
    p /= p.sum(2, keepdims=True)  # it asks for sums of 1 to a millionth
    start, begun = time.perf_counter(), time.process_time()
    hard = np.eye(p.shape[2])[p.argmax(2)]
    for a, b in itertools.combinations(range(len(p)), 2):
        EC().compute_k(p[a], p[b], y)
        CAPA().compute_k(p[a], p[b], y)
        CAPA(prob=False).compute_k(hard[a], hard[b], y)
    return time.perf_counter() - start, time.process_time() - begun


def with_deslib(given: Iterator[Block]) -> tuple[float, float]:
    from deslib.util import diversity as deslib

    p, y = next(given)
    start, begun = time.perf_counter(), time.process_time()
    answers = p.argmax(2)
    for a, b in itertools.combinations(range(len(p)), 2):
        for measure in (
            deslib.Q_statistic,
            deslib.correlation_coefficient,
            deslib.disagreement_measure,
            deslib.double_fault,
        ):
            measure(y, answers[a], answers[b])
    return time.perf_counter() - start, time.process_time() - begun


def child(name: str, members: int, items: int, classes: int, size: int) -> dict[str, Any]:
    run = {"ringtest": with_ringtest, "lm-sim": with_lmsim, "deslib": with_deslib}[name]
    (seconds, work), spent = cost(lambda: run(blocks(members, items, classes, size)))
    # Of the time without that of drawing the blocks, which each of them counts by itself.
    return {"seconds": seconds, "work": work, "mb": spent["mb"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--peer-items", type=int, default=100)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *sizes = options.child
        print(json.dumps(child(name, *map(int, sizes))))
        return
    print("| by | items timed | seconds for all | of all cores | peak growth, MB |")
    print("|---|---|---|---|---|")
    for name in BY:
        n = options.items if name == "ringtest" else min(options.items, options.peer_items)
        size = options.block if name == "ringtest" else n
        found = apart(__file__, name, options.members, n, options.classes, size)
        scale = options.items / n
        print(
            f"| {name} | {n:,} | {found['seconds'] * scale:.1f} | {found['work'] * scale:.1f} "
            f"| {found['mb']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
