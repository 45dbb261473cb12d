"""Typing errors: what may become of a letter that is hit.

Each takes the letter and the one after it, "" where there is none that it may touch, and gives the
texts that may stand in the place of both: none where it cannot be. A new error is one function in
the table. None of them leaves a letter as it was, or a word without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

_KEYS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""Rows of a QWERTY keyboard; a key touches two of the row below, its own number and one less."""


def swapped(letter: str, after: str) -> Sequence[str]:
    """The two change places."""
    return [after + letter] if after not in ("", letter) else []


def dropped(letter: str, after: str) -> Sequence[str]:  # noqa: ARG001 - the form of the table
    """The letter is left out."""
    return [after] if after else []


def doubled(letter: str, after: str) -> Sequence[str]:
    """The letter is typed twice."""
    return [letter + letter + after]


def mistyped(letter: str, after: str) -> Sequence[str]:
    """A key beside the right one, in its case; only letters of such a keyboard."""
    near = NEIGHBOURS.get(letter.lower(), "")
    return [(key.upper() if letter.isupper() else key) + after for key in near]


def _neighbours() -> dict[str, str]:
    places = {key: (row, i) for row, keys in enumerate(_KEYS) for i, key in enumerate(keys)}
    ways = ((0, -1), (0, 1), (1, -1), (1, 0), (-1, 0), (-1, 1))
    return {
        key: "".join(k for k, place in places.items() if (place[0] - row, place[1] - i) in ways)
        for key, (row, i) in places.items()
    }


NEIGHBOURS: Final = _neighbours()
"""Letter -> those beside it."""
TYPOS: Final[tuple[Callable[[str, str], Sequence[str]], ...]] = (
    swapped,
    dropped,
    doubled,
    mistyped,
)
"""All errors, each as likely as the others where it can be."""


def made(letter: str, after: str, rng: np.random.Generator) -> str:
    """What becomes of a letter and the one after it."""
    able = [texts for typo in TYPOS if (texts := typo(letter, after))]
    texts = able[int(rng.integers(len(able)))]
    return texts[int(rng.integers(len(texts)))]
