"""What the rest of the teacher says of the very inputs that a model was shown."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.errors import RingtestError, SubjectError
from ringtest.model import Model
from ringtest.tasks import AnyTask

Seen = tuple[Tensor, Tensor]
"""Inputs of a block as a model was shown them, and its canonical outputs."""
EXAMPLES: Final = 3
"""Rows of each model that are kept to be looked at."""


@dataclass(frozen=True)
class Example:
    """A row on which model and teacher lie far apart."""

    row: int
    """Its number among the rows of the condition."""
    divergence: float
    before: Tensor
    """(...) what the condition started from."""
    after: Tensor
    """(...) what the model was shown."""
    outputs: Tensor
    """(k,) canonical outputs of the model."""
    teacher: Tensor
    """(k,) those of the teacher's mean."""


@dataclass
class Beside:
    """The teacher's mean on the inputs of one model, row by row; of the members all but itself."""

    divergence: NDArray[np.float64]
    """(n,) how far the model's outputs lie from the teacher's: the task's ``divergence``."""
    score: NDArray[np.float64]
    """(n,) the teacher's score; NaN where targets do not hold."""
    predictions: NDArray[np.int64] | None = None
    """(n,) the teacher's classes; None where there are none."""
    typical: NDArray[np.float64] | None = None
    """(n,) mean score of those members, each by itself: what one more network would score. Their
    mean output scores higher than any of them. None where targets do not hold."""
    failed: str = ""
    """Why the teacher could not be asked, in words."""
    apart: str = ""
    """Why the two cannot be compared, in words."""
    examples: tuple[Example, ...] = ()
    """The rows of largest divergence, the largest first."""
    reverse: NDArray[np.float64] | None = None
    """(n,) the same divergence the other way: how far the teacher's lie from the model's."""
    denied: NDArray[np.bool_] | None = None
    """(n, 2) rows on which the model, and the teacher, gives probability 0 to what the other holds
    possible: there ``divergence``, or ``reverse``, is infinite, whatever finite number it holds."""

    def apply(self, column: Callable[[Any], Any]) -> Beside:
        """The same with a function applied to each column of rows."""
        return replace(
            self,
            divergence=column(self.divergence),
            score=column(self.score),
            predictions=None if self.predictions is None else column(self.predictions),
            typical=None if self.typical is None else column(self.typical),
            reverse=None if self.reverse is None else column(self.reverse),
            denied=None if self.denied is None else column(self.denied),
        )


def others(members: Sequence[Model], name: str, seed: int) -> list[Model]:
    """The members that a model is held against: for a member all but itself.

    Anybody else is held against as many: one member, by the seed of the block, is left out. A mean
    of more lies nearer to any honest model, which would favour whoever is no member. A single
    member is all there is for others, and has nobody itself.
    """
    rest = [m for m in members if m.name != name]
    if len(rest) == len(members) > 1:
        del rest[seed % len(members)]
    return rest


_MANY: Final = 4
"""Members from which on the means of all but one are made at once."""


