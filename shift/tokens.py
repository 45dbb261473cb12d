"""Operations on a batch of integer tokens (b, length). Every row is treated by itself.

Padding is not known here (a mask comes with a later version): it moves with the words.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ringtest.shift import common


def shuffled(x: Tensor, rng: torch.Generator) -> Tensor:
    """The tokens of each row in a random order."""
    return x.gather(1, common.uniform(x.shape, rng, x).argsort(dim=1))


def drawn(seen: Tensor, x: Tensor, rng: torch.Generator) -> Tensor:
    """Tokens in the shape of ``x``, each drawn by itself from all tokens ``seen`` (m,)."""
    return seen[common.integers(len(seen), x.shape, rng, seen)].to(x.device)


def replaced(x: Tensor, seen: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """A share of each row's places, at least one, takes a token drawn from all ``seen``."""
    places = _chosen(x.shape[0], x.shape[1], share, rng, x)
    return torch.where(places, drawn(seen, x, rng), x)


def neighbours_swapped(x: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """A share of each row's pairs of neighbours, at least one, changes places.

    Pairs do not overlap; whether they start at the first or the second token is drawn for each row.
    """
    rows, length = x.shape
    if length < 2:
        return x.clone()
    late = common.integers(2, (rows, 1), rng, x) if length > 2 else torch.zeros_like(x[:, :1])
    chosen = _chosen(rows, length // 2, share, rng, x)
    first = 2 * torch.arange(length // 2, device=x.device) + late.long()
    # In an even row the last pair of a late start would reach over the end.
    chosen &= first + 1 < length
    order = torch.arange(length + 2, device=x.device).repeat(rows, 1)
    order.scatter_(1, first, torch.where(chosen, first + 1, first))
    order.scatter_(1, first + 1, torch.where(chosen, first, first + 1))
    return x.gather(1, order[:, :length])


def _chosen(rows: int, places: int, share: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """(rows, places) booleans, of which each row has the share, at least one, true."""
    count = max(1, round(share * places))
    first = common.uniform((rows, places), rng, like).topk(count, dim=1).indices
    none = torch.zeros((rows, places), dtype=torch.bool, device=like.device)
    return none.scatter_(1, first, True)
