"""Overlap of neighbourhoods: who lies near whom, in student and members."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch

from ringtest import blocks, margins
from ringtest.estimate import Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import ORTHOGONAL, PERMUTATION, SCALE, PairMeasure, Setting, measure
from ringtest.probes.neighbourhood import Neighbourhood, chance, neighbourhood_size, overlap
from ringtest.representations import in_unit_sd


@measure
class Neighbours(PairMeasure):
    """Share of a row's nearest neighbours that two models have in common.

    Rows (m, d1) and (m, d2); cosine of centred rows, k = max(5, 2 % of m), ties shared. In
    [k/(m-1), 1]: 1 for equal neighbourhoods, k/(m-1) for unrelated ones. Judged as its logarithm,
    floored at chance. The standard error is a delete-a-group jackknife over 20 groups; it is
    conservative (1.3 to 1.7 times the true one).

    Source: Huh et al. 2024 (mutual k-NN); Klabunde et al. 2023 (review).
    """

    id = "similarity.neighbours"
    about = "overlap of nearest neighbours in student and members, last hidden layer"
    direction = "higher"
    range = (0.0, 1.0)
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, SCALE})
    null_value = 0.0
    group: ClassVar[str | None] = "local geometry"
    statistic = "log(overlap)"
    unit = "log"
    needs = frozenset({"sample"})
    on = ("clean", "off_support", "certified", "unlabelled")
    source = "Huh et al. 2024"

    def forms(self, evidence: Evidence) -> dict[str, Evidence]:
        """As it is, and with all units at one scale."""
        return {"": evidence, "units at SD 1": in_unit_sd(evidence)}

    def prepare(self, evidence: Evidence, at: Setting) -> Neighbourhood:
        """Neighbour lists of the last hidden layer."""
        m = int(evidence.last.shape[0])
        groups = blocks.folds(m, margins.JACKKNIFE_GROUPS, at.sample_units)
        return Neighbourhood(evidence.last, neighbourhood_size(m), torch.from_numpy(groups))

    def compare(self, a: Any, b: Any) -> Estimate:
        """Log overlap of two models on the same rows."""
        whole, without = overlap(a, b)
        floor = chance(a, b)
        logs = torch.tensor(without, dtype=torch.float64).clamp_min(floor).log()
        return from_deletions(math.log(max(whole, floor)), logs.numpy(), a.m)

    def raw(self, value: float) -> float:
        """Overlap from its logarithm."""
        return math.exp(value)

    def slope(self, value: float) -> float:
        """D exp(v) / dv."""
        return math.exp(value)

    def chance(self, prepared: Sequence[Any]) -> float:
        """Log of the overlap of permuted rows, mean over pairs."""
        pairs = list(combinations(prepared, 2)) or [(prepared[0], prepared[0])]
        return sum(math.log(chance(a, b)) for a, b in pairs) / len(pairs)
