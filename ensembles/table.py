"""What is kept of every item while the members' probabilities stream by, and the checks on them.

A block of probabilities is (member, item, class); of it stay a few numbers an item and member, and
one an item and pair of members, so that memory does not grow with the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ringtest.errors import DataError
from ringtest.estimate import Array

Codes = NDArray[np.int64]

TOLERANCE: Final = 1e-3
"""How far from 1 probabilities may sum: what half precision leaves. Within it they are rescaled."""
_CHUNK: Final = 1 << 21
"""Probabilities that are worked on at once: 16 MiB in double precision."""


@dataclass(frozen=True)
class Table:
    """Per item, of M members, P = M (M - 1) / 2 pairs in the order of ``np.triu_indices(M, 1)``."""

    predictions: NDArray[np.int32]
    """(M, n) most probable class of each member; of equals the first."""
    overlap: Array
    """(P, n) sum over classes of p_a p_b: the chance that answers drawn from both are the same."""
    entropy: Array
    """(n,) mean entropy of the members, nats."""
    entropy_of_mean: Array
    """(n,) entropy of their mean probability, nats."""
    log_normaliser: Array
    """(n,) log of the sum over classes of the geometric mean; -inf where no class has all members'
    support."""
    combined: NDArray[np.int32]
    """(n,) most probable class under the mean probability."""
    of_target: Array | None
    """(M, n) probability of the target; None without targets."""
    targets: NDArray[np.int32] | None
    """(n,) class; None without targets."""

    @property
    def items(self) -> int:
        """Number of items n."""
        return int(self.combined.shape[0])

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(M, n) whether each member's most probable class is the target."""
        assert self.targets is not None
        return np.asarray(self.predictions == self.targets)


def joined(parts: Sequence[Table]) -> Table:
    """The items of all parts, in their order."""
    columns: dict[str, Any] = {}
    for f in fields(Table):
        each = [getattr(p, f.name) for p in parts]
        columns[f.name] = None if each[0] is None else np.concatenate(each, axis=-1)
    return Table(**columns)


def as_block(probabilities: Any) -> NDArray[Any]:
    """(M, b, C) array of numbers, from an array or from one (b, C) array a member.

    Raises:
        DataError: members differ in shape, are not numbers, or there are fewer than two members or
            classes.
    """
    if isinstance(probabilities, list | tuple):
        try:
            shapes = [np.shape(p) for p in probabilities]
        except ValueError:
            fix = "give one (item, class) array a member"
            raise DataError("probabilities", "rows of unequal length", fix) from None
        if len(set(shapes)) > 1:
            at = next(i for i, s in enumerate(shapes) if s != shapes[0])
            what = f"member 0 has shape {shapes[0]} and member {at} has {shapes[at]}"
            raise DataError("probabilities", what, "give all members the same items and classes")
    try:
        block = np.asarray(probabilities)
    except (TypeError, RuntimeError, ValueError) as error:
        # Torch's: of a tensor in bfloat16, with a gradient, or on another device
        what = f"are no array: {' '.join(str(error).split())[:120]}"
        fix = "give NumPy arrays, such as tensor.detach().float().cpu().numpy()"
        raise DataError("probabilities", what, fix) from error
    if block.ndim != 3:
        raise DataError(
            "probabilities",
            f"of shape {block.shape}",
            "they must be (member, item, class): stack one (item, class) array a member",
        )
    if block.dtype.kind not in "fiub":
        raise DataError("probabilities", f"of type {block.dtype}", "give real numbers")
    members, _, classes = block.shape
    if members < 2:
        raise DataError("members", f"{members} given", "diversity needs at least two")
    if classes < 2:
        raise DataError("classes", f"{classes} given", "there must be at least two to choose from")
    return block


def as_targets(targets: Any, items: int, classes: int, first: int) -> NDArray[np.int32]:
    """(b,) classes, checked; ``first`` is the number of the block's first item, for messages."""
    y = np.asarray(targets)
    if y.shape != (items,):
        raise DataError("targets", f"of shape {y.shape} for {items} items", "give one class each")
    if y.dtype.kind not in "iu" and items:
        raise DataError("targets", f"of type {y.dtype}", "give whole numbers, the classes from 0")
    wrong = (y < 0) | (y >= classes)
    if wrong.any():
        at = int(np.argmax(wrong))
        what = f"item {first + at} has class {y[at]}, and there are {classes} classes"
        raise DataError("targets", what, f"classes go from 0 to {classes - 1}")
    return y.astype(np.int32)


def summarise(block: NDArray[Any], targets: NDArray[np.int32] | None, first: int) -> Table | None:
    """Table of a block (M, b, C), worked on a few items at a time; None of no items.

    Raises:
        DataError: a probability is negative or not a number, or a row does not sum to 1.
    """
    members, items, classes = block.shape
    step = max(1, _CHUNK // (members * classes))
    parts = []
    for low in range(0, items, step):
        high = min(low + step, items)
        y = None if targets is None else targets[low:high]
        parts.append(_chunk(normalised(block[:, low:high], first + low), y))
    return joined(parts) if parts else None


def normalised(block: NDArray[Any], first: int = 0) -> Array:
    """The (M, b, C) probabilities in double precision, rescaled to sum to 1 where rounding hid it.

    ``first`` is the number of the block's first item, for messages.
    """
    x = block.astype(np.float64)
    total = x.sum(2)
    # Written so that NaN fails.
    good = (np.abs(total - 1.0) <= TOLERANCE) & (x.min(2) >= 0)
    if not good.all():
        member, item = map(int, np.argwhere(~good)[0])
        row = x[member, item]
        where = f"member {member}, item {first + item}"
        if np.isnan(row).any():
            raise DataError("probabilities", f"{where} has NaN", "leave such items out for all")
        if row.min() < 0:
            what = f"{where} has {row.min():.6g}, below 0"
            raise DataError("probabilities", what, "give probabilities, not logits")
        what = f"{where} sums to {total[member, item]:.6g}, not 1"
        raise DataError("probabilities", what, "apply softmax over the classes")
    x /= total[:, :, None]
    return x


def log_normaliser(mean_logs: Array) -> Array:
    """Log of the sum over the last axis of exp; -inf where all are -inf."""
    top = mean_logs.max(-1, keepdims=True)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        out: Array = np.log(np.exp(mean_logs - shift).sum(-1)) + shift[..., 0]
    return out


def _chunk(x: Array, y: NDArray[np.int32] | None) -> Table:
    """Table of (M, b, C) checked probabilities."""
    members, items, _ = x.shape
    rows = x.transpose(1, 0, 2)
    upper = np.triu_indices(members, 1)
    overlap = (rows @ rows.transpose(0, 2, 1))[:, upper[0], upper[1]].T
    mean = x.mean(0)
    with np.errstate(divide="ignore"):
        logs = np.log(x)
    # At most 0 by the means' inequality; of copies rounding may leave it above.
    normaliser = np.minimum(log_normaliser(logs.mean(0)), 0.0)
    logs[x == 0] = 0.0  # 0 log 0 = 0 in an entropy
    return Table(
        predictions=x.argmax(2).astype(np.int32),
        overlap=np.ascontiguousarray(overlap),
        entropy=-np.einsum("mbc,mbc->b", x, logs) / members,
        entropy_of_mean=special.entr(mean).sum(1),
        log_normaliser=normaliser,
        combined=mean.argmax(1).astype(np.int32),
        of_target=None if y is None else x[:, np.arange(items), y],
        targets=y,
    )
