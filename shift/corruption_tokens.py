"""Corruptions of tokens, on request: words left out, replaced, cut off at the end.

For token inputs whose texts are not at hand; with ``AuditData(texts=..., tokenizer=...)`` the kinds
``text.*`` change the texts themselves. Padding and the tokenizer's frame are never left out,
replaced or drawn, and at least one word of each row stays.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest.blocks import blocks
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.rows.inputs import Rows
from ringtest.shift import common, tokens
from ringtest.shift.on_request import OnRequest

if TYPE_CHECKING:
    from ringtest.model import Model


class TokenCorruption(OnRequest):
    """Base: integer tokens (n, length); the rows are changed once for all models.

    Words are what counts by the mask and is no part of the frame. The changed rows are one copy of
    the data.
    """

    needs = "tokens (n, length)"
    _rows: Rows | None = None

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Integer tokens, at least two a row."""
        return common.is_tokens(data) and data.inputs.shape[1] > 1

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Change all rows."""
        super().fit(subjects, data, rng)
        self.prepare(data)
        x, words = data.inputs, self.words(data)
        self._seen = x[words] if bool(words.any()) else x.flatten()
        changed = x.clone()
        removed = torch.zeros(x.shape, dtype=torch.bool)
        for _, part in blocks(data.n):
            found = self.changed(x[part], words[part], rng)
            changed[part], removed[part] = found
        self._rows = self.closed(data.rows, changed, removed)

    def prepare(self, data: AuditData) -> None:
        """Take what the change needs of the data."""

    def words(self, data: AuditData) -> Tensor:
        """(n, length) true where a token may be hit."""
        found = tokens.words(data.inputs, data.frame_tokens)
        return found if data.mask is None else found & data.mask

    def closed(self, rows: Rows, x: Tensor, removed: Tensor) -> Rows:
        """The rows with other tokens, of which (n, length) some were removed."""
        return replace(rows, main=x)

    @abstractmethod
    def changed(self, x: Tensor, words: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """What becomes of a block (b, length), and which of its tokens are removed."""

    def start(self, data: AuditData) -> Rows:
        """The changed rows."""
        assert self._rows is not None, "fit comes first"
        return self._rows

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The rows as :meth:`start` has them."""
        return x


