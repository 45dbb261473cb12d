"""The audit of all specimens, in every view a user might give of them.

A view says what the audit is given: the whole ensemble or one member, references or none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import nn

from benchmarks.validity import cache
from benchmarks.validity.specimens import DISTILLED_REFERENCES, MEMBERS, REFERENCES, World
from ringtest import AuditData, evidence, road, stages
from ringtest.case import Case
from ringtest.evidence import Evidence, Gathered, Wanted
from ringtest.measure import Measure, ModelMeasure, NotMeasurable, PairMeasure, Setting
from ringtest.model import evaluating
from ringtest.perturb import losses
from ringtest.perturb.pgd import PGD
from ringtest.plan import Stage
from ringtest.probes.twin_spread import MEAN_OUTPUTS

CHUNK = 64
"""Students of one audit: the teacher's part is computed once for all of them."""
Cells = dict[str, dict[str, Any]]
"""View -> key of the condition -> measure -> content."""
JUDGED = ("clean", "off_support", "certified", "unlabelled")
"""Roles of the conditions that a verdict rests on."""
CONSIDERED = 0.6
"""Where members keep less than this under a transformation, nothing else is computed: no rule that
was considered certifies it (the product's least is .70, for regression)."""
ALTERNATIVES = ("attack.pgd@0.1", "noise.input@0.3")
"""Conditions that are read besides, as what a user could look at today."""


@dataclass(frozen=True)
class View:
    """What an audit is given besides student and benchmark."""

    members: int
    references: str | None
    """Family of the references, of the student's own architecture where there are any."""
    part: tuple[int, int] | None = None
    """From which to which of the references that an audit was given instead of the world's."""


VIEWS = {
    "members": View(3, None),
    "references": View(3, REFERENCES),
    "distilled": View(3, DISTILLED_REFERENCES),
    "single": View(1, None),
    "single, references": View(1, REFERENCES),
}
OWN = "own"
"""References that are given to an audit instead of the world's, such as those of a question."""


@dataclass(frozen=True)
class Chunk:
    """Students that are audited together, with references of one architecture."""

    world: str
    architecture: str
    """Of the references: the students' own, or the members' where there are none of theirs."""
    students: tuple[str, ...]


def chunks(world: World, only: Iterable[str] | None = None) -> list[Chunk]:
    """All specimens of a world in groups; ``only`` names those that are wanted."""
    wanted = None if only is None else set(only)
    kinds = {b.architecture for b in world.batches if b.family == REFERENCES}
    names: dict[str, list[str]] = {}
    for batch in world.batches:
        if batch.family not in (MEMBERS, REFERENCES, DISTILLED_REFERENCES):
            mine = [n for n in batch.names if wanted is None or n in wanted]
            kind = batch.architecture if batch.architecture in kinds else world.teacher
            names.setdefault(kind, []).extend(mine)
    return [
        Chunk(world.name, kind, tuple(found[i : i + CHUNK]))
        for kind, found in names.items()
        for i in range(0, len(found), CHUNK)
    ]


def case(
    world: World,
    chunk: Chunk,
    data: AuditData | None = None,
    seed: int = 0,
    references: Sequence[nn.Module] | None = None,
    looks: Collection[str] = (*JUDGED, *ALTERNATIVES),
) -> Case:
    """The audit of a chunk, with the references of all views and what a verdict rests on.

    ``references`` of one's own take the place of the world's, for the views that ask for `OWN`;
    ``looks`` names the roles of the conditions, or conditions themselves, that are looked at.
    """
    everyone = models(world)
    found = [_references(world, f, chunk.architecture) for f in (REFERENCES, DISTILLED_REFERENCES)]
    honest = [everyone[n] for names in found for n in names] if references is None else references
    made = road.prepare(
        list(cache.teacher(world).values()),
        {name: everyone[name] for name in chunk.students},
        data or audit_data(world),
        world.task,
        references=list(honest) or None,
        seed=seed,
    )
    asked = [_lean(s, looks) for s in made.plan.stages]
    kept = tuple(s for s in asked if s is not None)
    return replace(made, plan=replace(made.plan, stages=kept, not_measured=()))


def viewed(world: World, chunk: Chunk, made: Case, view: View) -> Case:
    """The same audit with what a view gives it."""
    of_labels = len(_references(world, REFERENCES, chunk.architecture))
    references = {
        None: [],
        REFERENCES: made.references[:of_labels],
        DISTILLED_REFERENCES: made.references[of_labels:],
        OWN: made.references[slice(*(view.part or (None,)))],
    }
    return replace(
        made, members=made.members[: view.members], references=references[view.references]
    )


@lru_cache(maxsize=2)
def models(world: World) -> dict[str, nn.Module]:
    """All models of a world by name."""
    return {n: m for _, found in cache.everything(world) for n, m in found.items()}


@lru_cache(maxsize=2)
def audit_data(world: World) -> AuditData:
    """The benchmark as the audit gets it."""
    return AuditData(*world.data, unlabelled=dict(world.unlabelled), **world.audit)


