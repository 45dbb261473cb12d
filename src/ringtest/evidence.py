"""What models show under a condition: they stream over blocks in lockstep, memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, callables
from ringtest.beside import Beside, Panel, Seen
from ringtest.capture import relative_depth
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.errors import RingtestError, SubjectError
from ringtest.measure import NotMeasurable
from ringtest.model import Model, hooked
from ringtest.moments import Moments
from ringtest.rows.inputs import Rows
from ringtest.tasks import AnyTask

GRAM_WIDTH = 512
"""Wider layers are compared through the Gram matrix of the sample instead of moments."""


@dataclass
class Evidence:
    """One model under one condition."""

    subject: str
    names: tuple[str, ...]
    """Layers in call order; the last is the last hidden layer. Empty: outputs only."""
    outputs: Tensor
    """(m, k) canonical outputs on the sample of rows."""
    sample: dict[str, Tensor]
    """Layer name -> (m, d) representation of the sample of rows."""
    score: NDArray[np.float64] | None
    """(n,) score of every row, higher is better; None if targets do not hold."""
    predictions: NDArray[np.int64] | None
    """(n,) predicted classes; None where there are none."""
    moments: dict[str, Moments] = field(default_factory=dict)
    """Layer name -> running sums of the layer with itself, over all rows."""
    clean: Evidence | None = None
    """The same model on the unchanged rows, where the condition keeps rows."""
    whole: Evidence | None = None
    """The same model on all rows of the data, where the condition picks some of them."""
    failed: str = ""
    """Why there is no evidence, in words."""
    failure: Literal["error", "not_measurable"] = "error"
    """Whether something broke, or the condition has nothing to show of this model."""
    beside: Beside | None = None
    """What the teacher's other members say of the same inputs, if it was asked and has others."""
    model: Model | None = None
    """The model as it was looked at, for measures that need it; :mod:`ringtest.rerun` runs it."""
    derived: dict[str, Any] = field(default_factory=dict)
    """What measures computed from this evidence and may use again."""
    certain: bool = False
    """Whether the model can say a probability of exactly 0, which outputs hold as a floor."""

    @property
    def last(self) -> Tensor:
        """(m, d) last hidden layer on the sample of rows."""
        return self.sample[self.names[-1]]

    def depth(self, name: str) -> float:
        """Relative depth of a layer in [0, 1]; the last hidden layer is at 1."""
        return relative_depth(self.names, name)


@dataclass(frozen=True)
class Wanted:
    """The union of what the measures of one condition need."""

    outcomes: bool = False
    sample: bool = False
    layers: bool = False
    moments: bool = False
    model: bool = False
    teacher: bool = False
    combined: bool = False


@dataclass
class Gathered:
    """All evidence under one condition."""

    evidence: dict[str, Evidence]
    """By the name of the model."""
    cross: dict[tuple[str, str], dict[tuple[str, str], Moments]]
    """(model a, model b) -> (layer of a, layer of b) -> running sums."""
    rows: NDArray[np.int64]
    n: int
    picked: NDArray[np.int64] | None = None
    """Rows of the data that the condition showed; None: all of them, or others."""
    data: AuditData | None = None
    """The data of the picked rows."""
    task: AnyTask | None = None
    """The task of the picked rows."""
    combined: Evidence | None = None
    """What the members' mean prediction shows, if it was wanted and there are several."""
    why: str = ""
    """Why the condition cannot be looked under on these data; then there is nothing else."""


