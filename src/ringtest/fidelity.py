"""How true a student is to its teacher: what is read of it wherever an ensemble is asked about."""

from __future__ import annotations

from typing import Final

MEASURES: Final = ("outputs.fidelity", "outputs.kl", "outputs.calibration")
DISAGREEMENT: Final = "attack.disagreement"
"""Inputs on which the members disagree most: there it shows whom a student follows."""
CONDITIONS: Final = ("clean", DISAGREEMENT)
"""Where the measures are read without being asked for."""
