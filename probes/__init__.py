"""Measures of the inside: linear probes and their control, slice transfer, structure, similarity.

Importing this package registers every measure below; a new one is a new file and a line here.
"""

from ringtest.probes import (
    cka,
    decodability,
    invariance_spread,
    neighbours,
    slice_transfer,
    twin_spread,
)

__all__ = [
    "cka",
    "decodability",
    "invariance_spread",
    "neighbours",
    "slice_transfer",
    "twin_spread",
]