class _Collector:
    """Accumulates one model's evidence block by block."""

    def __init__(self, model: Model, wanted: Wanted, n: int, rows: NDArray[np.int64]) -> None:
        self.model = model
        # Of a control nothing but outputs is read.
        names = model.layers.names if model.layers and model.role != "control" else ()
        self.kept = names if wanted.layers or wanted.moments else names[-1:]
        self.kept = self.kept if wanted.sample or wanted.layers or wanted.moments else ()
        self.keeps_rows = wanted.sample or wanted.layers
        self.shown = wanted.model
        self.n, self.rows = n, rows
        self.sample: dict[str, Tensor] = {}
        self.outputs: Tensor | None = None
        self.score: NDArray[np.float64] | None = None
        self.predictions: NDArray[np.int64] | None = None
        self.moments: dict[str, Moments] = {}
        self.failed = ""
        self.failure: Literal["error", "not_measurable"] = "error"
        self.block: dict[str, Tensor] = {}

    @contextmanager
    def excused(self, condition: Condition) -> Iterator[None]:
        """What fails within is the model's own: it loses its rows, never the audit.

        On the clean rows everything is an error of the audit.
        """
        try:
            yield
        except Exception as error:
            ours = isinstance(error, RingtestError) and not isinstance(error, SubjectError)
            if ours or condition.role == "clean":
                raise
            self.failed = _words(error, condition)
            if isinstance(error, NotMeasurable):
                self.failure = "not_measurable"

    def take(
        self, rows: slice, outputs: Tensor, layers: dict[str, Tensor], targets: Tensor | None
    ) -> None:
        task = self.model.task
        if targets is not None:
            if self.score is None:
                self.score = np.full(self.n, np.nan)
            self.score[rows] = task.score(outputs, targets[rows]).cpu().numpy()
        predictions = task.predictions(outputs)
        if predictions is not None:
            if self.predictions is None:
                self.predictions = np.full(self.n, -1, dtype=np.int64)
            self.predictions[rows] = predictions
        self.block = layers
        if not self.keeps_rows:
            return
        # Sampled rows of this block: where they lie in the block and in the sample.
        low, high = np.searchsorted(self.rows, [rows.start, rows.stop])
        if low == high:
            return
        local = torch.from_numpy(self.rows[low:high] - rows.start)
        if self.outputs is None:
            self.outputs = torch.empty(len(self.rows), outputs.shape[1])
        self.outputs[low:high] = outputs[local].float().cpu()
        for name, values in layers.items():
            if name not in self.sample:
                self.sample[name] = torch.empty(len(self.rows), values.shape[1])
            self.sample[name][low:high] = values[local].cpu()

    def result(self, view: Model, beside: Beside | None) -> Evidence:
        """What was collected; ``view`` is the model as it was looked at."""
        names = self.model.layers.names if self.model.layers else ()
        return Evidence(
            self.model.name,
            tuple(n for n in names if n in self.sample),
            self.outputs if self.outputs is not None else torch.empty(0, 0),
            self.sample,
            self.score,
            self.predictions,
            self.moments,
            failed=self.failed,
            failure=self.failure,
            beside=beside,
            model=view if self.shown else None,
            certain=self.model.probabilities,
        )


def _words(error: Exception, condition: Condition) -> str:
    """Why a model has no evidence."""
    if isinstance(error, SubjectError):
        return error.problem
    if isinstance(error, NotMeasurable):
        return str(error)
    return f"{condition.key} raised {type(error).__name__}: {error}"


def gather(
    condition: Condition,
    models: Sequence[Model],
    pairs: Iterable[tuple[Model, Model]],
    data: AuditData,
    task: AnyTask,
    wanted: Wanted,
    seed: int,
    tick: Callable[[int], None] = lambda _rows: None,
) -> Gathered:
    """Run all models over the blocks of one condition, side by side.

    A model that fails under a condition other than ``clean`` leaves evidence that says so, and
    the measures there become errors; on clean data it is an error of the audit.

    Args:
        condition: where to look; it is fitted here.
        models: members, students, references, controls.
        pairs: models whose layers are compared over all rows (only with ``wanted.moments``).
        data: the rows.
        task: what outputs mean.
        wanted: what to keep.
        seed: seed of the audit.
        tick: called with the number of rows done, for each model and block.
    """
    try:
        # Nothing that is seen may rest on a control.
        fitted = [m for m in models if m.role != "control"]
        condition.fit(fitted, data, blocks.generator(seed, condition.key, "fit"))
        picked = condition.picks(data)
    except NotMeasurable as error:
        return Gathered({}, {}, np.empty(0, dtype=np.int64), 0, why=str(error))
    if picked is not None:
        whole, data, task = data, data.take(picked), task.take(picked)
        # A word that opens every picked row by chance is no part of the tokenizer's frame.
        data.frame_tokens = whole.frame_tokens
    source = condition.start(data)
    n = len(source)
    rows = blocks.sample_rows(n)
    targets = task.targets if condition.keeps_targets and condition.keeps_rows else None
    collectors = {m.name: _Collector(m, wanted, n, rows) for m in models}
    looked_at = dict(zip(collectors, models, strict=True))
    for model in models:
        with collectors[model.name].excused(condition):
            looked_at[model.name] = condition.subject(model)
    cross = _cross(pairs) if wanted.moments else {}
    shared = condition.scope == "shared"
    members = [m for m in models if m.role == "member"]
    panel = Panel(models, task, n)
    together = None
    if wanted.combined and len(members) > 1:
        together = _Together(members, task, _Collector(_mean_member(task), wanted, n, rows))
    as_they_are = all(looked_at[m.name] is m for m in members)
    with ExitStack() as stack:
        captures = {
            m.name: stack.enter_context(hooked(looked_at[m.name], collectors[m.name].kept))
            for m in models
        }
        for number, part in blocks.blocks(n):
            x = source.main[part]
            y = None if task.targets is None or not condition.keeps_rows else task.targets[part]
            changed: Tensor | None = None
            seen: dict[str, Seen] = {}
            # All of them first: what is made for one model may rest on others.
            for view in (*members, *looked_at.values()):
                view.at(source, part)
            for model in models:
                collector, view = collectors[model.name], looked_at[model.name]
                with collector.excused(condition):
                    if not collector.failed:
                        if model.stored is not None:
                            shown = _remembered(model, condition, source, part)
                        else:
                            if changed is None or not shared:
                                rng = blocks.generator(seed, condition.key, number)
                                alike = blocks.generator(seed, condition.key, f"{number} global")
                                with callables.seeded(alike, x.device):
                                    changed = _changed(condition, view, x, y, rng)
                            shown = _look(view, changed, captures[model.name])
                        _take(view, shown, collector, part, targets)
                        if wanted.teacher or together is not None:
                            seen[model.name] = (x if changed is None else changed, shown[0])
                tick(part.stop - part.start)
            if wanted.teacher:
                same, block = shared and as_they_are, blocks.derive(seed, condition.key, number)
                panel.take(part, x, seen, targets, shared=same, block=block)
            if together is not None:
                together.take(part, seen, targets)
            if wanted.moments:
                _add_moments(collectors, cross)
    combined = None if together is None else together.result()
    found = {k: c.result(looked_at[k], panel.found.get(k)) for k, c in collectors.items()}
    if picked is None:
        return Gathered(found, cross, rows, n, combined=combined)
    return Gathered(found, cross, rows, n, picked, data, task, combined)


