"""(l) Which kind and strength, off support and certified, foretells best what an unseen shift does?

Read on the sample of question (k). A list of conditions is chosen in five worlds and tried in the
sixth: what is best *somewhere* is no reason to change what is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.validity import cases as cases_
from benchmarks.validity import grading, readings, tables
from benchmarks.validity.cases import Case
from benchmarks.validity.grading import KEPT, LIKENESS
from benchmarks.validity.pool import each
from benchmarks.validity.readings import Asked
from benchmarks.validity.statistics import auroc, auroc_by_family, shown, spearman
from benchmarks.validity.steps import Truths
from ringtest import margins

SCALE = 1.0
BEST: Final = (1, 2, 3, 5)
"""Sizes of the lists that are tried."""
_SPECIMEN: Final = ["world", "name", "family_", "truth", "bad", "fall", "planted"]


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Every strength alone; lists that other worlds chose; the strongest certified."""
    chosen = [c for c in cases if c.view == "members" and not c.elsewhere]
    sample = readings.drawn(tables.counted(cases_.table(chosen)), SCALE)
    sample = sample[sample["base"]]
    jobs = [
        Asked(world, dict(zip(mine["name"], mine["rank"], strict=True)), SCALE)
        for world, mine in sample.groupby("world", sort=False)
    ]
    found = [line for lines in each(pool, "grades", grading.harms, jobs) for line in lines]
    long = (
        pd.DataFrame(found)
        .rename(columns={"strength": "grade"})
        .merge(
            tables.with_truth(sample).rename(columns={"family": "family_"}), on=["world", "name"]
        )
    )
    long = _with_drift(long)
    off = long[long["family"] == "off support"]
    moved = long[long["family"].isin(["certified", "strongest"])]
    return {
        "Every strength off support, alone": _alone(off, "harm"),
        "Lists that the other worlds chose": _lists(off),
        "The certified transformations as they are, and as strong as the teacher bears": _largest(
            moved
        ),
        "How strong that is": _strengths(moved),
        "The strongest of each transformation, alone": _alone(
            moved[moved["family"] == "strongest"], "drift"
        ),
    }


def _with_drift(long: pd.DataFrame) -> pd.DataFrame:
    """``drift``: harm less that on clean rows; consistency has no clean value."""
    clean = long[long["family"] == "clean"].set_index(["world", "name", "measure"])["harm"]
    keys = pd.MultiIndex.from_frame(long[["world", "name", "measure"]])
    base = clean.reindex(keys).to_numpy(float)
    base = np.where(long["measure"] == KEPT, 0.0, base)
    return long.assign(drift=long["harm"].astype(float) - base, harm=long["harm"].astype(float))


