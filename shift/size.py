"""How far does a condition move the inputs? Of a shift that is none nothing can be lost."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, inference, margins
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import (
    LINEAR,
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    ModelMeasure,
    NotMeasurable,
    Reading,
    Setting,
    measure,
)
from ringtest.representations import flat_inputs
from ringtest.rerun import runnable
from ringtest.rows.checks import row_codes, row_sums
from ringtest.shift import two_samples
from ringtest.tasks import AnyTask

MOST: Final = 1_024
"""Rows of each side that are looked at: kernels are square."""
BUCKETS: Final = 512
"""Tokens of larger vocabularies are counted by a hash of so many values."""


@measure
class ShiftSize(ModelMeasure):
    """How well inputs under a condition can be told from clean ones; says nothing of models.

    Two readings, the same for teacher and student:

    * ``AUC`` in [0, 1], .5: no shift that a line sees. A ridge classifier on the inputs, five
      folds; a row and its changed version lie in one fold, so that nothing is known again.
    * ``MMD^2``: squared maximum mean discrepancy, unbiased, of a Gaussian kernel with the median
      distance of two rows as its bandwidth; in [-1, 2], 0: no shift. It sees any change of the
      distribution, also one of the spread, but a small change of many columns late.

    Inputs as for distances: columns of tables and sequences standardised, tokens counted (so their
    order is not seen), wide inputs projected at random onto 512 columns; one row of a cluster and
    of copies, at most 1,024 rows a side. ``params`` hold the 95 % interval of the AUC (``low``,
    ``high``; near .5 too narrow by a third), p-values of permutation tests of both (``p_auc``,
    ``p_mmd``: changed and clean version of a row swapped where there are two, else rows between
    the sets), and ``no_shift``: both above .025, which holds in 95 % of conditions that are no
    shift. Then nothing was moved that these two see, and that nothing was lost is no strength;
    rows of outputs under that condition bear ``no_shift``, too. What *was* lost counts all the
    same: a few inputs may be moved where no test of sets sees it. And a p-value says whether, not
    how far: many rows show a shift of next to nothing, whose AUC and MMD are small.

    Sources: Lopez-Paz & Oquab 2017 (arXiv:1610.06545); Gretton et al. 2012 (JMLR 13); the
    interval: DeLong et al. 1988.
    """

    id = "shift.size"
    about = "how well changed inputs can be told from clean ones: AUC, and MMD with its p-value"
    range = (-1.0, 2.0)
    # Nothing of a model is looked at.
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, LINEAR, SCALE, "logit scale"})
    unit = "AUC"
    needs = frozenset({"model", "outcomes"})
    on = ("context", "off_support", "certified", "unlabelled", "invariance")
    default = False
    source = "Lopez-Paz & Oquab 2017, arXiv:1610.06545; Gretton et al. 2012"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """All models must be shown the same changed inputs."""
        changed = condition.role != "clean" and condition.changes_inputs
        return changed and condition.scope == "shared"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Two readings, made once for all models."""
        if "shift size" not in at.shared:
            try:
                at.shared["shift size"] = _readings(evidence, at)
            except NotMeasurable as why:
                at.shared["shift size"] = why
        found = at.shared["shift size"]
        if isinstance(found, NotMeasurable):
            raise NotMeasurable(str(found))
        return list(found)


def _readings(evidence: Evidence, at: Setting) -> list[Reading]:
    here, there, paired = _inputs(evidence, at)
    if min(len(here), len(there)) < 2 * margins.PROBE_FOLDS:
        raise NotMeasurable(f"under {2 * margins.PROBE_FOLDS} different rows")
    x, y = _points((here, there), (at.whole or at).data)
    if bool((torch.cat([x, y]) == x[0]).all()):
        raise NotMeasurable("the inputs do not vary")
    seed = blocks.derive(at.seed, "shift size", at.condition.key)
    told, p_auc = two_samples.auc(x, y, paired=paired, seed=seed)
    mmd, p_mmd = two_samples.mmd(x, y, paired=paired, seed=seed)
    se = inference.standard_error(told)
    low, high = inference.interval(told.value, se, told.dof, margins.CI_LEVEL)
    params = {
        "low": low,
        "high": high,
        "p_auc": p_auc,
        "p_mmd": p_mmd,
        "rows": min(len(here), len(there)),
        # Of two tests, each at half the level.
        "no_shift": min(p_auc, p_mmd) > margins.ALPHA / 2,
    }
    # Without an error: teacher and student show the same, and their difference is 0 for certain
    # (and exactly: a mean over members would leave rounding that looks like harm).
    area, square = (Estimate(v, np.zeros(0), told.n) for v in (told.value, mmd))
    return [
        Reading(area, "AUC", params=params, teacher=area),
        Reading(square, "MMD^2", params=params, unit="squared discrepancy", teacher=square),
    ]


