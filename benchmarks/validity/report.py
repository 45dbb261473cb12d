"""Tables and figures of the bench, as files that a page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.validity import alternatives, cases, heldout, plots, tables
from benchmarks.validity.cases import Case

MAIN = ("members", True)
"""The audit that detailed tables are about: three members and inputs from elsewhere."""


def verdicts(
    found: Sequence[Case], divergences: Mapping[tuple[str, str], float], out: Path
) -> pd.DataFrame:
    """Everything about verdicts under today's constants; returns the table of all cases."""
    frame = cases.table(found)
    beside = [alternatives.of(c, divergences[c.truth.world, c.truth.name]) for c in found]
    frame = pd.concat([frame, pd.DataFrame(beside)], axis=1)
    frame.round(3).to_csv(out / "verdicts.csv.gz", index=False)
    main = frame[(frame["view"] == MAIN[0]) & (frame["elsewhere"] == MAIN[1])]
    bare = frame[(frame["view"] == MAIN[0]) & ~frame["elsewhere"]]
    parts = {
        "Verdicts under the constants of this version": tables.verdicts(frame),
        "By world, 3 members, unlabelled": tables.by_world(main),
        "By world, 3 members": tables.by_world(bare),
        "Groups, 3 members, unlabelled": tables.groups(main),
        "Groups, 3 members": tables.groups(bare),
        "Beside plain alternatives, 3 members, unlabelled": tables.alternatives(
            main, alternatives.NAMES
        ),
        "Beside plain alternatives, 3 members": tables.alternatives(bare, alternatives.NAMES),
        "Worst mistakes, 3 members, unlabelled": tables.misses(main),
        "Worst mistakes, 3 members": tables.misses(bare),
        "Families, 3 members, unlabelled": tables.families(main),
    }
    write(out / "verdicts.md", parts)
    plots.strength_and_fall(main, out / "strength.svg")
    plots.labels_by_family(main, out / "families.svg")
    plots.ratios(main, out / "ratios.svg")
    return frame


def held_out(found: Sequence[Case], out: Path) -> None:
    """The same figures where floors were set on other families or other worlds."""
    several = len({c.truth.world for c in found}) > 1
    parts = (
        {"Floors from other worlds": tables.verdicts(heldout.left_out(found, "world"))}
        if several
        else {}
    )
    parts |= {
        "Floors from other families": tables.verdicts(heldout.left_out(found, "family")),
        "Floors from half of the families in half of the worlds": tables.verdicts(
            heldout.halves_out(found)
        ),
    }
    write(out / "heldout.md", parts)


def write(path: Path, parts: Mapping[str, pd.DataFrame]) -> None:
    """Tables one below the other, each under its title."""
    text = [f"## {title}\n\n{tables.markdown(frame)}" for title, frame in parts.items()]
    path.write_text("\n".join(text), encoding="utf-8")
