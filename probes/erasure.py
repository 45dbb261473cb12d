"""Erasing a concept from a layer: least-squares concept erasure (LEACE) in closed form.

Of all affine maps after which no linear probe finds a concept better than a constant does, LEACE
moves the rows least, in every norm that comes from an inner product. With S the covariance of the
rows, W the pseudo-inverse of its square root, c their mean, and P the orthogonal projection onto
the columns of W cov(x, z),

    r(x) = x - W^+ P W (x - c).

Nothing here inverts a covariance: for centred rows X = L diag(s) R', whitened rows are the columns
of L, and W cov(x, z) is L'z up to a rotation and a factor. A layer with more units than rows is
thereby handled in the span of its rows, and memory stays at a few copies of the rows.

Source: Belrose et al. 2023, theorems 4.2 and 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ringtest.measure import NotMeasurable


@dataclass(frozen=True)
class Eraser:
    """An affine map of rows, position by position, that takes a few directions out of them."""

    centre: Tensor
    """(d,) mean of the rows it was fitted on: a row there stays as it is."""
    project: Tensor
    """(d, r) float64: what is to go, as whitened coordinates."""
    lift: Tensor
    """(r, d) float64: those coordinates as a change of the row; ``lift @ project`` is identity."""

    @property
    def rank(self) -> int:
        """Number of directions that are erased; 0 changes nothing."""
        return int(self.project.shape[1])

    def linear(self, differences: Tensor) -> Tensor:
        """The linear part, for (..., d) differences of rows."""
        gone = (differences.to(self.centre) @ self.project) @ self.lift
        return differences - gone.to(differences)

    def __call__(self, rows: Tensor) -> Tensor:
        """(..., d) rows without the concept, of the type they had; computed in float64."""
        gone = ((rows.to(self.centre) - self.centre) @ self.project) @ self.lift
        return rows - gone.to(rows)


@dataclass(frozen=True)
class Span:
    """Rows in their own principal axes, from which erasers for any number of concepts follow."""

    centre: Tensor
    """(d,) mean of the rows."""
    left: Tensor
    """(m, k) orthonormal columns: the whitened rows over sqrt(m)."""
    values: Tensor
    """(k,) singular values of the centred rows, all above rounding."""
    right: Tensor
    """(d, k) orthonormal columns: the principal axes."""

    @classmethod
    def of(cls, x: Tensor, rounding: float = 0.0) -> Span:
        """The span of (m, d) rows; NotMeasurable if they hold NaN, infinity or no variation.

        Directions with less than ``rounding`` of the first's singular value are left out, and those
        below the rounding of float64 in any case.
        """
        x = x.double()
        if not bool(torch.isfinite(x).all()):
            raise NotMeasurable("the layer holds NaN or infinity")
        if x.shape[0] == 0 or bool((x == x[0]).all()):
            raise NotMeasurable("no unit of the layer varies")
        centre = x.mean(0)
        left, values, right = torch.linalg.svd(x - centre, full_matrices=False)
        # Directions below rounding are no directions: copies of units, constant units.
        live = values > values[0] * max(rounding, max(x.shape) * torch.finfo(torch.float64).eps)
        return cls(centre, left[:, live], values[live], right[live].T)

    @property
    def live(self) -> int:
        """Number of directions in which the rows vary."""
        return int(self.values.shape[0])

    def erase(self, z: Tensor) -> Eraser:
        """The eraser of (m, q) columns; of rank 0 where no row tells anything of them."""
        z = z.double()
        centred = z - z.mean(0)
        # A constant column leaves rounding behind, which is no direction to erase.
        held = centred.norm(dim=0) > 1e-12 * z.norm(dim=0)
        centred = centred * held
        directions, strength, _ = torch.linalg.svd(self.left.T @ centred, full_matrices=False)
        rounding = max(z.shape) * torch.finfo(torch.float64).eps * centred.norm()
        directions = directions[:, strength > rounding]
        size = (z.shape[0] ** 0.5 / self.values)[:, None]
        project = self.right @ (directions * size)
        return Eraser(self.centre, project, (directions / size).T @ self.right.T)


def fit(x: Tensor, z: Tensor) -> Eraser:
    """The least change of rows after which no linear probe finds a concept.

    Args:
        x: (m, d) rows of a layer; d may exceed m.
        z: (m, q) the concept: one column a class (one-hot), or its values.

    Returns:
        An eraser of rank at most min(q, number of live directions). After it, the covariance of
        ``x`` with ``z`` is 0, so that ridge, least squares and logistic regression on these rows
        answer with the mean or the majority. On other rows the concept is gone as far as these
        rows told where it lies.

    Raises NotMeasurable if the rows hold NaN or infinity, or do not vary.
    """
    return Span.of(x).erase(z)


def random_subspace(x: Tensor, rank: int, rng: torch.Generator) -> Eraser:
    """The eraser of a random subspace, all of one rank being equally likely in whitened space.

    It is the eraser of columns of noise: Gaussian columns, seen in the orthonormal columns of the
    whitened rows, are Gaussian again and favour no direction. Drawn so, the same seed takes out the
    same subspace however the units are permuted, rotated or mixed.

    Args:
        x: (m, d) rows of a layer.
        rank: directions to take out; at most the number of live directions are there to be taken.
        rng: CPU generator.
    """
    return Span.of(x).erase(noise(int(x.shape[0]), rank, rng))


def noise(m: int, rank: int, rng: torch.Generator) -> Tensor:
    """(m, rank) float64 Gaussian columns, whose eraser takes out a random subspace."""
    return torch.randn(m, rank, generator=rng, dtype=torch.float64)