class Panel:
    """The members of a teacher, who are asked what they make of what each model was shown."""

    def __init__(self, models: Sequence[Model], task: AnyTask, n: int) -> None:
        """``models`` as they are, whatever a condition makes of them; ``n`` rows in all."""
        self.members = [m for m in models if m.role == "member"]
        self.task, self.n = task, n
        self._certain = {m.name for m in models if m.probabilities}
        """Names of those who can give a probability of exactly 0."""
        self.found: dict[str, Beside] = {}
        """By the name of the model; a single member has nobody beside it."""

    def take(
        self,
        rows: slice,
        x: Tensor,
        seen: Mapping[str, Seen],
        targets: Tensor | None,
        *,
        shared: bool,
        block: int,
    ) -> None:
        """Ask about one block, the members being told already what goes along with its rows.

        Args:
            rows: which rows the block holds.
            x: (b, ...) what the condition started from.
            seen: by the name of the model; those that failed are missing.
            targets: (n, ...) of all rows, or None where they do not hold.
            shared: whether all models saw the same inputs and the members answered as they are, so
                that nobody need run again.
            block: seed of the block.
        """
        once = _Once(shared)
        means = self._means(seen) if shared else None
        for name, shown in seen.items():
            asked = others(self.members, name, block)
            if not asked:
                continue
            blank = np.full(self.n, np.nan)
            beside = self.found.setdefault(name, Beside(blank, blank.copy()))
            if beside.failed or beside.apart:
                continue
            try:
                answers = [(m, _answer(m, shown[0], seen if shared else None)) for m in asked]
                said = [once(m.name, a.double) for m, a in answers]
                mean = self.task.mean(said) if means is None else means[self._left_out(asked)]
                if mean.shape != shown[1].shape:
                    beside.apart = "its outputs are of another width than the teacher's"
                    continue
                own, alike = shown[1].double(), self._certain.issuperset(m.name for m in asked)
                self._keep(beside, rows, own, mean, targets)
                zeros = [self.task.zeros(own) if name in self._certain else None]
                zeros += [self.task.zeros(mean) if alike else None]
                _keep_denied(beside, rows, own, mean, zeros)
                if targets is not None:
                    score = partial(self.task.score, targets=targets[rows])
                    scores = [
                        once((m.name, "score"), partial(score, s))
                        for m, s in zip(asked, said, strict=True)
                    ]
                    self._keep_typical(beside, rows, scores)
                _keep_examples(beside, rows, x, shown, mean)
            except SubjectError as error:
                beside.failed = f"{error.field} {error.problem}"
            except RingtestError:  # such as a metric that is no metric
                raise
            # A member that cannot bear what was made for another loses a row, never the audit.
            except Exception as error:
                beside.failed = f"the teacher raised {type(error).__name__}: {error}"

    def _means(self, seen: Mapping[str, Seen]) -> Tensor | None:
        """(M, b, k) for each member the mean of the others, where they are many enough to pay."""
        said = [seen[m.name][1] for m in self.members if m.name in seen]
        if len(said) < max(_MANY, len(self.members)) or len({s.shape for s in said}) > 1:
            return None
        return self.task.means_without([s.double() for s in said])

    def _left_out(self, asked: Sequence[Model]) -> int:
        """Number of the one member who was not asked."""
        names = {m.name for m in asked}
        return next(i for i, m in enumerate(self.members) if m.name not in names)

    def _keep(
        self,
        beside: Beside,
        rows: slice,
        outputs: Tensor,
        mean: Tensor,
        targets: Tensor | None,
    ) -> None:
        beside.divergence[rows] = self.task.divergence(outputs, mean).cpu().numpy()
        if beside.reverse is None:
            beside.reverse = np.full(self.n, np.nan)
        beside.reverse[rows] = self.task.divergence(mean, outputs).cpu().numpy()
        if targets is not None:
            beside.score[rows] = self.task.score(mean, targets[rows]).cpu().numpy()
        predictions = self.task.predictions(mean)
        if predictions is not None:
            if beside.predictions is None:
                beside.predictions = np.full(self.n, -1, dtype=np.int64)
            beside.predictions[rows] = predictions

    def _keep_typical(self, beside: Beside, rows: slice, scores: Sequence[Tensor]) -> None:
        if beside.typical is None:
            beside.typical = np.full(self.n, np.nan)
        beside.typical[rows] = torch.stack([s.double().cpu() for s in scores]).mean(0).numpy()


class _Once:
    """What is made of a member's answers to a block: once, where all models saw the same inputs."""

    def __init__(self, shared: bool) -> None:
        self._made: dict[Hashable, Tensor] | None = {} if shared else None

    def __call__(self, what: Hashable, make: Callable[[], Tensor]) -> Tensor:
        if self._made is None:
            return make()
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]


def _keep_denied(
    beside: Beside, rows: slice, own: Tensor, mean: Tensor, zeros: Sequence[Tensor | None]
) -> None:
    """Whether either side of a block rules out what the other does not; most can rule out nothing.

    Args:
        beside: where it is kept.
        rows: which rows the block holds.
        own: (b, k) the model's outputs.
        mean: (b, k) the teacher's.
        zeros: (b, k) where each of the two says 0, or None.
    """
    if beside.denied is None:
        beside.denied = np.zeros((len(beside.divergence), 2), dtype=np.bool_)
    for way, (mine, other) in enumerate(((0, mean), (1, own))):
        zero, theirs = zeros[mine], zeros[1 - mine]
        if zero is None:
            continue
        # What underflows is nothing, too.
        held = other.exp() > 0 if theirs is None else ~theirs
        beside.denied[rows, way] = (zero & held).any(1).cpu().numpy()


def _keep_examples(beside: Beside, rows: slice, x: Tensor, shown: Seen, mean: Tensor) -> None:
    """Those of a block that lie further apart than what was kept before."""
    found = beside.divergence[rows]
    few = np.argsort(-found, kind="stable")[:EXAMPLES]
    new = [
        Example(
            rows.start + i,
            float(found[i]),
            *(v[i].detach().cpu().clone() for v in (x, *shown, mean)),
        )
        for i in few.tolist()
    ]
    ordered = sorted([*beside.examples, *new], key=lambda e: -e.divergence)
    beside.examples = tuple(ordered[:EXAMPLES])


def _answer(member: Model, x: Tensor, seen: Mapping[str, Seen] | None) -> Tensor:
    """Canonical outputs of a member on a block: those that it gave, or gives now."""
    if seen is not None:
        if member.name not in seen:
            raise SubjectError(member.name, "shows nothing here", "see its own rows")
        return seen[member.name][1]
    with torch.no_grad():
        outputs = member.outputs(x)
    if not bool(torch.isfinite(outputs).all()):
        raise SubjectError(member.name, "gives NaN or infinity on another's inputs", "mend it")
    return outputs
