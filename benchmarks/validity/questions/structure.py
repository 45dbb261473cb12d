"""(g) Twins and invariance: for which students and teachers do they say something?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pandas as pd

from benchmarks.validity import cases as cases_
from benchmarks.validity import tables
from benchmarks.validity.cases import Case
from benchmarks.validity.statistics import shown
from benchmarks.validity.steps import Truths

GROUPS = ("invariance", "twins", "slice transfer")


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """How often each structural group is judged, and how often it fails the honest."""
    frame = cases_.table([c for c in cases if c.view == "members" and not c.elsewhere])
    frame = tables.counted(frame)
    frame["kin"] = frame["own"].map({True: "members' own", False: "another"})
    out = []
    for group in GROUPS:
        column, status = f"ratio {group}", f"status {group}"
        if column not in frame:
            continue
        for (world, kin), rows in frame.groupby(["world", "kin"], sort=False):
            judged = rows[rows[column].notna()]
            honest, bad = (judged[judged["truth"] == t] for t in ("sound", "fractured"))
            out.append(
                {
                    "group": group, "world": world, "architecture": kin,
                    "judged": f"{len(judged)} of {len(rows)}",
                    "honest: median ratio": honest[column].median(),
                    "largest": honest[column].max(),
                    "honest fail": shown(tables.share(honest, honest[status] == "fail")),
                    "fractured: median ratio": bad[column].median(),
                    "fractured fail": shown(tables.share(bad, bad[status] == "fail")),
                }
            )  # fmt: skip
    return {"Structural groups": pd.DataFrame(out)}
