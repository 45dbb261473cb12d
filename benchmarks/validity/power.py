"""A/A and power: how often labels come out on rows drawn anew, and how many rows they need."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd

from benchmarks.validity import cases, experiments, plots, report
from benchmarks.validity.experiments import Mixture, Trial
from benchmarks.validity.specimens import World
from benchmarks.validity.statistics import rate, shown
from benchmarks.validity.steps import Truths
from benchmarks.validity.worlds import load

WORLD = "diamonds"
"""The world whose benchmark has rows to spare."""
ROWS = (200, 500, 1_000, 2_000)
DRAWS = 3
"""Times that the rows are drawn anew; each draw has its own seed."""
HONEST = ("clone", "sibling", "distilled")
FAULTY = ("clean only", "noise only", "narrow", "majority", "diluted")
EACH = {**dict.fromkeys(HONEST, 3), **dict.fromkeys(FAULTY, 2)}
"""Family -> specimens."""


def study(
    pool: ProcessPoolExecutor | None,
    known: Truths,
    out: Path,
    rows: tuple[int, ...] = ROWS,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Audit the same specimens on other rows again and again; writes power.md and power.svg."""
    world = load(WORLD)
    names = chosen(world)
    trials = [
        Trial(WORLD, names, str(n), n, draw, {k: Mixture(k, min(n, 600)) for k in world.unlabelled})
        for n in rows
        for draw in range(draws)
    ]
    found = experiments.run(pool, "power", trials, known)
    frames = []
    for trial, mine in zip(trials, found, strict=True):
        frames.append(cases.table(mine).assign(rows=trial.rows, draw=trial.draw))
    frame = pd.concat(frames, ignore_index=True)
    frame.round(4).to_csv(out / "power.csv", index=False)
    report.write(out / "power.md", {"A/A": against_itself(frame), "Power": by_rows(frame)})
    plots.power(frame, out / "power.svg")
    return frame


def chosen(world: World) -> tuple[str, ...]:
    """A few specimens of the members' architecture from every family of the study."""
    return tuple(
        name
        for batch in world.batches
        if batch.family in EACH and batch.architecture == world.teacher
        for name in batch.names[: EACH[batch.family]]
    )


def against_itself(frame: pd.DataFrame) -> pd.DataFrame:
    """How often honest models fail anything: the family-wise rate that alpha speaks of."""
    honest = frame[(frame["truth"] == "sound") & frame["family"].isin(HONEST)]
    status = [c for c in honest if c.startswith("status ")]
    any_fail = (honest[status] == "fail").any(axis=1)
    out = []
    for (rows, elsewhere), index in honest.groupby(["rows", "elsewhere"]).groups.items():
        part = honest.loc[index]
        out.append(
            {
                "rows": rows,
                "audits": len(part),
                "unlabelled": "yes" if elsewhere else "no",
                "any group fails": shown(rate(any_fail[index].to_numpy(), part["name"].to_numpy())),
                "called fractured": shown(
                    rate((part["label"] == "fractured").to_numpy(), part["name"].to_numpy())
                ),
                "called sound": shown(
                    rate((part["label"] == "sound").to_numpy(), part["name"].to_numpy())
                ),
            }
        )
    return pd.DataFrame(out)


def by_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Catch rate of each fractured family against the number of rows."""
    bad = frame[frame["truth"] == "fractured"]
    out = []
    for (family, elsewhere), part in bad.groupby(["family", "elsewhere"], sort=False):
        rates = part.groupby("rows")["label"].agg(lambda v: (v == "fractured").mean())
        out.append(
            {
                "family": family,
                "unlabelled": "yes" if elsewhere else "no",
                "fall": f"{part['fall'].mean():.2f}",
                **{f"n = {n}": f"{100 * r:.0f} %" for n, r in rates.items()},
            }
        )
    return pd.DataFrame(out)
