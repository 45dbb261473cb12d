"""What specimens show off support and under certified transformations, strength by strength."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.validity import cache, kept
from benchmarks.validity.readings import Asked, case_of, harms_of, last_layer
from benchmarks.validity.worlds import load
from ringtest import evidence, margins, stages
from ringtest.case import Case
from ringtest.cells.store import Store
from ringtest.condition import Condition, conditions
from ringtest.evidence import Evidence, Wanted
from ringtest.measure import Measure, NotMeasurable, measures
from ringtest.model import evaluating
from ringtest.shift.strongest import Strongest

LIKENESS: Final = ("similarity.cka", "similarity.neighbours", "outputs.agreement")
KEPT: Final = "outputs.consistency"
_WANTED: Final = Wanted(outcomes=True, sample=True)


@dataclass(frozen=True)
class Grade:
    """One condition at one strength."""

    condition: Condition
    family: str
    """``off support``, ``certified`` (the dictionary) or ``strongest``."""

    @property
    def measures(self) -> list[Measure]:
        """What is read there."""
        names = LIKENESS if self.family == "off support" else (*LIKENESS, KEPT)
        return [measures[name] for name in names]


def grades(case: Case) -> Iterator[Grade]:
    """All strengths of all conditions that an audit knows of, besides clean ones."""
    for kind in conditions:
        if case.task.name not in kind.make.tasks:
            continue
        data, make = case.data, kind.make
        if kind.id.startswith("shift.off_support."):
            yield from (Grade(c, "off support") for c in make.defaults(data))
        elif kind.id == "shift.certified":
            yield from (Grade(c, "certified") for c in make.defaults(data))
        elif kind.id == Strongest.kind:
            yield from (Grade(c, "strongest") for c in make.defaults(data))


def harms(asked: Asked) -> list[dict[str, Any]]:
    """Lines ``world, name, measure, family, condition, strength, kept, harm``, or from the store.

    ``strength`` is the severity, or what was found; ``kept`` what the members keep of their outputs
    under a transformation. Harm is that of the level; what it adds to clean rows is told apart.
    """
    world = load(asked.world)
    case = case_of(world, asked)
    store, name = Store(cache.FOLDER / "cells" / world.name), f"grades-{asked.scale:g}"
    key = _key(case, asked)
    lines: list[dict[str, Any]] | None = store.read(name, key)
    if lines is None:
        with evaluating(case.models):
            lines = _lines(case)
        store.write(name, key, lines)
    return [{"world": world.name, **line} for line in lines]


def _lines(case: Case) -> list[dict[str, Any]]:
    first = next(
        c for kind in conditions for c in kind.make.defaults(case.data) if c.key == "clean"
    )
    clean = _seen(case, first)
    assert clean is not None
    out = _told(case, Grade(first, "clean"), clean, {})
    for grade in grades(case):
        seen = _seen(case, grade.condition)
        if seen is not None:
            out += _told(case, grade, seen, clean.evidence)
    return out


def _seen(case: Case, condition: Condition) -> evidence.Gathered | None:
    """The evidence; None where the condition says that there is none."""
    try:
        found = evidence.gather(
            condition, case.models, [], case.data, case.task, _WANTED, case.seed
        )
    except NotMeasurable:
        return None
    return found if found.evidence else None


def _told(
    case: Case, grade: Grade, seen: evidence.Gathered, clean: dict[str, Evidence]
) -> list[dict[str, Any]]:
    for name, shown in seen.evidence.items():
        shown.clean = clean.get(name)
    last = replace(seen, evidence={n: last_layer(e) for n, e in seen.evidence.items()})
    at, condition = stages.setting(case, grade.condition, last), grade.condition
    strength = condition.strength if isinstance(condition, Strongest) else condition.severity
    out = []
    for entry in grade.measures if clean else [measures[name] for name in LIKENESS]:
        content = stages.compute(case, entry, last, at)
        kept_ = _kept(case, content) if entry.id == KEPT else None
        for name, model in case.students.items():
            for _, harm, reason in harms_of(entry, content, case, model.name):
                out.append(
                    {
                        "name": name, "measure": entry.id, "family": grade.family,
                        "condition": condition.id, "strength": strength, "kept": kept_,
                        "harm": harm, "reason": reason,
                    }
                )  # fmt: skip
    return out


def _kept(case: Case, content: dict[str, Any]) -> float:
    """What the members keep, in the mean."""
    values = [content[m.name][0].estimate.value for m in case.members]
    return float(sum(values) / len(values))


def _key(case: Case, asked: Asked) -> str:
    """Everything that decides lines."""
    parts = [case.data.fingerprint, str(case.seed), kept.code(), cache.code(__file__)]
    parts += [f"{m.name}={m.weights_hash}" for m in case.models]
    parts += [g.condition.key for g in grades(case)]
    parts += [repr((margins.CERTIFIED_SHARE, margins.CERTIFIED_MOVEMENT)), repr(asked.scale)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
