"""All students of one teacher: the ratio of every group, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from matplotlib.axes import Axes

from ringtest.decision import GroupVerdict, Verdict
from ringtest.reports import view
from ringtest.reports.figures import svg

WIDTH: Final = 860
LEFT, LINE, TOP, FOOT, GAP = 150, 26, 44, 42, 12
HIGH = 3.0


def ratios(verdicts: Mapping[str, Verdict], name: str) -> str | None:
    """One panel a group, one line a student: harm over margin, the margin as a line at 1."""
    groups = list(dict.fromkeys(g for v in verdicts.values() for g in v.groups))
    if not groups:
        return None
    inner = LINE * len(verdicts)
    wide = (WIDTH - LEFT - GAP * len(groups)) / len(groups)
    with svg.style():
        figure = svg.canvas(WIDTH, TOP + inner + FOOT)
        for j, group in enumerate(groups):
            axes = svg.box(figure, LEFT + j * (wide + GAP), TOP, wide, inner)
            axes.set_xlim(-0.2, HIGH + 0.15)
            axes.set_ylim(len(verdicts) - 0.5, -0.5)
            axes.axvspan(-0.2, 1, color=svg.COLOURS["band"], alpha=0.10, lw=0)
            axes.axvline(1, color=svg.COLOURS["ink"], lw=1.2)
            axes.set_xticks([0, 1, 2, 3])
            axes.set_yticks(range(len(verdicts)), [view.shorten(n, 22) for n in verdicts])
            axes.tick_params(axis="y", length=0, pad=8, labelcolor=svg.COLOURS["ink"],
                             labelsize=11, labelleft=j == 0)  # fmt: skip
            axes.spines["left"].set_visible(False)
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.set_title("\n".join(view.clean(group).split(" ", 1)), fontsize=10.5, pad=6)
            if j == len(groups) // 2:
                axes.set_xlabel("harm ÷ margin  (worse →)", fontsize=10, loc="left")
            for y, verdict in enumerate(verdicts.values()):
                _mark(axes, verdict.groups.get(group), y)
        return svg.to_svg(figure, name, _spoken(verdicts))


def _mark(axes: Axes, judged: GroupVerdict | None, y: int) -> None:
    if judged is None or judged.ratio is None:
        look = view.STATUS["context" if judged is None else judged.status]
        axes.annotate(look.mark, (0, y), va="center", ha="center", weight="bold",
                      color=svg.COLOURS["muted" if look.css == "none" else look.css])  # fmt: skip
        return
    colour = svg.COLOURS[view.STATUS[judged.status].css]
    beyond = judged.ratio > HIGH
    marker = ">" if beyond else svg.MARKER.get(judged.status, "x")
    shown = HIGH if beyond or math.isinf(judged.ratio) else judged.ratio
    hollow = svg.COLOURS["paper"] if judged.status == "inconclusive" else colour
    axes.plot([shown], [y], marker=marker, ms=8, mew=1.5, color=colour, mfc=hollow, clip_on=False)


def _spoken(verdicts: Mapping[str, Verdict]) -> str:
    parts = []
    for name, verdict in verdicts.items():
        groups = [
            f"{g} {view.STATUS[v.status].word} at {view.shown(v.ratio)} margins"
            for g, v in verdict.groups.items()
        ]
        parts.append(f"{view.clean(name)}: {', '.join(groups)}")
    return f"Harm over margin of every group and student. {'; '.join(parts)}."
