"""What a measure would add to strength and to the groups of the verdict.

Decided before anything was measured: a measure's margin in a world is the 95 % quantile, families
alike, of its harm among the sound of the *other* worlds, and `said` is the rule for what is
concluded. Decided while looking at first figures: margins by kind of architecture, as floors are,
and one group for all that is held against a void band, as in the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.validity import tables
from benchmarks.validity.calibrate import QUANTILE, weighted_quantile
from benchmarks.validity.statistics import Interval, auroc, auroc_by_family
from ringtest.decision import OFF_SUPPORT as VOID

GROUPS: Final = {
    "similarity.cka": "global geometry", "similarity.neighbours": "local geometry",
    "outputs.agreement": "function", "probe.slice_transfer": "slice transfer",
    "similarity.procrustes": "global geometry", "similarity.rsa": "global geometry",
    "similarity.distance_correlation": "global geometry",
    "similarity.layer_matching": "global geometry", "similarity.jaccard": "local geometry",
    "similarity.second_order": "local geometry", "probe.slice_loss": "slice transfer",
    "probe.slice_matrix": "slice transfer", "probe.condition_matrix": "slice transfer",
}  # fmt: skip
"""Group that a measure would speak for, or does; the others would be a group of their own."""
BANDED: Final = ("similarity.", "outputs.", "usage.attribution", "usage.layer_attribution")
"""Beginnings of the ids of what is held against the members' likeness to each other."""
LEAST_MARGIN = 0.01
"""No margin is lower: some honest harms are all but constant."""
LEAST_COUNT = 10
"""Fewer inconclusive specimens of a truth tell nothing of what would be found among them."""
ALARMS = 0.05
"""More sound specimens that are newly flagged than this, and a gain is none."""
LITTLE = 0.01
"""A gain in AUROC that is surely below is nothing."""


def figures(rows: pd.DataFrame) -> dict[str, Any]:
    """All figures of one measure, statistic and place, from a row a specimen."""
    first = rows.iloc[0]
    read = rows[rows["harm"].notna()]
    told = with_margin(read)
    base, doubt = told[told["base"]], told[told["label"] == "inconclusive"]
    sound, bad = base[~base["bad"]], base[base["bad"]]
    group = GROUPS.get(first["measure"], "")
    open_sound, open_bad = (doubt[doubt["bad"] == b] for b in (False, True))
    out: dict[str, Any] = {
        "measure": first["measure"], "statistic": first["statistic"], "place": first["place"],
        "asked": len(rows), "read": len(read), "sound": len(sound), "fractured": len(bad),
        "auroc": auroc_by_family(base, "harm"),
        "size": auroc(base["harm"].abs().to_numpy(), base["bad"].to_numpy()),
        "worlds": auroc_by_family(base, "harm", within=True),
        "limit": honest_limit(sound), "median": bad["harm"].median(),
        "sound out": (sound["ratio"] > 1).mean(), "bad out": (bad["ratio"] > 1).mean(),
    }  # fmt: skip
    banded = first["measure"].startswith(BANDED) or first["place"] == "off support"
    base, doubt = (with_group(f, group, banded) for f in (base, doubt))
    out |= {
        "group": group or "its own",
        "before": auroc(base["before"], base["bad"]), "after": auroc(base["after"], base["bad"]),
        "gain": auroc_by_family(base, "after", "before"),
        "open sound": len(open_sound), "open bad": len(open_bad),
        "open before": auroc(doubt["before"], doubt["bad"]),
        "open auroc": auroc_by_family(doubt, "harm"),
        "open gain": auroc_by_family(doubt, "after", "before"),
        "caught": int((doubt["flagged"] & doubt["bad"]).sum()),
        "alarms": int((base["flagged"] & ~base["bad"]).sum()),
        "open alarms": int((doubt["flagged"] & ~doubt["bad"]).sum()),
        "own caught": int((doubt["flagged"] & doubt["bad"] & doubt["own"].astype(bool)).sum()),
        "loose caught": int((doubt["loose"] & doubt["bad"]).sum()),
        "loose alarms": int((base["loose"] & ~base["bad"]).sum()),
    }  # fmt: skip
    known = base[base["alone"].notna()]
    for name in ("alone", "larger", "mean"):
        out[f"group {name}"] = auroc(known[name], known["bad"]) if group else float("nan")
    return out | {"said": said(out)}


