"""Operations on a batch of integer tokens (b, length). Every row is treated by itself.

Tokens in ``frame`` (padding, and what a tokenizer puts around every row) are never moved, replaced
or drawn: a mask that goes along with the tokens stays right, and the words alone are disturbed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ringtest.shift import common


def words(x: Tensor, frame: Tensor) -> Tensor:
    """(b, length) true where a token is no part of the frame."""
    return ~torch.isin(x, frame.to(x.device))


def vocabulary(x: Tensor, frame: Tensor) -> Tensor:
    """(m,) all words that occur, as often as they do; all tokens where nothing else does."""
    found = x[words(x, frame)]
    return found if len(found) else x.reshape(-1)


def shuffled(x: Tensor, frame: Tensor, rng: torch.Generator, share: float = 1.0) -> Tensor:
    """A share of the words of each row, at least one, change places among themselves."""
    moves = words(x, frame)
    if share < 1:
        moves = chosen(moves, share, rng, x)
    # The places of a row's words, in order; then the same places in a random order.
    here = torch.where(moves, torch.arange(x.shape[1], device=x.device), x.shape[1])
    draws = torch.where(moves, common.uniform(x.shape, rng, x), 2.0)
    order, source = here.argsort(dim=1, stable=True), draws.argsort(dim=1, stable=True)
    return x.scatter(1, order, x.gather(1, source))


def drawn(x: Tensor, seen: Tensor, frame: Tensor, rng: torch.Generator) -> Tensor:
    """Every word drawn by itself from all words ``seen`` (m,)."""
    return torch.where(words(x, frame), draws(seen, x, rng), x)


def replaced(x: Tensor, seen: Tensor, frame: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """A share of each row's words, at least one, takes a word drawn from all ``seen``."""
    places = chosen(words(x, frame), share, rng, x)
    return torch.where(places, draws(seen, x, rng), x)


def neighbours_swapped(x: Tensor, frame: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """A share of each row's pairs of neighbouring words, at least one, changes places.

    Pairs do not overlap; whether they start at the first or the second token is drawn for each row.
    """
    rows, length = x.shape
    if length < 2:
        return x.clone()
    late = common.integers(2, (rows, 1), rng, x) if length > 2 else torch.zeros_like(x[:, :1])
    first = 2 * torch.arange(length // 2, device=x.device) + late.long()
    # In an even row the last pair of a late start would reach over the end.
    inside = first + 1 < length
    moves = torch.nn.functional.pad(words(x, frame), (0, 2))
    able = inside & moves.gather(1, first) & moves.gather(1, first + 1)
    hit = chosen(able, share, rng, x)
    order = torch.arange(length + 2, device=x.device).repeat(rows, 1)
    order.scatter_(1, first, torch.where(hit, first + 1, first))
    order.scatter_(1, first + 1, torch.where(hit, first, first + 1))
    return x.gather(1, order[:, :length])


def draws(seen: Tensor, x: Tensor, rng: torch.Generator) -> Tensor:
    """(b, length) words drawn from all ``seen`` (m,)."""
    return seen[common.integers(len(seen), x.shape, rng, seen)].to(x.device, x.dtype)


def chosen(
    able: Tensor, share: float, rng: torch.Generator, like: Tensor, spared: int = 0
) -> Tensor:
    """(rows, places) booleans, of which each row has the share of its able ones, at least one.

    At least ``spared`` of a row's able ones are not among them.
    """
    draws = torch.where(able, common.uniform(able.shape, rng, like), -1.0)
    rank = draws.argsort(dim=1, descending=True).argsort(dim=1)
    return able & (rank < _count(able, share, spared))


def last(able: Tensor, share: float, spared: int = 0) -> Tensor:
    """As :func:`chosen`, but the last of each row's able ones."""
    behind = able.sum(dim=1, keepdim=True) - able.cumsum(dim=1)
    return able & (behind < _count(able, share, spared))


def order_without(removed: Tensor, left: bool) -> Tensor:
    """(b, length) places from which each place takes its token: the others close up.

    What was removed goes to the end of the row, or to its beginning where rows are padded on the
    left.
    """
    gone = removed.int()
    return (1 - gone if left else gone).argsort(dim=1, stable=True)


def freed(removed: Tensor, left: bool) -> Tensor:
    """(b, length) true at the places that :func:`order_without` leaves without a token."""
    count, length = removed.sum(dim=1, keepdim=True), removed.shape[1]
    place = torch.arange(length, device=removed.device)
    return place < count if left else place >= length - count


def _count(able: Tensor, share: float, spared: int) -> Tensor:
    """(rows, 1) how many of each row's able places a share is: at least one, if any is to spare."""
    total = able.sum(dim=1, keepdim=True)
    return torch.minimum((share * total).round().clamp(min=1), (total - spared).clamp(min=0))
