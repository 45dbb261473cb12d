"""A black-box attack: it sees outputs only."""

from __future__ import annotations

from typing import ClassVar, Final

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.model import Model
from ringtest.perturb.ascent import Search
from ringtest.perturb.attack import Misleading

HALVINGS: Final = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After so many of 10,000 queries the share of the input that one of them changes is halved."""


@condition
class Square(Misleading):
    """Random search in Linf: what makes the margin smaller is kept, and needs no gradient.

    It starts from stripes of +-eps; each query then sets one square, of random place and with a
    random sign for each channel, to +-eps. Sequences are images of one row: a query changes a
    stretch of steps, with one sign for each feature. Columns of a table have no neighbours that
    mean anything, so there a contiguous stretch of columns takes a sign for each. Squares get
    smaller as queries run out.
    """

    kind = "attack.square"
    about = "Square attack in Linf: random search, needs no gradients"
    source = "Andriushchenko et al. 2020, arXiv:1912.00049"
    gradients = False
    efforts = ("queries",)
    queries: int = 1000
    """Forward passes of an example that does not break (AutoAttack: 5,000)."""
    share: ClassVar[float] = 0.8
    """Share of the input that the first queries change."""

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the unit of eps and what kind of rows they are."""
        super().fit(subjects, data, rng)
        self._modality = str(data.modality)

    def search(
        self, search: Search, outputs: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> None:
        """Stripes, then squares, until all are broken or the queries are spent."""
        centre, reach = search.ball.centre, search.ball.reach
        shape = self._as_image(centre).shape
        signs = _signs((*shape[:2], 1, shape[3]), rng, centre).expand(shape)
        stripes = search.ball.project(centre + reach * self._as_rows(signs, centre))
        left = search.left(stripes)
        if left is None:
            return
        point = left.best
        for query in range(1, self.queries + 1):
            alive = left.record(point, left.damage(left.outputs(point)))
            if query == self.queries or not (alive is None or bool(alive.any())):
                break
            if alive is not None:
                left.keep(alive)
            where, signs = self._square(query, shape, rng, centre)
            where, signs = where[left.rows], signs[left.rows]
            ball = left.ball
            moved = ball.project(ball.centre + ball.reach * self._as_rows(signs, ball.centre))
            point = torch.where(self._as_rows(where, ball.centre), moved, left.best)
        left.close()

    def _square(
        self, query: int, shape: torch.Size, rng: torch.Generator, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(b, c, h, w) true inside a random square, and signs there."""
        b, channels, height, width = shape
        share = self.share * 0.5 ** sum(query / self.queries * 10_000 > h for h in HALVINGS)
        side = (share * height * width) ** (0.5 if height > 1 else 1.0)
        down = _stretch(height, side, b, rng, like).view(b, 1, height, 1)
        right = _stretch(width, side, b, rng, like).view(b, 1, 1, width)
        each = width if self._modality == "table" else 1
        return (down & right).expand(shape), _signs((b, channels, 1, each), rng, like).expand(shape)

    def _as_image(self, x: Tensor) -> Tensor:
        """(b, c, h, w): sequences are features of one row of steps, tables one channel."""
        if self._modality == "image" and x.ndim == 4:
            return x
        if self._modality == "sequence" and x.ndim == 3:
            return x.transpose(1, 2).unsqueeze(2)
        return x.reshape(len(x), 1, 1, -1)

    def _as_rows(self, image: Tensor, like: Tensor) -> Tensor:
        """The inverse of :meth:`_as_image`."""
        if self._modality == "sequence" and like.ndim == 3:
            return image.squeeze(2).transpose(1, 2)
        return image.reshape(like.shape)


def _signs(shape: tuple[int, ...], rng: torch.Generator, like: Tensor) -> Tensor:
    """Draws of -1 and 1."""
    draws = torch.randint(2, shape, generator=rng, device=rng.device)
    return draws.to(like.device, like.dtype) * 2 - 1


def _stretch(length: int, side: float, rows: int, rng: torch.Generator, like: Tensor) -> Tensor:
    """(rows, length) true in a stretch of about ``side`` places, anywhere."""
    size = min(max(round(side), 1), length)
    first = torch.randint(length - size + 1, (rows, 1), generator=rng, device=rng.device)
    place = torch.arange(length, device=like.device)
    first = first.to(like.device)
    return (place >= first) & (place < first + size)
