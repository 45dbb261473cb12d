"""Rows as points whose distances say how alike they are, by modality.

Tables: columns in units of their standard deviation. Sequences: the same by feature, steps that do
not count at the mean. Images: each without its mean by channel and of length 1, so that brightness
and contrast do not count. Tokens: the set of single tokens and of pairs of neighbours, of length 1,
so that a distance is sqrt(2 - 2 cosine); where in a row they stand does not count.

Points wider than ``WIDE`` are projected at random to ``NARROW`` dimensions (Johnson and
Lindenstrauss 1984), which keeps distances within about a quarter; exact distances are of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks
from ringtest.rows.inputs import Rows

WIDE: Final = 256
NARROW: Final = 128
_CHUNK: Final = 2**22
"""Numbers that are made together."""
_END: Final = np.uint64(2**64 - 1)
"""In the place of an n-gram that does not count."""

Indices = NDArray[np.int64]


class Space(Protocol):
    """Rows of several sets in one space."""

    cap: float
    """Largest share of the distance to the K-th neighbour that is near."""
    most: float
    """Largest distance that is near."""
    dimensions: int
    """Of the points."""

    def points(self, of: int, index: Indices) -> Tensor:
        """(p, dimensions) float32 of rows of a set."""

    def distance(self, i: Indices, of: int, j: Indices) -> NDArray[np.float64]:
        """(p,) distances of rows of the first set and rows of another, exactly."""

    def columns(self, i: Indices, of: int, j: Indices) -> NDArray[np.float64]:
        """(p,) columns in which they differ; infinite where that bounds nothing."""

    def flat(self, of: int) -> NDArray[np.bool_]:
        """(n,) rows of a set that have no place here, and of which only equality can be said."""


def make(sets: Sequence[Rows], modality: str | None) -> Space:
    """The space of rows of one modality; the first set is the data's own."""
    if modality == "tokens":
        return Tokens(sets)
    return Reals(sets, modality)


