"""What did you distil? Five questions, and what the rows on the ensemble answer.

A view: every number and every answer stands in the rows, or is the label of the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ringtest import fidelity
from ringtest.measurement import Measurement
from ringtest.reports import answers, steps, view
from ringtest.reports.answers import Question
from ringtest.reports.steps import Waterfall

if TYPE_CHECKING:
    from ringtest.decision import Verdict

PREFIX: Final = "ensemble."
CANDIDATES: Final = "candidates"
VOTES, GAIN = "effective votes", "gain by selection"


@dataclass(frozen=True)
class Section:
    """The first part of a report."""

    headline: str
    """Predictions, selection and structure in one sentence."""
    questions: tuple[Question, ...]
    waterfalls: tuple[Waterfall, ...]
    rows: tuple[Measurement, ...]
    """All rows that the section shows."""

    def of(self, *measures: str) -> list[Measurement]:
        """The rows of some measures."""
        return [row for row in self.rows if row.measure in measures]


def takes(row: Measurement) -> bool:
    """Whether a row belongs here, and not to the sections on other measures."""
    if row.headline:
        return False
    if row.measure.startswith(PREFIX):
        return True
    return row.measure in fidelity.MEASURES and row.condition in fidelity.CONDITIONS


def section(rows: Iterable[Measurement], verdict: Verdict | None = None) -> Section | None:
    """The five questions and what stands behind their answers; None without rows on an ensemble.

    Args:
        rows: of a report, or of `ringtest ensemble`.
        verdict: of the audit; None: there was none, and nobody asked about structure.
    """
    mine = tuple(row for row in rows if takes(row))
    if not any(row.measure.startswith(PREFIX) for row in mine):
        return None
    found = tuple(steps.waterfalls(mine))
    return Section(_headline(mine, found, verdict), _questions(mine, verdict), found, mine)


def fact(value: Any) -> str:
    """A value of what is said about a run: a word, a number, a list or a mapping of words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{view.clean(key)} {view.clean(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(view.clean, value))
    plain = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if plain else view.clean(value)


def votes(rows: Iterable[Measurement]) -> Measurement | None:
    """The row that says how many votes the members amount to."""
    return _first(rows, "ensemble.diversity", VOTES)


def transferred(rows: Sequence[Measurement]) -> Measurement | None:
    """The row that places a student: on the benchmark before recorded samples."""
    found = [r for r in rows if r.measure == steps.MEASURE and r.statistic == "ensemble"]
    found = [r for r in found if "answer" in r.params or math.isfinite(r.student)]
    return min(found, key=lambda r: r.condition != "clean", default=None)


def _first(rows: Iterable[Measurement], measure: str, statistic: str = "") -> Measurement | None:
    """The row of a statistic; without one, the row of a measure that holds its answer."""
    mine = [row for row in rows if row.measure == measure]
    named = [row for row in mine if row.statistic == statistic]
    return next((row for row in (*named, *mine) if row in named or "answer" in row.params), None)


def _questions(rows: Sequence[Measurement], verdict: Verdict | None) -> tuple[Question, ...]:
    texts = _first(rows, "ensemble.texts")
    members = votes(rows)
    beside = () if members is None or texts is None else (texts,)
    return (
        answers.asked("distil", members or texts, beside),
        answers.asked("predictions", transferred(rows)),
        answers.asked("selection", _first(rows, "ensemble.selection", GAIN)),
        answers.structure(verdict),
        answers.asked("budget", _first(rows, "ensemble.budget")),
    )


def _headline(
    rows: Sequence[Measurement], found: Sequence[Waterfall], verdict: Verdict | None
) -> str:
    gain = _first(rows, "ensemble.selection", GAIN)
    budget = _first(rows, "ensemble.budget")
    parts = [
        _opinions(rows),
        _share_words(rows, found),
        "" if _unmeasured(gain) else answers.SAID["selection"].get(answers.code(gain), ""),
        "" if verdict is None else _STRUCTURE[verdict.label],
        answers.SAID["budget"].get(answers.code(budget), ""),
    ]
    return _headed(rows, parts)


def _headed(rows: Sequence[Measurement], parts: Iterable[str]) -> str:
    """Parts of a headline as a sentence, or that there is none."""
    said = "; ".join(part for part in parts if part)
    if said:
        return f"{view.sentence_case(said)}."
    if all(_unmeasured(row) for row in rows):
        return "Nothing of it could be measured."
    return "None of the questions can be answered yet."


def _unmeasured(row: Measurement | None) -> bool:
    """Whether a row holds no number; of none, True."""
    return row is None or not (math.isfinite(row.teacher) or math.isfinite(row.student))


_STRUCTURE: Final = {
    "sound": "structure sound",
    "fractured": "structure fractured",
    "below-benchmark": "the student is below the benchmark",
    "inconclusive": "structure undecided",
}


def teacher_words(rows: Sequence[Measurement]) -> str:
    """What there was to distil, without a student: votes, and the gain of the ensemble."""
    return _headed(rows, (_opinions(rows), _gain_words(steps.waterfalls(rows))))


def _opinions(rows: Sequence[Measurement]) -> str:
    """Votes of the members, by their outputs or else by what they wrote."""
    return _votes_words(votes(rows) or _first(rows, "ensemble.texts"))


def _votes_words(row: Measurement | None) -> str:
    if row is None:
        return ""
    if not math.isfinite(row.teacher):
        return "votes not measurable"
    members = steps.single(row, "members")
    of = f" of {members:g}" if math.isfinite(members) else ""
    low, high = steps.span(row, "teacher_interval")
    known = math.isfinite(low) and math.isfinite(high)
    number = f"{row.teacher:.1f} effective votes{of}"
    # Members that err apart more than chance would have it are more than their number.
    top = f"over {members:g}" if high >= members + 0.5 else f"{high:.1f}"
    number += f" ({low:.1f} to {top})" if known else ""
    if answers.code(row) == "one" and of:
        return f"one opinion held {members:g} times: {number}"
    return number


_UNSURE: Final = {
    "not": "the student has less than half of the ensemble's gain",
    "open": "how much of the ensemble's gain the student has is undecided",
}
"""By answer, how a share is told that an interval does not put above 0."""


def _share_words(rows: Sequence[Measurement], found: Sequence[Waterfall]) -> str:
    """How far the student came, or without one what the ensemble gains."""
    row = transferred(rows)
    if row is not None:
        share = steps.single(row, "share")
        if not math.isfinite(share):
            why = "the student's share of the ensemble's gain is not measurable"
            return "; ".join(filter(None, (_gain_words(found), why)))
        span = steps.percents(steps.span(row, "share_interval"), 0)
        ends = f" ({span})" if span else ""
        begun = _UNSURE.get(answers.code(row))
        if steps.span(row, "share_interval")[1] <= 0:
            begun = "the student has none of the ensemble's gain"
        if begun is not None:
            return f"{begun}: {steps.percent(share, 0)}{ends}"
        return f"the student has {steps.percent(share, 0)}{ends} of the ensemble's gain"
    return _gain_words(found)


def _gain_words(found: Sequence[Waterfall]) -> str:
    for way in found:
        for step in (s for s in way.steps if s.name == "ensemble"):
            span = way.scale.rises(step.rise_span)
            ends = f" ({span})" if span else ""
            return f"the ensemble is {way.scale.rise(step.rise)}{ends} over its mean member"
    return ""
