"""The plan: which measure is read under which condition, and what that needs and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final

from ringtest.blocks import BLOCK
from ringtest.condition import Condition, conditions
from ringtest.data import AuditData
from ringtest.errors import ConfigError, close_to
from ringtest.evidence import Wanted
from ringtest.measure import EnsembleMeasure, Measure, measures
from ringtest.model import Model
from ringtest.own import users_own
from ringtest.tasks import AnyTask

Cell = tuple[str, str]
"""(measure id or glob, condition id or glob) that is read besides what is read by default."""
LAYER_PAIRS: Final = "similarity.layer_pairs"
"""Name of the cell that holds the CKA of all layer pairs, which no single measure reads."""


def cell_name(measure: str, condition: Condition) -> str:
    """Name of a cell, unique within an audit."""
    return f"{measure}@{condition.key}"


@dataclass(frozen=True)
class Stage:
    """One condition with all measures that are read under it: one pass of every model."""

    condition: Condition
    measures: tuple[Measure, ...]
    wanted: Wanted
    rows: int
    asked: frozenset[str] = frozenset()
    """Ids of the measures that a cell asks for here."""

    def tells(self, entry: Measure) -> bool:
        """Whether it is told of a model that it cannot be asked this.

        That is where a cell asks, under an attack, and what a condition is there for: ``reads``. Of
        the rest the verdict's scope speaks.
        """
        named = entry.id in self.asked or entry.id in self.condition.reads
        return named or self.condition.asks_gradients

    @property
    def controlled(self) -> bool:
        """Whether controls are looked at here: clean, and where the teacher itself is asked."""
        told = self.condition.role == "clean" or self.wanted.teacher
        return told and any(m.controlled for m in self.measures)

    @property
    def entries(self) -> tuple[Measure | None, ...]:
        """What has a cell here: all measures, and layer pairs (None) where they are compared."""
        return (*self.measures, None) if self.wanted.moments else self.measures


@dataclass(frozen=True)
class Plan:
    """Stages in order, clean first, and what is left out and why."""

    stages: tuple[Stage, ...]
    not_measured: tuple[dict[str, Any], ...] = ()
    models: int = 0
    controls: int = 0
    """How many of the models are looked at in some of the stages alone."""
    unread: tuple[Stage, ...] = ()
    """Measures that some member cannot be asked for, and whose rows say so."""

    @property
    def passes(self) -> int:
        """Forward passes of a block, over all models."""
        return sum(-(-stage.rows // BLOCK) * self.shown(stage) for stage in self.stages)

    def shown(self, stage: Stage) -> int:
        """How many models are looked at in a stage."""
        return self.models if stage.controlled else self.models - self.controls

    @property
    def cells(self) -> int:
        """Number of (measure, condition) cells."""
        return sum(len(stage.entries) for stage in self.stages)


def make(
    data: AuditData,
    task: AnyTask,
    models: Sequence[Model],
    extra: Sequence[Cell] = (),
    own: Sequence[Condition] = (),
) -> Plan:
    """Multiply measures with conditions, and keep the cells that mean something.

    Args:
        data: decides which conditions apply.
        task: decides which measures apply.
        models: their capabilities bound what can be asked.
        extra: cells besides the default ones, such as ``("probe.*", "noise.input")``.
        own: conditions of the user's, besides the default ones.

    Raises ConfigError for an extra cell that matches no measure or no condition, and for a
    condition that cannot be looked under.
    """
    extra = [(measure, _written(condition)) for measure, condition in extra]
    members = [m for m in models if m.role == "member"]
    found = [
        c
        for kind in conditions
        if task.name in kind.make.tasks and kind.make.least_members <= len(members)
        for c in kind.make.defaults(data)
    ]
    found += users_own(own, task.name, found)
    asked_for, extra = _asked(extra, data, task, found, own)
    found += asked_for
    for condition in found:
        condition.check(data)
    found.sort(key=lambda c: c.role != "clean")
    _check_extra(extra, found)
    stages: list[Stage] = []
    unread: list[Stage] = []
    left_out: list[dict[str, Any]] = []
    for condition in found:
        asked = frozenset(entry.id for entry in measures if _names(extra, entry, condition))
        rows = data.n if condition.keeps_rows else len(condition.start(data))
        stage = Stage(condition, (), Wanted(), rows, asked)
        chosen: list[Measure] = []
        lacking: list[Measure] = []
        for entry in measures:
            usual = condition.role in entry.on or entry.id in condition.reads
            if not (entry.id in asked or (entry.default and usual)):
                continue
            reason = _obstacle(entry, condition, data, task, len(members))
            lack = lacks(entry, condition, members)
            if reason is None and lack is None:
                chosen.append(entry)
            elif reason is None and stage.tells(entry):
                lacking.append(entry)
            elif entry.id in asked or (entry.group is not None and reason != _MEANINGLESS):
                left_out.append(
                    {
                        "measure": entry.id,
                        "condition": condition.key,
                        "reason": reason or lack,
                        "required": False,
                    }
                )
        if chosen:
            wanted = wanted_by(chosen, condition)
            stages.append(replace(stage, measures=tuple(chosen), wanted=wanted))
        if lacking:
            unread.append(replace(stage, measures=tuple(lacking)))
    controls = sum(m.role == "control" for m in models)
    return Plan(tuple(stages), tuple(left_out), len(models), controls, tuple(unread))


_MEANINGLESS = "does not apply to this condition and data"


def _names(extra: Sequence[Cell], entry: Measure, condition: Condition) -> bool:
    """Whether a cell asks for a measure under a condition."""
    return any(fnmatchcase(entry.id, m) and _is(condition, c) for m, c in extra)


def _is(condition: Condition, name: str) -> bool:
    """Whether a name or glob is a condition's; what a column holds may look like a glob."""
    own = (condition.id, condition.key)
    return name in own or any(fnmatchcase(id_, name) for id_ in own)


