"""Interchange: what a model answers with one input's concept in another input's layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins, rerun
from ringtest.estimate import Estimate, from_deletions
from ringtest.intervene import Edit
from ringtest.measure import (
    LINEAR,
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    NotMeasurable,
    Setting,
    measure,
)
from ringtest.probes import running
from ringtest.probes.erasure import Eraser
from ringtest.probes.interventions import Intervention, over_draws
from ringtest.probes.running import Site
from ringtest.tasks import AnyTask

Swap = Callable[[Tensor], Edit]
"""From what a layer shows on the sources, (b, ..., d), to the edit of the bases' own states."""


def everything(sources: Tensor) -> Edit:
    """The layer shows what it shows on the source."""
    return lambda _bases: sources.clone()  # what comes next may work in place


def subspace(eraser: Eraser) -> Swap:
    """Only what the eraser would take out is the source's: h + P (h_source - h)."""

    def swap(sources: Tensor) -> Edit:
        return lambda bases: sources + eraser.linear(bases - sources)

    return swap


def partners(group: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A source for each of (m,) rows: the next in a random order of its group, round and round.

    The same for every model. A row alone in its group would be its own source.
    """
    order = np.lexsort((np.random.default_rng(seed).permutation(len(group)), group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    after = np.roll(order, -1)
    ends = np.append(starts[1:], len(group)) - 1
    after[ends] = order[starts]
    source = np.empty(len(group), dtype=np.int64)
    source[order] = after
    return source


def interchanged(
    site: Site, swaps: Sequence[Swap], source: NDArray[np.int64], at: Setting
) -> tuple[Tensor, list[Tensor]]:
    """Outputs of the rows as they are, and of each with its source's state swapped in.

    Args:
        site: layer of the model.
        swaps: what is taken from the source, each on its own.
        source: (m,) which of the rows is each row's source.
        at: the (m) rows.

    Returns:
        (m, k) canonical outputs, and the same for each swap.
    """
    plain: list[Tensor] = []
    found: list[list[Tensor]] = [[] for _ in swaps]
    for part in blocks.parts(len(at.rows)):
        states = site.states(rerun.inputs(site.model, at, at.rows[source[part]]))
        x = rerun.inputs(site.model, at, at.rows[part])
        with torch.no_grad():
            plain.append(site.model.outputs(x).double().cpu())
            for swap, kept in zip(swaps, found, strict=True):
                with site.editing(swap(states)):
                    kept.append(site.model.outputs(x).double().cpu())
    return torch.cat(plain), [torch.cat(kept) for kept in found]


@measure
class Interchange(Intervention):
    """How often an answer becomes the source's when the source's concept is put into a layer.

    Inputs are paired at random; a base's component in the concept's linear subspace (LEACE) is
    replaced by the source's, at every position of the layer, and the model runs on, over at most
    512 rows. Classification: the share of pairs whose own answers differ in which the model then
    answers as for the source. Otherwise: 1 - squared distance to the source's output over what it
    was without the swap. Minus the mean of the same for eight random subspaces of equal rank: in
    [-1, 1] for classes, 0 for a concept that decides no more than a random subspace; higher: the
    answer runs through it. With all of the last hidden layer swapped the share would be 1. Random
    ones are drawn in whitened space, so that a concept in directions of large variance, which carry
    more of any answer, reads above 0 in untrained networks, too (about .2). There is no number, but
    a reason, where no ridge probe decodes the concept from the layer, and where it takes more than
    half of the layer's directions.

    The subspace is learnt with the labels of all sampled rows, and scored on some of the same rows:
    it is no held-out score. The error has two parts: that of rows, a jackknife over 20 groups that
    pairs never leave, and that of the draw, by which a concept used like a random subspace differs
    from the mean of the others.

    Source: Geiger et al. 2021 (interchange interventions), 2024 (on subspaces).
    """

    id = "usage.interchange"
    about = "share of answers that become the source's when its concept is swapped in, over random"
    # The scale of logits moves no most probable class.
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, LINEAR, SCALE, "logit scale"})
    range = (-math.inf, math.inf)
    unit = "share"
    source = "Geiger et al. 2021"

    def statistic(self, task: AnyTask) -> str:
        """Name of the scale."""
        if task.name == "classification":
            return "interchange accuracy over random"
        return "way to the source over random"

    def look(self, site: Site, own: Eraser, random: Sequence[Eraser], at: Setting) -> Estimate:
        """Interchange accuracy of the concept minus the mean of random subspaces, jackknifed."""
        group = blocks.folds(len(at.rows), margins.JACKKNIFE_GROUPS, at.sample_units)
        seed = blocks.derive(at.seed, self.id)
        source = partners(group, seed)
        swaps = [subspace(eraser) for eraser in (own, *random)]
        plain, swapped = interchanged(site, swaps, source, at)
        rerun.finite(site.model, plain, *swapped)
        weight, (real, *others) = arrived(at.task, plain, plain[source], swapped)
        random_ = torch.stack(others)
        gain = weight * (real - random_.mean(0))
        found = _ratio(gain.numpy(), weight.numpy(), group, len(at.rows))
        return over_draws(found, (random_ @ weight / weight.sum()).tolist())


def arrived(
    task: AnyTask, base: Tensor, source: Tensor, swapped: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """How far each pair had to go, and the share of that way that each swap took it.

    Args:
        task: says what outputs mean.
        base: (m, k) canonical outputs of the bases.
        source: (m, k) those of their sources.
        swapped: (m, k) those of the bases with something of the source.

    Returns:
        (m,) weights, 0 where there is no way to go; for each swap (m,) shares, 1 if it is at the
        source's output.
    """
    if task.name == "classification":
        wanted = source.argmax(1)
        apart = (base.argmax(1) != wanted).double()
        return apart, [(out.argmax(1) == wanted).double() for out in swapped]
    way = running.movement(task, source, base)
    safe = torch.where(way > 0, way, torch.ones_like(way))
    return way, [1.0 - running.movement(task, source, out) / safe for out in swapped]


def _ratio(
    gain: NDArray[np.float64], weight: NDArray[np.float64], group: NDArray[np.int64], m: int
) -> Estimate:
    """Weighted mean, with the jackknife over groups within which the pairs lie."""
    count = int(group.max()) + 1
    top, bottom = (np.bincount(group, values, count) for values in (gain, weight))
    left = bottom.sum() - bottom
    # Rounding leaves a trace of a way where two answers are the same.
    if count < 2 or not (left > 1e-12 * max(1.0, bottom.sum())).all():
        raise NotMeasurable("too few pairs are answered differently")
    deleted = (top.sum() - top) / left
    return from_deletions(float(top.sum() / bottom.sum()), deleted, m)
