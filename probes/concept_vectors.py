"""Concept activation vectors: how they are learnt, and how a logit rises along them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from ringtest import blocks, margins, rerun
from ringtest.measure import Setting
from ringtest.model import Model
from ringtest.moments import ridge
from ringtest.probes.running import Site

GROUPS: Final = 10
"""Disjoint groups of rows, each with a concept vector of its own."""
SHUFFLES: Final = 3
"""Random splits of each group."""


def vectors(x: Tensor, y: Tensor) -> Tensor:
    """Concept activation vectors: directions in which linear classifiers of the rows rise.

    Ridge on standardised features, penalty 0.01 a row, in the layer's own units.

    Args:
        x: (m, d) float64 rows.
        y: (m, s) one split a column, 1 where the concept holds, else 0.

    Returns:
        (d, s); 0 in units that do not vary.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    sd = x.square().mean(0).sqrt()
    sd = torch.where(sd > 1e-9 * sd.max().clamp_min(1e-30), sd, torch.inf)
    x = x / sd
    m, d = x.shape
    penalty = margins.PROBE_RIDGE * m
    weights = ridge(x.T @ x, x.T @ y, penalty) if d <= m else x.T @ ridge(x @ x.T, y, penalty)
    return weights / sd[:, None]


def slopes(
    model: Model, sites: Sequence[Site], at: Setting, target: Tensor
) -> dict[str, NDArray[np.float64]]:
    """Layer -> (m, d) gradients of each row's logit with respect to what the layer shows.

    The logit is that of the row's ``target`` over the mean of all. Gradients of all positions are
    summed: to move the mean of the positions, each of them has to move as far. A layer from which
    no way leads to the output has no entry.
    """
    found: dict[str, list[Tensor]] = {site.layer.name: [] for site in sites}
    parts = list(blocks.parts(len(at.rows)))
    for part in parts:
        for name, rows in _slopes(model, sites, at, part, target[part]).items():
            found[name].append(rows)
    whole = {name: rows for name, rows in found.items() if len(rows) == len(parts)}
    return {name: torch.cat(rows).numpy() for name, rows in whole.items()}


def _slopes(
    model: Model, sites: Sequence[Site], at: Setting, part: slice, target: Tensor
) -> dict[str, Tensor]:
    """The same for one block."""
    x = rerun.inputs(model, at, at.rows[part])
    seen: dict[str, Tensor] = {}
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        for site in sites:
            stack.enter_context(site.editing(_keeper(seen, site.layer.name)))
        outputs = model.outputs(x.detach().clone())
        logits = outputs - outputs.mean(1, keepdim=True)
        total = logits.gather(1, target.to(logits.device)[:, None]).sum()
        if not seen or not total.requires_grad:
            return {}
        # Of these tensors alone: the gradients of the parameters stay as the user left them.
        gradients: Sequence[Tensor | None] = torch.autograd.grad(
            total, list(seen.values()), allow_unused=True
        )
    width = {site.layer.name: site.layer.width for site in sites}
    return {
        name: gradient.detach().double().cpu().reshape(len(x), -1, width[name]).sum(1)
        for name, gradient in zip(seen, gradients, strict=True)
        if gradient is not None
    }


def _keeper(seen: dict[str, Tensor], name: str) -> Any:
    def keep(values: Tensor) -> Tensor:
        values = values if values.requires_grad else values.detach().requires_grad_(True)
        seen[name] = values
        return values.clone()  # what comes next may work in place

    return keep


def welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Two-sided p-value of the t-test of Welch for samples of at least two numbers each."""
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    apart = abs(float(a.mean() - b.mean()))
    if not va + vb > 0:
        return 0.0 if apart > 0 else 1.0
    df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return float(2 * special.stdtr(df, -apart / math.sqrt(va + vb)))


@dataclass(frozen=True)
class Learnt:
    """The concept vectors of one layer and concept, one column a value of the concept."""

    whole: Tensor
    """(d, q) of all rows."""
    deleted: Tensor
    """(G, d, q) without each group of the jackknife."""
    apart: Tensor
    """(GROUPS, d, q) of each group of rows alone."""
    random: Tensor
    """(GROUPS * SHUFFLES, d, q) of random splits of these groups, as uneven as the real one."""


def learn(x: Tensor, y: Tensor, jackknife: Tensor, group: Tensor, seed: int) -> Learnt:
    """Concept vectors of (m, d) rows and (m, q) splits, whole, by group, and of random splits."""
    q = int(y.shape[1])
    deleted = torch.stack([vectors(x[jackknife != g], y[jackknife != g]) for g in _of(jackknife)])
    apart, random = [], []
    for g in _of(group):
        rows, split = x[group == g], y[group == g]
        rng = blocks.generator(seed, "random concepts", g)
        orders = [torch.randperm(len(rows), generator=rng) for _ in range(SHUFFLES)]
        found = vectors(rows, torch.cat([split, *(split[order] for order in orders)], dim=1))
        apart.append(found[:, :q])
        random += [found[:, q * i : q * (i + 1)] for i in range(1, SHUFFLES + 1)]
    return Learnt(vectors(x, y), deleted, torch.stack(apart), torch.stack(random))


def _of(groups: Tensor) -> range:
    return range(int(groups.max()) + 1)
