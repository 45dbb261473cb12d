"""Keys of cells: a digest of everything that could change a bit of what a cell holds."""

from __future__ import annotations

import json
from typing import Any, Final

import torch
from threadpoolctl import threadpool_info

from ringtest import environment, margins
from ringtest.case import Case
from ringtest.cells import values, versions
from ringtest.cells.store import FORMAT
from ringtest.condition import Condition
from ringtest.measure import Measure
from ringtest.model import Model
from ringtest.plan import LAYER_PAIRS, Stage, cell_name

GROUND: Final = ("ringtest.evidence", "ringtest.compare", "ringtest.likeness")
"""What every cell rests on, whatever its measure."""
_ROWS: Final = 32
"""Rows on which a model shows that it is the one whose weights it has."""


class Keys:
    """Name of a cell -> its key; None for what cannot be told from something else.

    That is: everything, if a model has no weights to be known by (a plain callable); what rests on
    scores, if they come from a metric of the user's; what is seen under the user's invariances and
    through their tokenizer; what a measure or condition gives whose source cannot be read.
    """

    def __init__(self, case: Case) -> None:
        """Take the case as it was planned: a fitted condition can no longer be told."""
        self._case = case
        self._common = _common(case)
        clean = case.plan.stages[0].wanted if case.plan.stages else None
        self._keys: dict[str, str | None] = {}
        self._versions = versions.Versions()
        self._classes: dict[type, list[Any] | None] = {}
        for stage in case.plan.stages:
            for entry in stage.entries:
                name = cell_name(LAYER_PAIRS if entry is None else entry.id, stage.condition)
                self._keys[name] = self._key(stage, entry, clean)

    def __getitem__(self, name: str) -> str | None:
        """The key of a cell of the plan."""
        return self._keys[name]

    def __len__(self) -> int:
        """Number of cells that can be kept."""
        return sum(key is not None for key in self._keys.values())

    def _key(self, stage: Stage, entry: Measure | None, clean: Any) -> str | None:
        condition = stage.condition
        asked = self._case.task.metric is not None
        scores = entry is not None and "outcomes" in entry.needs
        own = condition.users_own or (entry is not None and entry.users_own)
        if self._common is None or own or (asked and scores):
            return None
        of_condition = self._described(condition)
        of_entry: Any = (
            self._versions.of_modules(["ringtest.probes.layer_pairs", *GROUND])
            if entry is None
            else self._described(entry)
        )
        if of_condition is None or of_entry is None:
            return None
        return versions.digest(
            [
                self._common,
                json.dumps([of_entry, condition.key, of_condition, repr(stage.wanted)]),
                # What the clean rows showed depends on what was hooked there.
                repr(clean),
            ]
        )

    def _described(self, part: Measure | Condition) -> list[Any] | None:
        """Class, code and options of a measure or condition; None if they cannot be told."""
        cls = type(part)
        if cls not in self._classes:
            self._classes[cls] = self._described_class(cls)
        known, held = self._classes[cls], values.told(vars(part), self._versions)
        return None if known is None or held is None else [*known, held]

    def _described_class(self, cls: type) -> list[Any] | None:
        """Name, code and options of a class, asked once: an audit has many cells of few classes."""
        code = self._versions.of_class(cls, *GROUND)
        # Somebody may set another number of steps on the class.
        options = values.of_class(cls, self._versions)
        if code is None or options is None:
            return None
        return [cls.__module__, cls.__qualname__, code, options]


def _common(case: Case) -> str | None:
    """What all cells of an audit have in common; None if a model cannot be told from another."""
    models = [_model(case, m) for m in case.models]
    if any(m is None for m in models):
        return None
    device = ",".join(sorted({str(m.device) for m in case.models}))
    return versions.digest(
        [
            str(FORMAT),
            str(versions.source("ringtest.stages")),
            case.task.name,
            case.data.fingerprint,
            json.dumps(models),
            json.dumps(environment.describe(case.seed, device), sort_keys=True),
            json.dumps(_arithmetic()),
            repr(sorted((k, v) for k, v in vars(margins).items() if k.isupper())),
        ]
    )


def _model(case: Case, model: Model) -> list[Any] | None:
    """How a model is known: weights, code, layers, and its own outputs on a few rows."""
    if model.weights_hash is None:
        return None
    shown = ""
    if model.stored is None:
        part = slice(0, min(_ROWS, case.data.n))
        model.at(case.data.rows, part)
        with torch.no_grad():
            outputs = model.raw(case.data.inputs[part]).cpu().contiguous()
        # Weights and sources do not hold every option of a module.
        shown = versions.digest([outputs.reshape(-1).view(torch.uint8).numpy().tobytes().hex()])
    return [
        model.name,
        model.role,
        model.weights_hash,
        model.architecture,
        str(model.device),
        repr(model.layers and model.layers.picked),
        repr(model.form),
        [model.gradients, model.layer_gradients, model.probabilities],
        "" if model.module is None else versions.of_module(model.module),
        shown,
    ]


def _arithmetic() -> list[Any]:
    """What decides the order of additions: libraries, their threads and the processor's kind."""
    pools = {
        (p["internal_api"], p["num_threads"], str(p.get("architecture"))) for p in threadpool_info()
    }
    return [
        sorted(pools),
        torch.backends.cpu.get_cpu_capability(),
        torch.backends.mkldnn.enabled,
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    ]
