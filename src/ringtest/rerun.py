"""Running a model again on the sample of rows, for measures that need more than it showed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.blocks import blocks
from ringtest.measure import Setting
from ringtest.model import Model
from ringtest.rows.inputs import Rows


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