def _mean_member(task: AnyTask) -> Model:
    """Who gives the members' mean prediction: nobody runs, its outputs are made of theirs."""
    return Model("ensemble", "member", lambda _: None, task)


class _Together:
    """Accumulates what the members' mean prediction shows."""

    def __init__(self, members: Sequence[Model], task: AnyTask, collector: _Collector) -> None:
        self.names = [m.name for m in members]
        self.task, self.collector = task, collector

    def take(self, rows: slice, seen: Mapping[str, Seen], targets: Tensor | None) -> None:
        """One block, from what the members said of it."""
        missing = [name for name in self.names if name not in seen]
        if missing and not self.collector.failed:
            self.collector.failed = f"lacks {missing[0]}, which shows nothing here"
        if not self.collector.failed:
            mean = self.task.mean([seen[name][1] for name in self.names])
            self.collector.take(rows, mean, {}, targets)

    def result(self) -> Evidence:
        return self.collector.result(self.collector.model, None)


def _changed(
    condition: Condition, view: Model, x: Tensor, y: Tensor | None, rng: torch.Generator
) -> Tensor:
    """A block as a condition changes it: one that works in place gets copies, none is believed."""
    found = condition.batch(view, x.clone(), None if y is None else y.clone(), rng)
    return callables.same_form(found, x, f"condition {condition.key}")


_Shown = tuple[Tensor, dict[str, Tensor]]
"""Canonical outputs and layers of a block."""


def _look(model: Model, x: Tensor, capture: Any) -> _Shown:
    """Run a model on a block."""
    with torch.no_grad():
        if capture is not None:
            capture.values, capture.rows, capture.mask = {}, int(x.shape[0]), model.mask
        outputs = model.outputs(x)
        return outputs, {} if capture is None else dict(capture.values)


def _remembered(model: Model, condition: Condition, source: Rows, part: slice) -> _Shown:
    """What a model that cannot be run here showed elsewhere."""
    assert model.stored is not None
    rows = torch.from_numpy(source.numbers[part])
    where = condition.stored_as
    raw = model.stored.outputs(where)
    if raw is None:
        raise SubjectError(model.name, f"holds no evidence under {where}", "compute it")
    layers = {k: v[rows] for k, v in model.stored.layers(where).items()}
    return model.canonical(raw[rows]), layers


def _take(
    model: Model, shown: _Shown, collector: _Collector, part: slice, targets: Tensor | None
) -> None:
    outputs, layers = shown
    layers = {name: layers[name] for name in collector.kept if name in layers}
    silent = set(collector.kept) - layers.keys()
    if silent:
        raise SubjectError(
            model.name,
            f"layer {min(silent)} shows nothing in rows {part.start} to {part.stop - 1}",
            "leave out layers that are not called for every input",
        )
    if not all(bool(torch.isfinite(v).all()) for v in (outputs, *layers.values())):
        raise SubjectError(
            model.name, f"gives NaN or infinity in rows {part.start} to {part.stop - 1}", "mend it"
        )
    collector.take(part, outputs, layers, targets)


_Cross = dict[tuple[str, str], dict[tuple[str, str], Moments]]


def _cross(pairs: Iterable[tuple[Model, Model]]) -> _Cross:
    out: _Cross = {}
    for a, b in pairs:
        if a.layers is None or b.layers is None:
            continue
        out[a.name, b.name] = {
            (la.name, lb.name): Moments()
            for la in a.layers.picked
            for lb in b.layers.picked
            if max(la.width, lb.width) <= GRAM_WIDTH
        }
    return out


def _add_moments(collectors: dict[str, _Collector], cross: _Cross) -> None:
    doubled = {
        name: {k: v.double() for k, v in c.block.items() if v.shape[1] <= GRAM_WIDTH}
        for name, c in collectors.items()
        if not c.failed
    }
    for name, layers in doubled.items():
        for layer, values in layers.items():
            collectors[name].moments.setdefault(layer, Moments()).update(values)
    for (a, b), sums in cross.items():
        for (la, lb), moments in sums.items():
            if la in doubled.get(a, {}) and lb in doubled.get(b, {}):
                moments.update(doubled[a][la], doubled[b][lb])
