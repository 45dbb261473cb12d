"""Was there anything to distil? Diversity of the members of an ensemble from their probabilities.

Give all at once to :func:`of`, or block by block to :class:`Members`, which keeps a few numbers an
item; memory then grows with items and pairs of members, never with the classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ringtest.ensembles import kl_diversity, pairwise, table, vendi
from ringtest.ensembles.effective import Effective, effective
from ringtest.ensembles.measured import Measured, Units, nothing
from ringtest.ensembles.pairwise import Pairwise
from ringtest.errors import DataError
from ringtest.estimate import row_mean

_NO_TARGETS = "there are no targets"


@dataclass(frozen=True)
class Diversity:
    """How much the members of an ensemble differ, and what their average gains."""

    names: tuple[str, ...]
    """Of the M members."""
    items: int
    classes: int
    pairs: Mapping[str, Pairwise]
    """By the ids of :mod:`ringtest.ensembles.pairwise`; without targets ``disagreement`` alone."""
    effective: Effective | None
    """Votes that the members amount to; None without targets."""
    vendi: Measured
    """Vendi score of the members under the kernel 'share of same answers', 1 to M. It needs no
    targets, and answers that are the same because they are right count as the same."""
    mutual_information: Measured
    """H(mean p) - mean H(p), nats, 0 to log min(M, C): what one would learn of the member from its
    answer."""
    entropy: Measured
    """Mean entropy of the members, nats."""
    log_loss: kl_diversity.LogLoss
    member_accuracy: Measured
    """Mean over members, 0 to 1."""
    accuracy: Measured
    """Of the mean probability's most probable class, 0 to 1."""
    gain: Measured
    """``accuracy`` - ``member_accuracy``, paired."""

    def words(self, level: float = 0.95) -> str:
        """One opinion held M times, or how many votes, with an interval."""
        if self.effective is None:
            return f"votes not measurable: {_NO_TARGETS}"
        return self.effective.words(level)


class Members:
    """Accumulates blocks of the members' probabilities.

    Args:
        names: of the members; None: their numbers.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = None if names is None else tuple(map(str, names))
        self._parts: list[table.Table] = []
        self._shape: tuple[int, int] | None = None
        self._labelled: bool | None = None
        self._items = 0

    def add(self, probabilities: Any, targets: Any = None) -> None:
        """Take the next items.

        Args:
            probabilities: (M, b, C), each row summing to 1 within a thousandth (they are then
                rescaled); or one (b, C) array a member.
            targets: (b,) classes 0..C-1, for all blocks or for none.

        Raises:
            DataError: a shape, a probability or a target is wrong; nothing of the block is kept.
        """
        block = table.as_block(probabilities)
        members, items, classes = block.shape
        self._check((members, classes), targets is not None)
        y = None if targets is None else table.as_targets(targets, items, classes, self._items)
        part = table.summarise(block, y, self._items)
        if part is None:
            return
        self._shape, self._labelled = (members, classes), y is not None
        self._parts.append(part)
        self._items += items

    def merge(self, other: Members) -> None:
        """Take the items of another accumulator of the same members, after one's own."""
        if other._shape is None:
            return
        self._check(other._shape, bool(other._labelled))
        self._shape, self._labelled = other._shape, other._labelled
        self._parts += other._parts
        self._items += other._items

    def result(self, units: Any = None) -> Diversity:
        """All measures of the items so far.

        Args:
            units: (n,) whole-number code of the independent unit of each item; None: each is one.

        Raises:
            DataError: there are no items, or units do not fit.
        """
        if self._shape is None:
            raise DataError("probabilities", "no items were given", "add at least one block")
        members, classes = self._shape
        self._parts = [table.joined(self._parts)]
        names = self._names or tuple(map(str, range(members)))
        return _diversity(self._parts[0], names, classes, _units(units, self._items))

    def _check(self, shape: tuple[int, int], labelled: bool) -> None:
        if self._names is not None and len(self._names) != shape[0]:
            what = f"{len(self._names)} names for {shape[0]} members"
            raise DataError("names", what, "give one a member")
        if self._shape is not None and shape != self._shape:
            what = f"a block of {shape[0]} members and {shape[1]} classes after one of "
            what += f"{self._shape[0]} and {self._shape[1]}"
            raise DataError("probabilities", what, "all blocks need the same members and classes")
        if self._labelled is not None and labelled != self._labelled:
            what = "given for some blocks and not for others"
            raise DataError("targets", what, "give them for all or for none")


def of(
    probabilities: Any,
    targets: Any = None,
    *,
    names: Sequence[str] | None = None,
    units: Any = None,
) -> Diversity:
    """Diversity of members from all their probabilities.

    Args:
        probabilities: (M, n, C) array (memory-mapped ones are read a few items at a time), a list
            of one (n, C) array a member, or an iterator of blocks (M, b, C) or (block, targets).
        targets: (n,) classes 0..C-1, or None; an iterator hands them over itself.
        names: of the members.
        units: (n,) code of the independent unit of each item; None: each is one.

    Raises:
        DataError: as :meth:`Members.add` and :meth:`Members.result`.

    >>> found = of([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]]], [0, 1])
    >>> float(found.pairs["disagreement"].mean.value), float(found.accuracy.value)
    (0.5, 1.0)
    """
    members = Members(names)
    if hasattr(probabilities, "shape") or isinstance(probabilities, list | tuple):
        members.add(probabilities, targets)
        return members.result(units)
    if not isinstance(probabilities, Iterable):
        raise DataError("probabilities", f"of type {type(probabilities).__name__}", "give an array")
    if targets is not None:
        raise DataError("targets", "beside an iterator", "let it yield (block, targets)")
    for block in probabilities:
        if isinstance(block, tuple) and len(block) == 2 and np.ndim(block[1]) == 1:
            members.add(*block)
        else:
            members.add(block)
    return members.result(units)


def _units(units: Any, items: int) -> Units:
    if units is None:
        return None
    codes = np.asarray(units)
    if codes.shape != (items,):
        raise DataError("units", f"of shape {codes.shape} for {items} items", "give one an item")
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _diversity(seen: table.Table, names: tuple[str, ...], classes: int, units: Units) -> Diversity:
    pairs = {"disagreement": pairwise.disagreement(seen, units)}
    votes, accuracies = None, [nothing(_NO_TARGETS)] * 3
    if seen.targets is not None:
        pairs |= pairwise.of_errors(seen, units) | pairwise.capa(seen, classes, units)
        right = seen.correct
        votes = effective(pairs["rho"], right.mean(1))
        both = [right.mean(0), (seen.combined == seen.targets).astype(np.float64)]
        accuracies = [Measured(row_mean(x, units)) for x in (*both, both[1] - both[0])]
    # At least 0 by concavity; of copies rounding may leave it below.
    information = np.maximum(seen.entropy_of_mean - seen.entropy, 0.0)
    return Diversity(
        names,
        seen.items,
        classes,
        pairs,
        votes,
        vendi.estimate(pairwise.agreement(seen), pairwise.SameAnswers(seen.predictions), units),
        Measured(row_mean(information, units)),
        Measured(row_mean(seen.entropy, units)),
        kl_diversity.log_loss(seen, units),
        *accuracies,
    )
