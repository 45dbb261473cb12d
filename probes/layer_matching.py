"""Which layer of the student is which of the teacher: the best pair, calibrated for choosing it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from ringtest import blocks
from ringtest.estimate import Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, Setting, measure
from ringtest.moments import ratio
from ringtest.probes.cka import Prepared as Layer
from ringtest.probes.cka import hsic_and_deletions
from ringtest.probes.similarity import SCALED, Similarity, centred, z
from ringtest.representations import standardised

_NULL_ROWS = 512
"""Rows of the permutation null: a Gram matrix a layer is held, and more rows tell little more."""
_LEAST = 20
"""Fewer independent rows have too few permutations to tell a match by."""
_SAME = 1e-9
"""A permutation that gives the same rows again is as good as the truth, rounding or not."""
_MEAN_OF = 50
"""Permutations where only the mean of their maxima is asked for."""


@dataclass(frozen=True)
class Matching:
    """The layer of the student that is most like each layer of the teacher."""

    teacher: tuple[str, ...]
    student: tuple[str, ...]
    cka: Tensor
    """(P, Q) debiased CKA of every layer of the teacher with every layer of the student."""
    p: Tensor
    """(P,) p-value of the best match: the largest of Q is held against the largest of Q."""
    p_any: float
    """p-value of the best of all pairs: whether the two have to do with each other at all."""
    chance: Tensor
    """(P,) mean of the largest of Q where the student's rows are permuted."""

    @property
    def best(self) -> dict[str, str]:
        """Layer of the teacher -> layer of the student most like it."""
        found = self.cka.argmax(1).tolist()
        return {t: self.student[s] for t, s in zip(self.teacher, found, strict=True)}

    @property
    def order(self) -> float:
        """Spearman correlation in [-1, 1] of a layer's place and that of its match.

        1: deeper layers match deeper layers. NaN for under three layers, or one match for all.
        """
        found = self.cka.argmax(1)
        if len(found) < 3 or bool((found == found[0]).all()):
            return math.nan
        return float(stats.spearmanr(np.arange(len(found)), found.numpy()).statistic)


class Layers:
    """All layers of one model, ready to be compared, and to be so in another order of rows."""

    def __init__(self, layers: Mapping[str, Tensor], units: NDArray[np.int64] | None) -> None:
        """Take layers of (m, d) rows each; raises NotMeasurable, with its name, for a dead one."""
        self.names = tuple(layers)
        self.each = []
        for name, rows in layers.items():
            self.each.append(Layer(centred(rows, _LEAST, name), units))
        self.m, self.units = self.each[0].n, units
        # Rows of one cluster go together, so only one of each can be put anywhere.
        free = np.arange(self.m) if units is None else np.unique(units, return_index=True)[1]
        free = np.sort(free)[blocks.sample_rows(len(free), _NULL_ROWS)]
        if len(free) < _LEAST:
            raise NotMeasurable(f"{len(free)} independent rows are fewer than {_LEAST}")
        self.free = len(free)
        grams = [u_centred(rows[torch.from_numpy(free)], name) for name, rows in layers.items()]
        self.grams = torch.stack(grams, dim=-1)
        """(f, f, layers) U-centred Gram matrices of unit norm, on rows that are free to move."""


def u_centred(rows: Tensor, name: str) -> Tensor:
    """(f, f) Gram matrix without diagonal, its rows and columns summing to 0, at unit norm.

    The inner product of two such is the debiased CKA. Permuting rows permutes the matrix, so a
    thousand permutations need no more than this one. Raises NotMeasurable if nothing is left.
    """
    x = centred(rows, _LEAST, name)
    n = int(x.shape[0])
    gram = (x @ x.T).fill_diagonal_(0.0)
    row = gram.sum(1) / (n - 2)
    gram = gram - row[:, None] - row + row.sum() / (n - 1)
    gram.fill_diagonal_(0.0)
    norm = float(gram.norm())
    if not norm > _SAME * float(x.square().sum()) / n:
        raise NotMeasurable(f"all rows of layer {name} lie equally far apart")
    return gram / norm


def similarities(teacher: Layers, student: Layers) -> tuple[Tensor, Tensor]:
    """(P, Q) debiased CKA of all pairs of layers, and its (P, Q, m) values without each row."""
    whole, without = [], []
    for a in teacher.each:
        for b in student.each:
            cross, deleted = hsic_and_deletions(a, b)
            whole.append(ratio(cross, a.own, b.own))
            without.append(ratio(deleted, a.own_without, b.own_without))
    form = len(teacher.each), len(student.each)
    return torch.stack(whole).reshape(form), torch.stack(without).reshape(*form, -1)


