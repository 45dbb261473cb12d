"""What an audit will cost: a timed trial of one block of rows, scaled up to all of them."""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ringtest import blocks, evidence, stages, tasks, telling
from ringtest.case import Case
from ringtest.cells.keys import Keys
from ringtest.cells.store import Store, Unstorable, pack
from ringtest.commands.cost import Cost
from ringtest.condition import Clean
from ringtest.errors import RingtestError
from ringtest.evidence import Evidence, Gathered
from ringtest.files import CELLS
from ringtest.measure import Measure, NotMeasurable
from ringtest.model import evaluating
from ringtest.plan import Stage, cell_name
from ringtest.progress import Progress

PAGE_SECONDS: Final = 1.0
"""Drawing one student's page, which grows with nothing that is known beforehand."""


def estimate(case: Case, out: Path, say: Progress) -> Cost:
    """Try one block under one condition of each kind, and scale by rows and conditions.

    Measures are timed at the size that they will have: the evidence of the block is repeated up to
    the sample of rows. What fails in the trial is named and left out, whatever it is.
    """
    return _Pilot(case, out).run(say)


class _Pilot:
    def __init__(self, case: Case, out: Path) -> None:
        self.case = case
        few = case.data.sample(blocks.BLOCK, case.seed)
        self.small = replace(case, data=few, task=tasks.make(case.task.name, few, case.task.metric))
        self.cost = Cost(pages=PAGE_SECONDS * len(case.students))
        self.clean: dict[str, Evidence] = {}
        self.out = out
        self._read: dict[tuple[str, int], float] = {}
        self._bytes: dict[tuple[str, int], int] = {}

    def run(self, say: Progress) -> Cost:
        kinds: dict[tuple[str, float | None], list[Stage]] = {}
        for stage in self.case.plan.stages:
            kinds.setdefault((stage.condition.kind, stage.condition.severity), []).append(stage)
        with evaluating(self.case.models):
            missing = self._missing()
            for i, alike in enumerate(kinds.values()):
                say(alike[0].condition.key, i / len(kinds))
                try:
                    self._kind(alike, missing)
                # A trial must not end what it is a trial for.
                except Exception as error:
                    told = isinstance(error, RingtestError | NotMeasurable)
                    why = str(error) if told else repr(error)
                    self.cost.untimed[alike[0].condition.key] = why
        self._memory()
        say("plan", 1.0)
        return self.cost

    def _missing(self) -> set[str]:
        """Names of the cells that would have to be computed."""
        keys, store = Keys(self.case), Store(self.out / CELLS)
        self.cost.keepable = len(keys)
        names = [
            cell_name(stages.entry_id(entry), stage.condition)
            for stage in self.case.plan.stages
            for entry in stage.entries
        ]
        missing = {name for name in names if not store.has(name, keys[name])}
        self.cost.there = len(names) - len(missing)
        return missing

    def _kind(self, alike: list[Stage], missing: set[str]) -> None:
        """Conditions of one kind and strength cost alike: the first is tried for all of them."""
        # Fitted, the plan's own could no longer be told from another.
        alike = [replace(stage, condition=copy.copy(stage.condition)) for stage in alike]
        stage = alike[0]
        clean = stage.condition.role == "clean"
        if clean:
            self._gather(stage)  # once for nothing: the first pass of a process is slow
        start, block, gathered = self._gather(stage)
        failed = {e.subject: e.failed for e in gathered.evidence.values() if e.failed}
        if failed:
            self.cost.untimed[stage.condition.key] = "; ".join(map(" ".join, failed.items()))
            return
        grown = {stage.rows: self._grown(gathered, stage)}
        if clean:
            self.clean = grown[stage.rows].evidence
        for each in alike:
            if each.rows not in grown:  # unlabelled sets have their own
                grown[each.rows] = self._grown(gathered, each)
            todo = [
                entry
                for entry in each.entries
                if cell_name(stages.entry_id(entry), each.condition) in missing
            ]
            # Later conditions compare with the clean rows, which are looked at for them anyway.
            if todo or (clean and missing):
                share = each.rows / min(stage.rows, blocks.BLOCK)
                self.cost.forward[each.condition.kind] += start + block * share
            for entry in each.entries:
                seconds, size = self._timed(entry, each, grown[each.rows])
                self.cost.disk += size
                if entry in todo:
                    self.cost.measures[stages.entry_id(entry)] += seconds

    def _gather(self, stage: Stage) -> tuple[float, float, Gathered]:
        """Seconds of calibration on all rows, seconds of a block, and what it showed."""
        case, small, condition = self.case, self.small, stage.condition

        def fit(of: Case) -> float:
            rng = blocks.generator(case.seed, condition.key, "fit")
            begin = time.perf_counter()
            condition.fit([m for m in of.models if m.role != "control"], of.data, rng)
            return time.perf_counter() - begin

        # A block is too few rows to pick from; as they are they cost the same.
        shown = Clean() if condition.selects else condition
        inside = 0.0 if condition.selects else fit(small)
        begin = time.perf_counter()
        gathered = evidence.gather(
            shown,
            small.shown(stage),
            small.pairs,
            small.data,
            small.task,
            stage.wanted,
            small.seed,
        )
        block = time.perf_counter() - begin - inside
        return fit(case), max(block, 0.0), gathered

    def _grown(self, gathered: Gathered, stage: Stage) -> Gathered:
        """The evidence of the block as if it were that of all rows."""
        rows = blocks.sample_rows(stage.rows)
        seen = {
            name: _repeated(found, len(rows), stage.rows)
            for name, found in gathered.evidence.items()
        }
        if stage.condition.role != "clean":
            for name, found in seen.items():
                found.clean = self.clean.get(name)
        together = gathered.combined and _repeated(gathered.combined, len(rows), stage.rows)
        return Gathered(seen, gathered.cross, rows, stage.rows, combined=together)

    def _timed(self, entry: Measure | None, stage: Stage, grown: Gathered) -> tuple[float, int]:
        """Seconds from evidence to rows of all students, and bytes of the cell."""
        case, name = self.case, stages.entry_id(entry)
        which = name, stage.rows
        if which in self._read:
            return self._read[which], self._bytes[which]
        # What is made of the clean rows is made once for all conditions: that is no part of it.
        twice = entry is not None and "clean_pair" in entry.needs
        for _ in range(2 if twice else 1):
            at = stages.setting(case, stage.condition, grown)
            for found in grown.evidence.values():
                found.derived.clear()
            begin = time.perf_counter()
            content = stages.compute(case, entry, grown, at)
            judges = {n: telling.judge(case, m) for n, m in case.students.items()}
            alone = replace(stage, measures=() if entry is None else (entry,))
            context = {n: telling.Context() for n in case.students}
            telling.tell(case, alone, {name: content}, judges, context)
            self._read[which] = time.perf_counter() - begin
        try:
            self._bytes[which] = len(pack(content))
        except Unstorable:
            self._bytes[which] = 0
        return self._read[which], self._bytes[which]

    def _memory(self) -> None:
        """Peak of this process, which has held what the audit will hold, and what it is made of."""
        most = peak()
        if most is None or not self.clean:
            return
        case, parts = self.case, self.cost.memory
        parts["data"] = sum(_size(t) for _, t in case.data.rows.tensors("")) + sum(
            _size(t) for rows in case.data.elsewhere.values() for _, t in rows.tensors("")
        )
        modules = {id(m.module): m.module for m in case.models if m.module is not None}
        parts["weights"] = sum(_size(p) for m in modules.values() for p in m.parameters())
        # Those of the clean rows stay, and those of one condition come beside them.
        parts["evidence"] = 2 * sum(map(_of_evidence, self.clean.values()))
        parts["sums of layer pairs"] = sum(
            8 * la.width * lb.width
            for a, b in case.pairs
            if a.layers is not None and b.layers is not None
            for la in a.layers.picked
            for lb in b.layers.picked
            if max(la.width, lb.width) <= evidence.GRAM_WIDTH
        )
        parts["Python, torch and temporary arrays"] = max(0, most - sum(parts.values()))


