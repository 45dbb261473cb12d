"""Cells of the bench: what models showed, kept under a key of everything but floors and margins.

A change of rules or constants is judged again in seconds: models look once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch

from benchmarks.validity import audits, cache
from benchmarks.validity.audits import GIVEN, VIEWS, Cells, Chunk
from benchmarks.validity.specimens import World
from ringtest import margins, stages
from ringtest.case import Case
from ringtest.cells import versions
from ringtest.cells.keys import GROUND
from ringtest.cells.store import Store
from ringtest.plan import cell_name


def cells(world: World, chunk: Chunk, made: Case, views: Iterable[str] = tuple(VIEWS)) -> Cells:
    """The cells of a chunk; models look only if they have not yet."""
    key = _key(made, tuple(views))
    kept = Store(cache.FOLDER / "cells" / chunk.world)
    name = f"{chunk.architecture}-{key[:16]}"
    found: Cells | None = kept.read(name, key)
    if found is None:
        found = audits.run(world, chunk, made, views)
        kept.write(name, key, found)
    return found


def _key(made: Case, views: tuple[str, ...]) -> str:
    """Everything that decides cells: rows, models, code, and the constants that measures read."""
    parts = [
        made.data.fingerprint,
        str(made.seed),
        torch.__version__,
        _code(),
        repr([(v, GIVEN[v]) for v in views]),
    ]
    parts += [f"{m.name}={m.weights_hash}" for m in made.models]
    parts += [
        cell_name(stages.entry_id(e), s.condition) for s in made.plan.stages for e in s.entries
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


@lru_cache
def _code() -> str:
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
