"""What today's rules say of cells: the product's own judges and verdict, as often as one likes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.validity.audits import Cells, Chunk, View, viewed
from benchmarks.validity.specimens import World
from ringtest import inference, sections, telling
from ringtest.case import Case
from ringtest.decision import Scope
from ringtest.estimate import Estimate
from ringtest.measurement import Measurement
from ringtest.plan import Stage


@dataclass
class Audited:
    """One specimen as one audit saw it."""

    world: str
    view: str
    name: str
    rows: list[Measurement]
    scope: Scope


def judged(
    made: Case, cells: dict[str, Any], leave: Callable[[Stage], bool], context: bool
) -> dict[str, list[Measurement]]:
    """Rows of every student under today's rules, some stages left out as if never asked for."""
    told = {name: telling.Context() for name in made.students} if context else None
    judges = {name: telling.judge(made, model) for name, model in made.students.items()}
    with _errors_once():
        for stage in made.plan.stages:
            if leave(stage):
                continue
            seen = cells[stage.condition.key]
            asked = replace(stage, measures=tuple(m for m in stage.measures if m.id in seen))
            telling.tell(made, asked, seen, judges, told)
        return {
            name: judge.headlines() + (told[name].rows if told else [])
            for name, judge in judges.items()
        }


_ERRORS: dict[tuple[bytes, str, bool, int], float] = {}


@contextmanager
def _errors_once() -> Iterator[None]:
    """Standard errors by influences: views share most estimates, and resampling takes time."""
    own = inference.standard_error

    def known(estimate: Estimate, seed: int = 0) -> float:
        digest = hashlib.blake2b(estimate.influence.tobytes(), digest_size=16).digest()
        key = (digest, estimate.method, math.isfinite(estimate.value), seed)
        if key not in _ERRORS:
            _ERRORS[key] = own(estimate, seed)
        return _ERRORS[key]

    inference.standard_error = known
    try:
        yield
    finally:
        inference.standard_error = own


def nothing(_stage: Stage) -> bool:
    """Leaves no stage out."""
    return False


def judged_as(
    world: World, chunk: Chunk, made: Case, found: Cells, name: str, view: View,
    leave: Callable[[Stage], bool] = nothing, context: bool = False,
) -> list[Audited]:  # fmt: skip
    """What the audits of a chunk say in one view, under today's rules.

    Rows of context take as long as the verdict's own, and are made where they are asked for.
    """
    mine = viewed(world, chunk, made, view)
    return [
        Audited(world.name, name, n, rows, sections.scope([*mine.members, mine.students[n]]))
        for n, rows in judged(mine, found[name], leave, context).items()
    ]
