"""The five questions of *What did you distil?*: their words, and how each answer looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ringtest import reasons
from ringtest.reports import steps, unread, view
from ringtest.reports.view import Look

if TYPE_CHECKING:
    from ringtest.decision import Verdict
    from ringtest.measurement import Measurement

Key = Literal["distil", "predictions", "selection", "structure", "budget"]


@dataclass(frozen=True)
class Question:
    """One question and what was found."""

    key: Key
    title: str
    look: Look
    """The answer in a word, never by colour alone."""
    sentence: str
    """What was found, or why there is nothing."""
    how: str = ""
    """How to ask what was not asked."""


_YES: Final = ("✓", "+")
_NO: Final = ("✕", "x")
_PART: Final = ("~", "~")
_GOOD: Final = ("pass", "green")
_BAD: Final = ("fail", "red")
_MIXED: Final = ("open", "yellow")
_PLAIN: Final = ("none", "bright_black")

NOT_ASKED: Final = Look("not asked", "–", "-", *_PLAIN)
NOT_MEASURABLE: Final = view.STATUS["not_measurable"]
OPEN: Final = view.STATUS["inconclusive"]

TITLE: Final[Mapping[Key, str]] = {
    "distil": "Was there anything to distil?",
    "predictions": "Were the predictions transferred?",
    "selection": "Was the gain selection?",
    "structure": "Was structure kept?",
    "budget": "Would more inference close the gap?",
}
HOW: Final[Mapping[Key, str]] = {
    "distil": "Give the teacher as a list of members, or what its members answered.",
    "predictions": "Give a student beside members, or beside recorded samples with their answers.",
    "selection": "Record several samples of the teacher for each item, and a verifier's scores.",
    "structure": "Audit a student: ringtest audit asks it.",
    "budget": "Record several samples for each item, of the teacher and of the student.",
}
LOOK: Final[Mapping[Key, Mapping[str, Look]]] = {
    "distil": {
        "many": Look("yes", *_YES, *_GOOD),
        "some": Look("in part", *_PART, *_MIXED),
        "one": Look("no", *_NO, *_BAD),
        "open": OPEN,
    },
    "predictions": {
        "transferred": Look("yes", *_YES, *_GOOD),
        "partial": Look("in part", *_PART, *_MIXED),
        "not": Look("no", *_NO, *_BAD),
        "open": OPEN,
    },
    # A mark says yes or no, a colour whether a student alone can have the gain.
    "selection": {
        "aggregation": Look("no: aggregation", *_NO, *_GOOD),
        "selection": Look("yes", *_YES, *_MIXED),
        "both": Look("in part", *_PART, *_MIXED),
        "neither": Look("no gain", *_NO, *_PLAIN),
        "open": OPEN,
    },
    "budget": {
        "closed": Look("yes", *_YES, *_GOOD),
        "may close": Look("it may", *_PART, *_MIXED),
        "no budget": Look("no", *_NO, *_BAD),
        "open": OPEN,
    },
}
"""By the code in a row's ``params.answer``."""
SAID: Final[Mapping[Key, Mapping[str, str]]] = {
    "selection": {
        "aggregation": "what sampling gains is aggregation",
        "selection": "what sampling gains is selection",
        "both": "what sampling gains is aggregation and selection",
        "neither": "sampling gains nothing",
    },
    "budget": {
        "closed": "the student's samples reach a single one of the teacher",
        "may close": "more samples may close the gap",
        "no budget": "no budget closes the gap",
    },
}
"""The same within a headline; what is open is left out."""


_WROTE: Final = "By what they wrote"


def code(row: Measurement | None) -> str:
    """What a row answers; empty where it does not."""
    return "" if row is None else steps.text(row, "answer")


def asked(key: Key, row: Measurement | None, beside: Sequence[Measurement] = ()) -> Question:
    """The answer that a row holds.

    Args:
        key: the question.
        row: that decides it; None: nobody asked.
        beside: rows on what the members wrote, whose words are told after it.
    """
    if row is None:
        return Question(key, TITLE[key], NOT_ASKED, "", HOW[key])
    because = view.clean(row.reason) or steps.text(row, "share_reason")
    look = LOOK[key].get(code(row))
    if unread.unread(row) or look is None:
        words = steps.text(row, "words")
        # What was found all the same: the vote's gain, say, where no verifier was recorded
        parts = [because] if because and because not in words else []
        found = " ".join(map(_stop, filter(None, (*parts, words))))
        return Question(key, TITLE[key], NOT_MEASURABLE, found)
    said = [_stop(steps.text(row, "words"))]
    # The members may err apart and write the same: each of both answers says what it is about
    said += [f"{_WROTE}: {_stop(words)}" for r in beside if (words := steps.text(r, "words"))]
    if look is OPEN and because and because not in " ".join(said):
        said.append(_stop(because))
    return Question(key, TITLE[key], look, " ".join(filter(None, said)))


def structure(verdict: Verdict | None) -> Question:
    """What the verdict says, which only an audit has."""
    if verdict is None:
        return Question("structure", TITLE["structure"], NOT_ASKED, "", HOW["structure"])
    look = view.LABEL[verdict.label]
    return Question("structure", TITLE["structure"], look, view.clean(reasons.sentence(verdict)))


def _stop(words: str) -> str:
    """A sentence of its own."""
    if not words:
        return ""
    return view.sentence_case(words if words.endswith((".", "!", "?")) else f"{words}.")
