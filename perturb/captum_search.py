"""The smallest parameter that breaks each example: captum's ``MinParamPerturbation``, by example.

Captum's own ``evaluate`` gives one value a batch: the first that breaks any of its examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ringtest import blocks
from ringtest.callables import same_form, seeded
from ringtest.condition import condition
from ringtest.errors import ConfigError
from ringtest.perturb.callables import Against
from ringtest.perturb.captum_robust import disarmed, is_attack, quiet

if TYPE_CHECKING:
    from ringtest.model import Model

ForwardRows = Callable[[Tensor, Tensor], Tensor]
"""(m, ...) inputs, and (m,) which rows of the block they are -> (m, classes) outputs."""


@dataclass(frozen=True)
class Found:
    """What a search found for each of b examples."""

    values: Tensor
    """(b,) float64 smallest parameter that breaks it; NaN where none does."""
    inputs: Tensor
    """(b, ...) the example at that parameter; where none breaks it, at the last one tried."""


def smallest(
    search: Any, forward: ForwardRows, x: Tensor, y: Tensor, options: dict[str, Any] | None = None
) -> Found:
    """The smallest parameter of captum's grid that breaks each example.

    A model is asked, for each parameter, of the examples that still need it; what is drawn for an
    example depends on the parameter and the attempt alone, not on the model. With mode
    ``linear`` that is every parameter from the smallest on, with ``binary`` the halving of the
    grid, which is right if whatever breaks an example keeps it broken further on.

    Args:
        search: ``captum.robust.MinParamPerturbation``; its model is replaced by ``forward``.
        forward: the model.
        x: (b, ...) inputs.
        y: (b,) classes; also the ``target`` of FGSM and PGD.
        options: further arguments of the attack, captum's ``attack_kwargs``.

    Raises ConfigError for a ``preproc_fn``, which belongs into the model, and steps that lead
    nowhere; DataError for an attack that changes shape or type, or gives NaN or infinity.
    """
    if search.preproc_fn is not None:
        raise ConfigError("preproc_fn", "is given", "give a model that does it by itself")
    if not search.arg_step > 0:  # captum would go on for ever
        raise ConfigError("arg_step", f"is {search.arg_step!r}", "give a number above 0")
    trial = _Trial(search, forward, x, y, options or {})
    everyone = torch.arange(len(x), device=x.device)
    walk = _linear if search.mode.name == "LINEAR" else _binary
    with quiet():
        walk(trial, everyone, len(trial.grid))
    return Found(trial.values, trial.inputs)


@condition
class Smallest(Against):
    """Each example at the smallest parameter that breaks it: ``attack.captum_smallest.NAME``.

    ``Smallest(MinParamPerturbation(net, rotate, "angle", 0, 30, 1), "turn")``, handed to
    ``audit(..., conditions=[...])``, searches for each model by itself. What no parameter breaks is
    shown at the last one tried, so the score is the share that no parameter of the range breaks.
    The parameters themselves come from :func:`smallest`. Classification with integer classes only.

    Args:
        function: ``captum.robust.MinParamPerturbation``, of any attack; FGSM and PGD are disarmed
            as in ``attack.captum``, but keep the bounds and units that they have.
        name: completes the id.
        severity: none; the range is that of the search.
        options: further arguments of the attack.
    """

    kind = "attack.captum_smallest"
    about = "each example at the smallest parameter of a captum search that breaks the model"
    source = "captum.robust.MinParamPerturbation, https://captum.ai"
    tasks = ("classification",)

    def __init__(
        self, function: Any, name: str | None = None, severity: float | None = None, **options: Any
    ) -> None:
        if not hasattr(function, "arg_name"):
            fix = "give a captum.robust.MinParamPerturbation"
            raise ConfigError("search", f"is {type(function).__name__}", fix)
        if severity is not None:
            raise ConfigError(
                "severity", f"is {severity!r}", "leave it out: the search has a range"
            )
        super().__init__(function.evaluate, function.arg_name if name is None else name)
        self.options, self.search = options, function
        self.gradients = is_attack(function.attack)

    def against(self, model: Model, x: Tensor, y: Tensor, rng: torch.Generator) -> Tensor:
        """Where the search ends for each example."""

        def inside(z: Tensor, rows: Tensor) -> Tensor:
            # What is shown in the end lies within the bounds: what breaks a model has to, too.
            return model.logits(self._inside(z), rows)

        return smallest(self.search, inside, x, y.long(), self.options).inputs


class _Trial:
    """What is known of each example, parameter by parameter."""

    def __init__(
        self, search: Any, forward: ForwardRows, x: Tensor, y: Tensor, options: dict[str, Any]
    ) -> None:
        self._search, self._forward, self._options = search, forward, options
        self._x, self._y = x, y
        self.grid = list(_grid(search))
        self.values = torch.full((len(x),), math.nan, dtype=torch.float64, device=x.device)
        self.inputs = x.clone()
        self._seed = blocks.seed_from(torch.default_generator)

    def broken(self, rows: Tensor, number: int) -> Tensor:
        """(m,) which of some examples a parameter breaks, in any attempt."""
        found = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for attempt in range(self._search.num_attempts):
            left = (~found).nonzero()[:, 0]
            if not len(left):
                break
            some = rows[left]
            changed = self._attacked(some, number, attempt)
            with torch.no_grad():
                wrong = ~self._right(self._forward(changed, some), self._y[some])
            known = ~self.values[some].isnan()
            kept = wrong | ~known
            self.inputs[some[kept]] = changed[kept]
            self.values[some[wrong]] = float(self.grid[number])
            found[left] = wrong
        return found

    def _attacked(self, rows: Tensor, number: int, attempt: int) -> Tensor:
        """(m, ...) some examples as an attempt changes them, whatever else was tried before."""
        attack, given = self._search.attack, dict(self._options)
        given[self._search.arg_name] = self.grid[number]
        rng = blocks.generator(self._seed, number, attempt)
        with seeded(rng, self._x.device):
            if not is_attack(attack):
                # All of them, so that no draw depends on which are left: no model is run for it.
                return same_form(attack(self._x.clone(), **given), self._x, "attack")[rows]
            norm = given.get("norm", "Linf")
            attack = disarmed(attack, lambda z: self._forward(z, rows), norm=norm)
            if hasattr(attack, "fgsm"):
                attack._random_point = self._start(attack._random_point, rows)
            given.setdefault("target", self._y[rows])
            return same_form(attack.perturb(self._x[rows], **given), self._x[rows], "attack")

    def _start(self, point: Callable[..., Tensor], rows: Tensor) -> Callable[..., Tensor]:
        """Random starts of some examples, drawn for all of them."""

        def start(centre: Tensor, radius: float, norm: str, mask: Any) -> Tensor:
            drawn: Tensor = point(torch.zeros_like(self._x), radius, norm, 1)[rows] * mask
            return centre + drawn

        return start

    def _right(self, outputs: Tensor, y: Tensor) -> Tensor:
        says = self._search.correct_fn
        if getattr(says, "__module__", "").startswith("captum."):  # its default
            return outputs.argmax(1) == y
        # Captum asks it for one answer a batch: here each example is a batch.
        answers = [bool(says(o[None], target=t[None])) for o, t in zip(outputs, y, strict=True)]
        return torch.tensor(answers, device=outputs.device)


def _grid(search: Any) -> Iterator[float]:
    """As captum makes it: steps are added up, and the end is not in it."""
    value = search.arg_min
    while value < search.arg_max:
        yield value
        value += search.arg_step


def _linear(trial: _Trial, rows: Tensor, count: int) -> None:
    for number in range(count):
        rows = rows[~trial.broken(rows, number)]
        if not len(rows):
            return


def _binary(trial: _Trial, rows: Tensor, count: int) -> None:
    """Each parameter is tried at most once, on the examples whose halving leads there."""
    waiting = [(rows, 0, count)]
    while waiting:
        rows, low, high = waiting.pop()
        if low == high or not len(rows):
            continue
        middle = (low + high) // 2
        broken = trial.broken(rows, middle)
        waiting += [(rows[broken], low, middle), (rows[~broken], middle + 1, high)]
