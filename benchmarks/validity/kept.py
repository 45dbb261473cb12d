"""Cells of the bench: what models showed, kept under a key of everything but floors and margins.

A change of rules or constants is judged again in seconds: models look once.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch

from benchmarks.validity import audits, cache
from benchmarks.validity.audits import VIEWS, Cells, Chunk, View
from benchmarks.validity.specimens import World
from ringtest import AuditData, margins, stages
from ringtest.case import Case
from ringtest.cells import versions
from ringtest.cells.keys import GROUND
from ringtest.cells.store import Store
from ringtest.plan import Stage, cell_name


def cells(world: World, chunk: Chunk, made: Case, views: Mapping[str, View] = VIEWS) -> Cells:
    """The cells of a chunk; models look only under conditions that they have not looked under."""
    store = Store(cache.FOLDER / "cells" / chunk.world)
    keys = {s.condition.key: _key(made, s, views) for s in made.plan.stages}
    names = {at: f"{chunk.architecture}-{at}-{key[:16]}" for at, key in keys.items()}
    found = {at: store.read(names[at], key) for at, key in keys.items()}
    missing = {at for at, content in found.items() if content is None}
    if missing:
        seen = audits.run(world, chunk, made, views, missing)
        for at in missing:
            found[at] = {view: seen[view][at] for view in views}
            store.write(names[at], keys[at], found[at])
    return {view: {at: content[view] for at, content in found.items()} for view in views}


def _key(made: Case, stage: Stage, views: Mapping[str, View]) -> str:
    """Everything that decides cells: rows, models, code, and the constants that measures read."""
    parts = [
        _rows(made.data, stage),
        str(made.seed),
        torch.__version__,
        code(),
        repr(list(views.items())),
    ]
    parts += [f"{m.name}={m.weights_hash}" for m in made.models]
    parts += [cell_name(stages.entry_id(e), stage.condition) for e in stage.entries]
    parts += sorted(getattr(stage.condition, "losses", ()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _rows(data: AuditData, stage: Stage) -> str:
    """Digest of the rows: inputs from elsewhere are read under their own conditions alone."""
    if stage.condition.role == "unlabelled":
        return data.fingerprint
    bare = copy.copy(data)
    bare.elsewhere = {}
    bare.__dict__.pop("fingerprint", None)
    return bare.fingerprint


@lru_cache
def code() -> str:
    """Digest of the sources of all measures and conditions, without the file of the margins."""
    from ringtest.condition import conditions
    from ringtest.measure import measures

    modules = {type(m).__module__ for m in measures} | {c.make.__module__ for c in conditions}
    found = versions.Versions().closure([*modules, *GROUND])
    found.pop("ringtest.margins", None)
    read = {k: v for k, v in vars(margins).items() if k.isupper() and k not in JUDGES_CONSTANTS}
    return versions.digest([json.dumps(sorted(found.items())), repr(sorted(read.items()))])


JUDGES_CONSTANTS: Sequence[str] = (
    "VERSION", "ALPHA", "MIN_GROUPS", "BENCHMARK", "UNLABELLED", "CERTIFIED", "OFF_SUPPORT",
    "REFERENCES", "LEVELS", "STRUCTURE", "BAND_PRIOR_SD", "BAND_PRIOR_DF", "ELSEWHERE_AUC",
    "CERTIFIED_SHARE", "CERTIFIED_MOVEMENT", "TEACHER_STRUCTURE", "GROUPS",
    "ALWAYS_REQUIRED", "BAND_GROUPS", "SLICE_TRANSFER", "FLOORS", "OWN_FLOORS", "UNEVEN",
)  # fmt: skip
"""Constants that only judges read, after all cells are there."""
