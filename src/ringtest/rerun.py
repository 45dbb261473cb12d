"""Running a model again on the sample of rows, for measures that need more than it showed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.blocks import blocks, sample_rows
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, Setting
from ringtest.model import Model
from ringtest.rows.inputs import Rows


def runnable(evidence: Evidence) -> Model:
    """The model behind the evidence; NotMeasurable if it cannot be run here."""
    if evidence.model is None or evidence.model.stored is not None:
        raise NotMeasurable("it cannot be run again")
    return evidence.model


def few(at: Setting, count: int) -> tuple[Setting, NDArray[np.int64]]:
    """The setting on at most so many of the sampled rows, and which of them: the same for all."""
    chosen = sample_rows(len(at.rows), count)
    return replace(at, rows=at.rows[chosen]), chosen


def sampled(model: Model, at: Setting) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of the sampled rows of an unchanged condition, the model told what goes along.

    Yields:
        Which rows of the sample, and their (b, ...) inputs, to be given to ``model.outputs``.
    """
    for _, part in blocks(len(at.rows)):
        yield part, inputs(model, at, at.rows[part])


def inputs(model: Model, at: Setting, rows: NDArray[np.int64]) -> Tensor:
    """(b, ...) inputs of some rows of the data, in that order; the model is told what goes along.

    Any rows will do: the sources of an interchange, say.
    """
    return taken(model, at.condition.start(at.data), rows)


def taken(model: Model, source: Rows, rows: NDArray[np.int64]) -> Tensor:
    """(b, ...) some rows of a source, in that order; the model is told what goes along."""
    index = torch.from_numpy(rows)
    model.at(source, index)
    return source.main[index]


def finite(model: Model, *found: Tensor) -> None:
    """NotMeasurable if a model that was run again gave NaN or infinity."""
    if not all(bool(torch.isfinite(values).all()) for values in found):
        raise NotMeasurable(f"{model.name} gives NaN or infinity when it is run again")
