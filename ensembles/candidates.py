"""What was sampled for each item: right or wrong, answers, a verifier's scores; and its checks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ringtest.errors import DataError
from ringtest.estimate import Array

Codes = NDArray[np.int64]
Answers = ArrayLike | Sequence[Sequence[Hashable]]


@dataclass(frozen=True)
class Candidates:
    """Samples for every item, checked; the samples of an item are exchangeable."""

    correct: NDArray[np.bool_]
    """(items, samples) whether each is right."""
    codes: Codes | None = None
    """(items, samples) the answer as 0, 1, ... within its item; None: no answers were given."""
    scores: Array | None = None
    """(items, samples) of the verifier, higher for what it believes; None: there is none."""

    @property
    def items(self) -> int:
        """Number of independent units."""
        return int(self.correct.shape[0])

    @property
    def samples(self) -> int:
        """Samples for each item, n."""
        return int(self.correct.shape[1])

    def need_codes(self) -> Codes:
        """The answers' codes, or a DataError."""
        if self.codes is None:
            raise DataError("answers", "none were given", "a vote needs the answer of each sample")
        return self.codes

    def need_scores(self) -> Array:
        """The verifier's scores, or a DataError."""
        if self.scores is None:
            raise DataError("scores", "none were given", "give the verifier's score of each sample")
        return self.scores


def candidates(
    correct: ArrayLike, answers: Answers | None = None, scores: ArrayLike | None = None
) -> Candidates:
    """Check and keep what was sampled.

    Args:
        correct: (items, samples) booleans, or 0 and 1.
        answers: (items, samples) hashable values that are equal where two samples gave the same
            answer. None is an answer like any other: what could not be read votes too.
        scores: (items, samples) of a verifier, higher for what it believes; any scale, may be
            infinite.

    Raises:
        DataError: shapes that differ, nothing in them, NaN, answers that cannot be compared or that
            are right in one sample and wrong in another of the same item.
    """
    given = _grid("correct", correct)
    if not bool(((given == 0) | (given == 1)).all()):
        raise DataError("correct", "has values other than 0 and 1", "give booleans")
    right = given.astype(np.bool_)
    codes = None if answers is None else _codes(answers, right)
    return Candidates(right, codes, None if scores is None else _scores(scores, right.shape))


def check_k(k: int | None, n: int) -> int:
    """Number of samples asked for: 1 to n; None: all n."""
    if k is None:
        return n
    if not _whole_number(k) or k < 1:
        raise DataError("k", f"{k!r} is not a whole number from 1", f"there are n={n} samples")
    if k > n:
        raise DataError(
            "k", f"k={k} is more than n={n} samples per item", "sample more, or lower k"
        )
    return int(k)


def _whole_number(k: object) -> bool:
    return isinstance(k, int | np.integer) and not isinstance(k, bool)


def _grid(field: str, given: ArrayLike) -> NDArray[np.generic]:
    if isinstance(given, list | tuple) and given:
        even(field, given)
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise DataError(
            field, "is no table of values", "it takes (items, samples), one value each"
        ) from error
    if array.ndim != 2 or array.size == 0:
        raise DataError(
            field, f"has the shape {array.shape}", "it takes (items, samples), one or more of each"
        )
    return array


def even(field: str, rows: Sequence[object]) -> int:
    """Samples of every item; -1 where no item has a list of them.

    Samples of an item are exchangeable, so the first few of each are as good as any: cutting all
    to as many as the shortest has is no bias, as long as it is not decided by what they say.

    Raises DataError naming the item that has no list, or another number than the first.
    """
    lengths = [
        len(row) if hasattr(row, "__len__") and not isinstance(row, str | bytes) else -1
        for row in rows
    ]
    first, least = lengths[0], min(lengths)
    other = next((i for i, n in enumerate(lengths) if n != first), None)
    if other is None:
        return first
    if least < 1:
        at, what = lengths.index(least), "no list of samples" if least < 0 else "no samples"
        raise DataError(field, f"item {at} has {what}", "sample it, or leave it out for all")
    raise DataError(
        field,
        f"item {other} has {lengths[other]} samples, item 0 has {first}",
        f"sample the rest, or cut every item to its first {least}",
    )


def _same(field: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise DataError(
            field, f"shape {shape} is not that of correct, {wanted}", "give one for each sample"
        )


def _scores(given: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = _grid("scores", given)
    _same("scores", array.shape, shape)
    try:
        scores = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("scores", "are not numbers", "give one number for each sample") from error
    bad = np.isnan(scores).any(axis=1)
    if bad.any():
        raise DataError(
            "scores",
            f"NaN in item {int(bad.argmax())} ({int(bad.sum())} items in all)",
            "give a low score to what the verifier could not judge",
        )
    return scores


def _codes(given: Answers, correct: NDArray[np.bool_]) -> Codes:
    codes = _within_items(_whole(given, correct.shape))
    right = tally(codes, correct.astype(np.float64))
    mixed = ((right > 0) & (right < tally(codes))).any(axis=1)
    if mixed.any():
        raise DataError(
            "answers",
            f"item {int(mixed.argmax())} has an answer both right and wrong"
            f" ({int(mixed.sum())} items in all)",
            "grade each answer once",
        )
    return codes


def _whole(given: Answers, shape: tuple[int, ...]) -> Codes:
    """Answers as whole numbers, equal where they are."""
    if isinstance(given, np.ndarray) and given.dtype != np.object_:
        array = _grid("answers", given)
        _same("answers", array.shape, shape)
        if array.dtype.kind == "f" and bool(np.isnan(array.astype(np.float64)).any()):
            raise DataError("answers", "NaN is equal to nothing", "give None or a word for it")
        _, whole = np.unique(array, return_inverse=True)
        return np.asarray(whole, dtype=np.int64).reshape(shape)
    # Anything hashable: tuples among them must not become a third axis of an array
    try:
        table = list(given)  # type: ignore[arg-type]
        _same("answers", (len(table), even("answers", table) if table else 0), shape)
        rows: list[list[Any]] = [list(row) for row in table]  # type: ignore[arg-type]
    except TypeError as error:
        raise DataError("answers", f"{error}", "give (item, sample)") from error
    known: dict[Hashable, int] = {}
    try:
        flat = [known.setdefault(value, len(known)) for row in rows for value in row]
    except TypeError as error:
        raise DataError(
            "answers", f"{error}", "give strings, numbers or tuples, which compare as a whole"
        ) from error
    if any(value != value for value in known):
        raise DataError("answers", "NaN is equal to nothing", "give None or a word for it")
    return np.asarray(flat, dtype=np.int64).reshape(shape)


def _within_items(whole: Codes) -> Codes:
    """Number the answers of each item from 0, so that a tally is as narrow as it can be."""
    order = np.argsort(whole, axis=1, kind="stable")
    ranked = np.take_along_axis(whole, order, axis=1)
    step = np.zeros_like(ranked)
    step[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    codes = np.empty_like(whole)
    np.put_along_axis(codes, order, np.cumsum(step, axis=1), axis=1)
    return codes


def tally(codes: Codes, weights: Array | None = None, width: int | None = None) -> Array:
    """Sum of weights (None: number) of each answer of each item, (items, width)."""
    wide = int(codes.max()) + 1 if width is None else width
    cells = codes + wide * np.arange(codes.shape[0])[:, None]
    flat = None if weights is None else weights.ravel()
    sums = np.bincount(cells.ravel(), flat, codes.shape[0] * wide)
    return sums.reshape(codes.shape[0], wide).astype(np.float64, copy=False)
