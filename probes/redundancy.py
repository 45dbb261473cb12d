"""Redundancy of units: which are copies, and how well the others tell each."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins
from ringtest.estimate import NOTHING, Estimate, from_deletions, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import PERMUTATION, SCALE, ModelMeasure, Reading, Setting, measure
from ringtest.probes.concepts import folds
from ringtest.representations import damage, standardised

_SAME = 1e-8
"""Units are copies if they share all but this of their variance: float32 rounding lies below."""
_LIVE = 1e-10
"""Share of its variance that a unit must keep without a group of rows to count as varying there."""
_NUMBERS = 1 << 21
"""Moments held at once while copies are looked for: 16 MiB."""


@measure
class Redundancy(ModelMeasure):
    """How well each unit is told by the other units of its layer, and how many units are copies.

    Two statistics a layer (m, d). The first is the mean R^2, over the distinct units that vary, of
    ridge regression of each on all the others, five-fold with clusters whole, penalty 0.01 a row on
    units of SD 1. It lies in (-inf, 1]: 1 where any unit could be left out, 0 for few units that
    know nothing of each other, below 0 for many, as each fits noise, which fails out of fold (about
    -d / (n - d) for n rows to fit on).

    The second is the share, in [0, 1), of copies among the units that vary: a unit that equals an
    earlier one up to a factor and a constant is a copy. Copies are left out of the first, where
    each would be told perfectly by its twin: otherwise a doubled layer would look as redundant as
    one of a single direction.

    Context, neither good nor bad; direction says how a difference is signed. It depends on the
    width: units of a wide layer have more others to be told by, and to fit noise with.
    """

    id = "structure.redundancy"
    about = "mean R^2 of each distinct unit from all others, and share of copied units, per layer"
    direction = "lower"
    range = (-np.inf, 1.0)
    invariant_to = frozenset({PERMUTATION, SCALE})
    null_value = 0.0
    group = None
    unit = "share"
    needs = frozenset({"layers"})
    on = ("clean",)
    default = False

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Two readings a layer, NaN with the reason where there is no number."""
        fold = folds(at)
        groups = blocks.folds(len(at.rows), margins.JACKKNIFE_GROUPS, at.sample_units)
        out = []
        for name in evidence.names:
            told, copied, why, alone = NOTHING, NOTHING, obstacle(evidence, name, groups), ""
            if not why:
                x = varying(evidence.sample[name])
                kept, live = distinct(x, groups)
                copied = _share_of_copies(kept, live, len(x))
                x = x[:, kept[0]]
                if x.shape[1] > 1:
                    told = row_mean(told_by_others(x, fold).numpy(), at.sample_units)
                else:
                    alone = f"layer {name} has one distinct unit: there are no others to tell it"
            depth = evidence.depth(name)
            out += [
                Reading(told, "R^2 from the other units", name, depth, reason=why or alone),
                Reading(copied, "share of copies", name, depth, reason=why),
            ]
        return out


def obstacle(evidence: Evidence, name: str, groups: NDArray[np.int64]) -> str:
    """Why nothing can be said of a layer's units; empty if something can."""
    count = len(np.unique(groups))
    if count < margins.PROBE_FOLDS:
        return f"{count} independent rows are fewer than {margins.PROBE_FOLDS} folds"
    return damage(evidence, name)


def varying(rows: Tensor) -> Tensor:
    """(m, k) float64: the units of (m, d) rows that vary, each with mean 0 and SD 1."""
    return standardised(rows[:, (rows != rows[0]).any(dim=0)])


def distinct(x: Tensor, groups: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Which units are no copy of an earlier one, on all rows and without each group of rows.

    Args:
        x: (m, k) rows, units at mean 0 and SD 1.
        groups: (m,) group of each row, from 0 without gaps.

    Returns:
        Two (1 + groups, k) masks, on all rows first: units that vary and copy no earlier unit, and
        units that vary. A unit is a copy if it equals the other up to a factor, of either sign, and
        a constant; so are all units that are active in one and the same row alone.
    """
    parts = [x[torch.from_numpy(groups == g)] for g in range(int(groups.max()) + 1)]
    n = _each(torch.tensor([float(len(p)) for p in parts], dtype=torch.float64))
    mean = _each(torch.stack([p.sum(0) for p in parts])) / n[:, None]
    variance = _each(torch.stack([p.square().sum(0) for p in parts])) / n[:, None] - mean.square()
    live = variance > _LIVE
    sd = torch.where(live, variance, torch.inf).sqrt()
    kept = live.clone()
    step = max(1, _NUMBERS // (x.shape[1] * (len(parts) + 1)))
    for low in range(0, x.shape[1], step):
        some = slice(low, low + step)
        moments = torch.stack([p.T @ p[:, some] for p in parts])
        shared = _each(moments) / n[:, None, None] - mean[:, :, None] * mean[:, None, some]
        shared = (shared / (sd[:, :, None] * sd[:, None, some])).square()
        earlier = torch.ones(x.shape[1], shared.shape[2]).triu(1 - low).bool()
        kept[:, some] &= ~((shared > 1.0 - _SAME) & earlier).any(dim=1)
    return kept, live


def _each(parts: Tensor) -> Tensor:
    """(1 + groups, ...) sums over all groups, and over all but each."""
    total = parts.sum(0, keepdim=True)
    return torch.cat([total, total - parts])


def _share_of_copies(kept: Tensor, live: Tensor, m: int) -> Estimate:
    """Copies over units that vary, with its jackknife over groups of rows."""
    # Without the only group in which anything varies no unit is left, and no copy.
    share = (live.sum(1) - kept.sum(1)).double() / live.sum(1).clamp_min(1)
    return from_deletions(float(share[0]), share[1:].numpy(), m)


def told_by_others(x: Tensor, fold: Tensor) -> Tensor:
    """(m,) mean over units of 1 - squared error / variance, out of fold.

    Args:
        x: (m, k) rows, units at SD 1.
        fold: (m,) fold of each row, from 0.

    All k regressions of a fold come from one inverse: with P = (C + penalty I)^-1 for the
    covariance C of the other folds, the coefficients of unit i on the others are -P_ji / P_ii, so
    the errors of a row are its deviation times P, divided by the diagonal.
    """
    out = torch.empty(x.shape[0], dtype=torch.float64)
    for f in range(int(fold.max()) + 1):
        known = x[fold != f]
        centre = known.mean(0)
        error = _errors(known - centre, x[fold == f] - centre)
        out[fold == f] = 1.0 - error.square().mean(1)
    return out


def _errors(known: Tensor, shown: Tensor) -> Tensor:
    """(b, k) errors of each unit told by the others, from (n, k) centred rows to (b, k)."""
    n, k = known.shape
    penalty = margins.PROBE_RIDGE
    if k <= n:
        inverse = torch.linalg.inv(
            known.T @ known / n + penalty * torch.eye(k, dtype=torch.float64)
        )
        error: Tensor = shown @ inverse / inverse.diagonal()
        return error
    # Wider than long: the same inverse by Woodbury's identity, without its k x k numbers.
    gram = known @ known.T + n * penalty * torch.eye(n, dtype=torch.float64)
    solved = torch.linalg.solve(gram, known)
    left = 1.0 - (known * solved).sum(0)
    wide: Tensor = (shown - (shown @ known.T) @ solved) / left
    return wide
