"""Stage by stage: what is not in the store yet is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ringtest import blocks, compare, evidence, likeness, plan
from ringtest.case import Case
from ringtest.cells.keys import Keys
from ringtest.cells.store import Store
from ringtest.compare import Failure
from ringtest.condition import Clean, Condition
from ringtest.evidence import Evidence, Gathered
from ringtest.measure import (
    Committee,
    EnsembleMeasure,
    Measure,
    ModelMeasure,
    PairMeasure,
    Reading,
    Setting,
)
from ringtest.plan import LAYER_PAIRS, Stage, cell_name
from ringtest.probes import layer_pairs
from ringtest.probes.twin_spread import MEAN_OUTPUTS
from ringtest.progress import Progress
from ringtest.rows.checks import row_codes

Cells = dict[str, Any]
"""What one condition showed: measure id -> content of its cell."""
NO_STUDENT: Final = ""
"""In place of a student's name, where an ensemble is looked at by itself."""
NOBODY: Final[Callable[[int], None]] = lambda _rows: None  # noqa: E731 - a default


class Looker:
    """Fills the cells of a case, from the store where it has them."""

    def __init__(self, case: Case, store: Store | None = None) -> None:
        """Without a store everything is computed and nothing kept."""
        self.case, self.store = case, store
        self.keys = None if store is None else Keys(case)
        self._clean: dict[str, Evidence] | None = None

    def walk(self, say: Progress) -> Iterator[tuple[Stage, Cells, int]]:
        """Every stage in its order, with its cells and how many of them the store had.

        ``say`` is told what is looked at, and how many of all rows were; judging is the rest.
        """
        planned = self.case.plan.stages
        total = sum(stage.rows * len(self.case.shown(stage)) for stage in planned)
        done = 0
        for stage in planned:

            def tick(n: int, key: str = stage.condition.key) -> None:
                nonlocal done
                done += n
                say(key, 0.98 * done / total)

            yield stage, *self.look(stage, tick)
        say("verdict", 1.0)

    def look(self, stage: Stage, tick: Callable[[int], None] = NOBODY) -> tuple[Cells, int]:
        """The cells of a stage, and how many of them the store had.

        Models run only if a cell is missing. They then run as they would without a store: what is
        hooked decides which path a fused layer takes, and so the last bits of what it shows.
        """
        cells = {} if self.store is None else self._stored(stage)
        missing = [entry for entry in stage.entries if entry_id(entry) not in cells]
        found = len(cells)
        if not missing:
            tick(stage.rows * len(self.case.shown(stage)))
            return cells, found
        gathered = self._gather(stage, tick)
        at = None if gathered.why else setting(self.case, stage.condition, gathered)
        for entry in missing:
            content = (
                dict.fromkeys((m.name for m in self.case.models), _unlooked(gathered.why))
                if at is None
                else compute(self.case, entry, gathered, at)
            )
            cells[entry_id(entry)] = content
            # An error may pass (memory that ran out): the next run tries again.
            if self.store is not None and self.keys is not None and not _broken(content):
                name = cell_name(entry_id(entry), stage.condition)
                self.store.write(name, self.keys[name], content)
        return cells, found

    def _stored(self, stage: Stage) -> Cells:
        assert self.store is not None
        assert self.keys is not None
        cells = {}
        for entry in stage.entries:
            name = cell_name(entry_id(entry), stage.condition)
            content = self.store.read(name, self.keys[name])
            if content is not None:
                cells[entry_id(entry)] = content
        return cells

    def _gather(self, stage: Stage, tick: Callable[[int], None]) -> Gathered:
        case = self.case
        clean = stage.condition.role == "clean"
        if not clean and self._clean is None:
            first = case.plan.stages[0]
            # All its cells were in the store, but not what the others compare with.
            self._clean = (
                self._run(first, NOBODY).evidence if first.condition.role == "clean" else {}
            )
        gathered = self._run(stage, tick)
        if clean:
            self._clean = gathered.evidence
        else:
            assert self._clean is not None
            for name, seen in gathered.evidence.items():
                if gathered.picked is None:
                    seen.clean = self._clean.get(name)
                else:
                    # Of these rows themselves nothing was changed: there is no pair.
                    seen.whole = self._clean.get(name)
        return gathered

    def _run(self, stage: Stage, tick: Callable[[int], None]) -> Gathered:
        case = self.case
        return evidence.gather(
            stage.condition,
            case.shown(stage),
            case.pairs,
            case.data,
            case.task,
            stage.wanted,
            case.seed,
            tick,
        )


