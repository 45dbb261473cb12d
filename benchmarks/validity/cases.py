"""One table of everything: a row for each specimen and view, with its truth and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from benchmarks.validity import audits, judging, kept
from benchmarks.validity.audits import Chunk, View
from benchmarks.validity.judging import Audited
from benchmarks.validity.specimens import World
from benchmarks.validity.truth import Truth
from ringtest import AuditData, margins, pvalues
from ringtest.measurement import Measurement
from ringtest.plan import Stage
from ringtest.policy import Policy
from ringtest.verdict import decide

Floors = Mapping[str, float]
"""``GROUP|KIND`` -> margin; see `kind_of`."""


@dataclass
class Case:
    """One audit of one specimen, with the truth about it."""

    truth: Truth
    view: str
    elsewhere: bool
    """Whether the audit was given inputs from elsewhere."""
    audited: Audited
    own: bool = True
    """Whether the student has the members' architecture."""

    @property
    def benchmark(self) -> Measurement:
        """The row of the benchmark."""
        return next(r for r in self.audited.rows if r.headline and r.group == "benchmark")

    @property
    def counts(self) -> bool:
        """Whether it is not rejected on the benchmark: what any evaluation sees is no riddle."""
        b = self.benchmark
        p_fail, _ = pvalues.p_values(b.harm, margins.BENCHMARK, b.se, b.df, b.family)
        return not p_fail <= margins.ALPHA


def kind_of(row: Measurement, own: bool) -> str:
    """What a headline's floor goes by: ``GROUP|WHERE``, and ``|own`` for the members' kind."""
    if row.group not in margins.BAND_GROUPS:
        where = "certified" if row.condition.startswith("shift.certified") else "clean"
        return f"{row.group}|{where}"
    if row.condition.startswith("shift.unlabelled"):
        where = "elsewhere"
    elif row.condition.startswith("shift.certified"):
        where = "certified"
    else:
        return f"{row.group}|{row.null}" + ("|own" if own and row.null == "references" else "")
    # References of the student's kind are of its architecture.
    return f"{row.group}|{where}" + ("|own" if own or row.null == "references" else "")


def without_unlabelled(stage: Stage) -> bool:
    """Leaves out the stages of inputs from elsewhere."""
    return stage.condition.role == "unlabelled"


LEAVES: Sequence[tuple[bool, Callable[[Stage], bool]]] = (
    (True, judging.nothing),
    (False, without_unlabelled),
)


def with_floors(rows: list[Measurement], floors: Floors, own: bool) -> list[Measurement]:
    """The headlines held against other floors; the member band stays where it is wider."""
    out = []
    for row in rows:
        floor = floors.get(kind_of(row, own)) if row.headline and row.group else None
        if floor is None:
            out.append(row)
            continue
        out.append(replace(row, margin=max(floor, row.params.get("band", 0.0))))
    return out


def decided(case: Case, floors: Floors | None = None) -> dict[str, Any]:
    """Truth and verdict of a case as one row of a table."""
    rows = [r for r in case.audited.rows if r.headline or r.reason]
    verdict = decide(
        with_floors(rows, floors, case.own) if floors else rows, Policy(), case.audited.scope
    )
    t = case.truth
    return {
        "world": t.world, "name": t.name, "family": t.family, "architecture": t.architecture,
        "side": t.side, "planted": t.planted, "truth": t.truth, "fall": t.fall,
        "foreign": t.foreign, "familiar": t.familiar, "difference": t.benchmark,
        "view": case.view, "elsewhere": case.elsewhere, "label": verdict.label,
        "strength": np.nan if verdict.strength is None else verdict.strength,
        "counts": case.counts, "own": case.own,
        **{f"ratio {n}": np.nan if g.ratio is None else g.ratio for n, g in verdict.groups.items()},
        **{f"status {n}": g.status for n, g in verdict.groups.items()},
    }  # fmt: skip


def table(cases: Iterable[Case], floors: Floors | None = None) -> pd.DataFrame:
    """`decided` of all cases."""
    return pd.DataFrame([decided(c, floors) for c in cases])


def of_chunk(
    world: World,
    chunk: Chunk,
    truths: Mapping[str, Truth],
    views: Mapping[str, View],
    data: AuditData | None = None,
    seed: int = 0,
    leaves: Sequence[tuple[bool, Callable[[Stage], bool]]] = LEAVES,
    references: Sequence[nn.Module] | None = None,
    looks: Collection[str] = (*audits.JUDGED, *audits.ALTERNATIVES),
    context: Collection[str] = (),
) -> list[Case]:
    """The cases of a chunk, with inputs from elsewhere and without.

    Args:
        world: theirs.
        chunk: what is audited together.
        truths: by name.
        views: what the audits are given.
        data: other rows than the world's benchmark.
        seed: of the audit.
        leaves: (whether inputs from elsewhere are given, which stages are left out).
        references: instead of the world's.
        looks: roles of the conditions that are looked at, or conditions by name.
        context: names of the views whose rows of context are kept.
    """
    made = audits.case(world, chunk, data, seed, references, looks)
    cells = kept.cells(world, chunk, made, views)
    return [
        Case(
            truths[found.name],
            view,
            elsewhere,
            found,
            truths[found.name].architecture == world.teacher,
        )
        for view, given in views.items()
        for elsewhere, leave in leaves
        for found in judging.judged_as(
            world, chunk, made, cells, view, given, leave, view in context
        )
    ]
