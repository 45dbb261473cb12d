"""(f) Inputs from elsewhere: how many, how pure, how close to the benchmark?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pandas as pd

from benchmarks.validity import cases as cases_
from benchmarks.validity import experiments, tables
from benchmarks.validity.cases import Case
from benchmarks.validity.experiments import Mixture, Trial
from benchmarks.validity.specimens import World
from benchmarks.validity.statistics import shown
from benchmarks.validity.steps import Truths
from benchmarks.validity.worlds import load

WORLDS = ("digits", "diamonds")
FAMILIES = (
    "sibling", "distilled", "distilled other", "clean only", "noise only", "narrow", "diluted",
)  # fmt: skip
EACH = 2
"""Specimens of a family and architecture."""
ALL = ("rows", "all")
"""The trial beside which stands the audit without any."""
COUNTS = (100, 200, 0)
HOME = (0.25, 0.5, 1.0)
CLOSE = (0.5,)


def trials(world: World) -> list[Trial]:
    """One set at a time, with fewer rows, with rows of the benchmark mixed in, and drawn near."""
    names = tuple(n for b in world.batches if b.family in FAMILIES for n in b.names[:EACH])
    source = next(iter(world.unlabelled))
    asked = [(ALL[0], str(n or ALL[1]), Mixture(source, n)) for n in COUNTS]
    asked += [("from home", f"{h:.0%}", Mixture(source, home=h)) for h in HOME]
    asked += [("drawn near by", f"{c:.0%}", Mixture(source, closeness=c)) for c in CLOSE]
    return [
        Trial(
            world.name,
            names,
            f"{what}|{value}",
            unlabelled={source: mixture},
            bare=(what, value) == ALL,
        )
        for what, value, mixture in asked
    ]


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Rates with each set, beside those without any."""
    here = [w for w in WORLDS if any(c.truth.world == w for c in cases)]
    # World by world in turn: trials of one world share all but the set, and wait for the first.
    asked = [t for turn in zip(*(trials(load(w)) for w in here), strict=True) for t in turn]
    found = experiments.run(pool, "unlabelled", asked, truths)
    out = []
    for trial, mine in zip(asked, found, strict=True):
        frame = cases_.table([c for c in mine if c.elsewhere])
        what, _, value = trial.label.partition("|")
        out.append({"world": trial.world, "what": what, "value": value, **_line(mine, frame)})
        if trial.bare:
            bare = cases_.table([c for c in mine if not c.elsewhere])
            out.append({"world": trial.world, "what": "none", "value": "", **_line([], bare)})
    table = pd.DataFrame(out).sort_values("world", key=lambda w: w.map(WORLDS.index), kind="stable")
    return {"One set of inputs from elsewhere": table.reset_index(drop=True)}


def _line(found: Sequence[Case], frame: pd.DataFrame) -> dict[str, str]:
    known = tables.counted(frame)
    honest, bad = (known[known["truth"] == t] for t in ("sound", "fractured"))
    return {
        "counts as elsewhere": judged(found),
        "false alarms": shown(tables.label_rate(honest, "fractured")),
        "sound called sound": shown(tables.label_rate(honest, "sound")),
        "catches": shown(tables.label_rate(bad, "fractured")),
        "fractured called sound": shown(tables.label_rate(bad, "sound")),
    }


def judged(found: Sequence[Case]) -> str:
    """Whether the set's rows are judged."""
    rows = [
        r for c in found if c.elsewhere for r in c.audited.rows
        if r.condition.startswith("shift.unlabelled") and r.group is not None
    ]  # fmt: skip
    return "–" if not rows else "yes" if any(r.headline for r in rows) else "no"
