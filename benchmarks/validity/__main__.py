"""``make validity``: specimens, audits, tables and figures; what is there already is used again."""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.validity import power, questions, report, steps
from benchmarks.validity.pool import one_thread, workers
from benchmarks.validity.worlds import WORLDS

RESULTS = Path(__file__).parent / "results"


def main(argv: list[str] | None = None) -> None:
    """Run everything, or a part of it."""
    parser = argparse.ArgumentParser("python -m benchmarks.validity", description=__doc__)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", choices=("train", "audit", "verdicts"), help="stop after that")
    asked = parser.parse_args(argv)
    start = time.perf_counter()
    one_thread()
    asked.out.mkdir(parents=True, exist_ok=True)
    with workers(asked.workers) as pool:
        steps.train(pool, asked.worlds)
        questions.train(pool, asked.worlds)
        if asked.only == "train":
            return
        known, divergences = steps.truths(pool, asked.worlds)
        steps.look(pool, asked.worlds)
        if asked.only == "audit":
            return
        cases = steps.judge(pool, asked.worlds, known)
        report.verdicts(cases, divergences, asked.out)
        if asked.only != "verdicts":
            # Tables take one process a minute: time for the others to answer questions.
            with ThreadPoolExecutor(1) as beside:
                tables = beside.submit(report.held_out, cases, asked.out)
                questions.answer(pool, cases, known, asked.out)
                power.study(pool, known, asked.out)
                tables.result()
    print(f"{asked.out}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
