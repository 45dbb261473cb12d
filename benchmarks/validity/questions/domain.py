"""(i) What does the domain check on inputs from elsewhere let through?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.validity import audits, experiments
from benchmarks.validity.cases import Case
from benchmarks.validity.experiments import Mixture, Trial
from benchmarks.validity.pool import each
from benchmarks.validity.steps import Truths
from benchmarks.validity.worlds import load
from ringtest import margins

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
    worlds = dict.fromkeys(c.truth.world for c in cases)
    jobs = [(w, m, d) for w in worlds for _, m in SETS for d in range(DRAWS)]
    found = iter(each(pool, "domain check", _mean_auc, jobs))
    out = []
    for world in worlds:
        for label, _ in SETS:
            aucs = [next(found) for _ in range(DRAWS)]
            out.append(
                {
                    "world": world, "set": label, "AUC": ", ".join(f"{a:.2f}" for a in aucs),
                    "counts": f"{sum(a >= margins.ELSEWHERE_AUC for a in aucs)} of {DRAWS}",
                }
            )  # fmt: skip
    return {"Domain check": pd.DataFrame(out)}


def _mean_auc(job: tuple[str, Mixture, int]) -> float:
    """What the members say of one set, as the audit asks them."""
    name, mixture, draw = job
    world = load(name)
    source = next(iter(world.unlabelled))
    trial = Trial(name, (), "", draw=draw, unlabelled={source: replace(mixture, source=source)})
    chunk = replace(audits.chunks(world)[0], students=audits.chunks(world)[0].students[:1])
    made = audits.case(
        world, chunk, experiments.data(world, trial), draw, looks=("clean", "unlabelled")
    )
    cells = audits.run(world, chunk, made, {"members": audits.VIEWS["members"]})["members"]
    (shown,) = (c["shift.domain_auc"] for c in cells.values() if "shift.domain_auc" in c)
    return float(np.mean([shown[m.name][0].estimate.value for m in made.members]))
