"""A verifier of arithmetic: does a candidate end with the expected number?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ringtest.ensembles.verifiers.numbers import final_value
from ringtest.ensembles.verifiers.verify import of_item
from ringtest.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    r"""1 where the last answer in a candidate is the expected number, else 0.

    Understood are the forms of :func:`ringtest.ensembles.verifiers.numbers.final_value`:
    ``x = 5``, ``1,200``, ``3/4``, ``50%`` (which is .5), ``\boxed{\frac{3}{4}}``. A candidate
    without a number that can be read is wrong. Numbers are compared exactly, as fractions, and
    only then with the tolerances. No code of a candidate is run.

    >>> Arithmetic()({"answer": "1,200"}, "That makes 30 * 40 = 1200.")
    1.0
    """

    answer: str = "answer"
    """Key of an item under which the expected number or text stands; an item that is no mapping
    is the answer."""
    rtol: float = 1e-9
    """Largest difference that counts as equal, as a share of the expected number."""
    atol: float = 0.0
    """Largest difference that counts as equal, in the answer's own units."""

    def __post_init__(self) -> None:
        """Raises ConfigError for a tolerance that is negative or not finite."""
        for name in ("rtol", "atol"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(name, f"is {getattr(self, name)}", "give a number from 0")

    def __call__(self, item: Any, candidate: str) -> float:
        """1 or 0. Raises DataError where the item's own answer cannot be read."""
        expected = self._expected(of_item(item, self.answer))
        if not isinstance(candidate, str):
            raise DataError("candidate", f"is {type(candidate).__name__}", "give text")
        found = final_value(candidate)
        if found is None:
            return 0.0
        allowed = max(Fraction(self.atol), Fraction(self.rtol) * abs(expected))
        return float(abs(found - expected) <= allowed)

    def _expected(self, answer: Any) -> Fraction:
        if isinstance(answer, str):
            found = final_value(answer)
            if found is not None:
                return found
        elif isinstance(answer, int | Fraction) and not isinstance(answer, bool):
            return Fraction(answer)
        elif isinstance(answer, np.integer):
            return Fraction(int(answer))
        elif isinstance(answer, float | np.floating) and math.isfinite(answer):
            # 0.1 is meant as a tenth, not as the double next to it.
            return Fraction(repr(float(answer)))
        raise DataError(
            self.answer, f"{str(answer)[:60]!r} is no number that can be read", "give one number"
        )
