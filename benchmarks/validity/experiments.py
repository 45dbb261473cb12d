"""Audits of chosen specimens on chosen rows: what the open questions and the power rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.validity import audits, cases, judging
from benchmarks.validity.cases import Case
from benchmarks.validity.fitting import rng
from benchmarks.validity.pool import each
from benchmarks.validity.specimens import World
from benchmarks.validity.steps import Truths
from benchmarks.validity.truth import Truth
from benchmarks.validity.worlds import load
from ringtest import AuditData


@dataclass(frozen=True)
class Trial:
    """One audit of some specimens on other rows or other inputs from elsewhere."""

    world: str
    names: tuple[str, ...]
    label: str
    """What is varied, for the table."""
    rows: int = 0
    """Rows of the benchmark, drawn from the world's pool; 0: the benchmark as it stands."""
    draw: int = 0
    """Seed of that draw, and of the audit."""
    unlabelled: Mapping[str, Mixture] = field(default_factory=dict)
    """Set -> what it is made of; none: no inputs from elsewhere."""
    looks: tuple[str, ...] = audits.JUDGED
    """Roles of the conditions that are looked at."""
    bare: bool = True
    """Whether the same audit without inputs from elsewhere is judged, too."""


@dataclass(frozen=True)
class Mixture:
    """Inputs from elsewhere, in part replaced by rows of the benchmark's population."""

    source: str
    """Key of `World.unlabelled`."""
    rows: int = 0
    """How many; 0: all."""
    home: float = 0.0
    """Share of rows that come from the benchmark's own population (impurity)."""
    closeness: float = 0.0
    """Each row is drawn so far towards the row of the benchmark's population it is paired with."""


def run(
    pool: ProcessPoolExecutor | None, what: str, trials: Sequence[Trial], truths: Truths
) -> list[list[Case]]:
    """The cases of every trial, in order."""
    jobs = [(t, {n: truths[t.world, n] for n in t.names}) for t in trials]
    return each(pool, what, _run, jobs)


def _run(job: tuple[Trial, dict[str, Truth]]) -> list[Case]:
    trial, known = job
    world = load(trial.world)
    rows = data(world, trial)
    leaves = [(True, judging.nothing)] if trial.unlabelled else []
    if trial.bare or not leaves:
        leaves.append((False, cases.without_unlabelled))
    return [
        case
        for chunk in audits.chunks(world, trial.names)
        for case in cases.of_chunk(
            world,
            chunk,
            known,
            {"members": audits.VIEWS["members"]},
            rows,
            trial.draw,
            leaves,
            references=[],
            looks=trial.looks,
        )
    ]


def data(world: World, trial: Trial) -> AuditData:
    """The rows of a trial."""
    inputs, targets = world.data
    groups = dict(world.audit.get("groups", {}))
    if trial.rows:
        inputs, targets = world.pool
        order = torch.randperm(len(inputs), generator=rng(trial.draw, "rows"))[: trial.rows]
        inputs, targets, groups = inputs[order], targets[order], {}
    others = {n: mixed(world, m, trial.draw) for n, m in trial.unlabelled.items()}
    rest = {k: v for k, v in world.audit.items() if k != "groups"}
    return AuditData(inputs, targets, groups=groups or None, unlabelled=others or None, **rest)


def mixed(world: World, asked: Mixture, seed: int) -> Tensor:
    """Inputs from elsewhere as a mixture says."""
    draw = rng(seed, "mixture")
    inputs = world.unlabelled[asked.source]
    n = asked.rows or len(inputs)
    inputs = inputs[torch.randperm(len(inputs), generator=draw)[:n]]
    home = world.train[0][world.home]
    paired = home[torch.randint(len(home), (len(inputs),), generator=draw)]
    inputs = (1 - asked.closeness) * inputs + asked.closeness * paired
    out = inputs.clone()
    impure = round(asked.home * len(out))
    out[:impure] = paired[:impure]
    return out
