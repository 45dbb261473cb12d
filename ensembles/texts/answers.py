"""Answers in words: lists of members, prompts and samples, checked and made comparable."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ringtest.errors import DataError

Answers = Sequence[Sequence[Sequence[str]]]
"""member x prompt x sample; the numbers of samples may differ."""


def checked(answers: Answers) -> list[list[list[str]]]:
    """The same answers as :func:`plain` strings.

    Raises DataError naming the place: no member, no prompt, members with unequal numbers of
    prompts, a prompt without an answer, or something that is not a string where one should be.
    """
    members = [_list(of, f"answers[{m}]", "prompts") for m, of in enumerate(_outer(answers))]
    for m, prompts in enumerate(members):
        if len(prompts) != len(members[0]):
            raise DataError(
                f"answers[{m}]",
                f"has {len(prompts)} prompts where answers[0] has {len(members[0])}",
                "give every member's answers to the same prompts, in the same order",
            )
    return [
        [_samples(of, f"answers[{m}][{p}]") for p, of in enumerate(prompts)]
        for m, prompts in enumerate(members)
    ]


def plain(text: str) -> str:
    """A text in Unicode's composed form (NFC), single spaces between words and none around.

    Halves of surrogate pairs, which cannot be written, become question marks.

    >>> plain("  a   b ")
    'a b'
    """
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    return composed.encode("utf-8", "replace").decode("utf-8")


def of_prompt(answers: list[list[list[str]]], prompt: int) -> tuple[list[str], list[int]]:
    """All answers to one prompt, members one after another, and how many are whose."""
    texts = [text for member in answers for text in member[prompt]]
    return texts, [len(member[prompt]) for member in answers]


def _outer(answers: object) -> Sequence[object]:
    return _list(answers, "answers", "members")


def _list(value: object, field: str, of: str) -> Sequence[object]:
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__getitem__"):
        raise DataError(
            field,
            f"is {type(value).__name__}, not a list of {of}",
            "give answers as answers[member][prompt][sample]",
        )
    if not hasattr(value, "__len__") or len(value) == 0:
        raise DataError(field, f"has no {of}", "give at least one")
    return value  # type: ignore[return-value]


def _samples(value: object, field: str) -> list[str]:
    texts = _list(value, field, "samples")
    for s, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"{field}[{s}]", f"is {type(text).__name__}, not a string", "give texts alone"
            )
    return [plain(str(text)) for text in texts]
