"""Running a model again on the sample of rows, for measures that need more than it showed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ringtest.blocks import BLOCK
from ringtest.measure import Setting
from ringtest.model import Model


def sampled(model: Model, at: Setting) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of the sampled rows of an unchanged condition, the model told what goes along.

    Yields:
        Which rows of the sample, and their (b, ...) inputs, to be given to ``model.outputs``.
    """
    source = at.condition.start(at.data)
    for low in range(0, len(at.rows), BLOCK):
        part = slice(low, min(low + BLOCK, len(at.rows)))
        index = torch.from_numpy(at.rows[part])
        model.at(source, index)
        yield part, source.main[index]
