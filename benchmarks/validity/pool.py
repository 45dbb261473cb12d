"""Work in several processes with one bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import torch

from ringtest.progress import bar

Job = TypeVar("Job")
Result = TypeVar("Result")


def one_thread() -> None:
    """Small networks gain nothing from threads, and two processes would fight for them."""
    torch.set_num_threads(1)


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor | None]:
    """A pool of processes, or None for one: everything then runs here."""
    if count < 2:
        yield None
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    # Spawned: a fork inherits locks of threads that do not exist in it.
    with ProcessPoolExecutor(count, get_context("spawn"), one_thread) as pool:
        yield pool


def each(
    pool: ProcessPoolExecutor | None,
    what: str,
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
) -> list[Result]:
    """``function`` of every job, in the order of the jobs, with a bar that says ``what``."""
    waiting = list(jobs)
    found: dict[int, Result] = {}
    with bar(True) as say:
        if pool is None:
            for i, job in enumerate(waiting):
                found[i] = function(job)
                say(what, (i + 1) / len(waiting))
        else:
            futures = {pool.submit(function, job): i for i, job in enumerate(waiting)}
            for done, future in enumerate(as_completed(futures), 1):
                found[futures[future]] = future.result()
                say(what, done / len(waiting))
    return [found[i] for i in range(len(waiting))]
