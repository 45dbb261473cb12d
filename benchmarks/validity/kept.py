"""Cells of the bench: what models showed, kept under a key of everything but floors and margins.

A change of rules or constants is judged again in seconds: models look once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from benchmarks.validity import audits, cache
from benchmarks.validity.audits import OF_COPIES, VIEWS, Cells, Chunk
from benchmarks.validity.specimens import World
from ringtest import margins, stages
from ringtest.case import Case
from ringtest.cells import store, versions
from ringtest.plan import cell_name


def cells(world: World, chunk: Chunk, made: Case, views: Iterable[str] = tuple(VIEWS)) -> Cells:
    """The cells of a chunk; models look only if they have not yet."""
    path, key = _place(made, chunk, tuple(views))
    if path.is_file():
        head, _, body = path.read_bytes().partition(b"\n")
        if json.loads(head) == key:
            return store.unpack(body)  # type: ignore[no-any-return]
    found = audits.run(world, chunk, made, views)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(json.dumps(key).encode() + b"\n" + store.pack(found))
    part.rename(path)
    return found


def _place(made: Case, chunk: Chunk, views: tuple[str, ...]) -> tuple[Path, str]:
    key = _key(made, views)
    folder = cache.FOLDER / "cells" / chunk.world
    return folder / f"{chunk.architecture.replace(' ', '-')}-{key[:16]}.cells", key


def _key(made: Case, views: tuple[str, ...]) -> str:
    """Everything that decides cells: rows, models, code, and the constants that measures read."""
    parts = [
        made.data.fingerprint,
        str(made.seed),
        torch.__version__,
        _code(),
        repr([(v, (VIEWS | OF_COPIES)[v]) for v in views]),
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
    found = versions.Versions().closure([*modules, "ringtest.evidence", "ringtest.compare"])
    found.pop("ringtest.margins", None)
    read = {k: v for k, v in vars(margins).items() if k.isupper() and k not in JUDGES_CONSTANTS}
    return versions.digest([json.dumps(sorted(found.items())), repr(sorted(read.items()))])


JUDGES_CONSTANTS: Sequence[str] = (
    "VERSION", "ALPHA", "MIN_GROUPS", "BENCHMARK", "UNLABELLED", "CERTIFIED", "OFF_SUPPORT",
    "REFERENCES", "LEVELS", "STRUCTURE", "BAND_PRIOR_SD", "BAND_PRIOR_DF", "ELSEWHERE_AUC",
    "CERTIFIED_SHARE", "CERTIFIED_MOVEMENT", "TEACHER_STRUCTURE_MARGINS", "GROUPS",
    "ALWAYS_REQUIRED", "BAND_GROUPS", "SLICE_TRANSFER", "FLOORS", "OWN_FLOORS",
)  # fmt: skip
"""Constants that only judges read, after all cells are there."""