def setting(case: Case, condition: Condition, gathered: Gathered) -> Setting:
    """What measures may know of a condition besides the evidence."""
    data, task = gathered.data or case.data, gathered.task or case.task
    at = Setting(
        data,
        task,
        condition,
        gathered.rows,
        data.cluster if condition.keeps_rows else _copies(condition.inputs(data)),
        case.seed,
        picked=gathered.picked,
        whole=None if gathered.picked is None else _whole(case),
    )
    outputs = [gathered.evidence[m.name].outputs for m in case.members]
    if all(o.shape[0] for o in outputs):
        at.shared[MEAN_OUTPUTS] = case.task.combined(outputs)
    return at


def _whole(case: Case) -> Setting:
    """The setting of all rows of the data as they are."""
    rows = blocks.sample_rows(case.data.n)
    return Setting(case.data, case.task, Clean(), rows, case.data.cluster, case.seed)


def _unlooked(why: str) -> Failure:
    """What every measure says of every model under a condition that these data cannot show."""
    return Failure("not_measurable", why)


def compute(case: Case, entry: Measure | None, gathered: Gathered, at: Setting) -> dict[str, Any]:
    """Content of one cell, the teacher's part computed once for all students.

    Returns:
        Readings by model, similarities by student, or (``entry`` None) rows of layer pairs by
        student; a :class:`~ringtest.compare.Failure` in their place where there are none.
    """
    members = [m.name for m in case.members]
    # What a student cannot do is not asked of it.
    students = [
        m
        for m in case.students.values()
        if entry is None or plan.beyond(entry, at.condition, m) is None
    ]
    names = [m.name for m in students]
    controls = [
        m.name
        for m in case.controls
        if entry is not None
        and entry.controlled
        and m.name in gathered.evidence
        and plan.beyond(entry, at.condition, m) is None
    ]
    if isinstance(entry, ModelMeasure):
        everyone = [*members, *case.honest(entry), *controls, *names]
        return dict(compare.read(entry, gathered.evidence, everyone, at))
    if isinstance(entry, PairMeasure):
        # All references where none is of the student's kind: their drift is still worth knowing.
        honest = {m.name: [r.name for r in case.kin(m) or case.references] for m in students}
        return dict(likeness.compute(entry, gathered.evidence, members, names, honest, at))
    if isinstance(entry, EnsembleMeasure):
        beside = [gathered.evidence[c] for c in controls]
        together = partial(_together, entry, gathered, members, at=at, controls=beside)
        return {name: together(name) for name in names or [NO_STUDENT]}
    return {
        m.name: layer_pairs.rows(gathered, members, m.name)
        for m in students
        if m.layers is not None
    }


def _together(
    entry: EnsembleMeasure,
    gathered: Gathered,
    members: list[str],
    student: str,
    *,
    at: Setting,
    controls: list[Evidence],
) -> list[Reading] | Failure:
    """Readings of the ensemble with one student beside it, or with nobody."""
    assert gathered.combined is not None
    seen = gathered.evidence
    mine = seen.get(student)
    for one in (gathered.combined, *(() if mine is None else (mine,))):
        if one.failed:
            return Failure(one.failure, f"{one.subject} {one.failed}")
    # Of several controls the mean counts: without one of them there is none.
    broken = next((c for c in controls if c.failed), None)
    beside = [] if broken else controls
    shown = Committee([seen[m] for m in members], gathered.combined, mine, beside)
    found: list[Reading] | Failure = compare.guarded(
        gathered.combined, lambda _: entry.read(shown, at)
    )
    if broken is None or not entry.controlled or isinstance(found, Failure):
        return found
    why = {"control_reason": f"{broken.subject} {broken.failed}"}
    return [replace(r, params={**r.params, **why}) for r in found]


def entry_id(entry: Measure | None) -> str:
    """Name of a measure's cells, or of that of all layer pairs."""
    return LAYER_PAIRS if entry is None else entry.id


def _broken(content: dict[str, Any]) -> bool:
    return any(isinstance(v, Failure) and v.status == "error" for v in content.values())


def _copies(inputs: torch.Tensor) -> NDArray[np.int64] | None:
    """Copies of one input are one unit; None where no row repeats another."""
    codes = row_codes(inputs)
    return codes if int(codes.max()) + 1 < len(codes) else None
