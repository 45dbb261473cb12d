"""(j) Teacher-certified transformations: which threshold, which summary, what is found."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

from benchmarks.validity.cases import Case
from benchmarks.validity.statistics import auroc
from benchmarks.validity.steps import Truths
from benchmarks.validity.truth import of_fall

THRESHOLDS = (0.7, 0.8, 0.85, 0.9, 0.95)
MEASURES = ("outputs.consistency", "similarity.cka", "similarity.neighbours")


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Thresholds, summaries and dictionaries, against falls inside and outside the dictionary."""
    chosen = [c for c in cases if c.view == "members" and not c.elsewhere and c.counts]
    long = pd.DataFrame([row for c in chosen for row in _rows(c)])
    return {
        "Thresholds and summaries": _thresholds(long),
        "Every transformation": _each(long),
    }


def _rows(case: Case) -> list[dict[str, object]]:
    t = case.truth
    rows = [
        r for r in case.audited.rows
        if r.measure in MEASURES and not r.headline and r.measured and r.slice is None
    ]  # fmt: skip
    clean = {r.measure: r.harm for r in rows if r.condition == "clean"}
    kept = {r.condition: r.teacher for r in rows if r.measure == "outputs.consistency"}
    return [
        {
            "world": t.world, "name": t.name, "planted": t.planted, "truth": t.truth,
            "familiar": t.familiar, "foreign": t.foreign, "measure": r.measure,
            "condition": r.condition.removeprefix("shift.certified."),
            "kept": kept.get(r.condition, np.nan), "se": r.se,
            "harm": r.harm - (0.0 if r.measure == MEASURES[0] else clean.get(r.measure, np.nan)),
        }
        for r in rows
        if r.condition.startswith("shift.certified.")
    ]  # fmt: skip


def _thresholds(long: pd.DataFrame) -> pd.DataFrame:
    out = []
    for threshold in THRESHOLDS:
        some = long[long["kept"] >= threshold]
        per_world = some.groupby("world")["condition"].nunique().mean()
        for measure in MEASURES:
            mine = some[some["measure"] == measure]
            by = mine.groupby(["world", "name", "truth", "planted", "familiar", "foreign"])["harm"]
            for summary, values in (("largest", by.max()), ("mean", by.mean())):
                frame = values.reset_index()
                out.append(
                    {
                        "kept at least": threshold, "transformations": per_world,
                        "measure": measure, "summary": summary,
                        "AUROC, all": _area(frame, frame["truth"]),
                        "AUROC, falls of its kinds": _area(frame, frame["familiar"].map(of_fall)),
                        "AUROC, falls of other kinds": _area(frame, frame["foreign"].map(of_fall)),
                        "honest, 95 %": frame[frame["truth"] == "sound"]["harm"].quantile(0.95),
                        "fractured, 10 %": frame[frame["truth"] == "fractured"]["harm"].quantile(
                            0.1
                        ),
                    }
                )  # fmt: skip
    return pd.DataFrame(out)


def _area(frame: pd.DataFrame, truth: pd.Series) -> float:  # type: ignore[type-arg]
    """Mean over worlds of the AUROC of harm."""
    found = []
    for index in frame.groupby("world").groups.values():
        known = truth[index][truth[index] != "grey"]
        found.append(
            auroc(frame.loc[known.index, "harm"].to_numpy(), (known == "fractured").to_numpy())
        )
    return float(np.nanmean(found)) if not np.all(np.isnan(found)) else float("nan")


def _each(long: pd.DataFrame) -> pd.DataFrame:
    out = []
    for (world, condition), rows in long.groupby(["world", "condition"], sort=False):
        line: dict[str, object] = {
            "world": world, "transformation": condition, "members keep": rows["kept"].median(),
        }  # fmt: skip
        for measure in MEASURES:
            mine = rows[(rows["measure"] == measure) & (rows["truth"] != "grey")]
            bad = (mine["truth"] == "fractured").to_numpy()
            line[f"AUROC {measure}"] = auroc(mine["harm"].to_numpy(), bad)
        out.append(line)
    return pd.DataFrame(out)
