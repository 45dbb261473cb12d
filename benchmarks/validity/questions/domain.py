"""(i) What does the domain check on inputs from elsewhere let through?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pandas as pd

from benchmarks.validity import experiments
from benchmarks.validity.cases import Case
from benchmarks.validity.experiments import Mixture, Trial
from benchmarks.validity.questions.unlabelled import domain, judged
from benchmarks.validity.steps import Truths
from benchmarks.validity.worlds import load

NAMES = 2
"""Specimens a trial: the check asks the members alone, so few are needed."""
SETS = (
    ("as it is", Mixture("", 0)),
    ("half from home", Mixture("", 0, home=0.5)),
    ("four fifths from home", Mixture("", 0, home=0.8)),
    ("all from home", Mixture("", 0, home=1.0)),
    ("all from home, 150 rows", Mixture("", 150, home=1.0)),
    ("drawn half way home", Mixture("", 0, closeness=0.5)),
)
DRAWS = 3


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Domain AUC of sets that are, in part are, or are not elsewhere, in all worlds."""
    asked = []
    for name in dict.fromkeys(c.truth.world for c in cases):
        world = load(name)
        names = tuple(n for b in world.batches if b.family == "sibling" for n in b.names[:NAMES])
        source = next(iter(world.unlabelled))
        for label, m in SETS:
            mixture = Mixture(source, m.rows, m.home, m.closeness)
            asked += [
                Trial(name, names, label, 0, d, {source: mixture}, ("clean", "unlabelled"))
                for d in range(DRAWS)
            ]
    found = experiments.run(pool, "domain check", asked, truths)
    rows = [
        {"world": t.world, "set": t.label, "AUC": domain(mine), "counts": judged(mine)}
        for t, mine in zip(asked, found, strict=True)
    ]
    frame = pd.DataFrame(rows)
    by = frame.groupby(["world", "set"], sort=False)
    return {
        "Domain check": by.agg(
            AUC=("AUC", lambda v: ", ".join(v)), counts=("counts", lambda v: ", ".join(v))
        ).reset_index()
    }
