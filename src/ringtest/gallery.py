"""Single rows in a report: small enough to be kept there, whole enough to be looked at.

An example is a JSON object: ``row`` (its number in the data), ``divergence``, ``student`` and
``teacher`` (``class`` and ``probability``, or the first ``values``), and either ``image`` or
``moved``. An image has ``shape``, ``low`` and ``high``, and ``before`` and ``after`` as base64 of
bytes, 0 for low and 255 for high. What moved are the entries that moved furthest, as (place,
before, after).
"""

from __future__ import annotations

import base64
from typing import Any, Final

import numpy as np
from torch import Tensor
from torch.nn import functional

from ringtest.beside import Example
from ringtest.measure import Setting

SIDE: Final = 32
"""Pixels of a side; a larger image is averaged down."""
ENTRIES: Final = 6
"""Entries of a row, and values of an output, that are told."""


def plain(example: Example, at: Setting) -> dict[str, Any]:
    """An example as JSON values."""
    before, after = (v.double() for v in (example.before, example.after))
    seen = (
        {"image": _image(before, after, at.data.bounds)}
        if at.data.modality == "image" and before.ndim == 3 and len(before) in (1, 3)
        else {"moved": _moved(before.flatten(), after.flatten())}
    )
    row = example.row
    if at.condition.keeps_rows:
        row = int(at.data.rows.numbers[row])
    return {
        "row": row,
        "divergence": example.divergence,
        "student": _output(example.outputs, at),
        "teacher": _output(example.teacher, at),
        **seen,
    }


def _output(values: Tensor, at: Setting) -> dict[str, Any]:
    if at.task.name == "classification":
        best = int(values.argmax())
        return {"class": best, "probability": float(values[best].exp())}
    return {"values": [float(v) for v in values[:ENTRIES]]}


def _image(before: Tensor, after: Tensor, bounds: tuple[float, float] | None) -> dict[str, Any]:
    shown = [_shrunk(v) for v in (before, after)]
    low, high = bounds or (min(float(v.min()) for v in shown), max(float(v.max()) for v in shown))
    span = (high - low) or 1.0

    def coded(image: Tensor) -> str:
        levels = ((image - low) / span * 255).round().clamp(0, 255)
        return base64.b64encode(levels.numpy().astype(np.uint8).tobytes()).decode()

    return {
        "shape": list(shown[0].shape),
        "low": low,
        "high": high,
        "before": coded(shown[0]),
        "after": coded(shown[1]),
    }


def _shrunk(image: Tensor) -> Tensor:
    height, width = (min(s, SIDE) for s in image.shape[1:])
    return functional.adaptive_avg_pool2d(image[None], (height, width))[0]


def _moved(before: Tensor, after: Tensor) -> list[list[float]]:
    far = (after - before).abs()
    places = far.argsort(descending=True, stable=True)[:ENTRIES].tolist()
    return [[p, float(before[p]), float(after[p])] for p in places if far[p] > 0]
