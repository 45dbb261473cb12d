"""Figures around the panels: their size, titles, legend and common axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.collections import PolyCollection
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ringtest.reports import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ringtest.decision import Verdict


def panels(count: int, across: int, size: tuple[float, float]) -> NDArray[np.object_]:
    """A new figure of so many panels of a size in inches; empty places are removed."""
    down = math.ceil(count / across)
    figure, axes = plt.subplots(
        down,
        across,
        figsize=(size[0] * across, size[1] * down),
        squeeze=False,
        layout="constrained",
    )
    flat = axes.ravel()
    for spare in flat[count:]:
        figure.delaxes(spare)
    return cast("NDArray[np.object_]", flat[:count])


def finish(
    ax: Axes, name: str, verdict: Verdict, several: bool = False, keys: bool = False
) -> None:
    """Title and frame of a panel; with ``keys`` its own legend between title and plot."""
    look = view.LABEL[verdict.label]
    words = f"{view.shorten(name, 24 if several else 48)}: {look.word}"
    pad = mpl.rcParams["axes.titlepad"]
    if keys:
        # The place is known beforehand: inside, a legend would hide what it explains.
        handles, labels = ax.get_legend_handles_labels()
        ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), frameon=False,
                  fontsize="small", borderaxespad=0.1, borderpad=0, labelspacing=0.2)  # fmt: skip
        pad += 1.2 * FontProperties(size="small").get_size_in_points() * len(labels)
    ax.set_title(words, loc="left", fontsize="medium", fontweight="bold", parse_math=False, pad=pad)
    sns.despine(ax=ax)


def say(ax: Axes, words: str) -> None:
    """A panel that says why it is empty."""
    ax.text(0.5, 0.5, view.clean(words), ha="center", va="center", wrap=True, fontsize="small",
            transform=ax.transAxes, parse_math=False)  # fmt: skip
    ax.set(xticks=[], yticks=[])


def share(axes: NDArray[np.object_], drawn: Sequence[bool]) -> None:
    """One scale for all panels; lists are labelled at the left, axes at the bottom."""
    kept: list[Any] = [ax for ax, d in zip(axes, drawn, strict=True) if d]
    for axis in ("x", "y"):
        limits = np.array([getattr(ax, f"get_{axis}lim")() for ax in kept])
        down = limits[0, 0] > limits[0, 1]
        low, high = limits.min(), limits.max()
        for ax in kept:
            getattr(ax, f"set_{axis}lim")((high, low) if down else (low, high))
    # Side by side the labels of panels would run into each other.
    kept[0].figure.supxlabel(kept[0].get_xlabel(), fontsize="medium", parse_math=False)
    first: dict[int, int] = {}
    for ax in kept:
        place = ax.get_subplotspec()
        column = place.colspan.start
        first[place.rowspan.start] = min(column, first.get(place.rowspan.start, column))
    for ax in kept:
        ax.set_xlabel("")
        place = ax.get_subplotspec()
        # The leftmost panel of a row may be empty.
        if place.colspan.start > first[place.rowspan.start]:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
        # The panel above an empty place keeps its axis.
        below = any(
            other.get_subplotspec().colspan == place.colspan
            and other.get_subplotspec().rowspan.start > place.rowspan.start
            for other in kept
        )
        if below:
            ax.tick_params(labelbottom=False)


def legend(axes: Sequence[Axes]) -> None:
    """One legend above all panels, each entry once, areas last."""
    entries: dict[str, Any] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            entries.setdefault(label, handle)
    figure = cast("Figure", axes[0].figure)
    if not entries:
        return
    entries = dict(
        sorted(entries.items(), key=lambda entry: isinstance(entry[1], Patch | PolyCollection))
    )
    # Letters that fit into a line; a key takes the room of seven.
    room = 14 * figure.get_figwidth() * 10 / mpl.rcParams["font.size"]
    lengths = [len(label) + 7 for label in entries]
    across = len(entries) if sum(lengths) <= room else max(1, int(room // max(lengths)))
    # Below the panels it would lie on the label of the common axis.
    figure.legend(entries.values(), entries.keys(), loc="outside upper left", ncols=across,
                  frameon=False, fontsize="small")  # fmt: skip