def permuted(teacher: Layers, student: Layers, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """CKA of all pairs of layers on the free rows, as they are and with the student's permuted.

    One permutation moves all layers of the student at once, so what they share stays shared: that
    decides how far the largest of many lies above each.

    Returns:
        (P, Q) and (count, P, Q).
    """
    f = teacher.free
    low, high = torch.triu_indices(f, f, offset=1)
    fixed = 2 * teacher.grams[low, high].T.contiguous()
    moved = student.grams.reshape(f * f, -1)
    rng = blocks.generator(seed, "layer matching")
    orders = [torch.arange(f), *(torch.randperm(f, generator=rng) for _ in range(count))]
    found = [fixed @ moved.index_select(0, o[low] * f + o[high]) for o in orders]
    return found[0], torch.stack(found[1:])


def match(
    teacher: Mapping[str, Tensor],
    student: Mapping[str, Tensor],
    *,
    permutations: int = 200,
    seed: int = 0,
    units: NDArray[np.int64] | None = None,
) -> Matching:
    """Match the layers of two models on the same rows.

    With many layers some pair is always somewhat alike: a p-value here holds the best of them
    against the best of them in permuted rows, so unrelated models have p <= .05 in 5 % of cases,
    however many layers they have. Models that see the same inputs are seldom unrelated: read
    *which* layer matches, and :attr:`Matching.order`, not the p-value alone.

    Args:
        teacher: layer -> (m, d) rows, from input to output; widths may differ.
        student: likewise, on the same rows.
        permutations: B; no p-value lies below 1 / (B + 1).
        seed: of the permutations.
        units: (m,) cluster code of each row; one row a cluster is permuted then.

    Raises NotMeasurable for a layer in which nothing varies, or fewer than 20 independent rows.
    """
    a, b = Layers(teacher, units), Layers(student, units)
    if a.m != b.m:
        raise ValueError(f"{a.m} rows of the teacher beside {b.m} of the student")
    seen, chance = permuted(a, b, permutations, seed)
    p = _p_values(seen.amax(1), chance.amax(2))
    p_any = _p_values(seen.amax()[None], chance.amax((1, 2))[:, None])
    whole = similarities(a, b)[0]
    return Matching(a.names, b.names, whole, p, float(p_any), chance.amax(2).mean(0))


def _p_values(seen: Tensor, chance: Tensor) -> Tensor:
    """(k,) share of the (B, k) permutations, the truth among them, that reach the truth."""
    # In float32 a p-value of .05 would lie above .05.
    return (1 + (chance >= seen - _SAME).sum(0)).double() / (1 + len(chance))


def compare(student: Layers, teacher: Layers, seed: int) -> Estimate:
    """Atanh of the attenuated mean match beyond chance, with its exact delete-one jackknife.

    (best - chance) / (1 - chance), mean over the teacher's layers; chance is held fixed.
    """
    whole, without = similarities(teacher, student)
    chance = permuted(teacher, student, _MEAN_OF, seed)[1].amax(2).mean(0)

    def beyond(best: Tensor) -> Tensor:
        return z(((best - chance[:, None]) / (1 - chance[:, None])).mean(0))

    deleted = beyond(without.amax(1)).numpy()
    value = float(beyond(whole.amax(1, keepdim=True)))
    return from_deletions(value, deleted, teacher.m, teacher.units)


@measure
class LayerMatching(Similarity):
    """Debiased CKA of each layer of a member with its best match in the student, beyond chance.

    Layers of (m, d) rows each, any number and widths; at most 512 rows of the sample. In [-1, 1]:
    1 if every layer of the member is found in the student, up to rotation and scale, at any depth;
    0 in expectation for unrelated models, since the mean of the best among permuted rows is taken
    off. Says whether the teacher's road is there, where the last layer may hide a short cut. The
    teacher is the second of the two that are compared. Which layer is which: :func:`match`.

    Source: Kornblith et al. 2019 (layers found by CKA); Westfall and Young 1993 (the maximum).
    """

    id = "similarity.layer_matching"
    about = "debiased CKA of each layer of a member with its best match in the student, over chance"
    statistic = SCALED % "best match"
    needs = frozenset({"layers"})
    source = "Kornblith et al. 2019, Westfall and Young 1993"

    def forms(self, evidence: Evidence) -> dict[str, Evidence]:
        """As it is, and with all units of all layers at one scale."""
        sample = {name: standardised(rows) for name, rows in evidence.sample.items()}
        return {"": evidence, "units at SD 1": replace(evidence, sample=sample, derived={})}

    def prepare(self, evidence: Evidence, at: Setting) -> tuple[Layers, int]:
        """Centre all layers on some of the rows."""
        rows = blocks.sample_rows(len(at.rows), _NULL_ROWS)
        units = at.sample_units
        if units is not None:
            units = np.unique(units[rows], return_inverse=True)[1].astype(np.int64)
        chosen = torch.from_numpy(rows)
        layers = {name: evidence.sample[name][chosen] for name in evidence.names}
        return Layers(layers, units), at.seed

    def compare(self, a: Any, b: Any) -> Estimate:
        """How much of the second model's layers the first one has."""
        (student, seed), (teacher, _) = a, b
        return compare(student, teacher, seed)
