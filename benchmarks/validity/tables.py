"""The tables of the bench: rates, areas and correlations, each with an interval by family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.validity.statistics import Interval, auroc, by_family, rate, shown, spearman
from ringtest import margins

GROUPS = margins.GROUPS


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """The specimens that count: not rejected on the benchmark, and sound or fractured in truth."""
    return frame[frame["counts"] & (frame["truth"] != "grey")]


def audit_name(view: str, elsewhere: bool) -> str:
    """What an audit was given, in words."""
    given = {
        "members": "3 members",
        "references": "3 members, 2 references",
        "distilled": "3 members, 2 distilled references",
        "single": "single teacher",
        "single, references": "single teacher, 2 references",
    }[view]
    return f"{given}, unlabelled" if elsewhere else given


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """False alarms, catches, sound, inconclusive, AUROC and Spearman for each audit."""
    out = []
    for (view, elsewhere), mine in frame.groupby(["view", "elsewhere"], sort=False):
        out.append({"audit": audit_name(view, elsewhere), **figures(mine)})
    return pd.DataFrame(out)


def figures(frame: pd.DataFrame) -> dict[str, str]:
    """The figures of one audit over all its specimens, in words."""
    known = counted(frame)
    sound, bad = (known[known["truth"] == t] for t in ("sound", "fractured"))
    return {
        "sound / fractured": f"{len(sound)} / {len(bad)}",
        "false alarms": shown(label_rate(sound, "fractured")),
        "sound called sound": shown(label_rate(sound, "sound")),
        "catches": shown(label_rate(bad, "fractured")),
        "fractured called sound": shown(label_rate(bad, "sound")),
        "inconclusive": shown(label_rate(known, "inconclusive")),
        "AUROC of strength": shown(by_family(auroc, with_truth(known), ["strength", "bad"]), False),
        "Spearman with fall": shown(
            by_family(spearman, measured(frame), ["strength", "fall"]), False
        ),
    }


def label_rate(frame: pd.DataFrame, label: str) -> Interval:
    """Share of a label, with its interval by family within a world."""
    return share(frame, frame["label"] == label)


def share(frame: pd.DataFrame, hits: pd.Series) -> Interval:  # type: ignore[type-arg]
    """Share of hits among the rows of a frame, with its interval by family within a world."""
    return rate(hits.to_numpy(bool), (frame["world"] + "/" + frame["family"]).to_numpy())


def area(frame: pd.DataFrame, column: str) -> float:
    """AUROC of a column over sound and fractured specimens."""
    return auroc(frame[column].to_numpy(float), (frame["truth"] == "fractured").to_numpy())


def with_truth(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with a column ``bad``: whether a specimen is fractured."""
    return frame.assign(bad=(frame["truth"] == "fractured").to_numpy())


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """The specimens whose truth is a measured fall, grey ones too."""
    return frame[frame["counts"] & ~frame["planted"]]


def _with_fall(frame: pd.DataFrame, column: str = "strength") -> float:
    return spearman(frame[column].to_numpy(float), frame["fall"].to_numpy(float))


def families(frame: pd.DataFrame) -> pd.DataFrame:
    """Labels of every family, by truth: nothing is averaged away."""
    keys = ["world", "family", "architecture", "truth"]
    counts = frame.groupby([*keys, "label"], sort=False).size().unstack(fill_value=0)
    for label in ("sound", "inconclusive", "fractured", "below-benchmark"):
        counts[label] = counts.get(label, 0)
    order = ["sound", "inconclusive", "fractured", "below-benchmark"]
    means = frame.groupby(keys, sort=False)[["fall", "strength"]].mean()
    return counts[order].join(means).reset_index()


def groups(frame: pd.DataFrame) -> pd.DataFrame:
    """Each group alone, and strength without it."""
    known = counted(frame)
    ratios = [f"ratio {g}" for g in GROUPS if f"ratio {g}" in known]
    out = []
    for column in ratios:
        rest = second_largest(known, [c for c in ratios if c != column])
        without = known.assign(rest=rest)
        some = known[known[column].notna()]
        status = column.replace("ratio", "status")
        sound, bad = (some[some["truth"] == t] for t in ("sound", "fractured"))
        out.append(
            {
                "group": column.removeprefix("ratio "),
                "judged": f"{len(some)} of {len(known)}",
                "fails, sound": shown(share(sound, sound[status] == "fail")),
                "fails, fractured": shown(share(bad, bad[status] == "fail")),
                "AUROC alone": shown(by_family(auroc, with_truth(some), [column, "bad"]), False),
                "AUROC of strength without it": shown(
                    by_family(auroc, with_truth(without), ["rest", "bad"]), False
                ),
            }
        )
    return pd.DataFrame(out)


def second_largest(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:  # type: ignore[type-arg]
    """The second largest ratio of each row; NaN where fewer than two are known."""
    values = np.sort(frame[list(columns)].fillna(-np.inf).to_numpy(float), axis=1)
    second = values[:, -2]
    return pd.Series(np.where(np.isfinite(second), second, np.nan), index=frame.index)


def alternatives(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """AUROC and Spearman of strength beside those of what a user has today.

    Pooled over worlds, where a threshold has to serve all of them, and as the mean within worlds.
    """
    known, falls = counted(frame), measured(frame)
    out = []
    for name in ("strength", *names):
        within = [area(f, name) for _, f in known.groupby("world")]
        rank = [_with_fall(f, name) for _, f in falls.groupby("world")]
        out.append(
            {
                "score": "ringtest: strength" if name == "strength" else name,
                "AUROC, pooled": shown(by_family(auroc, with_truth(known), [name, "bad"]), False),
                "AUROC, mean of worlds": f"{np.nanmean(within):.3f}",
                "worst world": f"{np.nanmin(within):.3f}",
                "Spearman with fall, mean of worlds": f"{np.nanmean(rank):.3f}",
            }
        )
    return pd.DataFrame(out)


def misses(frame: pd.DataFrame, most: int = 12) -> pd.DataFrame:
    """The worst mistakes: false alarms, then fractured ones that passed or were not caught."""
    known = counted(frame)
    alarm = known[(known["truth"] == "sound") & (known["label"] == "fractured")]
    passed = known[(known["truth"] == "fractured") & (known["label"] == "sound")]
    missed = known[(known["truth"] == "fractured") & (known["label"] == "inconclusive")]
    columns = ["world", "name", "truth", "fall", "label", "strength"]
    ordered = [
        alarm.sort_values("strength", ascending=False),
        passed.sort_values("strength"),
        missed.sort_values("strength"),
    ]
    return pd.concat(ordered)[columns].head(most)


def markdown(frame: pd.DataFrame) -> str:
    """A table for a page."""
    cells = [[_cell(v) for v in row] for row in frame.itertuples(index=False)]
    head = [str(c) for c in frame.columns]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.2f}"
    return str(value)


def by_world(frame: pd.DataFrame) -> pd.DataFrame:
    """`figures` of every world."""
    return pd.DataFrame(
        [{"world": w, **figures(mine)} for w, mine in frame.groupby("world", sort=False)]
    )
