"""Specimens as safetensors: trained once, found again by everything that decides their weights."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from benchmarks.validity import families, fitting, networks, surgery
from benchmarks.validity.fitting import fresh
from benchmarks.validity.specimens import MEMBERS, Batch, World
from ringtest.files import write_atomically

FOLDER = Path(__file__).parent / "cache"
"""Ignored by git; everything in it can be made again."""


def models(
    world: World, batch: Batch, members: list[nn.Module] | None = None
) -> dict[str, nn.Module]:
    """The models of a batch by name, trained if they are not there yet."""
    if members is None and batch.family != MEMBERS:
        members = list(teacher(world).values())
    folder = FOLDER / "specimens" / world.name / key(world, batch)
    files = {name: folder / f"{name}.safetensors" for name in batch.names}
    if not all(f.is_file() for f in files.values()):
        made = batch.build(world, members or [], batch.seeds)
        folder.mkdir(parents=True, exist_ok=True)
        for file, model in zip(files.values(), made, strict=True):
            write_atomically(file, save({k: v.contiguous() for k, v in model.state_dict().items()}))
    out = {}
    for name, file in files.items():
        model = fresh(world, batch.architecture, 0)
        model.load_state_dict(load_file(file))
        out[name] = model.eval()
    return out


def teacher(world: World) -> dict[str, nn.Module]:
    """The members by name."""
    return models(world, _member_batch(world))


def key(world: World, batch: Batch) -> str:
    """Digest of what decides the weights of a batch."""
    own = batch if batch.family == MEMBERS else (_member_batch(world), batch)
    parts = [_rows(world.name, *world.train, world.data[0], world.home, world.majority)]
    parts += [code(f) for f in sorted(_files(world, batch))]
    parts += [_told(own), str(sorted(world.steps.items()))]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _files(world: World, batch: Batch) -> set[str]:
    """Sources that decide weights: what all rest on, the world's, and that of the batch's build."""
    build: Any = batch.build
    while isinstance(build, partial):
        build = build.func
    shared = {str(m.__file__) for m in (families, fitting, networks, surgery)}
    return shared | {world.vary.__code__.co_filename, build.__code__.co_filename}


def _member_batch(world: World) -> Batch:
    return next(b for b in world.batches if b.family == MEMBERS)


def _told(value: Any) -> str:
    """A batch in words that do not change from process to process."""
    if isinstance(value, tuple):
        return "(" + ",".join(_told(v) for v in value) + ")"
    if isinstance(value, partial):
        bound = ",".join(f"{k}={_told(v)}" for k, v in sorted(value.keywords.items()))
        return f"{_told(value.func)}({bound})"
    if isinstance(value, Batch):
        return f"{value.family}/{value.architecture}/{value.seeds}/{_told(value.build)}"
    return getattr(value, "__qualname__", repr(value))


@lru_cache
def code(file: str) -> str:
    """Digest of a source without its comments and docstrings."""
    tree = ast.parse(Path(file).read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [b for b in body if not _is_text(b)] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@lru_cache(maxsize=64)
def _rows(name: str, *tensors: torch.Tensor) -> str:
    found = hashlib.sha256(name.encode())
    for t in tensors:
        found.update(t.contiguous().numpy().tobytes())
    return found.hexdigest()


def everything(world: World) -> Iterator[tuple[Batch, dict[str, nn.Module]]]:
    """All batches of a world with their models, members first."""
    members = teacher(world)
    yield _member_batch(world), members
    for batch in world.batches:
        if batch.family != MEMBERS:
            yield batch, models(world, batch, list(members.values()))
