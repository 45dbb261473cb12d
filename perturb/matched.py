"""Noise inside models, as strong in each as it takes to move its outputs equally far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from ringtest import blocks
from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.estimate import Estimate, to_units
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, NotMeasurable, Reading, Setting, measure
from ringtest.perturb.disturbance import ROWS
from ringtest.perturb.inner_noise import ActivationNoise, Noise, WeightNoise
from ringtest.perturb.matching import Match, match
from ringtest.tasks import AnyTask

if TYPE_CHECKING:
    from ringtest.model import Model


class Matched(Noise):
    """Base: noise at the strength, found for each model, at which its outputs move by the severity.

    Severity: mean squared movement of the outputs (probabilities; values in SDs of their targets;
    unit vectors), over that between random pairs of rows. The strength is found by bisection on at
    most 512 clean rows, all strengths with the same draws. A model that bears the strongest noise
    without moving so far is not measurable.

    How much noise a network bears says little of its code: on a published pair with one and the
    same output the fractured one tolerates four to five times more. So read, under this condition,
    *what broke* where the outputs broke equally: ``probe.decodability``, ``structure.twin_spread``,
    ``representation.displacement``.
    """

    usual = (0.05, 0.2)
    rule = "give a share of the movement between random rows, in (0, 1)"

    @classmethod
    def allows(cls, severity: float) -> bool:
        """Outputs of unrelated rows move by 1."""
        return severity < 1

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the data; no strength is known yet."""
        super().fit(subjects, data, rng)
        self.found: dict[str, Match] = {}

    def changed(self, model: Model) -> Model:
        """The model at the strength that is found for it."""
        at = self.noisy(model)

        def points(strength: float) -> torch.Tensor:
            view = at(strength)
            with torch.no_grad():
                seen = [view.outputs(x).cpu() for x in self.clean(view)]
            return model.task.points(torch.cat(seen))

        self.found[model.name] = match(points, self.strength)
        return at(self.found[model.name].strength)


@condition
class MatchedWeightNoise(Matched, WeightNoise):
    """``noise.weight``, as strong in each model as it takes to move its outputs by the severity.

    Severity: mean squared movement of the outputs over that between random pairs of rows, in
    (0, 1). Outputs are probabilities, values in SDs of their targets, or unit vectors. The strength
    is found by bisection on at most 512 clean rows, all strengths with the same draws; a model that
    moves less under noise of 16 times its weights is not measurable. How much noise a network bears
    says little of its code: read *what broke* where the outputs broke equally.
    """

    kind = "noise.weight_matched"
    about = "noise on weights, as strong as it takes to move each model's outputs equally far"
    source = "after arXiv 2505.11581 (tolerance alone ranks backwards)"


@condition
class MatchedActivationNoise(Matched, ActivationNoise):
    """``noise.activation``, as strong in each as it takes to move its outputs by the severity.

    Severity: mean squared movement of the outputs over that between random pairs of rows, in
    (0, 1). Outputs are probabilities, values in SDs of their targets, or unit vectors. The strength
    is found by bisection on at most 512 clean rows, all strengths with the same draws; elsewhere
    the noise is another draw of that strength. A model that moves less under noise of 16 SDs of its
    units is not measurable. Read *what broke* where the outputs broke equally.
    """

    kind = "noise.activation_matched"
    about = "noise on layers, as strong as it takes to move each model's outputs equally far"
    source = "after arXiv 2505.11581 (tolerance alone ranks backwards)"


@measure
class Strength(ModelMeasure):
    """The strength of noise that moved a model's outputs as far as a matched condition asks.

    In units of the condition: lengths of each filter (``noise.weight_matched``) or SDs of each unit
    (``noise.activation_matched``). Range (0, 16]; higher means that the model tolerates more.
    **It is no evidence of a better code**: it can rank backwards, since a network of many copies or
    of separate parts bears more. It says at which noise the other measures were read.

    The error is that of the rows on which it was matched, by the slope of the movement: not that of
    the one draw of the noise.
    """

    id = "noise.strength"
    about = "noise that moves the outputs equally far; no evidence, since it can rank backwards"
    direction = "higher"
    range = (0.0, np.inf)
    unit = "of what is disturbed"
    needs = frozenset({"condition"})
    on = ("context",)

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Only where strengths are matched."""
        return isinstance(condition, Matched)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        found = getattr(at.condition, "found", {}).get(evidence.subject)
        if found is None:
            raise NotMeasurable("no strength was matched for it")
        return [Reading(_estimate(found, at), "noise at equal movement")]


def _estimate(found: Match, at: Setting) -> Estimate:
    """The root of mean(moved - target apart) = 0, and what each row does to it."""
    if not 0 < found.slope < math.inf:
        raise NotMeasurable("its outputs do not move further with more noise")
    rows = blocks.sample_rows(at.data.n, ROWS)
    target = float(found.moved.mean())
    pull = (found.moved - target * found.apart).numpy() / (len(rows) * found.slope)
    units = at.units_of(rows)
    return Estimate(found.strength, to_units(-found.strength * pull, units), len(rows))
