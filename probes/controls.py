"""Controls of the ridge probe: what its score is worth beside less than the layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from ringtest import blocks
from ringtest.capture import capturing
from ringtest.estimate import NOTHING
from ringtest.evidence import Evidence
from ringtest.measure import (
    LINEAR,
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    NotMeasurable,
    Reading,
    Setting,
    measure,
)
from ringtest.model import Model
from ringtest.probes.concepts import Concept
from ringtest.probes.decodability import RidgeProbe
from ringtest.probes.linear import by_fold, fold_probes
from ringtest.representations import input_points, standardised
from ringtest.rerun import sampled

SHUFFLES: Final = 5
"""Shuffles of the labels over which a row's score is averaged: one alone has luck of its own."""
WIDTH: Final = 16
"""Directions that every layer is reduced to."""


class _Control(RidgeProbe):
    """The probe of ``probe.decodability`` on something else than the layer and its concept."""

    default = False


@measure
class Shuffled(_Control):
    """Cross-validated score of a ridge probe on shuffled labels: what its width gets from nothing.

    Mean over five shuffles within the sample, by which clusters change places as a whole. The
    share of the largest class, or 0 for values, is what a probe without memory would get; wide
    layers fall below for values. Accuracy in [0, 1], or R^2 in (-inf, 1]; lower is better.
    """

    id = "probe.shuffled"
    about = "score of a ridge probe on labels shuffled within the sample"
    direction = "lower"  # the base class is read as Literal["higher"]
    source = "after Zhang et al. 2017"

    def statistic(self, concept: Concept) -> str:
        """Name of the scale."""
        return f"{concept.statistic} on shuffled labels"

    def asked(self, concept: Concept, at: Setting) -> list[Concept]:
        """The concept shuffled, several times."""
        values = concept.columns if concept.classes is None else concept.classes
        return [Concept.of(concept.name, values[order]) for order in _orders(concept.name, at)]

    def combined(self, scores: list[Tensor]) -> Tensor:
        """(m,) mean over the shuffles."""
        return torch.stack(scores).mean(0)


def _orders(name: str, at: Setting) -> list[Tensor]:
    """For each shuffle, (m,) the row whose label each row gets.

    Rows of one cluster stay side by side: clusters are laid out in two orders, and the labels of
    the one go to the rows of the other. Equal clusters change places exactly.
    """
    units = np.arange(len(at.rows)) if at.sample_units is None else at.sample_units
    rows = np.argsort(units, kind="stable")
    out = []
    for i in range(SHUFFLES):
        rng = np.random.default_rng(blocks.derive(at.seed, "shuffled", name, i))
        place = rng.permutation(int(units.max()) + 1)
        order = np.empty(len(units), dtype=np.int64)
        order[rows] = np.argsort(place[units], kind="stable")
        out.append(torch.from_numpy(order))
    return out


@measure
class RawInput(_Control):
    """Cross-validated score of a ridge probe on the inputs themselves, for each concept.

    One reading a concept, the same for every model: a layer that is no better than the inputs has
    added nothing that a line could use. Inputs as for distances: columns standardised, tokens
    counted, more than 1,024 columns projected at random onto 512. Accuracy in [0, 1], or R^2 in
    (-inf, 1]; higher is better.

    Source: Hewitt & Liang 2019.
    """

    id = "probe.raw_input"
    about = "score of a ridge probe on the inputs themselves, per concept"
    # Nothing of a model is looked at.
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, LINEAR, SCALE, "logit scale"})
    needs = frozenset({"outcomes"})
    source = "Hewitt & Liang 2019"

    def statistic(self, concept: Concept) -> str:
        """Name of the scale."""
        return f"{concept.statistic} from inputs"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a concept, made once for all models."""
        if "raw input" not in at.shared:
            inputs = {"input": input_points(at).float()}
            alone = replace(evidence, subject="the data", names=("input",), sample=inputs)
            found = super().read(alone, at)
            at.shared["raw input"] = [replace(r, layer=None) for r in found]
        readings: list[Reading] = at.shared["raw input"]
        return list(readings)


@measure
class Untrained(_Control):
    """Cross-validated score of a ridge probe minus that on the same layer of an untrained network.

    The network is a copy of the model whose every module draws its weights anew
    (``reset_parameters``), run on the same rows. In [-1, 1] for classes; higher is better, and 0
    where training has added nothing that a line could read. A module that has weights and cannot
    reset them leaves the model unmeasured.

    Source: Zhang & Bowman 2018.
    """

    id = "probe.untrained"
    about = "probe score minus the score on the same layer of an untrained copy of the network"
    range = (-np.inf, np.inf)
    null_value = 0.0
    needs = frozenset({"layers", "model"})
    source = "Zhang & Bowman 2018"

    def statistic(self, concept: Concept) -> str:
        """Name of the scale."""
        return f"{concept.statistic} over untrained"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer and concept."""
        fresh = _untrained(evidence, at)
        return [
            _over(a, b)
            for a, b in zip(super().read(evidence, at), super().read(fresh, at), strict=True)
        ]


