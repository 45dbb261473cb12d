"""One file a world: its rows, shifts and specimens."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from benchmarks.validity.specimens import World

WORLDS = {
    "digits": "digits:of_mlps",
    "digits-cnn": "digits:of_cnns",
    "diamonds": "diamonds:make",
    "mnist1d-cnn": "mnist1d_:of_cnns",
    "mnist1d-gru": "mnist1d_:of_grus",
    "picture": "picture:make",
}
"""Name -> module of this folder and function that makes it."""
TINY = "tiny"
"""A world that is no part of the figures: see `tiny`."""


@lru_cache
def load(name: str) -> World:
    """A world by name: its rows are drawn anew, the same every time."""
    module, _, function = {**WORLDS, TINY: "tiny:make"}[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), function)()  # type: ignore[no-any-return]