@condition
class TokenNoise(TokenCorruption):
    """Words replaced by words drawn from the data. Strength: share of a row's words, at least one.

    As often as each occurs, so that a word may be drawn in its own place.
    """

    kind = "shift.corruption.token_noise"
    about = "a share of each row's words replaced by words of the data"
    strengths = (0.05, 0.1, 0.15, 0.2, 0.3)

    def changed(self, x: Tensor, words: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The rows with their new words; none is removed."""
        places = tokens.chosen(words, self.strength(), rng, x)
        drawn = tokens.draws(self._seen, x, rng)
        return torch.where(places, drawn, x), torch.zeros_like(words)


class Shortened(TokenCorruption):
    """Base: words are removed, the rest closes up, and the mask is shortened.

    So a row is what a tokenizer gives for the shorter text. Padding in the place of a lost word
    would be something else: a hole that the mask counts, or a gap in the positions, neither of
    which a model was made for. Rows padded on the left are filled up on the left. What goes along
    with one number a token (``token_type_ids``) moves with its token and is 0 where none is left;
    ``position_ids`` stay those of the first, second, ... token.

    Args:
        name: completes the id.
        severity: 1 to 5.
        pad: id of the padding; None: what stands most often where the data's mask is false.

    Raises ConfigError for a ``pad`` that is no id, DataError where no padding is known.
    """

    needs = "tokens (n, length) with a mask that shows padding, or give pad=..."

    def __init__(
        self, name: str | None = None, severity: float | None = None, pad: int | None = None
    ) -> None:
        super().__init__(name, severity)
        if pad is not None and type(pad) is not int:
            raise ConfigError(f"pad of {self.id}", f"is {pad!r}", "give the id of the padding")
        self.pad = pad

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Tokens with a mask that is false somewhere."""
        return super().applies(data) and data.mask is not None and not bool(data.mask.all())

    def check(self, data: AuditData) -> None:
        """Padding must be known, from the mask or from the user."""
        if not TokenCorruption.applies(data):
            super().check(data)
        elif self.pad is None and not self.applies(data):
            fix = f"give a mask that is false there, or {type(self).__name__}(..., pad=0)"
            raise DataError("mask", f"shows no padding, and {self.key} needs its id", fix)

    def prepare(self, data: AuditData) -> None:
        """Find the padding, and on which side it stands."""
        x, counts = data.inputs, data.mask
        if counts is None:
            counts = x != self.pad
        if self.pad is None:
            self._pad = int(torch.mode(x[~counts]).values)
        else:
            self._pad = self.pad
        self._left = bool((~counts[:, 0]).any()) and bool(counts[:, -1].all())

    def words(self, data: AuditData) -> Tensor:
        """Without a mask, padding is known by its id."""
        found = super().words(data)
        return found if data.mask is not None else found & (data.inputs != self._pad)

    def changed(self, x: Tensor, words: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The rows closed up, and what was removed of them."""
        removed = self.removed(words, self.strength(), rng)
        found = x.gather(1, tokens.order_without(removed, self._left))
        return found.masked_fill(tokens.freed(removed, self._left), self._pad), removed

    @abstractmethod
    def removed(self, words: Tensor, share: float, rng: torch.Generator) -> Tensor:
        """(b, length) true for the words that are removed, never all of a row."""

    def closed(self, rows: Rows, x: Tensor, removed: Tensor) -> Rows:
        """Mask and what goes along closed up like their tokens."""
        order, free = tokens.order_without(removed, self._left), tokens.freed(removed, self._left)

        def moved(name: str, value: Tensor) -> Tensor:
            if value.ndim < 2 or value.shape[1] != x.shape[1]:
                return value
            if value.ndim > 2:
                problem = f"has shape {tuple(value.shape)}, and {self.key} cannot close it up"
                raise DataError(f"inputs[{name!r}]", problem, "leave the condition out")
            if name == "position_ids":
                return _positions(value, free, self._left)
            return value.gather(1, order).masked_fill(free, 0)

        mask = None if rows.mask is None else moved("mask", rows.mask)
        beside = {name: moved(name, value) for name, value in rows.beside.items()}
        return replace(rows, main=x, mask=mask, beside=beside)


def _positions(value: Tensor, free: Tensor, left: bool) -> Tensor:
    """(n, length) numbers of the first, second, ... token, wherever the first now stands."""
    if not left:
        return value
    place = torch.arange(value.shape[1]) - free.sum(dim=1, keepdim=True)
    return value.gather(1, place.clamp(min=0))


@condition
class TokenDropout(Shortened):
    """Words left out at random. Strength: share of a row's words, at least one; one stays."""

    kind = "shift.corruption.token_dropout"
    about = "a share of each row's words left out, and the row closed up"
    strengths = (0.05, 0.1, 0.2, 0.3, 0.5)

    def removed(self, words: Tensor, share: float, rng: torch.Generator) -> Tensor:
        """Words drawn at random."""
        return tokens.chosen(words, share, rng, words, spared=1)


@condition
class Truncation(Shortened):
    """The end cut off. Strength: share of a row's words, at least one; the first always stays.

    A token that closes every row stays behind what is left, as a tokenizer that truncates has it.
    """

    kind = "shift.corruption.truncation"
    about = "the last words of each row cut off, and its mask shortened"
    strengths = (0.1, 0.2, 0.35, 0.5, 0.75)

    def removed(self, words: Tensor, share: float, rng: torch.Generator) -> Tensor:
        """The last words."""
        return tokens.last(words, share, spared=1)