def _repeated(seen: Evidence, m: int, n: int) -> Evidence:
    """Evidence of m sampled and n rows in all; a little noise, since no two rows are equal."""
    rng = torch.Generator().manual_seed(0)

    def rows(values: Tensor) -> Tensor:
        some = values[torch.arange(m) % max(1, len(values))] if len(values) else values
        noise = torch.randn(some.shape, generator=rng)
        return some + 1e-3 * some.abs().mean() * noise if some.numel() else some

    def column(values: Any) -> Any:
        return None if values is None else values[np.arange(n) % len(values)]

    return replace(
        seen,
        outputs=rows(seen.outputs),
        sample={name: rows(values) for name, values in seen.sample.items()},
        score=column(seen.score),
        predictions=column(seen.predictions),
        beside=seen.beside and seen.beside.apply(column),
        derived={},
    )


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _of_evidence(seen: Evidence) -> int:
    outcomes = sum(int(v.nbytes) for v in (seen.score, seen.predictions) if v is not None)
    return outcomes + sum(map(_size, (seen.outputs, *seen.sample.values())))


def peak() -> int | None:
    """Largest memory that this process has held, in bytes; None where the system does not tell."""
    try:
        # The other source counts what the parent held before it started us.
        text = Path("/proc/self/status").read_text("utf-8")
        return int(text.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
