"""What was recorded before anything was distilled: answers, candidates, scores, costs; checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ringtest import checked
from ringtest.ensembles.candidates import Candidates, Codes, candidates
from ringtest.ensembles.texts import answers as texts
from ringtest.ensembles.texts.ngrams import Embed
from ringtest.errors import DataError, RingtestError, close_to
from ringtest.estimate import Array

STUDENT: Final = "student"
"""Name of a student that was given without one."""
_COLUMNS: Final = ("correct", "answers", "scores")


@dataclass(frozen=True)
class Sampled:
    """What was recorded of one student; None where nothing was."""

    candidates: Candidates | None = None
    """Its own samples for the items of the teacher's candidates, in their order."""
    answers: list[list[str]] | None = None
    """[prompt][sample] what it wrote to the teacher's prompts."""
    scores: Array | None = None
    """(items, samples) that it gives the *teacher's* candidates, higher for what it believes."""
    cost: float | None = None
    """Of one sample, in the unit of the teacher's."""


class Recorded:
    """Recorded answers and candidates of a teacher and of students, all on the same items."""

    answers: list[list[list[str]]] | None
    """[member][prompt][sample] texts of the teacher's members."""
    candidates: Candidates | None
    """The teacher's."""
    students: dict[str, Sampled]
    """By name."""
    cost: float | None
    """Of one of the teacher's samples, with its check."""
    embed: Embed | None
    """What turns texts into vectors; None: hashed character n-grams."""
    derived: dict[Any, Any]
    """What measures computed of the teacher's and may use again."""

    def __init__(
        self,
        answers: texts.Answers | None = None,
        candidates: Candidates | Mapping[str, Any] | None = None,
        students: Candidates | Mapping[str, Any] | None = None,
        *,
        cost: float | None = None,
        student_costs: float | Mapping[str, float] | None = None,
        student_answers: Any = None,
        student_scores: Any = None,
        embed: Embed | None = None,
    ) -> None:
        """Check and keep.

        Args:
            answers: ``answers[member][prompt][sample]``, texts.
            candidates: what the teacher sampled: Candidates, or a dict of (items, samples) arrays
                ``correct`` and, where there are, ``answers`` and ``scores`` of a verifier.
            students: the same of a student, or name -> the same; the teacher's items in its order,
                the number of samples may differ.
            cost: of a sample of the teacher, in any unit.
            student_costs: of a sample of a student, in the same unit; or name -> cost. Where only
                one of both is given, budgets count the other's samples at the same cost.
            student_answers: [prompt][sample] texts of a student; or name -> the same.
            student_scores: (items, samples) scores that a student gives the *teacher's* candidates;
                or name -> the same.
            embed: list of n texts -> (n, d) vectors by which answers are compared; None: hashed
                character n-grams.

        What belongs to one student alone is given without a name; its name is ``student``.

        Raises DataError, in one line, for nothing at all, unequal numbers of items or prompts,
        ragged samples, NaN, and a student's recordings with nothing of the teacher's beside them.
        """
        self.answers = None if answers is None else texts.checked(answers)
        self.candidates = None if candidates is None else as_candidates("candidates", candidates)
        self.cost = None if cost is None else _cost("cost", cost)
        self.embed = embed
        self.derived = {}
        if self.answers is None and self.candidates is None:
            raise DataError("recorded", "holds nothing", "give answers or candidates")
        own = {
            "candidates": _named("students", students, _own),
            "answers": _named("student_answers", student_answers, _own_answers),
            "scores": _named("student_scores", student_scores, _own_scores),
            "cost": _named("student_costs", student_costs, _cost),
        }
        names = dict.fromkeys(name for of in own.values() for name in of)
        self.students = {n: Sampled(**{k: of.get(n) for k, of in own.items()}) for n in names}
        for name, student in self.students.items():
            self._check(name, student)

    def of(self, student: str | None) -> Sampled:
        """What was recorded of a student; of an unknown one nothing."""
        return self.students.get(student or "", Sampled())

    def describe(self) -> dict[str, Any]:
        """Numbers of members, prompts, items and samples, as plain JSON values."""
        out: dict[str, Any] = {"digest": self.digest}
        if self.answers is not None:
            out["answers"] = {
                "members": len(self.answers),
                "prompts": len(self.answers[0]),
                "texts": sum(len(samples) for of in self.answers for samples in of),
            }
        if self.candidates is not None:
            out["candidates"] = _shape(self.candidates)
        out["students"] = {
            name: None if s.candidates is None else _shape(s.candidates)
            for name, s in self.students.items()
        }
        return out

    @property
    def digest(self) -> str:
        """SHA-256 of everything that was recorded."""
        found = hashlib.sha256()
        for part in self._content():
            found.update(len(part).to_bytes(8, "big") + part)
        return found.hexdigest()

    def _content(self) -> Iterator[bytes]:
        yield _text([self.answers, self.cost, getattr(self.embed, "__qualname__", None)])
        yield from _bytes(self.candidates)
        for name, s in sorted(self.students.items()):
            yield _text([name, s.answers, s.cost])
            yield from _bytes(s.candidates)
            yield b"" if s.scores is None else s.scores.tobytes()

    def _check(self, name: str, student: Sampled) -> None:
        """Refuse a student's recordings that do not fit the teacher's."""
        mine, theirs = student.candidates, self.candidates
        if theirs is None and not (mine is None and student.scores is None):
            raise DataError(
                f"student {name!r}", "has candidates and the teacher none", "give candidates="
            )
        if mine is not None and theirs is not None and mine.items != theirs.items:
            raise DataError(
                f"student {name!r}: candidates",
                f"of {mine.items} items, the teacher's are of {theirs.items}",
                "give both the same items, in the same order",
            )
        if student.scores is not None and theirs is not None:
            with_field(
                f"student {name!r}", lambda: candidates(theirs.correct, scores=student.scores)
            )
        if student.answers is None:
            return
        if self.answers is None:
            raise DataError(
                f"student {name!r}", "has answers and the teacher none", "give answers="
            )
        if len(student.answers) != len(self.answers[0]):
            raise DataError(
                f"student {name!r}: answers",
                f"to {len(student.answers)} prompts, the teacher's are to {len(self.answers[0])}",
                "give both the same prompts, in the same order",
            )


