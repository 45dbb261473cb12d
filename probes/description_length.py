"""Description length: what it costs to tell a concept to somebody who has the layer already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks
from ringtest.evidence import Evidence
from ringtest.measure import Reading, Setting, measure
from ringtest.measurement import Direction
from ringtest.probes.concepts import Concept, concepts
from ringtest.probes.layer_probe import LayerProbe, side_by_side
from ringtest.probes.predictive import fit_classes, spread
from ringtest.rows.checks import row_codes

SHARES: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Where blocks end, as shares of the rows."""
LEAST: Final = 16
"""Fewest different inputs of a block; shorter ones are merged with the next, a short last one with
the one before."""


@dataclass(frozen=True)
class Order:
    """The order in which rows are told."""

    rows: Tensor
    """(m,) row numbers; rows of a cluster follow one another."""
    ends: tuple[int, ...]
    """How many rows have been told at the end of each block; the last is m."""


def order(kinds: NDArray[np.int64], units: NDArray[np.int64] | None, seed: int) -> Order:
    """A seeded order of m rows, and blocks that end at :data:`SHARES`, on whole clusters.

    Args:
        kinds: (m,) codes from 0, equal for copies of one input.
        units: (m,) cluster of each row, from 0 without gaps; None: copies are told together, and
            nothing else.
        seed: decides the order.
    """
    m, of_row = len(kinds), kinds if units is None else units
    count = int(of_row.max()) + 1
    place = np.empty(count, dtype=np.int64)
    place[np.argsort(blocks.row_hash(count, seed), kind="stable")] = np.arange(count)
    rows = np.argsort(place[of_row], kind="stable")
    whole = np.bincount(place[of_row], minlength=count).cumsum()  # rows told after each cluster
    new = np.zeros(m + 1, dtype=np.int64)
    new[1 + np.unique(kinds[rows], return_index=True)[1]] = 1
    different = new.cumsum()  # inputs told after each row
    ends: list[int] = []
    for share in SHARES:
        end = int(whole[np.searchsorted(whole, max(1, round(share * m)))])
        if different[end] - different[ends[-1] if ends else 0] >= LEAST:
            ends.append(end)
    return Order(torch.from_numpy(rows), (*ends[:-1], m))


def lengths(x: Tensor, codes: Tensor, classes: int, ends: Sequence[int]) -> Tensor:
    """(m,) bits that each row's class costs, told in order.

    The first block costs log2 K a row. Every later one is told by an L2-logistic probe of the rows
    before it, mixed with the uniform code: after n rows, which hold some of the K classes,
    p = n / (n + 1) p(probe) + 1 / (n + 1) / K. Features are standardised over all rows: whoever is
    told the classes has the layer. Where a layer says nothing that is the rule
    (n_k + 1/K) / (n + 1), and what was never seen costs log2(K (n + 1)).

    Args:
        x: (m, d) float64 rows, in the order in which they are told.
        codes: (m,) their classes.
        classes: K.
        ends: rows told at the end of each block.
    """
    out = torch.full((ends[-1],), math.log2(classes), dtype=torch.float64)
    sd = spread(x)
    for n, end in pairwise(ends):
        probe = fit_classes(x[:n], codes[:n], classes, sd=sd)
        p = probe(x[n:end]).exp().gather(1, codes[n:end, None])[:, 0]
        out[n:end] = -((n * p + 1.0 / classes) / (n + 1)).log2()
    return out


@measure
class CodeLength(LayerProbe):
    """Bits a row that the online code of a concept takes, given a layer.

    Rows (m, d) of each layer; in (0, inf), lower is better: log2 K is the uniform code of K
    classes, those that occur. Rows are told in a seeded order, the same for all models, clusters
    together (without clusters, copies of an input). Blocks end at .1, .2, .4, .8, 1.6, 3.2, 6.25,
    12.5, 25, 50 and 100 % of the rows, no block under 16 different inputs; each is told by a probe
    of all rows before (:func:`lengths`). The interval is over the rows told, under one order and
    with its probes as they are. Values are not measurable: what they cost depends on how exactly
    they are told.

    Source: Voita & Titov 2020.
    """

    id = "probe.code_length"
    about = "bits a row of the online code of each concept, given each layer"
    direction: ClassVar[Direction] = "lower"
    range = (0.0, np.inf)
    unit = "bits"
    default = False
    source = "Voita & Titov 2020"

    def statistic(self, concept: Concept) -> str:
        """Name of the scale."""
        return "bits a row"

    def obstacle(self, concept: Concept, at: Setting) -> str:
        """Values have no uniform code, and one block alone says nothing of a layer."""
        if concept.classes is None:
            return (
                f"{concept.name} has values, whose code has no length of its own: "
                "give classes, or read probe.v_information"
            )
        if len(_order(at).ends) < 2:
            rows = len(at.rows)
            return f"{rows} rows make no two blocks of {LEAST} inputs, clusters and copies whole"
        return ""

    def scores(
        self, layers: Sequence[Tensor], concept: Concept, fold: Tensor, at: Setting
    ) -> Tensor:
        """(layers, m) bits that each row costs."""
        assert concept.classes is not None
        told = _order(at)
        codes, classes = concept.classes[told.rows], concept.columns.shape[1]
        out = torch.empty(len(layers), len(told.rows), dtype=torch.float64)
        out[:, told.rows] = torch.stack(
            side_by_side(
                lambda x: lengths(x[told.rows].double(), codes, classes, told.ends), layers
            )
        )
        return out

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer and concept."""
        # Compression is read off the same numbers.
        if _KEY not in evidence.derived:
            evidence.derived[_KEY] = super().read(evidence, at)
        found: list[Reading] = evidence.derived[_KEY]
        return found


_KEY = "code lengths"


def _order(at: Setting) -> Order:
    if "order told" not in at.shared:
        # A copy of a row is no news to a probe that was fitted on it.
        kinds = row_codes(at.condition.inputs(at.data)[at.rows])
        seed = blocks.derive(at.seed, "description length")
        at.shared["order told"] = order(kinds, at.sample_units, seed)
    found: Order = at.shared["order told"]
    return found


@measure
class Compression(CodeLength):
    """Length of the uniform code of a concept over that of its online code, given a layer.

    In (0, inf), higher is better: 1 is no better than naming one of K equally likely classes. A
    layer that says nothing gives about 1 if classes are equally frequent, more if one prevails,
    and less the wider it is, as it misleads probes of few rows. Otherwise as
    :class:`CodeLength`; the influences are those of the ratio, by the delta method.

    Source: Voita & Titov 2020.
    """

    id = "probe.mdl"
    about = "uniform over online code length of each concept, given each layer"
    direction = "higher"
    unit = "times"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer and concept."""
        classes = {c.name: c.columns.shape[1] for c in concepts(at)}
        out = []
        for reading in super().read(evidence, at):
            length, uniform = reading.estimate, math.log2(classes[str(reading.concept)] or 1)
            if length.units:
                slope = -uniform / length.value**2
                ratio = replace(length * slope, value=uniform / length.value)
                reading = replace(reading, estimate=ratio)
            out.append(replace(reading, statistic="compression"))
        return out
