"""A model of which only evidence is here: nothing of it can be tried, so its form is checked."""

from __future__ import annotations

from typing import Any, Final

import torch

from ringtest.capture import Layer, Layers
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.errors import SubjectError, close_to
from ringtest.model import Model, Role
from ringtest.sources.stored import Stored
from ringtest.tasks import AnyTask, Classification, are_probabilities

_ROWS: Final = 256
"""Rows by which outputs are known for probabilities."""
_WHY: Final = "stored evidence"


def recall(name: str, role: Role, stored: Stored, task: AnyTask, data: AuditData) -> Model:
    """A model that answers from a file, under the conditions that the file holds.

    Raises SubjectError where the file is not of these data, holds conditions that they do not have,
    or outputs of another shape than the task's.
    """
    known = {c.id: c for kind in conditions for c in kind.make.defaults(data)}
    for condition in stored.conditions:
        if condition not in known:
            raise SubjectError(
                name,
                f"holds evidence under {condition!r}, which these data are not looked at under",
                close_to(condition, known),
            )
        rows, outputs = known[condition].start(data), stored.outputs(condition)
        if outputs is not None and not rows.fits(len(outputs)):
            given = len(rows) if rows.of is None else rows.of
            raise SubjectError(
                name,
                f"holds {len(outputs)} rows under {condition}, the data have {given}",
                "compute its evidence on these data, in their order",
            )
    raw = stored.outputs()
    assert raw is not None
    few = raw[torch.from_numpy(data.rows.numbers[:_ROWS])]
    model = Model(name, role, _cannot_run, task, stored=stored, weights_hash=stored.digest)
    if isinstance(task, Classification):
        if few.ndim != 2:
            raise SubjectError(
                name, f"holds outputs of shape {tuple(raw.shape)}", "store logits (n, classes)"
            )
        model.probabilities = are_probabilities(few)
    task.check_columns(name, int(model.canonical(few).shape[1]))
    layers = stored.layers()
    if layers:
        model.layers = Layers(
            tuple(Layer(k, k, "output", "flat", int(v.shape[1]), _WHY) for k, v in layers.items())
        )
    return model


def _cannot_run(*_args: Any, **_kwargs: Any) -> Any:
    raise SubjectError("stored evidence", "cannot be run", "leave this condition out for it")
