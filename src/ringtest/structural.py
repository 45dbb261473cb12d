"""Which readings of structure are judged: the headline's own, where the teacher shows structure."""

from __future__ import annotations

from dataclasses import replace

from ringtest import margins
from ringtest.compare import Paired
from ringtest.measure import Measure, ModelMeasure
from ringtest.measurement import Measurement


def speaks(entry: Measure, p: Paired) -> bool:
    """Whether a reading is its measure's headline: all rows, and the last hidden layer."""
    if entry.group == "benchmark" and p.reading.slice is not None:
        return False
    return p.reading.layer is None or p.reading.depth == 1.0


def structured(entry: Measure, teacher: float) -> bool:
    """Whether the teacher shows the structure, clearly better than unrelated codes."""
    assert entry.group is not None
    return teacher <= margins.TEACHER_STRUCTURE[entry.group]


def unless_unstructured(entry: ModelMeasure, made: Measurement) -> Measurement:
    """The row itself; as context, with the reason, where the teacher shows no such structure."""
    if entry.group == "slice transfer" and made.measured:
        if made.teacher <= margins.SLICE_TRANSFER:
            return made
        reason = (
            f"The teacher's own probes lose {made.teacher:.2f} across {made.slice}, so "
            f"{entry.group} is context there."
        )
        return replace(made, headline=False, required=False, reason=reason)
    if entry.group not in ("twins", "invariance") or not made.measured:
        return made
    if structured(entry, made.teacher):
        return made
    reason = (
        f"The teacher itself shows no such structure ({entry.id} on {made.condition}: "
        f"{made.teacher:.2f}, unrelated codes {entry.null_value:g}), so {entry.group} is context."
    )
    return replace(made, headline=False, required=False, reason=reason)