def with_margin(rows: pd.DataFrame) -> pd.DataFrame:
    """With ``bad``, and ``ratio``: harm over the margin that the sound of other worlds set.

    As floors are, margins are set for the members' own architecture and for others by themselves.
    NaN where no other world has a sound specimen to set one.
    """
    rows = tables.with_truth(rows)
    honest = rows[rows["base"] & ~rows["bad"]]
    ratio = pd.Series(np.nan, rows.index)
    for (world, own), mine in rows.groupby(["world", "own"]):
        others = honest[(honest["world"] != world) & (honest["own"] == own)]
        if len(others):
            ratio[mine.index] = mine["harm"] / max(LEAST_MARGIN, honest_limit(others))
    return rows.assign(ratio=ratio)


def honest_limit(sound: pd.DataFrame) -> float:
    """The 95 % quantile of harm, families alike; NaN if there are none."""
    if not len(sound):
        return float("nan")
    size = sound.groupby(["world", "family"])["harm"].transform("size")
    return weighted_quantile(sound["harm"], 1.0 / size, QUANTILE)


def with_group(rows: pd.DataFrame, group: str, banded: bool) -> pd.DataFrame:
    """With strength's rank before and after, and what two failing groups would newly flag.

    The members' band says nothing of another architecture, so what is held against it belongs to
    one group there. Columns: ``before`` and ``after``, strength's rank, the
    measure being a group of its own or part of ``group``, whose ratio is then the larger one;
    ``alone``, ``larger`` and ``mean``, that group's ratio without and with it; ``flagged``: not
    called fractured, a group fails, and so does the measure, which is not that group; ``loose``:
    the same if a void band were as good as another.
    """
    void = banded & ~rows["own"].to_numpy(bool)
    groups = np.where(void, VOID, group)
    ratios = {c: rows[c].to_numpy(float) for c in rows if str(c).startswith("ratio ")}
    mine = rows["ratio"].to_numpy(float)
    alone, new = np.full(len(rows), np.nan), dict(ratios)
    fails, loose = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for column, known in ratios.items():
        here = groups == column.removeprefix("ratio ")
        alone = np.where(here, known, alone)
        new[column] = np.where(here, np.fmax(known, mine), known)
        failed = (rows[column.replace("ratio", "status")] == "fail").to_numpy()
        fails |= failed & ~here
        loose |= failed & (column != f"ratio {group}")
    out = (mine > 1) & (rows["label"] != "fractured").to_numpy()
    named = np.isin(groups, [c.removeprefix("ratio ") for c in ratios])
    new["its own"] = np.where(named, np.nan, mine)
    return rows.assign(
        before=two_largest(ratios.values()), after=two_largest(new.values()), alone=alone,
        larger=np.fmax(alone, mine), mean=np.where(np.isnan(alone), mine, (alone + mine) / 2),
        flagged=fails & out, loose=loose & out,
    )  # fmt: skip


def two_largest(ratios: Iterable[Any]) -> Any:
    """Geometric mean of the two largest ratios of each specimen, as strength has it; else NaN."""
    values = np.sort(np.nan_to_num(np.stack(list(ratios)), nan=-np.inf), axis=0)[-2:]
    found = np.sqrt(np.clip(values, 0, None).prod(axis=0))
    return np.where(np.isfinite(values[0]), np.where(values[0] > 0, found, 0.0), np.nan)


def said(found: dict[str, Any]) -> str:
    """What is concluded, by a rule that was written before any figure was seen.

    It adds where the interval of the gain in AUROC, of strength over all or among the inconclusive,
    lies above 0, and no more than `ALARMS` of the sound are newly flagged. It adds nothing where
    both intervals end below `LITTLE`, or both gains are 0 or less. Else nobody can tell.
    """
    gains: list[Interval] = [found["gain"], found["open gain"]]
    alarms = found["alarms"] / max(1, found["sound"])
    enough = min(found["open sound"], found["open bad"]) >= LEAST_COUNT
    if any(g[1] > 0 for g in (gains if enough else gains[:1])):
        return "adds" if alarms <= ALARMS else "adds, but accuses"
    if not enough:
        return "could not be told"
    if all(g[2] < LITTLE for g in gains) or all(g[0] <= 0 for g in gains):
        return "adds nothing"
    return "could not be told"
