"""What a report says besides its rows: subjects, data, what was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ringtest.data import AuditData
from ringtest.decision import Scope
from ringtest.findings import Leakage
from ringtest.measurement import Measurement
from ringtest.model import Model

_MOST_VALUES = 50
"""A column with more values is told by its name alone."""


def scope(models: Sequence[Model]) -> Scope:
    """What all models of a comparison can be asked for."""
    if any(m.layers is None for m in models):
        return "outputs-only"
    return "full" if all(m.gradients for m in models) else "no-gradient"


def subjects(
    members: Sequence[Model],
    student: Model,
    references: Sequence[Model],
    controls: Sequence[Model] = (),
) -> dict[str, Any]:
    """The ``subjects`` of ``report.json``."""
    return {
        "teacher": {"name": "teacher", "members": [m.describe() for m in members]},
        "student": student.describe(),
        "references": [m.describe() for m in references],
        **({"controls": [m.describe() for m in controls]} if controls else {}),
    }


def data(
    rows: AuditData, models: Sequence[Model] = (), leaks: Leakage | None = None
) -> dict[str, Any]:
    """The ``data`` of ``report.json``, with what was noticed of the models' outputs on it."""
    found = [] if leaks is None else [w for w in leaks.warnings if w not in rows.warnings]
    groups = {}
    for column, values in rows.groups.items():
        labels, counts = np.unique(values, return_counts=True)
        if len(labels) <= _MOST_VALUES:
            groups[column] = {str(v): int(c) for v, c in zip(labels, counts, strict=True)}
    return {
        "n": rows.n,
        "fingerprint": rows.fingerprint,
        "modality": rows.modality,
        "eps_unit": rows.eps_unit,
        "groups": groups,
        "unlabelled": {k: int(v.shape[0]) for k, v in (rows.unlabelled or {}).items()},
        "warnings": [
            *rows.warnings,
            *found,
            *(
                f"{m.name}: outputs are probabilities, not logits"
                for m in models
                if m.probabilities
            ),
        ],
        **({} if leaks is None else {"leakage": leaks.as_dict()}),
    }


def not_measured(
    planned: Sequence[dict[str, Any]], rows: Sequence[Measurement]
) -> list[dict[str, Any]]:
    """The ``not_measured`` of ``report.json``: what the plan left out and what gave no number."""
    return [dict(p) for p in planned] + [
        {
            "measure": r.measure,
            "condition": r.condition,
            "reason": r.reason or "no finite number",
            "required": r.required,
        }
        for r in rows
        if r.status in ("not_measurable", "error") or (r.headline and not r.measured)
    ]
