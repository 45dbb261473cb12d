"""Testing with concept activation vectors: does a class's logit rise along a concept's way?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins, rerun
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import PERMUTATION, SCALE, ModelMeasure, Reading, Setting, measure
from ringtest.probes.concept_vectors import GROUPS, Learnt, learn, slopes, welch
from ringtest.probes.concepts import Concept, concepts, folds
from ringtest.probes.running import Site
from ringtest.representations import damage
from ringtest.tasks import AnyTask

STATISTIC = "TCAV"


@measure
class ConceptSensitivity(ModelMeasure):
    """Share of a class's rows whose logit rises along a concept's direction in a layer (TCAV).

    For each layer, value of a concept and class: a ridge classifier of the value on the layer's
    sampled rows gives the direction; the share is that of the class's rows, at most 512 in all, at
    which the derivative of the class's logit (over the mean logit) along it is positive. In [0, 1]:
    1 where the concept speaks for the class, 0 where it speaks against it. At the input of a linear
    head all rows of a class agree.

    A share counts only if it is told from random concepts: the shares of the directions of ten
    disjoint groups of rows against those of thirty random splits of the same groups, by a two-sided
    t-test of Welch at level .05 over the number of shares of that layer and concept. Else there is
    no number but the reason: directions of one and the same set of rows would agree with each
    other whatever they mean, hence the disjoint groups. The target is tested for each class's own
    logit. Ten largest values and classes; concepts with real values are left out. Tokens have it,
    too, for the gradients start at the layer.

    The direction of the share is learnt with the labels of all sampled rows, and the share is that
    of some of the same rows: it is no held-out score.

    Source: Kim et al. 2018 (TCAV).
    """

    id = "usage.concept_sensitivity"
    about = "share of a class's rows whose logit rises along a concept's direction, if significant"
    direction = "higher"
    range = (0.0, 1.0)
    invariant_to = frozenset({PERMUTATION, SCALE, "logit scale"})
    null_value = None
    unit = "share"
    needs = frozenset({"layers", "model", "layer_gradients"})
    on = ("clean",)
    default = False
    source = "Kim et al. 2018"
    rows: ClassVar[int] = 512

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Classes, and the rows as they are."""
        return condition.role == "clean" and task.name == "classification"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer, value of a concept and class; one for a value that no row tells.

        The latter hangs on the data alone, so that it is the same for every model.
        """
        assert at.task.targets is not None
        model = rerun.runnable(evidence)
        some, chosen = rerun.few(at, self.rows)
        target = at.task.targets[some.rows]
        damaged = {name: damage(evidence, name) for name in evidence.names}
        sane = [name for name in evidence.names if not damaged[name]]
        slope = slopes(model, [Site.of(model, name, at) for name in sane], some, target)
        for name in set(sane) - slope.keys():
            damaged[name] = f"{evidence.subject}: no answer depends on layer {name}"
        out = []
        for place, concept in enumerate(concepts(at)):
            tests = _tests(concept, place == 0, target, at)
            told, without = _told(concept, tests, at)
            out += without
            for name in evidence.names:
                found: dict[int, tuple[Estimate, str]] = {}
                if told and not damaged[name]:
                    x = evidence.sample[name].double()
                    found = _shares(x, slope[name], chosen, target, concept, tests, told, at)
                for number, test in enumerate(told):
                    # One for each test: teacher and student are paired by what was asked.
                    estimate, reason = found.get(number, (NOTHING, damaged[name]))
                    if reason and number in found:
                        reason = f"{evidence.subject}: layer {name}: {reason}"
                    out.append(
                        Reading(
                            estimate,
                            STATISTIC,
                            name,
                            evidence.depth(name),
                            test.concept,
                            f"target={test.label}",
                            reason,
                        )
                    )
        return out


@dataclass(frozen=True)
class _Test:
    """A value of a concept and a class."""

    concept: str
    column: int
    label: int


def _tests(concept: Concept, own: bool, target: Tensor, at: Setting) -> list[_Test]:
    """Which values go with which classes; the target itself (``own``) with its own class alone."""
    labels = _largest(target)
    if concept.classes is None:
        return [_Test(concept.name, 0, label) for label in labels]
    if own:
        assert at.task.targets is not None
        column = {int(v): i for i, v in enumerate(at.task.targets[at.rows].unique())}
        return [_Test(f"{concept.name}={label}", column[label], label) for label in labels]
    values = np.unique(np.asarray(at.data.concepts[concept.name])[at.rows])
    # Of two values the other's direction is the same turned round.
    columns = [len(values) - 1] if len(values) < 3 else _largest(concept.classes)
    return [_Test(f"{concept.name}={values[i]}", i, label) for i in columns for label in labels]


def _largest(codes: Tensor) -> list[int]:
    """The most frequent codes, at most ten, in their own order."""
    values, counts = torch.unique(codes, return_counts=True)
    order = torch.argsort(-counts, stable=True)[: margins.SLICES[1]]
    return sorted(int(v) for v in values[order])


def _told(
    concept: Concept, tests: Sequence[_Test], at: Setting
) -> tuple[list[_Test], list[Reading]]:
    """Tests that the data allow, and why not the others: one reading an obstacle."""
    if concept.classes is None:
        why = f"{concept.name} holds values, and directions of concepts need classes"
    else:
        why = concept.obstacle(folds(at))
    if why:
        return [], [Reading(NOTHING, STATISTIC, concept=concept.name, reason=why)]
    held = _held(concept.columns, torch.from_numpy(_groups(at)))
    told = [test for test in tests if bool(held[test.column])]
    few = f"is not both met and missed in {GROUPS} groups of rows"
    lacking = dict.fromkeys(test.concept for test in tests if not bool(held[test.column]))
    if len(lacking) > 1 and not told:
        reason = f"no value of {concept.name} is both met and missed in {GROUPS} groups of rows"
        return [], [Reading(NOTHING, STATISTIC, concept=concept.name, reason=reason)]
    return told, [
        Reading(NOTHING, STATISTIC, concept=value, reason=f"{value} {few}") for value in lacking
    ]


def _groups(at: Setting) -> NDArray[np.int64]:
    """(m,) disjoint groups of sampled rows, each of which has a direction of its own."""
    return blocks.folds(len(at.rows), GROUPS, at.sample_units, seed=2)


def _shares(
    x: Tensor,
    slope: NDArray[np.float64],
    chosen: NDArray[np.int64],
    target: Tensor,
    concept: Concept,
    tests: Sequence[_Test],
    told: Sequence[_Test],
    at: Setting,
) -> dict[int, tuple[Estimate, str]]:
    """The share of each test that the data allow (``told``), or why it has none."""
    if not np.isfinite(slope).all():
        return dict.fromkeys(range(len(told)), (NOTHING, "its gradients hold NaN or infinity"))
    jackknife = blocks.folds(int(x.shape[0]), margins.JACKKNIFE_GROUPS, at.sample_units)
    used = sorted({test.column for test in tests})
    learnt = learn(
        x,
        concept.columns[:, used],
        torch.from_numpy(jackknife),
        torch.from_numpy(_groups(at)),
        blocks.derive(at.seed, concept.name),
    )
    out = {}
    for number, test in enumerate(told):
        rows = (target == test.label).numpy()
        column = used.index(test.column)
        level = margins.ALPHA / len(tests)
        out[number] = _share(slope[rows], jackknife[chosen][rows], learnt, column, level)
    return out


def _held(y: Tensor, group: Tensor) -> Tensor:
    """(q,) whether a split has both sides in every one of the groups."""
    if int(group.max()) + 1 < GROUPS:
        return torch.zeros(y.shape[1], dtype=torch.bool)
    parts = [y[group == g] for g in range(GROUPS)]
    return torch.stack([(part != part[0]).any(dim=0) for part in parts]).all(dim=0)


def _share(
    slope: NDArray[np.float64], group: NDArray[np.int64], learnt: Learnt, column: int, level: float
) -> tuple[Estimate, str]:
    """The share of one class's rows, with its jackknife; or that it is not told from chance.

    Args:
        slope: (r, d) gradients of the rows of a class.
        group: (r,) their groups of the jackknife.
        learnt: the directions.
        column: which value of the concept.
        level: of the test.
    """

    def rises(directions: Tensor) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = slope @ directions[..., column].numpy().T > 0
        return found

    p = welch(rises(learnt.apart).mean(0), rises(learnt.random).mean(0))
    if not p <= level:
        return NOTHING, f"not told from random concepts (p = {p:.2g}, level {level:.2g})"
    without = rises(learnt.deleted)
    count = without.shape[1]
    stays = group[:, None] != np.arange(count)
    if not stays.any(0).all():
        return NOTHING, "all rows of the class lie in one group"
    deleted = (without & stays).sum(0) / stays.sum(0)
    value = float(rises(learnt.whole[None]).mean())
    return from_deletions(value, deleted, len(slope)), ""
