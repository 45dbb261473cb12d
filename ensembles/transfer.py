"""Were the predictions transferred? An answer from the student's share of the ensemble's gain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ringtest import margins
from ringtest.ensembles.waterfall import Placed, Waterfall, place
from ringtest.ensembles.wording import confidence, percent, percents
from ringtest.errors import DataError
from ringtest.estimate import Array, Estimate
from ringtest.inference import bootstrap

Answer = Literal["transferred", "partial", "not", "open"]

MOST: Final = 0.5
"""Share of the gain from which on most of it was transferred."""


@dataclass(frozen=True)
class Transfer:
    """Whether what the ensemble gains over its mean member is in the student."""

    answer: Answer
    """``transferred``: certainly more than half of the gain. ``partial``: certainly more than
    nothing, more than half is not certain. ``not``: certainly less than half, more than nothing is
    not certain. ``open``: neither, or there is no gain to have a share of."""
    words: str
    """One sentence for people, with the interval that decided."""
    over_control: Placed | None = None
    """(student - student of a random teacher) / the gain, paired; None: there is no control."""


def transfer(
    way: Waterfall,
    control: Waterfall | None = None,
    *,
    of: str = "ensemble",
    seed: int = 0,
    resamples: int = margins.RESAMPLES,
) -> Transfer:
    """Say whether a student has what a step of the waterfall gains over the mean member.

    Args:
        way: the waterfall with the student on it.
        control: the same steps on the same items, with a student distilled in the same way from a
            randomly initialised teacher (2510.12615): what that one gains came from the recipe, not
            from the teacher.
        of: the step whose gain it is.
        seed: of the bootstrap that compares the student with the control.
        resamples: of it.

    Returns:
        The answer by the interval of the share (see :class:`Transfer`): a wrong ``transferred`` (of
        a true share of half or less), ``partial`` (of none) or ``not`` (of half or more) comes 2.5
        times in 100 (3.7 at most in simulations, of 300 to 5,000 items and gains of 1 to 8 points);
        where there are too few items for that, ``open`` does. With a control the answer is the
        lesser of that by the share and that by what it has above the control's share. All of it is
        about this student: the interval is over items, and another training run is another one.

    Raises:
        DataError: no such step, or a control on other items or steps.
    """
    placed = _of(way, of)
    if not placed.share.measured:
        return Transfer("open", f"no gain to transfer was measured: {placed.share.reason}")
    answer = decide(placed.low, placed.high)
    share = f"{_share(placed, way.level)} of the gain of the {of}"
    words = f"{_WORDS[answer]}: {share}"
    if answer == "partial" and placed.high >= 1:
        words += ", and it may be all"
    if control is None:
        return Transfer(answer, words)
    above = _above(way, control, of, seed, resamples)
    theirs = f"a student of a random teacher has {percent(_of(control, of).share.value)}"
    by_teacher = decide(above.low, above.high)
    if _GAINED[answer] <= _GAINED[by_teacher]:
        return Transfer(answer, f"{words}; {theirs}", above)
    # What the share alone would say is not said: it is what the control does not bear out.
    why = f"{share}, but {theirs}, and the difference is {_share(above, way.level)}"
    return Transfer(by_teacher, f"{_BESIDE_CONTROL[by_teacher]}: {why}", above)


def decide(low: float, high: float) -> Answer:
    """The answer for an interval of the share; ``open`` where an end is NaN."""
    if low > MOST:
        return "transferred"
    if low > 0:
        return "partial"
    return "not" if high < MOST and math.isfinite(low) else "open"


_WORDS: Final[dict[Answer, str]] = {
    "transferred": "most was transferred",
    "partial": "at least a part was transferred",
    "not": "less than half was transferred, if anything",
    "open": "too few items to tell",
}


_GAINED: Final[dict[Answer, int]] = {"transferred": 2, "partial": 1, "not": 0, "open": 0}
_BESIDE_CONTROL: Final[dict[Answer, str]] = {
    "partial": "at least a part came from the teacher",
    "not": "less than half came from the teacher, if anything",
    "open": "a student of a random teacher may gain as much",
}


def _of(way: Waterfall, name: str) -> Placed:
    for placed in way.placed:
        if placed.of == name:
            return placed
    names = ", ".join(p.of for p in way.placed)
    raise DataError("of", f"{name!r} is no step with a gain", f"there are {names}")


def _above(way: Waterfall, control: Waterfall, name: str, seed: int, resamples: int) -> Placed:
    """The student's share less the control's, in one paired bootstrap."""
    member, step = _steps(way, name)
    if control.items != way.items:
        what = f"is on {control.items} items, the student on {way.items}"
        raise DataError("control", what, "use the same")
    for ours, theirs in zip((member, step), _steps(control, name), strict=True):
        if not np.allclose(_numbers(ours), _numbers(theirs), rtol=0.0, atol=1e-12):
            raise DataError("control", "has another ensemble", "hold both against the same")
    # Where a share was placed there is a student.
    assert way.student is not None
    assert control.student is not None
    top, bottom = way.student.value - control.student.value, step - member
    drawn = bootstrap(np.column_stack([top.influence, bottom.influence]), seed, resamples)
    return place(name, top, bottom, drawn[:, 0], drawn[:, 1], way.level, way.score)


def _steps(way: Waterfall, name: str) -> tuple[Estimate, Estimate]:
    _of(way, name)
    values = {s.name: s.value for s in way.steps}
    return values[way.steps[0].name], values[name]


def _numbers(e: Estimate) -> Array:
    return np.append(e.influence, e.value)


def _share(p: Placed, level: float) -> str:
    ends = percents(p.low, p.high)
    return f"{percent(p.share.value)} ({confidence(level)} interval {ends})"