def _over(trained: Reading, fresh: Reading) -> Reading:
    """What the trained layer has beyond the other, on the same rows."""
    reason = trained.reason or fresh.reason
    if reason:
        return replace(trained, estimate=NOTHING, reason=reason)
    return replace(trained, estimate=trained.estimate - fresh.estimate)


def _untrained(evidence: Evidence, at: Setting) -> Evidence:
    """What an untrained copy of the model shows on the sample."""
    model = evidence.model
    if model is None or model.module is None or model.layers is None:
        raise NotMeasurable("the model itself is needed, to be drawn anew")
    if not isinstance(model.function, nn.Module):
        raise NotMeasurable("the model is run by a function that a copy cannot stand in for")
    module = redrawn(model.module, blocks.derive(at.seed, "untrained"))
    copied = replace(model, module=module, function=module)
    sample = _shown(copied, evidence.names, at)
    return replace(evidence, subject=f"{evidence.subject}, untrained", sample=sample, derived={})


def redrawn(module: nn.Module, seed: int) -> nn.Module:
    """A copy whose modules have all drawn their weights anew; the module is left as it is.

    Raises NotMeasurable for modules that cannot be copied, or hold weights of their own and have no
    ``reset_parameters``.
    """
    fixed = sorted(
        {
            type(m).__name__
            for m in module.modules()
            if next(m.parameters(recurse=False), None) is not None and _reset(m) is None
        }
    )
    if fixed:
        raise NotMeasurable(f"{', '.join(fixed)} cannot draw weights anew (no reset_parameters)")
    if next(module.parameters(), None) is None:
        raise NotMeasurable("the model has no weights that could be drawn anew")
    try:
        # Drawn where the generator is the same on every machine.
        fresh = copy.deepcopy(module).cpu()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(seed)
            # From the inside out: a whole may set its parts otherwise than they would themselves.
            for part in reversed(list(fresh.modules())):
                reset = _reset(part)
                if reset is not None:
                    reset()
    # Anything may go wrong in code that is not ours: it says why, and nothing else is lost.
    except Exception as error:
        raise NotMeasurable(f"the model cannot be drawn anew: {error}") from error
    return fresh.to(next(module.parameters()).device).eval()


def _reset(module: nn.Module) -> Callable[[], object] | None:
    """The method that draws a module's weights; attention has it under a private name."""
    found = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return found if callable(found) else None


def _shown(model: Model, names: tuple[str, ...], at: Setting) -> dict[str, Tensor]:
    """(m, d) rows of each layer on the sample."""
    assert model.module is not None
    assert model.layers is not None
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.no_grad(), capturing(model.module, model.layers.picked) as capture:
        for _, x in sampled(model, at):
            capture.values, capture.rows, capture.mask = {}, int(x.shape[0]), model.mask
            model.outputs(x)
            for name in names:
                if name not in capture.values:
                    raise NotMeasurable(f"layer {name} of an untrained copy shows nothing")
                parts[name].append(capture.values[name])
    return {name: torch.cat(rows) for name, rows in parts.items()}


@measure
class MatchedWidth(_Control):
    """Cross-validated score of a ridge probe on the leading 16 directions of each layer.

    A wider layer gives a probe more to fit with; here all that are 16 wide or more give the same.
    Directions are principal axes of the standardised units, at a mean variance of 1, so that the
    penalty weighs alike whatever the width was. They are fitted on all sampled rows without a
    label: no row's answer has a way into its own prediction. A layer of fewer directions gives all
    it has. Accuracy in [0, 1] for classes, R^2 in (-inf, 1] for values; higher is better.
    """

    id = "probe.matched_width"
    about = f"score of a ridge probe on the {WIDTH} leading directions of each layer"

    def statistic(self, concept: Concept) -> str:
        """Name of the scale."""
        return f"{concept.statistic} in {WIDTH} directions"

    def predicted(self, x: Tensor, columns: Tensor, fold: Tensor) -> Tensor:
        """(m, q) out-of-fold predictions from the leading directions."""
        z = leading(x, WIDTH)
        z = z / z.square().mean().sqrt()
        # Each axis keeps its share of the variance: noise in the last ones is not amplified.
        return by_fold(fold_probes(z, columns, fold, scale=False), z, fold)


def leading(x: Tensor, width: int) -> Tensor:
    """(m, at most width) coordinates along the first principal axes of the standardised units."""
    x = standardised(x[:, (x != x[0]).any(0)])
    wide = x.shape[1] > x.shape[0]
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    keep = min(width, int((values > values[-1] * 1e-10).sum()))
    axes = vectors[:, -keep:]
    found: Tensor = axes * values[-keep:].sqrt() if wide else x @ axes
    return found
