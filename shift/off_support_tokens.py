"""Off support, tokens only: the right words in no order, and words at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.shift import common, tokens
from ringtest.shift.off_support import OffSupport

if TYPE_CHECKING:
    from ringtest.model import Model


class TokensOffSupport(OffSupport):
    """Base: integer tokens (n, length) only. Severity: share of each row's words, at least two."""

    most = 1.0
    grades = (0.25, 0.5)

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Rows of at least two tokens."""
        return common.is_tokens(data) and data.inputs.shape[1] > 1

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Keep the tokenizer's frame, and the words of the data."""
        super().fit(subjects, data, rng)
        self._frame = data.frame_tokens
        self._seen = tokens.vocabulary(data.inputs, self._frame)


@condition
class Shuffled(TokensOffSupport):
    """The words of each row in a random order; padding and the tokenizer's frame stay."""

    kind = "shift.off_support.shuffled"
    about = "the words of each row in a random order"

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The shuffled rows."""
        return tokens.shuffled(x, self._frame, rng, self.strength)


@condition
class Random(TokensOffSupport):
    """Every word drawn by itself from all words of the data, as often as they occur."""

    kind = "shift.off_support.random"
    about = "every word drawn at random, as often as it occurs in the data"

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """As many random rows as ``x`` has, as long as they are."""
        if self.strength < 1:
            return tokens.replaced(x, self._seen, self._frame, self.strength, rng)
        return tokens.drawn(x, self._seen, self._frame, rng)
