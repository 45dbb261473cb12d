"""A small part of the digits' world, trained in seconds: the bench on itself, as a test."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.validity.specimens import MEMBERS, REFERENCES, World
from benchmarks.validity.worlds import digits

KEPT = {
    MEMBERS: 3, REFERENCES: 2, "clone": 1, "permuted": 1, "mixed": 1, "sibling": 4, "distilled": 2,
    "clean only": 2, "memoriser": 2, "watermark": 2,
}  # fmt: skip
"""Family -> how many specimens of it are kept."""
STEPS = 600


def make() -> World:
    """The digits' perceptrons with a handful of specimens."""
    whole = digits.of_mlps()
    kept = [
        replace(b, seeds=b.seeds[: KEPT[b.family]])
        for b in whole.batches
        if b.family in KEPT and b.architecture.startswith("mlp") and "-" not in b.architecture
    ]
    return replace(whole, name="tiny", batches=tuple(kept), steps=dict.fromkeys(whole.steps, STEPS))