def _obstacle(
    entry: Measure, condition: Condition, data: AuditData, task: AnyTask, members: int
) -> str | None:
    """Why a measure says nothing of any model under a condition, or None."""
    if "recorded" in entry.needs:
        return "is read from recordings, not from models: give audit(recorded=) or [recorded]"
    if not entry.applies(condition, data, task):
        return _MEANINGLESS
    if isinstance(entry, EnsembleMeasure):
        if members < 2:
            return "the teacher is one model, no ensemble"
        if condition.scope != "shared" or not condition.changes_inputs:
            return "the members do not see the same there"
    if "clean_pair" in entry.needs and condition.role == "clean":
        return "compares with the clean rows, which these are"
    if "clean_pair" in entry.needs and condition.selects:
        return "compares changed rows with clean ones, and these are rows of the data as they are"
    if "teacher" in entry.needs and not condition.changes_inputs:
        return "what each model is shown lies inside it, where the teacher cannot be asked"
    return None


def lacks(entry: Measure, condition: Condition, models: Sequence[Model]) -> str | None:
    """What the first of some models lacks that lacks something, or None."""
    return next((why for m in models if (why := beyond(entry, condition, m))), None)


def beyond(entry: Measure, condition: Condition, model: Model) -> str | None:
    """What a model lacks for a measure under a condition, or None."""
    inside = entry.needs & {"sample", "layers", "moments"} and "outcomes" not in entry.needs
    if inside and model.layers is None:
        return f"{model.name} shows only its outputs"
    if (condition.asks_gradients or "gradients" in entry.needs) and not model.gradients:
        return f"{model.name} gives no gradients"
    inner = condition.layer_gradients or "layer_gradients" in entry.needs
    if inner and not model.layer_gradients:
        return f"{model.name} gives no gradients of its layers"
    if model.stored is not None and entry.needs & {"model", "gradients"}:
        return f"{model.name} is stored evidence, and cannot be run"
    if model.stored is None and (lacking := condition.beyond(model)):
        return f"{model.name} {lacking}"
    if model.stored is not None and not model.stored.holds(condition.stored_as):
        return f"{model.name} is stored evidence, and holds none under {condition.stored_as}"
    return None


def wanted_by(chosen: Sequence[Measure], condition: Condition) -> Wanted:
    """What some measures need together under a condition."""
    needs = frozenset().union(*(m.needs for m in chosen))
    return Wanted(
        outcomes="outcomes" in needs,
        sample="sample" in needs,
        # A user's invariance is read at every layer.
        layers="layers" in needs or condition.role == "invariance",
        moments="moments" in needs and condition.role == "clean",
        model=bool(needs & {"model", "gradients"}),
        teacher="teacher" in needs,
        combined=any(isinstance(m, EnsembleMeasure) for m in chosen),
    )


def _check_extra(extra: Sequence[Cell], found: Sequence[Condition]) -> None:
    for m, c in extra:
        if not any(fnmatchcase(entry.id, m) for entry in measures):
            raise ConfigError(
                "cells", f"no measure matches {m!r}", close_to(m, [e.id for e in measures])
            )
        if not any(_is(f, c) for f in found):
            fix = (
                "it means nothing for these data, or only with a name behind it"
                if _parsed(c)[0] in {kind.id for kind in conditions}
                else close_to(c, dict.fromkeys(f.id for f in found))
            )
            raise ConfigError("cells", f"no condition matches {c!r}", fix)


def _asked(
    extra: Sequence[Cell],
    data: AuditData,
    task: AnyTask,
    found: Sequence[Condition],
    own: Sequence[Condition],
) -> tuple[list[Condition], list[Cell]]:
    """Conditions that cells name and no audit looks under by itself, and the cells with their keys.

    A cell may name many in short (``shift.split.group``): it stands for a cell each. What the user
    hands over goes by its name alone, which need not be one that its kind could make anything of.
    """
    known, handed = {c.key for c in found}, {n for c in own for n in (c.id, c.key)}
    kinds = {entry.id: entry.make for entry in conditions if task.name in entry.make.tasks}
    out: dict[str, Condition] = {}
    cells: list[Cell] = []
    for measure, name in extra:
        if name in handed:
            cells.append((measure, name))
            continue
        kind, severity = _parsed(name)
        # No glob: "attack.*" would run them all.
        made: Sequence[Condition] = ()
        if kind in kinds:
            made = list(kinds[kind].asked(data, severity))
        elif families := [k for k in kinds if kind.startswith(f"{k}.")]:
            family = max(families, key=len)
            made = list(kinds[family].named(data, kind.removeprefix(f"{family}."), severity))
        out |= {c.key: c for c in made if c.key not in known}
        if made and not any(_is(c, name) for c in made):
            cells += [(measure, c.key) for c in made]
        else:
            cells.append((measure, name))
    return list(out.values()), cells


def _parsed(name: str) -> tuple[str, float | None]:
    """Kind and severity that a cell names; the whole name where no number stands behind an @."""
    kind, at, text = name.rpartition("@")
    try:
        return (kind, float(text)) if at else (name, None)
    except ValueError:
        return name, None


def _written(name: str) -> str:
    """The name as keys have it: ``@.10`` and ``@1e-1`` are ``@0.1``."""
    kind, severity = _parsed(name)
    return name if severity is None else f"{kind}@{severity:g}"