def with_field(field: str, make: Any) -> Any:
    """What ``make()`` gives; whatever is wrong is a DataError that names the field, too."""
    try:
        return make()
    except RingtestError as error:
        raise DataError(f"{field}: {error.field}", error.problem, error.fix) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Numbers beyond a double's range, say, or structured arrays
        what = f"cannot be used ({type(error).__name__}: {str(error)[:120]})"
        raise DataError(field, what, "give plain numbers and texts") from error


def as_candidates(field: str, given: Any) -> Candidates:
    """Candidates, from a dict of columns where they are none yet."""
    if isinstance(given, Candidates):
        return given
    if not isinstance(given, Mapping):
        raise DataError(
            field, f"is {type(given).__name__}", "give Candidates, or a dict with `correct`"
        )
    for key in given:
        if key not in _COLUMNS:
            raise DataError(f"{field}: {key}", "is no column", close_to(str(key), _COLUMNS))
    if given.get("correct") is None:
        raise DataError(f"{field}: correct", "is missing", "say of each sample whether it is right")
    columns: dict[str, Any] = {key: given.get(key) for key in _COLUMNS}
    found: Candidates = with_field(field, lambda: candidates(**columns))
    return found


def _own(field: str, given: Any) -> Candidates:
    return as_candidates(f"{field}: candidates", given)


def _own_answers(field: str, given: Any) -> list[list[str]]:
    return with_field(field, lambda: texts.checked([given]))[0]  # type: ignore[no-any-return]


def _own_scores(field: str, given: Any) -> Array:
    try:
        return np.array(given, dtype=np.float64)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise DataError(
            f"{field}: scores", "are no table of numbers", "give one a sample"
        ) from error


def _cost(field: str, given: Any) -> float:
    number = given.item() if isinstance(given, np.generic) else given
    if not checked.is_number(number) or number < 0:
        raise DataError(
            field if field == "cost" else f"{field}: cost",
            f"is {checked.shown(number)}",
            "give a finite number from 0",
        )
    return float(number)


def _named(field: str, given: Any, check: Any) -> dict[str, Any]:
    """Name -> checked, of one student without a name or of several with."""
    if given is None:
        return {}
    # A dict of columns is one student's candidates
    single = not isinstance(given, Mapping) or (field == "students" and "correct" in given)
    named: Mapping[Any, Any] = {STUDENT: given} if single else given
    if not named:
        raise DataError(field, "is empty", "leave it out, or give name -> recordings")
    return {str(name): check(f"student {str(name)!r}", of) for name, of in named.items()}


def _shape(c: Candidates) -> dict[str, Any]:
    return {
        "items": c.items,
        "samples": c.samples,
        "answers": c.codes is not None,
        "scores": c.scores is not None,
    }


def _bytes(c: Candidates | None) -> Sequence[bytes]:
    if c is None:
        return [b""]
    parts = (c.correct, None if c.codes is None else _first_alike(c.codes), c.scores)
    return [_text(list(c.correct.shape)), *(b"" if p is None else p.tobytes() for p in parts)]


def _first_alike(codes: Codes) -> Codes:
    """Of each sample the first of its item with the same answer, whatever the answers' numbers."""
    items, samples = codes.shape
    first = np.zeros((items, int(codes.max()) + 1), np.int64)
    rows = np.arange(items)[:, None]
    # Of several that are put in one place the last stays
    first[rows, codes[:, ::-1]] = np.arange(samples)[::-1]
    return first[rows, codes]


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