def _inputs(evidence: Evidence, at: Setting) -> tuple[Tensor, Tensor, bool]:
    """Clean and changed inputs of the rows that are looked at, and whether they are pairs."""
    data, condition = at.data, at.condition
    source = condition.start(data)
    codes = data.cluster
    if at.whole is not None:
        # A part of the benchmark is held against what it leaves out.
        whole, rest = at.whole.data, condition.outside(at.whole.data)
        if not len(rest):
            raise NotMeasurable("it leaves no row out that it could be told from")
        units = None if whole.cluster is None else whole.cluster[rest]
        rest = rest[_few(whole.inputs[torch.from_numpy(rest)], units)]
        rows = _few(data.inputs, codes)
        return whole.inputs[torch.from_numpy(rest)], _changed(evidence, at, rows), False
    if condition.keeps_rows:
        rows = _few(data.inputs, codes)
        return data.inputs[rows], _changed(evidence, at, rows), True
    rows = _few(source.main, None)
    here = _few(data.inputs, codes)
    if source.main.shape[1:] == data.inputs.shape[1:]:
        # A part of the benchmark is held against the rest of it.
        here = here[~np.isin(row_sums(data.inputs[here]), row_sums(source.main))]
    return data.inputs[here], _changed(evidence, at, rows), False


def _few(inputs: Tensor, cluster: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Rows that are looked at, ascending: one of all copies and one of each cluster."""
    rows = blocks.sample_rows(len(inputs))
    rows = rows[np.sort(np.unique(row_codes(inputs[rows]), return_index=True)[1])]
    if cluster is not None:
        rows = rows[np.sort(np.unique(cluster[rows], return_index=True)[1])]
    return rows[blocks.sample_rows(len(rows), MOST)]


def _changed(evidence: Evidence, at: Setting, rows: NDArray[np.int64]) -> Tensor:
    """The inputs of some rows as the models were shown them: the same draws, block by block."""
    model, condition, data = runnable(evidence), at.condition, at.data
    source = condition.start(data)
    targets = at.task.targets if condition.keeps_rows else None
    found = []
    for number, part in blocks.blocks(len(source)):
        low, high = np.searchsorted(rows, [part.start, part.stop])
        if low == high:
            continue
        model.at(source, part)
        y = None if targets is None else targets[part]
        rng = blocks.generator(at.seed, condition.key, number)
        shown = condition.batch(model, source.main[part], y, rng)
        found.append(shown[torch.from_numpy(rows[low:high] - part.start)].detach().cpu())
    return torch.cat(found)


def _points(inputs: tuple[Tensor, Tensor], data: AuditData) -> tuple[Tensor, Tensor]:
    """Both sets as points, on one scale. NotMeasurable for sequences of different lengths."""
    sides = [_bucketed(i, data) for i in inputs] if data.modality == "tokens" else list(inputs)
    if data.modality == "tokens":
        longest = max(s.shape[1] for s in sides)
        sides = [
            torch.nn.functional.pad(s, (0, longest - s.shape[1]), value=_NOWHERE) for s in sides
        ]
    if sides[0].shape[1:] != sides[1].shape[1:]:
        raise NotMeasurable("its rows are of another length than the benchmark's")
    frame = torch.tensor([_NOWHERE])
    points = flat_inputs(torch.cat(sides), str(data.modality), frame)
    return points[: len(sides[0])], points[len(sides[0]) :]


_NOWHERE: Final = -1
"""Stands for tokens that do not count."""


def _bucketed(tokens: Tensor, data: AuditData) -> Tensor:
    """Token ids as small numbers: themselves, or their hash where the vocabulary is large."""
    out = tokens.long()
    if int(data.inputs.max()) >= BUCKETS:
        # Knuth's multiplicative hash: neighbouring ids, often alike, do not share a bucket.
        out = (out * 2_654_435_761 % 2**32) * BUCKETS // 2**32
    return torch.where(torch.isin(tokens, data.frame_tokens.to(tokens)), _NOWHERE, out)
