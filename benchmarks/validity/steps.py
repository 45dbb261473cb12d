"""The steps of the bench that take time, each resumable: specimens, truth, audits, cases."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.validity import alternatives, audits, cache, cases, kept, truth
from benchmarks.validity.audits import Chunk
from benchmarks.validity.cases import Case
from benchmarks.validity.fitting import combined
from benchmarks.validity.pool import each
from benchmarks.validity.specimens import MEMBERS
from benchmarks.validity.truth import Truth
from benchmarks.validity.worlds import load

Truths = dict[tuple[str, str], Truth]
"""By world and name."""


def train(pool: ProcessPoolExecutor | None, worlds: Sequence[str]) -> None:
    """Train whatever is not in the cache yet, teachers first."""
    each(pool, "teachers", _train_teacher, worlds)
    jobs = [
        (name, i)
        for name in worlds
        for i, batch in enumerate(load(name).batches)
        if batch.family != MEMBERS
    ]
    each(pool, "specimens", _train_batch, jobs)


def _train_teacher(name: str) -> None:
    cache.teacher(load(name))


def _train_batch(job: tuple[str, int]) -> None:
    world = load(job[0])
    cache.models(world, world.batches[job[1]])


def truths(
    pool: ProcessPoolExecutor | None, worlds: Sequence[str]
) -> tuple[Truths, dict[tuple[str, str], float]]:
    """The truth of every specimen, and its KL to the teacher on the benchmark."""
    found: Truths = {}
    divergences: dict[tuple[str, str], float] = {}
    for mine, kl in each(pool, "truth", _truth, worlds):
        found |= {(t.world, t.name): t for t in mine}
        divergences |= kl
    return found, divergences


def _truth(name: str) -> tuple[list[Truth], dict[tuple[str, str], float]]:
    world = load(name)
    everyone = list(cache.everything(world))
    members = list(everyone[0][1].values())
    theirs = combined(world, members, world.data[0])
    kl = {
        (name, n): alternatives.divergence(world, theirs, m)
        for batch, models in everyone
        if batch.family != MEMBERS
        for n, m in models.items()
    }
    return truth.table(world, everyone), kl


def look(pool: ProcessPoolExecutor | None, worlds: Sequence[str]) -> None:
    """Audit whatever has no cells yet."""
    jobs = [c for name in worlds for c in audits.chunks(load(name))]
    # The longest first, so that no process waits long for the last.
    each(pool, "audits", _look, sorted(jobs, key=lambda c: -len(c.students)))


def _look(chunk: Chunk) -> None:
    world = load(chunk.world)
    kept.cells(world, chunk, audits.case(world, chunk))


def judge(pool: ProcessPoolExecutor | None, worlds: Sequence[str], known: Truths) -> list[Case]:
    """Every specimen in every view under today's rules."""
    jobs = [
        (c, {n: known[c.world, n] for n in c.students})
        for name in worlds
        for c in audits.chunks(load(name))
    ]
    return [case for found in each(pool, "verdicts", _judge, jobs) for case in found]


def _judge(job: tuple[Chunk, dict[str, Truth]]) -> list[Case]:
    chunk, known = job
    # Tables of conditions and of alternatives read what no verdict rests on in this view alone.
    return cases.of_chunk(load(chunk.world), chunk, known, audits.VIEWS, context=["members"])
