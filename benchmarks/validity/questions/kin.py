"""(a) How much lower may floors be for students of the members' own architecture?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pandas as pd

from benchmarks.validity import calibrate
from benchmarks.validity.cases import Case
from benchmarks.validity.steps import Truths


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Harm of honest and of fractured students by kind of row, for own and other architectures."""
    found = calibrate.bounds([c for c in cases if c.view == "members"])
    found["architecture"] = found["own"].map({True: "members' own", False: "another"})
    found = found[found["counts"] & (found["truth"] != "grey")]
    out = []
    for (kind, architecture), rows in found.groupby(["kind", "architecture"]):
        honest, bad = (rows[rows["truth"] == t] for t in ("sound", "fractured"))
        out.append(
            {
                "row": kind,
                "architecture": architecture,
                "honest, n": len(honest),
                "median": honest["harm"].median(),
                "95 %": honest["harm"].quantile(0.95),
                "95 % of upper bounds": honest["bound"].quantile(0.95),
                "fractured, n": len(bad),
                "10 %": bad["harm"].quantile(0.1),
                "median ": bad["harm"].median(),
            }
        )
    return {"Harm by kind of row and architecture": pd.DataFrame(out)}
