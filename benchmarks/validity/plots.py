"""Pictures of the bench, by seaborn."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("svg")
# The same text in every file: no random ids, no date.
mpl.rcParams["svg.hashsalt"] = "ringtest"

import matplotlib.pyplot as plt  # noqa: E402 - after the backend
import seaborn as sns  # noqa: E402

from ringtest import margins  # noqa: E402

COLOURS = {"sound": "#2a7f62", "grey": "#8d99a6", "fractured": "#c0392b"}
ORDER = ("sound", "grey", "fractured")


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure that is the same whenever its data are."""
    for ax in figure.axes:
        for points in ax.collections:
            points.set_rasterized(True)  # thousands of markers: pixels take a tenth of the file
    figure.savefig(path, bbox_inches="tight", dpi=150, metadata={"Date": None})
    plt.close(figure)


def strength_and_fall(frame: pd.DataFrame, path: Path) -> None:
    """Strength against the measured fall, one panel a world; planted truths are crosses."""
    sns.set_theme(style="whitegrid", font_scale=0.9)
    worlds = list(dict.fromkeys(frame["world"]))
    figure, axes = plt.subplots(
        2, -(-len(worlds) // 2), figsize=(11, 6.4), sharex=True, sharey=True, squeeze=False
    )
    for ax, world in zip(axes.flat, worlds, strict=False):
        mine = frame[(frame["world"] == world) & frame["counts"]]
        sns.scatterplot(
            mine, x="fall", y="strength", hue="truth", style="planted", hue_order=ORDER,
            palette=COLOURS, style_order=[False, True], markers={False: "o", True: "X"},
            s=28, alpha=0.75, linewidth=0, ax=ax, legend=False,
        )  # fmt: skip
        ax.axhline(0.5, color="#444", lw=0.8, ls="--")
        ax.axvspan(0.05, 0.12, color="#8d99a6", alpha=0.15, lw=0)
        ax.set(title=world, xlabel="fall under unseen shifts", ylabel="strength", ylim=(-0.03, 1))
    for ax in axes.flat[len(worlds) :]:
        ax.set_axis_off()
    handles = [plt.Line2D([], [], marker="o", ls="", color=COLOURS[t], label=t) for t in ORDER] + [
        plt.Line2D([], [], marker="X", ls="", color="#444", label="planted")
    ]
    figure.legend(handles=handles, loc="upper center", ncol=4, frameon=False)
    save(figure, path)


def labels_by_family(frame: pd.DataFrame, path: Path) -> None:
    """Shares of the labels in every family, sound families above, fractured below."""
    sns.set_theme(style="white", font_scale=0.85)
    known = frame[frame["counts"] & (frame["truth"] != "grey")]
    counts = known.groupby(["truth", "family", "label"]).size().unstack(fill_value=0)
    for label in ("sound", "inconclusive", "fractured"):
        counts[label] = counts.get(label, 0)
    counts = counts[["sound", "inconclusive", "fractured"]].sort_index(ascending=[True, False])
    shares = counts.div(counts.sum(axis=1), axis=0)
    figure, ax = plt.subplots(figsize=(8, 0.3 * len(shares) + 1))
    colours = [COLOURS["sound"], "#d9c27a", COLOURS["fractured"]]
    shares.plot.barh(stacked=True, ax=ax, color=colours, width=0.8, linewidth=0)
    names = [f"{family} ({truth}, {int(n)})" for (truth, family), n in counts.sum(axis=1).items()]
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="share of verdicts", ylabel="", xlim=(0, 1))
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, 1.08), ncol=3, frameon=False, title=None)
    sns.despine(left=True, bottom=True)
    save(figure, path)


def ratios(frame: pd.DataFrame, path: Path) -> None:
    """Harm over margin of every group: where honest models lie and where fractured ones."""
    sns.set_theme(style="whitegrid", font_scale=0.9)
    columns = [f"ratio {g}" for g in margins.GROUPS if f"ratio {g}" in frame]
    known = frame[frame["counts"]]
    long = known.melt(["truth"], columns, "group", "ratio").dropna()
    long["group"] = long["group"].str.removeprefix("ratio ")
    long["ratio"] = long["ratio"].clip(upper=6)
    figure, ax = plt.subplots(figsize=(8, 4))
    sns.stripplot(
        long, x="ratio", y="group", hue="truth", hue_order=ORDER, palette=COLOURS, dodge=True,
        size=2.6, alpha=0.6, jitter=0.3, ax=ax,
    )  # fmt: skip
    ax.axvline(1, color="#444", lw=0.8, ls="--")
    ax.set(xlabel="harm over margin (cut at 6)", ylabel="")
    ax.legend(
        title=None, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncol=3,
        markerscale=3,
    )  # fmt: skip
    save(figure, path)


def power(frame: pd.DataFrame, path: Path) -> None:
    """Labels against the number of rows, of honest and of fractured specimens."""
    sns.set_theme(style="whitegrid", font_scale=0.9)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for ax, truth, good in zip(axes, ("sound", "fractured"), ("sound", "fractured"), strict=True):
        mine = frame[frame["truth"] == truth]
        for given, part in mine.groupby("elsewhere"):
            rates = part.groupby("rows")["label"].agg(lambda v, g=good: (v == g).mean())
            style = "-" if given else "--"
            name = "with unlabelled inputs" if given else "without"
            ax.plot(rates.index, rates, style, marker="o", color=COLOURS[truth], label=name)
        ax.set(title=f"{truth}: called {good}", xlabel="rows", xscale="log", ylim=(0, 1.02))
        ax.set_xticks(sorted(frame["rows"].unique()), sorted(frame["rows"].unique()))
        ax.minorticks_off()
        ax.legend(frameon=False, loc="lower right")
    axes[0].set_ylabel("share of audits")
    save(figure, path)


def measures(table: pd.DataFrame, path: Path) -> None:
    """AUROC of every measure alone, with its interval, by place; judged measures above."""
    sns.set_theme(style="whitegrid", font_scale=0.85)
    known = table[table["AUROC"].notna()]
    names = list(dict.fromkeys(known["measure"]))
    places = list(dict.fromkeys(known["place"]))
    figure, ax = plt.subplots(figsize=(8, 0.27 * len(names) + 1.2))
    for colour, (i, place) in zip(sns.color_palette("colorblind"), enumerate(places), strict=False):
        mine = known[known["place"] == place]
        at = [names.index(n) + 0.22 * (i - (len(places) - 1) / 2) for n in mine["measure"]]
        ax.hlines(at, mine["from"], mine["to"], color=colour, lw=1.4, alpha=0.7)
        ax.plot(mine["AUROC"], at, "o", ms=4.5, color=colour, label=place)
    ax.axvline(0.5, color="#444", lw=0.8, ls="--")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="AUROC, sound against fractured (95 % by family)", xlim=(-0.02, 1.02))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncol=len(places), frameon=False)
    save(figure, path)
