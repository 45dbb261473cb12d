"""What measures share about representations: constant units, whitening, distances of inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ringtest import margins
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, Setting


@dataclass(frozen=True)
class Whitener:
    """Linear map to the leading directions, each with variance 1."""

    centre: Tensor
    """(d,) mean of the rows it was fitted on."""
    map: Tensor
    """(d, rank) pseudo-inverse square root of the covariance on those directions."""
    constant: int
    """Number of constant units, which carry nothing."""
    rows: int

    @property
    def rank(self) -> int:
        """Number of directions."""
        return int(self.map.shape[1])

    @property
    def random_pair(self) -> float:
        """Mean squared distance of two different rows, after whitening."""
        return 2.0 * self.rank * self.rows / (self.rows - 1)

    def __call__(self, rows: Tensor) -> Tensor:
        """(b, d) rows to (b, rank)."""
        return (rows.double() - self.centre) @ self.map


def whitener(rows: Tensor) -> Whitener:
    """Fit a whitener on (m, d) rows, by the directions that hold 99 % of the variance.

    Raises NotMeasurable if no unit varies. With fewer rows than units the directions are those of
    the rows' span; at most a quarter of the number of rows is used, since in more directions than
    that all rows of a finite sample lie equally far apart whatever the layer encodes.
    """
    x = rows.double()
    m = int(x.shape[0])
    constant = int((x == x[0]).all(dim=0).sum())
    centre = x.mean(0)
    s, vt = _principal(x - centre)
    variance = s.square() / m
    total = float(variance.sum())
    if m < 4 or constant == x.shape[1] or not total > 0:
        raise NotMeasurable("no unit of the layer varies")
    share = variance.cumsum(0) / total
    rank = int((share < margins.WHITEN_VARIANCE).sum()) + 1
    positive = int((variance > variance[0] * 1e-12).sum())
    rank = max(1, min(rank, positive, m // 4))
    return Whitener(centre, vt[:rank].T / variance[:rank].sqrt(), constant, m)


def _principal(x: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values, falling, and right singular vectors (as rows) of centred rows (m, d)."""
    m, d = x.shape
    if d <= m:
        _, s, vt = torch.linalg.svd(x, full_matrices=False)
        return s, vt
    # Wider than long: the m x m Gram matrix has them too, and a quarter of them is all we need.
    values, vectors = torch.linalg.eigh(x @ x.T)
    s = values.flip(0).clamp_min(0).sqrt()
    vt = vectors.flip(1)[:, : max(1, m // 4)].T @ x
    return s, vt / vt.norm(dim=1, keepdim=True).clamp_min(1e-300)


def damage(evidence: Evidence, name: str) -> str:
    """Why nothing can be read from a layer; empty if something can."""
    rows = evidence.sample[name]
    if not bool(torch.isfinite(rows).all()):
        return f"{evidence.subject}: layer {name} holds NaN or infinity"
    if rows.shape[0] == 0 or bool((rows == rows[0]).all()):
        return f"{evidence.subject}: no unit of layer {name} varies"
    return ""


def standardised(rows: Tensor) -> Tensor:
    """(m, d) float64 rows with mean 0 and, where a column varies, standard deviation 1."""
    x = rows.double()
    x = x - x.mean(0)
    sd = x.square().mean(0).sqrt()
    return x / torch.where(sd > 0, sd, torch.ones_like(sd))


def in_unit_sd(evidence: Evidence) -> Evidence:
    """The evidence with every unit of the last hidden layer at standard deviation 1.

    A network computes the same with a ReLU unit scaled by any positive number and the weights that
    read it by the inverse: how large a unit is says nothing of what the network does.
    """
    name = evidence.names[-1]
    return replace(evidence, sample={name: standardised(evidence.last)}, derived={})


def flat_inputs(inputs: Tensor, modality: str, frame: Tensor | None = None) -> Tensor:
    """Inputs as (m, d) points whose Euclidean distance means something.

    Columns of tables and sequences are standardised; tokens become counts of each token that is not
    in ``frame``, since padding says how long a row is and no more. More than 1,024 columns are
    projected at random onto 512, which keeps distances to about 3 %.
    """
    if modality == "tokens":
        vocabulary, codes = torch.unique(inputs, return_inverse=True)
        counts = torch.zeros(inputs.shape[0], vocabulary.shape[0])
        codes = codes.reshape(inputs.shape[0], -1)
        counts.scatter_add_(1, codes, torch.ones(codes.shape))
        if frame is not None:
            counts = counts[:, ~torch.isin(vocabulary, frame)]
        return _projected(counts)
    rows = inputs.reshape(inputs.shape[0], -1).float()
    return _projected(rows if modality == "image" else _unit_columns(rows))


def _unit_columns(rows: Tensor) -> Tensor:
    """Columns of mean 0 and SD 1, in float32: inputs may be wide, and distances need no more."""
    sd, mean = torch.std_mean(rows, dim=0, correction=0)
    return (rows - mean) / torch.where(sd > 1e-6 * mean.abs(), sd, torch.inf)


def input_points(at: Setting) -> Tensor:
    """Inputs of the sampled rows as points, made once for all measures of a condition."""
    if "input points" not in at.shared:
        inputs = at.condition.inputs(at.data)[at.rows]
        at.shared["input points"] = flat_inputs(inputs, str(at.data.modality), at.data.frame_tokens)
    points: Tensor = at.shared["input points"]
    return points


_WIDE, _NARROW = 1_024, 512


def _projected(points: Tensor) -> Tensor:
    """Johnson-Lindenstrauss: the same Gaussian projection wherever the width is the same."""
    width = points.shape[1]
    if width <= _WIDE:
        return points
    rng = torch.Generator().manual_seed(width)
    directions: Tensor = torch.randn(width, _NARROW, generator=rng) / _NARROW**0.5
    return points @ directions
