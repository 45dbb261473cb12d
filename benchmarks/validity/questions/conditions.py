"""(d) Which off-support conditions and strengths foretell unseen falls?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

from benchmarks.validity.cases import Case
from benchmarks.validity.statistics import auroc, spearman
from benchmarks.validity.steps import Truths

MEASURES = ("similarity.cka", "similarity.neighbours", "outputs.agreement")
PREFIXES = ("shift.off_support", "shift.certified", "shift.unlabelled", "clean")


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """AUROC and Spearman of each condition alone, by world: level, and drift from the clean one."""
    chosen = [c for c in cases if c.view == "members" and c.elsewhere and c.counts]
    long = pd.DataFrame([row for c in chosen for row in _rows(c)])
    out = []
    for (world, measure, condition), rows in long.groupby(["world", "measure", "condition"]):
        known = rows[rows["truth"] != "grey"]
        measured = rows[~rows["planted"]]
        bad = (known["truth"] == "fractured").to_numpy()
        out.append(
            {
                "world": world, "measure": measure, "condition": condition,
                "level": auroc(known["harm"].to_numpy(), bad),
                "drift": auroc(known["drift"].to_numpy(), bad),
                "level, Spearman": _ranks(measured, "harm"),
                "drift, Spearman": _ranks(measured, "drift"),
            }
        )  # fmt: skip
    table = pd.DataFrame(out)
    mean = table.groupby(["measure", "condition"], sort=False).mean(numeric_only=True)
    count = table.groupby(["measure", "condition"], sort=False).size().rename("worlds")
    return {
        "Every condition alone, mean over worlds": mean.join(count).round(2).reset_index(),
        "Every condition alone, by world": table.round(2),
    }


def _ranks(frame: pd.DataFrame, column: str) -> float:
    return spearman(frame[column].to_numpy(), frame["fall"].to_numpy())


def _rows(case: Case) -> list[dict[str, object]]:
    """Harm of every similarity under every condition, and what it adds to the clean one."""
    rows = [
        r
        for r in case.audited.rows
        if r.measure in MEASURES
        and not r.headline
        and r.measured
        and r.condition.startswith(PREFIXES)
        and r.condition not in ("shift.off_support", "shift.certified")
    ]
    clean = {r.measure: r.harm for r in rows if r.condition == "clean"}
    t = case.truth
    return [
        {
            "world": t.world, "name": t.name, "truth": t.truth, "planted": t.planted,
            "fall": t.fall, "measure": r.measure, "harm": r.harm,
            "condition": r.condition if r.severity is None else f"{r.condition}@{r.severity:g}",
            "drift": r.harm - clean.get(r.measure, np.nan),
        }
        for r in rows
    ]  # fmt: skip
