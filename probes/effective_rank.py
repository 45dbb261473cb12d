"""Effective rank: over how many directions a layer spreads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins
from ringtest.estimate import NOTHING, Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import PERMUTATION, SCALE, ModelMeasure, Reading, Setting, measure
from ringtest.probes.redundancy import distinct, obstacle, varying
from ringtest.representations import standardised


@measure
class EffectiveRank(ModelMeasure):
    """Number of directions over which a layer spreads its variance, copies of units left out.

    Two statistics a layer (m, d), from the eigenvalues l of the covariance of its distinct units at
    SD 1: the participation ratio (sum l)^2 / sum l^2, and the exponential of the entropy of
    l / sum l. Both lie between 1 and the number of distinct units (or of rows less one, if there
    are fewer), and equal k for k directions of equal variance; the entropy counts weak directions
    for more.

    Units that equal another up to a factor and a constant are left out first, so that copying or
    rescaling a unit, which changes nothing a network computes, does not change the number. For the
    same reason units are at SD 1. Context, neither good nor bad: it follows the width of the layer
    and the number of rows. Direction says how a difference is signed.

    The error leaves out a twentieth of the rows at a time, copies and scales told anew.

    Source: Gao et al. 2017 (participation ratio); Roy & Vetterli 2007 (entropy).
    """

    id = "structure.effective_rank"
    about = "participation ratio and entropy rank of a layer's distinct units at SD 1"
    direction = "higher"
    range = (1.0, np.inf)
    invariant_to = frozenset({PERMUTATION, SCALE})
    null_value = None
    group = None
    unit = "directions"
    needs = frozenset({"layers"})
    on = ("clean",)
    default = False
    source = "Gao et al. 2017, Roy & Vetterli 2007"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Two readings a layer, NaN with the reason where there is no number."""
        groups = blocks.folds(len(at.rows), margins.JACKKNIFE_GROUPS, at.sample_units)
        out = []
        for name in evidence.names:
            why = obstacle(evidence, name, groups)
            found = [NOTHING, NOTHING]
            if not why:
                found = effective_ranks(evidence.sample[name], groups)
                if not all(np.isfinite(e.influence).all() for e in found):
                    found = [NOTHING, NOTHING]
                    why = f"{evidence.subject}: layer {name} varies in one group of rows only"
            for statistic, estimate in zip(STATISTICS, found, strict=True):
                depth = evidence.depth(name)
                out.append(Reading(estimate, statistic, name, depth, reason=why))
        return out


STATISTICS = ("participation ratio", "entropy rank")


def effective_ranks(rows: Tensor, groups: NDArray[np.int64]) -> list[Estimate]:
    """Participation ratio and entropy rank of (m, d) rows, with (m,) jackknife groups."""
    x = varying(rows)
    kept, _ = distinct(x, groups)
    # No deletion adds rows, so what copies on all rows copies in each.
    x, kept = x[:, kept[0]], kept[:, kept[0]]
    spectra = _from_rows if x.shape[1] > x.shape[0] else _from_moments
    values = torch.stack([_ranks(s) for s in spectra(x, kept, groups)]).numpy()
    return [from_deletions(float(v[0]), v[1:], int(x.shape[0])) for v in values.T]


def _ranks(spectrum: Tensor) -> Tensor:
    """(2,) the two statistics of a spectrum; NaN if it is empty."""
    if not len(spectrum):
        return torch.full((2,), torch.nan, dtype=torch.float64)
    share = spectrum.clamp_min(0) / spectrum.clamp_min(0).sum()
    return torch.stack([1.0 / share.square().sum(), torch.special.entr(share).sum().exp()])


def _from_moments(x: Tensor, kept: Tensor, groups: NDArray[np.int64]) -> Iterator[Tensor]:
    """Eigenvalues of the correlations of kept units: on all rows, then without each group."""
    n, sums, products = x.shape[0], x.sum(0), x.T @ x
    yield _correlations(products, sums, n, kept[0])
    for g, left in enumerate(kept[1:]):
        part = x[torch.from_numpy(groups == g)]
        rest = n - part.shape[0]
        yield _correlations(products - part.T @ part, sums - part.sum(0), rest, left)


def _correlations(products: Tensor, sums: Tensor, n: int, kept: Tensor) -> Tensor:
    mean = sums[kept] / n
    covariance = products[kept][:, kept] / n - torch.outer(mean, mean)
    sd = covariance.diagonal().sqrt()
    spectrum: Tensor = torch.linalg.eigvalsh(covariance / torch.outer(sd, sd))
    return spectrum


def _from_rows(x: Tensor, kept: Tensor, groups: NDArray[np.int64]) -> Iterator[Tensor]:
    """The same for more units than rows: the rows' products have the same eigenvalues."""
    for g, left in enumerate(kept, start=-1):
        rows = standardised(x[torch.from_numpy(groups != g)][:, left])
        yield torch.linalg.eigvalsh(rows @ rows.T / rows.shape[0])
