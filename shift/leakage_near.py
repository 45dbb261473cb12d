"""Near copies: rows that another one is, but for noise, a new encoding, or a word.

Found are, on data whose rows are not near each other anyway: noise and rounding; JPEG of ordinary
quality, brightness and contrast of images; one token changed in about ten. Not found are shifts,
crops, flips and rotations of images, which move most pixels, paraphrases, and copies of which a row
has eight or more.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringtest.data import AuditData
from ringtest.findings import EXAMPLES, Extent, Finding, Unchecked, check
from ringtest.progress import Progress, part
from ringtest.rows.checks import row_sums
from ringtest.shift import leakage, near, near_points

FREE: Final = 3e10
"""Multiply-adds that an audit spends without being asked: some seconds, about 20,000 rows."""

_NAME: Final = "leakage.near"
Indices = NDArray[np.int64]


@check(_NAME, "rows that are nearly equal: in the data, and in the data and train")
def near_copies(data: AuditData, how: Extent, say: Progress) -> Iterator[Finding | Unchecked]:
    """One search among the inputs, one for the inputs in ``train``; equal rows count once."""
    if how == "exact":
        yield Unchecked(_NAME, "not asked for")
        return
    seen, sets = data.seen, [data.rows]
    if seen is not None:
        reason = leakage.unlike(data.rows, seen.rows, lengths=data.modality == "tokens")
        if reason is None:
            sets.append(seen.rows)
        else:
            # The exact check has said so to the user.
            yield Unchecked(_NAME, reason)
            seen = None
    space = near_points.make(sets, data.modality)
    sums = row_sums(data.inputs)
    own = np.setdiff1d(np.unique(sums, return_index=True)[1], np.flatnonzero(space.flat(0)))
    pairs = yield from _searched(space, own, None, how, part(say, 0.0, 0.5))
    if pairs is not None:
        i, j = own[pairs.first], own[pairs.second]
        if data.cluster is not None:
            # That they are not independent has been said.
            apart = data.cluster[i] != data.cluster[j]
            i, j = i[apart], j[apart]
        if len(i):
            yield _told(data, "inputs", i, j, pairs.all_seen)
            yield from leakage.labels(data, None, i, j, "rows with a near copy")
    if seen is None:
        return
    known = row_sums(seen.rows.main.to(data.inputs.dtype))
    theirs = np.setdiff1d(np.unique(known, return_index=True)[1], np.flatnonzero(space.flat(1)))
    if data.inputs.shape[1:] == seen.rows.main.shape[1:]:
        own = own[~np.isin(sums[own], known)]
    pairs = yield from _searched(space, own, theirs, how, part(say, 0.5, 1.0))
    if pairs is not None and len(pairs.first):
        i, j = own[pairs.first], theirs[pairs.second]
        yield _told(data, "inputs and train", i, j, pairs.all_seen)
        yield from leakage.labels(data, seen, i, j, "rows with a near copy in train")


def _searched(
    space: near_points.Space, own: Indices, theirs: Indices | None, how: Extent, say: Progress
) -> Generator[Unchecked, None, near.Pairs | None]:
    """The pairs of positions in ``own`` and ``theirs``, or None after saying why there are none."""
    n, m = len(own), None if theirs is None else len(theirs)
    where = "inputs" if m is None else "train"
    if n == 0:
        return None
    if (n if m is None else m) < near.LEAST:
        reason = f"near copies: {where} have under {near.LEAST} different rows"
        yield Unchecked(_NAME, reason)
        return None
    if how == "auto" and near.cost(n, m, space.dimensions) > FREE:
        size = f"{n:,} rows" if m is None else f"{n:,} rows in {m:,} of train"
        reason = f'near copies of {size} take long to find: ask for them with leakage = "full"'
        yield Unchecked(_NAME, reason)
        return None
    points = space.points(0, own)
    others = None if theirs is None else space.points(1, theirs)
    of, among = (0, own) if theirs is None else (1, theirs)
    return near.search(
        points,
        others,
        lambda i, j: space.distance(own[i], of, among[j]),
        lambda i, j: space.columns(own[i], of, among[j]),
        space.cap,
        space.most,
        say,
    )


def _told(data: AuditData, between: str, i: Indices, j: Indices, all_seen: bool) -> Finding:
    found = leakage.finding(data, "near", between, i, j, "")
    least = "" if all_seen else "at least "
    many = f"{least}{found.count} of {data.n} rows"
    shown = ", ".join(f"{a} and {b}" for a, b in found.examples)
    more = ", ..." if len(i) > EXAMPLES else ""
    words = f"inputs: {many} have a near copy in train (rows {shown}{more})"
    if between == "inputs":
        words = (
            f"inputs: {many} are near copies of another one (rows {shown}{more}); "
            "if they are not independent, give them a common value in cluster"
        )
    return leakage.finding(data, "near", between, i, j, words)
