"""Draw docs/picture.svg, the one picture of the README, from what ``ringtest demo`` found.

ringtest demo --out ringtest-demo && python docs/make_picture.py ringtest-demo
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

import ringtest

STUDENTS = {"distilled": ("#1f6fb4", "o"), "clean-only": ("#c8452f", "X")}
GROUPS = ("global geometry", "local geometry", "function", "invariance")
MOST = 6.0


def scores(ax: Axes, reports: ringtest.ReportSet) -> None:
    row = next(r for r in reports["distilled"].rows if r.group == "benchmark")
    ax.axhline(row.teacher, color="#777777", linewidth=1.2, linestyle="--")
    ax.annotate("teacher", (1.45, row.teacher + 0.012), color="#555555", ha="right")
    for at, (name, (colour, _)) in enumerate(STUDENTS.items()):
        row = next(r for r in reports[name].rows if r.group == "benchmark")
        ax.bar(at, row.student, width=0.6, color=colour, alpha=0.85)
        ax.annotate(f"{row.student:.2f}", (at, row.student - 0.07), ha="center", color="white")
    ax.set(xlim=(-0.5, 1.5), ylim=(0, 1.1), xticks=[0, 1], xticklabels=list(STUDENTS))
    ax.set_title("What the benchmark sees: accuracy", loc="left", fontsize=11)


def insides(ax: Axes, reports: ringtest.ReportSet) -> None:
    ax.axvspan(1, MOST + 0.6, color="#c8452f", alpha=0.06)
    ax.axvline(1, color="#555555", linewidth=1.2)
    ax.annotate("margin", (1.05, -0.62), color="#555555", fontsize=9)
    for shift, (name, (colour, mark)) in zip((-0.12, 0.12), STUDENTS.items(), strict=True):
        verdict = reports[name].verdict
        ratios = [verdict.groups[g].ratio or 0.0 for g in GROUPS]
        heights = [i + shift for i in range(len(GROUPS))]
        shown = [min(r, MOST) for r in ratios]
        ax.hlines(heights, 0, shown, color=colour, linewidth=2, alpha=0.6)
        label = f"{name}: {verdict.label}"
        ax.scatter(shown, heights, color=colour, marker=mark, s=70, zorder=3, label=label)
        for value, at, height in zip(ratios, shown, heights, strict=True):
            if value > MOST:
                ax.annotate(f"{value:.0f}", (at + 0.15, height), va="center", color=colour)
    ax.set(
        xlim=(0, MOST + 0.6), ylim=(len(GROUPS) - 0.5, -0.75), xlabel="largest harm / its margin"
    )
    ax.set_yticks(range(len(GROUPS)), GROUPS)
    ax.set_title("What ringtest sees: insides against the teacher's", loc="left", fontsize=11)
    ax.legend(loc="lower right", frameon=False)


def main(folder: str) -> None:
    found = ringtest.load_report(Path(folder) / "with")
    assert isinstance(found, ringtest.ReportSet)
    # The same bytes for the same demo.
    plt.rcParams |= {"svg.hashsalt": "ringtest", "svg.fonttype": "none", "font.size": 10}
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 1.9))
    scores(axes[0], found)
    insides(axes[1], found)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.tight_layout(w_pad=2)
    figure.savefig(Path(__file__).with_name("picture.svg"), metadata={"Date": None})
    figure.savefig(Path(folder) / "picture.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
