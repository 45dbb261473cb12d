"""(b) Reference copies: the student's architecture, fresh weights, taught by the teacher alone.

What a user has for every student is the teacher and the audit's own inputs. Recipes differ in what
the copies are shown (the inputs themselves, half of their features from another row, noise) and in
how long they learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.validity import audits, cache, families, tables
from benchmarks.validity import cases as cases_
from benchmarks.validity.audits import OWN, Chunk, View
from benchmarks.validity.cases import Case
from benchmarks.validity.fitting import Lesson, combined, fit, fresh, rng
from benchmarks.validity.pool import each
from benchmarks.validity.specimens import Batch, World
from benchmarks.validity.steps import Truths
from benchmarks.validity.worlds import load

WORLDS = ("digits", "diamonds")
FAMILIES = (
    "sibling", "sibling other", "distilled", "distilled other",
    "clean only", "noise only", "narrow",
)  # fmt: skip
EACH = 2


@dataclass(frozen=True)
class Recipe:
    """How copies are taught."""

    name: str
    mixed: float
    """Share of rows with half of their features from another row."""
    noise: float
    """SD of added noise, in each feature's own SD."""
    steps: float
    """Relative to the world's own number of updates."""
    copies: int = 2


RECIPES = (
    Recipe("inputs alone", 0.0, 0.0, 1.0),
    Recipe("mixed and noise .5", 0.5, 0.5, 1.0),
    Recipe("mixed and noise .5, a third of the steps", 0.5, 0.5, 0.33),
    Recipe("mixed and noise .5, twice the steps", 0.5, 0.5, 2.0),
    Recipe("mixed and noise .5, 4 copies", 0.5, 0.5, 1.0, 4),
)


def batch(net: str, recipe: Recipe) -> Batch:
    """Copies of an architecture as a recipe says, to be trained once like any specimen."""
    build = partial(taught, net=net, recipe=recipe)
    return Batch(f"copy {recipe.name}", "sound", net, tuple(range(recipe.copies)), build, "a copy")


def taught(
    world: World, members: Sequence[nn.Module], seeds: Sequence[int], net: str, recipe: Recipe
) -> list[nn.Module]:
    """Fresh networks that learn from the teacher's answers to inputs that a recipe changes."""
    lessons = []
    for seed in seeds:
        inputs = shown(world.data[0], recipe, seed)
        lessons.append(Lesson(inputs, combined(world, members, inputs)))
    models = [fresh(world, net, 950 + seed) for seed in seeds]
    steps = max(100, round(recipe.steps * world.steps[net]))
    return fit(
        world, models, lessons, list(seeds), steps=steps, together=families.is_light(models[0])
    )


def shown(inputs: Tensor, recipe: Recipe, seed: int) -> Tensor:
    """The inputs many times over, changed as a recipe says."""
    draw = rng(seed, "copies")
    x = families.copies(inputs)
    other = x[torch.randperm(len(x), generator=draw)]
    swap = torch.rand(x.shape, generator=draw) < 0.5
    rows = torch.rand(len(x), *[1] * (x.dim() - 1), generator=draw) < recipe.mixed
    x = torch.where(swap & rows, other, x)
    level = recipe.noise * torch.rand(len(x), *[1] * (x.dim() - 1), generator=draw)
    return x + level * inputs.std(0) * torch.randn(x.shape, generator=draw)


def chunks(world: World) -> list[Chunk]:
    """The students that are held against copies."""
    names = [n for b in world.batches if b.family in FAMILIES for n in b.names[:EACH]]
    return audits.chunks(world, names)


def train(pool: ProcessPoolExecutor | None, worlds: Sequence[str]) -> None:
    """Train the copies that are not in the cache yet."""
    jobs = [
        (name, chunk.architecture, recipe)
        for name in worlds
        if name in WORLDS
        for chunk in chunks(load(name))
        for recipe in RECIPES
    ]
    each(pool, "copies", _train, jobs)


def _train(job: tuple[str, str, Recipe]) -> None:
    name, net, recipe = job
    cache.models(load(name), batch(net, recipe))


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Rates with copies of each recipe as references, for the ensemble and for a single teacher."""
    jobs = [
        (chunk, {n: truths[name, n] for n in chunk.students})
        for name in WORLDS
        if any(c.truth.world == name for c in cases)
        for chunk in chunks(load(name))
    ]
    found = [line for lines in each(pool, "reference copies", _audit, jobs) for line in lines]
    frame = pd.DataFrame(found)
    frame[["recipe", "view"]] = frame["view"].str.split("|", expand=True)
    out = []
    for recipe, view in (name.split("|") for name in VIEWS):
        part = frame[(frame["recipe"] == recipe) & (frame["view"] == view)]
        figures = tables.figures(part)
        kept = ("sound / fractured", "false alarms", "sound called sound", "catches",
                "fractured called sound", "AUROC of strength")  # fmt: skip
        out.append({"recipe": recipe, "audit": view, **{k: figures[k] for k in kept}})
    return {"Reference copies": pd.DataFrame(out)}


def _views() -> dict[str, View]:
    """Every audit by recipe and teacher; all are made at once, each reads its own references."""
    out = {}
    for i, recipe in enumerate(RECIPES):
        first = sum(r.copies for r in RECIPES[:i])
        for name, members in (("copies", 3), ("single, copies", 1)):
            out[f"{recipe.name}|{name}"] = View(members, OWN, (first, first + recipe.copies))
    return out


VIEWS = _views()


def _audit(job: tuple[Chunk, dict[str, Any]]) -> list[dict[str, Any]]:
    chunk, known = job
    world = load(chunk.world)
    copies = [
        m for r in RECIPES for m in cache.models(world, batch(chunk.architecture, r)).values()
    ]
    found = cases_.of_chunk(
        world, chunk, known, VIEWS,
        leaves=[(False, cases_.without_unlabelled)], references=copies,
        looks=[role for role in audits.JUDGED if role != "unlabelled"],
    )  # fmt: skip
    return cases_.table(found).to_dict("records")