class Reals:
    """Tables, sequences and images."""

    cap, most = 0.3, np.inf

    def __init__(self, sets: Sequence[Rows], modality: str | None) -> None:
        self.sets, self.modality = sets, modality
        self.images = modality == "image" and sets[0].main.ndim == 4
        self.width = sets[0].main[0].numel()
        self.dimensions = self.width if self.width <= WIDE else NARROW
        self.projection = None
        if self.width > WIDE:
            draw = blocks.generator(0, "leakage", self.width)
            self.projection = torch.randn(self.width, NARROW, generator=draw) / NARROW**0.5
        if not self.images:
            self.mean, self.std = self._moments()

    def points(self, of: int, index: Indices) -> Tensor:
        """(p, dimensions) float32."""
        out = torch.empty(len(index), self.dimensions)
        for part in blocks.parts(len(index), max(1, _CHUNK // self.width)):
            rows = self._rows(of, index[part])
            out[part] = rows if self.projection is None else rows @ self.projection
        return out

    def distance(self, i: Indices, of: int, j: Indices) -> NDArray[np.float64]:
        """(p,) lengths of differences."""
        out = np.empty(len(i))
        for part in blocks.parts(len(i), max(1, _CHUNK // self.width)):
            gap = self._rows(0, i[part]).double() - self._rows(of, j[part]).double()
            out[part] = gap.norm(dim=1).numpy()
        return out

    def columns(self, i: Indices, of: int, j: Indices) -> NDArray[np.float64]:
        """Of tables: agreeing but for a column or two is common where columns are categories."""
        if self.modality != "table":
            return np.full(len(i), np.inf)
        out = np.empty(len(i))
        for part in blocks.parts(len(i), max(1, _CHUNK // self.width)):
            a, b = self.sets[0].main[i[part]], self.sets[of].main[j[part]]
            out[part] = (a != b).flatten(1).sum(dim=1).numpy()
        return out

    def _rows(self, of: int, index: Indices) -> Tensor:
        rows = self.sets[of]
        chosen = torch.from_numpy(index)
        x = rows.main[chosen].float()
        if self.images:
            x = (x - x.mean(dim=(2, 3), keepdim=True)).flatten(1)
            # An image of one colour, but for rounding, has no direction.
            unit: Tensor = x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)
            return unit
        x = (x - self.mean) / self.std
        if rows.mask is not None:
            shape = rows.mask.shape
            x = x * rows.mask[chosen].view(-1, shape[1], *[1] * (x.ndim - 2))
        return x.flatten(1)

    def flat(self, of: int) -> NDArray[np.bool_]:
        """(n,) images of one colour, of which nothing but equality can be said."""
        main = self.sets[of].main
        if not self.images:
            return np.zeros(len(main), dtype=bool)
        parts = blocks.parts(len(main), max(1, _CHUNK // self.width))
        spans = [
            (x.amax(dim=(2, 3)) - x.amin(dim=(2, 3))).amax(dim=1)
            for x in map(main.__getitem__, parts)
        ]
        return (torch.cat(spans) <= 0).numpy()

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each column, over all sets; 1 for a constant column."""
        last = self.sets[0].main.shape[-1] if self.modality != "table" else self.width
        total = torch.zeros(3, last, dtype=torch.float64)
        shift: Tensor | None = None
        for rows in self.sets:
            for part in blocks.parts(len(rows), max(1, _CHUNK // self.width)):
                x = rows.main[part].double()
                if rows.mask is not None:
                    x = x[rows.mask[part]]
                x = x.reshape(-1, last)
                # Sums about a row of the data: those about 0 cancel where means are large.
                shift = x[0].clone() if shift is None else shift
                x = x - shift
                total += torch.stack([torch.full((last,), float(len(x))), x.sum(0), (x * x).sum(0)])
        assert shift is not None
        mean = total[1] / total[0]
        std = (total[2] / total[0] - mean**2).clamp(min=0).sqrt()
        std = torch.where(std > 1e-12 * (mean + shift).abs(), std, torch.ones_like(std))
        return (mean + shift).float(), std.float()


class Tokens:
    """Rows of integers, as sets of tokens and of pairs of tokens that stand beside each other."""

    cap, most = 0.5, (2 - 2 * 0.8) ** 0.5
    """Cosine of .8 and more: one token changed in about ten."""
    dimensions = WIDE

    def __init__(self, sets: Sequence[Rows]) -> None:
        self.sets = sets

    def points(self, of: int, index: Indices) -> Tensor:
        """(p, dimensions): n-grams at hashed places with hashed signs (Weinberger et al. 2009)."""
        out = torch.zeros(len(index), self.dimensions)
        for part in blocks.parts(len(index), self._step(of)):
            grams = self._grams(of, index[part])
            counts = grams != _END
            places = torch.from_numpy((grams >> np.uint64(40)).astype(np.int64) % self.dimensions)
            signs = np.where(grams & np.uint64(1), 1.0, -1.0) * counts
            signs /= np.sqrt(counts.sum(axis=1, keepdims=True))
            out[part] = out[part].scatter_add(1, places, torch.from_numpy(signs).float())
        return out

    def distance(self, i: Indices, of: int, j: Indices) -> NDArray[np.float64]:
        """(p,) sqrt(2 - 2 cosine) of sets."""
        out = np.empty(len(i))
        for part in blocks.parts(len(i), min(self._step(0), self._step(of))):
            a, b = self._grams(0, i[part]), self._grams(of, j[part])
            both = np.sort(np.concatenate([a, b], axis=1), axis=1)
            shared = ((both[:, 1:] == both[:, :-1]) & (both[:, 1:] != _END)).sum(axis=1)
            sizes = (a != _END).sum(axis=1) * (b != _END).sum(axis=1)
            out[part] = np.sqrt(np.maximum(2 - 2 * shared / np.sqrt(sizes), 0))
        return out

    def columns(self, i: Indices, of: int, j: Indices) -> NDArray[np.float64]:
        """Says nothing of sets."""
        return np.full(len(i), np.inf)

    def flat(self, of: int) -> NDArray[np.bool_]:
        """None."""
        return np.zeros(len(self.sets[of]), dtype=bool)

    def _step(self, of: int) -> int:
        return max(1, _CHUNK // (2 * self.sets[of].main[0].numel()))

    def _grams(self, of: int, index: Indices) -> NDArray[np.uint64]:
        """(p, 2 length - 1) hashes, ascending, each once, ``_END`` in the place of the rest."""
        rows, chosen = self.sets[of], torch.from_numpy(index)
        x = rows.main[chosen].flatten(1).numpy().astype(np.int64).view(np.uint64)
        counts = np.ones(x.shape, dtype=bool)
        if rows.mask is not None and rows.main.ndim == 2:
            counts = rows.mask[chosen].numpy()
        one = _mixed(x + np.uint64(1))
        two = _mixed(one[:, :-1] * np.uint64(3) + one[:, 1:])
        grams = np.concatenate(
            [np.where(counts, one, _END), np.where(counts[:, :-1] & counts[:, 1:], two, _END)],
            axis=1,
        )
        grams.sort(axis=1)
        grams[:, 1:][grams[:, 1:] == grams[:, :-1]] = _END
        grams.sort(axis=1)
        return grams


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Well-spread 64-bit numbers: the finaliser of SplitMix64 (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
