"""(k) Would a group's headline get better by a measure that is not read by default?

The harm is the mean over concepts and slices, in the kindest form of the evidence, at the last
hidden layer: `readings`. What it would add is told by `adding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.validity import cases as cases_
from benchmarks.validity import plots, readings, tables
from benchmarks.validity.adding import figures
from benchmarks.validity.cases import Case
from benchmarks.validity.pool import each
from benchmarks.validity.readings import FEWER, TODAY, Asked
from benchmarks.validity.statistics import shown
from benchmarks.validity.steps import Truths

SCALE = 1.0
"""Factor on the numbers of `readings.EACH` and `readings.FEWER`."""
_BOUNDS: Final = ("AUROC", "from", "to")
ALONE, ADDED = "Every measure alone", "What each would add"


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """What each measure tells alone, what it would add, and where it could not be read."""
    known = tables.counted(
        cases_.table([c for c in cases if c.view == "members" and not c.elsewhere])
    )
    sample = readings.drawn(known, SCALE)
    jobs = [
        Asked(world, dict(zip(mine["name"], mine["rank"], strict=True)), SCALE)
        for world, mine in sample.groupby("world", sort=False)
    ]
    lines = [line for found in each(pool, "measures", readings.harms, jobs) for line in found]
    long = pd.DataFrame(lines).merge(sample, on=["world", "name"])
    # Rounding errors of what is equal for all are no order.
    long["harm"] = long["harm"].astype(float).round(9)
    parts = [p for _, p in long.groupby(["measure", "statistic", "place"], sort=False)]
    judged = [figures(p) for p in parts]
    judged.sort(key=lambda f: (f["measure"] not in TODAY, f["measure"], f["place"]))
    alone = pd.DataFrame([_alone(f) for f in judged])
    alone.attrs["figures"] = judged
    return {
        ALONE: alone,
        ADDED: pd.DataFrame([_added(f) for f in judged]),
        "Not measurable, and why": _unread(long),
        "The sample": _counts(sample),
    }


def draw(found: dict[str, pd.DataFrame], out: Path) -> None:
    """The picture of the first table."""
    frame = pd.DataFrame(
        [
            {"measure": named, "place": f["place"], **dict(zip(_BOUNDS, f["auroc"], strict=True))}
            for named, f in zip(found[ALONE]["measure"], found[ALONE].attrs["figures"], strict=True)
        ]
    )
    plots.measures(frame, out / "measures.svg")


def _name(found: dict[str, Any]) -> str:
    return f"{found['measure']}: {found['statistic']}" if _several(found) else found["measure"]


def _titled(found: dict[str, Any]) -> str:
    return _name(found) + (" (judged today)" if found["measure"] in TODAY else "")


def _several(found: dict[str, Any]) -> bool:
    return found["measure"] in readings.STATISTICS


def _alone(f: dict[str, Any]) -> dict[str, Any]:
    return {
        "measure": _titled(f),
        "place": f["place"], "read": f"{f['read']} of {f['asked']}",
        "sound / fractured": f"{f['sound']} / {f['fractured']}",
        "AUROC, pooled": shown(f["auroc"], False), "mean of worlds": shown(f["worlds"], False),
        "of its size": f"{f['size']:.3f}",
        "sound, 95 %": f"{f['limit']:.3f}", "fractured, median": f"{f['median']:.3f}",
        "beyond other worlds' margin: sound": f"{100 * f['sound out']:.0f} %",
        "fractured": f"{100 * f['bad out']:.0f} %",
    }  # fmt: skip


def _added(f: dict[str, Any]) -> dict[str, Any]:
    group = [f[f"group {n}"] for n in ("alone", "larger", "mean")]
    return {
        "measure": _titled(f), "place": f["place"], "group": f["group"],
        "group alone; larger; mean": "–" if np.isnan(group[0]) else
        "; ".join(f"{v:.3f}" for v in group),
        "AUROC of strength": f"{f['before']:.3f}", "with it": f"{f['after']:.3f}",
        "gain": shown(f["gain"], False),
        "inconclusive: sound / fractured": f"{f['open sound']} / {f['open bad']}",
        "AUROC of strength there": f"{f['open before']:.3f}",
        "of the measure there": shown(f["open auroc"], False),
        "gain there": shown(f["open gain"], False),
        "fractured caught anew": f"{f['caught']} of {f['open bad']}",
        "if a void band counted: caught; flagged": f"{f['loose caught']}; {f['loose alarms']}",
        "sound flagged anew": f"{f['alarms']} of {f['sound']}; "
        f"inconclusive: {f['open alarms']} of {f['open sound']}",
        "said": f["said"],
    }  # fmt: skip


def _unread(long: pd.DataFrame) -> pd.DataFrame:
    """How often a measure said nothing, by reason, the commonest first."""
    lost = long[long["harm"].isna()]
    bare = lost["reason"].str.replace(r"^(student '.*?'|teacher\[\d+\]): ", "", regex=True)
    lost = lost.assign(reason=bare.str.replace(r"[-\d.]+", "#", regex=True))
    counts = lost.groupby(["measure", "place", "reason"]).size().rename("readings").reset_index()
    return counts.sort_values("readings", ascending=False, kind="stable").head(20)


def _counts(sample: pd.DataFrame) -> pd.DataFrame:
    """How many specimens were drawn, and of which kinds."""
    out = []
    for (world, truth), rows in sample.groupby(["world", "truth"], sort=False):
        base = rows[rows["base"]]
        fewer = {n: int((base["rank"] < SCALE * n).sum()) for n in sorted(set(FEWER.values()))}
        out.append(
            {
                "world": world, "truth": truth, "drawn": len(base),
                "members' own architecture": int(base["own"].sum()),
                "families": base["family"].nunique(),
                "inconclusive among them": int((base["label"] == "inconclusive").sum()),
                "further inconclusive": int((~rows["base"]).sum()),
                **{f"measures on the first {n}": count for n, count in fewer.items()},
            }
        )  # fmt: skip
    return pd.DataFrame(out)