def _alone(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    out = []
    keys = ["measure", "condition", "at"]
    at = rows["grade"].map(lambda s: "" if pd.isna(s) else f"{s:g}")
    rows = rows.assign(at=at if column == "harm" else "")
    for (measure, condition, strength), mine in rows.groupby(keys, sort=False):
        areas = [
            auroc(w[column].to_numpy(), w["bad"].to_numpy(bool)) for _, w in mine.groupby("world")
        ]
        ranks = [
            spearman(w[column].to_numpy(), w["fall"].to_numpy())
            for _, w in mine[~mine["planted"]].groupby("world")
        ]
        out.append(
            {
                "measure": measure, "condition": condition, "strength": strength or "usual",
                "worlds": len(areas), "AUROC, mean of worlds": _mean(areas),
                "its least": float(np.nanmin(areas)) if np.isfinite(areas).any() else float("nan"),
                "Spearman with the fall": _mean(ranks),
            }
        )  # fmt: skip
    return pd.DataFrame(out).round(3)


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _lists(off: pd.DataFrame) -> pd.DataFrame:
    """The mean harm over the fixed list beside that over the best of other worlds, all worlds."""
    named = off["condition"] + off["grade"].map(lambda s: "" if pd.isna(s) else f"@{s:g}")
    off = off.assign(key=named)
    today = _today(off)
    out = []
    for measure in LIKENESS:
        mine = off[off["measure"] == measure]
        wide = mine.pivot_table(index=_SPECIMEN, columns="key", values="harm")
        scores = {"fixed list (judged today)": wide[[k for k in wide if k in today]].mean(axis=1)}
        scores["all strengths"] = wide.mean(axis=1)
        for count in BEST:
            scores[f"best {count} of the other worlds"] = _best(mine, wide, count)
        frame = wide.index.to_frame(index=False).rename(columns={"family_": "family"})
        for name, score in scores.items():
            frame[name] = score.to_numpy()
        base = next(iter(scores))
        for name in scores:
            measured = frame[~frame["planted"]]
            ranks = [
                spearman(w[name].to_numpy(), w["fall"].to_numpy())
                for _, w in measured.groupby("world")
            ]
            out.append(
                {
                    "measure": measure, "list": name,
                    "AUROC": shown(auroc_by_family(frame, name, within=True), False),
                    "gain": "–" if name == base else shown(
                        auroc_by_family(frame, name, base, within=True), False
                    ),
                    "Spearman with the fall": round(_mean(ranks), 3),
                }
            )  # fmt: skip
    return pd.DataFrame(out)


def _today(off: pd.DataFrame) -> set[str]:
    """Keys of what is judged: kinds without a severity, and noise of 1 and 3."""
    usual = off["grade"].isna() | (off["key"].isin(["shift.off_support.noise@1",
                                                        "shift.off_support.noise@3"]))  # fmt: skip
    return set(off[usual]["key"])


def _best(mine: pd.DataFrame, wide: pd.DataFrame, count: int) -> pd.Series:  # type: ignore[type-arg]
    """Mean harm over the conditions that rank best in the other worlds, of those a world has."""
    areas = {
        (world, key): auroc(rows["harm"].to_numpy(), rows["bad"].to_numpy(bool))
        for (world, key), rows in mine.groupby(["world", "key"])
    }
    table = pd.Series(areas).unstack()
    out = pd.Series(np.nan, wide.index)
    for world in table.index:
        here = [k for k in table.columns if not np.isnan(table.loc[world, k])]
        rank = table.drop(index=world)[here].mean().sort_values(ascending=False)
        at = wide.index.get_level_values("world") == world
        out[at] = wide.loc[at, list(rank.index[:count])].mean(axis=1)
    return out


def _largest(moved: pd.DataFrame) -> pd.DataFrame:
    """AUROC of the largest and the mean harm over each family of transformations."""
    least = margins.CERTIFIED_SHARE
    keeps = moved[moved["measure"] == KEPT].set_index(["world", "condition"])["kept"]
    keeps = keeps.groupby(level=[0, 1]).first().astype(float)
    at = pd.MultiIndex.from_frame(moved[["world", "condition"]])
    ok = keeps.reindex(at).to_numpy(float)
    limit = np.where(moved["world"] == "picture", 1 - margins.CERTIFIED_MOVEMENT, least)
    moved = moved[ok >= limit]
    out = []
    for measure in (KEPT, *LIKENESS):
        mine = moved[moved["measure"] == measure]
        for summary in ("max", "mean"):
            frame = mine.groupby([*_SPECIMEN, "family"])["drift"].agg(summary).unstack("family")
            frame = frame.reset_index().rename(columns={"family_": "family"})
            line: dict[str, object] = {"measure": measure, "summary": summary}
            for family in ("certified", "strongest"):
                line[family] = shown(auroc_by_family(frame, family, within=True), False)
                ranks = [
                    spearman(w[family].to_numpy(), w["fall"].to_numpy())
                    for _, w in frame[~frame["planted"]].groupby("world")
                ]
                line[f"{family}, Spearman"] = round(_mean(ranks), 3)
            line["gain"] = shown(
                auroc_by_family(frame, "strongest", "certified", within=True), False
            )
            out.append(line)
    return pd.DataFrame(out)


def _strengths(moved: pd.DataFrame) -> pd.DataFrame:
    """The strength that was found in each world, and what members kept there."""
    found = moved[(moved["family"] == "strongest") & (moved["measure"] == KEPT)]
    first = found.groupby(["condition", "world"])[["grade", "kept"]].first()
    text = first.apply(lambda r: f"{r['grade']:.3g} ({r['kept']:.2f})", axis=1)
    return text.unstack("world").fillna("–").reset_index()