def _references(world: World, family: str, architecture: str) -> list[str]:
    """Those of the student's architecture; of the members' where the world has none such."""
    found = {b.architecture: b.names for b in world.batches if b.family == family}
    return found.get(architecture, found.get(world.teacher, []))


def _lean(stage: Stage, looks: Collection[str]) -> Stage | None:
    """A stage with judged measures alone; None for what no verdict rests on."""
    if not {stage.condition.role, stage.condition.key} & set(looks):
        return None
    if stage.condition.role in JUDGED:
        kept = tuple(m for m in stage.measures if m.group is not None or m.id == "shift.domain_auc")
    else:
        kept = stage.measures
    if isinstance(stage.condition, PGD):
        # What most people run. The other loss, which finds masked gradients, is an audit's own.
        attack = copy.copy(stage.condition)
        attack.losses = {"ce": losses.LOSSES["ce"]}  # type: ignore[misc]
        stage = replace(stage, condition=attack)
    needs = frozenset().union(*(m.needs for m in kept))
    wanted = Wanted("outcomes" in needs, "sample" in needs, "layers" in needs, False)
    return replace(stage, measures=kept, wanted=wanted)


def once(entry: Measure, members: Collection[str]) -> Measure:
    """The measure, computing once what several views ask for; good for one condition."""
    made = copy.copy(entry)
    if isinstance(entry, PairMeasure):
        # By identity, as a model's evidence is prepared in every form.
        made.forms = _kept_by(lambda shown: shown.subject, entry.forms)  # type: ignore[attr-defined]
        made.prepare = _kept_by(lambda shown, _: id(shown), entry.prepare)  # type: ignore[attr-defined]
        made.compare = _kept_by(lambda a, b: (id(a), id(b)), entry.compare)  # type: ignore[attr-defined]
    elif isinstance(entry, ModelMeasure):
        twins = entry.id == "structure.twin_spread"
        key = _with_members if twins else lambda shown, _: shown.subject
        read = _kept_by(key, entry.read)
        if entry.id == "shift.domain_auc":
            read = _asked_of(members, read)
        made.read = read  # type: ignore[attr-defined]
    return made


def _asked_of(members: Collection[str], read: Callable[..., Any]) -> Callable[..., Any]:
    """No verdict rests on what a student says of it, and asking takes a tenth of an audit."""

    def asked(shown: Evidence, at: Setting) -> Any:
        if shown.subject not in members:
            raise NotMeasurable("asked of members alone")
        return read(shown, at)

    return asked


def _with_members(shown: Evidence, at: Setting) -> tuple[str, float]:
    """What twins depend on: the model, and the mean outputs of the members of a view."""
    mean = at.shared.get(MEAN_OUTPUTS)
    return shown.subject, 0.0 if mean is None else float(mean.sum())


def _kept_by(key: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    kept: dict[Any, Any] = {}

    def call(*args: Any) -> Any:
        name = key(*args)
        if name not in kept:
            kept[name] = function(*args)
        return kept[name]

    return call


def run(
    world: World,
    chunk: Chunk,
    made: Case,
    views: Mapping[str, View] = VIEWS,
    wanted: Collection[str] | None = None,
) -> Cells:
    """Cells of some views, under all conditions or only those whose keys are ``wanted``.

    All models look once under each condition, and every view reads what it needs of that.
    """
    cases = {name: viewed(world, chunk, made, view) for name, view in views.items()}
    out: dict[str, dict[str, Any]] = {name: {} for name in cases}
    clean: dict[str, Evidence] = {}
    members = {m.name for m in made.members}
    with evaluating(made.models):
        for stage in made.plan.stages:
            asked = wanted is None or stage.condition.key in wanted
            if clean and not asked:
                continue
            # No view holds a student against references under what no verdict rests on.
            judged = stage.condition.role in JUDGED
            models = [m for m in made.models if judged or m.role != "reference"]
            gathered = evidence.gather(
                stage.condition, models, [], made.data, made.task, stage.wanted, made.seed
            )
            for name, shown in gathered.evidence.items():
                shown.clean = clean.get(name)
            clean = clean or gathered.evidence
            if not asked:
                continue
            entries = [once(m, members) for m in stage.measures]
            if stage.condition.role == "certified":
                entries = _worth(entries, made, stage, gathered)
            for name, mine in cases.items():
                at = stages.setting(mine, stage.condition, gathered)
                out[name][stage.condition.key] = {
                    e.id: stages.compute(mine, e, gathered, at) for e in entries
                }
    return out


def _worth(entries: list[Measure], made: Case, stage: Stage, gathered: Gathered) -> list[Measure]:
    """All measures, or consistency alone where members stay themselves by far too little."""
    (consistency,) = (e for e in entries if e.id == "outputs.consistency")
    asked, at = replace(made, students={}), stages.setting(made, stage.condition, gathered)
    found = stages.compute(asked, consistency, gathered, at)
    kept = [r[0].estimate.value for r in found.values() if isinstance(r, list)]
    return [consistency] if kept and sum(kept) / len(kept) < CONSIDERED else entries
