"""What all attacks on inputs share: the unit of eps, the budget that is kept, the checks."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from ringtest.condition import Condition, Scope
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError, SubjectError
from ringtest.perturb import losses
from ringtest.perturb.ascent import Answering, AnyLoss, Goal, Search, Searched
from ringtest.perturb.geometry import Ball, Linf
from ringtest.perturb.scale import counted, eps_unit, is_positive
from ringtest.perturb.schedules import AdaptiveStep, FixedStep, Schedule

if TYPE_CHECKING:
    from ringtest.model import Model, Role

Run = tuple[AnyLoss, tuple[Tensor, ...]]
"""What one run climbs, and the (b, ...) aims that it reads besides the outputs."""


class Attack(Condition):
    """Base: each model's own worst inputs within eps, from the same start and with the same budget.

    Severity is eps: a share of the legal range if the data have bounds, else in standard deviations
    of each column, channel (images) or feature (sequences). Inputs of type double are attacked in
    double, all others in float32.

    More effort than usual is asked for by keyword: ``PGD(severity=0.1, steps=50, restarts=5)``. It
    becomes part of the name, so that its rows stand beside the usual ones.

    Raises ConfigError, when made, for an eps that is not a positive number, and for a keyword that
    is none of ``efforts`` or no whole number from 1.
    """

    scope: ClassVar[Scope] = "own"
    ball: type[Ball] = Linf
    """Where an example may be moved."""
    usual: ClassVar[tuple[float, ...]] = (0.03, 0.1)
    """Eps where none is asked for; the first is that of an instance without a severity."""
    gradients: bool | None = True
    """Whether it needs those of the model."""
    padding: ClassVar[bool] = False
    """Whether steps that a mask declares padding are moved, too."""
    efforts: ClassVar[tuple[str, ...]] = ()
    """Options that say how hard it tries: whole numbers from 1."""

    def __init__(
        self, name: str | None = None, severity: float | None = None, **efforts: int
    ) -> None:
        if severity is not None and not is_positive(severity):
            raise ConfigError(
                f"severity of {self.kind}",
                f"is {severity!r}",
                f"give an eps above 0, such as {self.kind}@{self.usual[0]:g}",
            )
        for option, number in efforts.items():
            if option not in self.efforts:
                fix = f"give {' or '.join(self.efforts) or 'nothing else'}"
                raise ConfigError(f"{option} of {self.kind}", "is no option of it", fix)
            if type(number) is not int or number < 1:
                problem = f"is {number!r}"
                raise ConfigError(f"{option} of {self.kind}", problem, "give a whole number from 1")
            setattr(self, option, number)
        said = ",".join(f"{option}={efforts[option]}" for option in sorted(efforts))
        super().__init__(name or said or None, severity)

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Whether such rows can be attacked."""
        return cls.movable(data.inputs)

    @classmethod
    def movable(cls, x: Tensor) -> bool:
        """Whether inputs of such a type can be moved a little."""
        return x.is_floating_point()

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Self]:
        """What a cell that names the attack means: the usual eps, or the one that it says."""
        if not cls.applies(data):
            return ()
        return [cls(severity=s) for s in (cls.usual if severity is None else (severity,))]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the unit of eps, and all models, of which a check may ask for another one."""
        self._bounds = data.bounds
        self._unit = eps_unit(data)
        self.subjects = subjects

    def given(self, role: Role) -> list[Model]:
        """The models of one role that the audit was given."""
        return [m for m in self.subjects if m.role == role]

    def but(self, **options: Any) -> Self:
        """The same attack, fitted where this one is, with other values of its attributes."""
        out = copy.copy(self)
        vars(out).update(options)
        return out

    def batch(self, model: Answering, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The worst inputs found within eps and the bounds.

        Raises DataError without the targets that it needs and for integer inputs, SubjectError for
        a model without the gradients that it needs.
        """
        self._check(model, x, y)
        # Under inference mode enable_grad alone has no effect, and tensors made there take no part
        # in a gradient, hence the copies.
        with torch.inference_mode(False), torch.no_grad():
            x = x.detach().clone()
            ball = self.around(model, x)
            seen = self.seen(model)
            outputs = seen.logits(x).float()
            y = None if y is None else y.detach().clone()
            return self.worst(seen, ball, x.dtype, outputs, y, rng)

    def worst(
        self,
        seen: Searched,
        ball: Ball,
        dtype: torch.dtype,
        outputs: Tensor,
        y: Tensor | None,
        rng: torch.Generator,
    ) -> Tensor:
        """The worst points found in the ball, of the type ``dtype``; the budget is checked."""
        search = Search(seen, ball, dtype, outputs, self.goal(outputs, y))
        self.search(search, outputs, y, rng)
        found = search.found.to(dtype)
        kept = ball.holds(found, dtype)
        if not bool(kept.all()):
            raise AssertionError(f"{self.key} left eps or bounds in {int((~kept).sum())} rows")
        return found

    def seen(self, model: Answering) -> Searched:
        """What the search reads of a model: its outputs, unless a subclass knows better."""
        return model

    @property
    def eps(self) -> float:
        """The radius: the severity, or the first usual one."""
        return float(self.usual[0] if self.severity is None else self.severity)

    @abstractmethod
    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """What is wanted, given the model's outputs on the clean rows and the targets."""

    @abstractmethod
    def search(
        self, search: Search, outputs: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> None:
        """Look for the worst points, all draws being made for the whole block."""

    def _check(self, model: Answering, x: Tensor, y: Tensor | None) -> None:
        if not self.movable(x):
            fix = "leave it out, or give real numbers such as embeddings"
            raise DataError("inputs", f"are {x.dtype}, which {self.key} cannot move a little", fix)
        if self.gradients and not model.gradients:
            raise SubjectError("model", "gives no gradients", f"leave {self.kind} out for it")

    def around(self, model: Answering, x: Tensor) -> Ball:
        """Where the (b, ...) rows of the model's current block may be moved."""
        unit = counted(self._unit, x, None if self.padding else _mask(model))
        centre = x.to(torch.promote_types(x.dtype, torch.float32))
        return self.ball(centre, unit, self.eps, self._bounds)


def _mask(model: Answering) -> Tensor | None:
    """(b, length) true where a step of the current block counts."""
    members = getattr(model, "members", None) or [model]
    mask: Tensor | None = getattr(members[0], "mask", None)
    return mask


class GradientAttack(Attack):
    """Base: runs up the gradients of some losses, each from a start of its own."""

    efforts: ClassVar[tuple[str, ...]] = ("steps", "restarts")
    steps: int = 20
    """Steps of each run."""
    rate: ClassVar[float] = 2.5
    """Length of all steps together, in eps; 0: steps whose size each example finds (APGD)."""
    restarts: int = 1
    """Runs of each loss."""
    random_start: ClassVar[bool] = True
    """Whether a run starts anywhere in the ball; else at the clean point."""

    def runs(self, goal: Goal, outputs: Tensor) -> Iterator[Run]:
        """What is climbed, in this order; the goal itself unless a subclass knows better."""
        yield goal.damage, goal.aims

    def start_at(self, ball: Ball, number: int, rng: torch.Generator) -> Tensor:
        """(b, ...) where the runs of a restart begin."""
        return ball.start(rng) if self.random_start else ball.centre

    def schedule(self) -> Schedule:
        """That of one run."""
        return (
            FixedStep(self.steps, self.rate / self.steps) if self.rate else AdaptiveStep(self.steps)
        )

    def search(
        self, search: Search, outputs: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> None:
        """All runs, until nothing is left to do."""
        for number in range(self.restarts):
            for loss, aims in self.runs(search.goal, outputs):
                start = self.start_at(search.ball, number, rng)
                if not search.climb(loss, aims, start, self.schedule()):
                    return


class Misleading(Attack):
    """Base: attacks on the class of an example; integer classes only.

    An example that is broken leaves the batch; of all points seen (the clean one, too) the one with
    the smallest margin is kept.
    """

    tasks = ("classification",)

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Real inputs with one integer class each."""
        y = data.targets
        classes = y is not None and y.ndim == 1 and y.dtype.kind in "iu"
        return super().applies(data) and bool(classes)

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """A negative margin."""
        assert y is not None
        return Goal(losses.deficit, (y.long(),), breaks=True)

    def _check(self, model: Answering, x: Tensor, y: Tensor | None) -> None:
        if y is None:
            raise DataError("targets", f"are missing, and {self.key} needs them", "give classes")
        super()._check(model, x, y)


class MisleadingGradient(Misleading, GradientAttack):
    """Base: the worst case over several losses, each with a run of its own."""

    losses: ClassVar[Mapping[str, losses.Loss]] = losses.LOSSES
    """What is climbed, in this order."""

    def runs(self, goal: Goal, outputs: Tensor) -> Iterator[Run]:
        """One for each loss."""
        for loss in self.losses.values():
            yield loss, goal.aims
