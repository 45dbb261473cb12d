"""Attacks of ``captum.robust`` without its traps, as a condition.

As they come (captum 0.9.0): the loss is -log(output), which on logits is no loss at all; inputs
whose gradient is smaller than 1e-6 are left untouched; ``norm="L2"`` takes sign steps and projects
them, and its random start has the wrong shape; draws come from the global random state.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from torch import Tensor, nn

from ringtest import checked
from ringtest.callables import same_form, without_gradients
from ringtest.condition import condition
from ringtest.errors import ConfigError, close_to
from ringtest.perturb import losses
from ringtest.perturb.ascent import Answering, Left, Search
from ringtest.perturb.attack import Misleading
from ringtest.perturb.geometry import L2, Ball, Linf
from ringtest.perturb.scale import is_positive

if TYPE_CHECKING:
    from ringtest.data import AuditData

_BALLS: Final[dict[str, type[Linf | L2]]] = {"Linf": Linf, "L2": L2}
_OURS: Final = ("inputs", "epsilon", "radius", "target", "targeted", "mask")
"""Arguments of captum's that the condition fills in."""
STEPS: Final = 20
"""Of PGD, unless ``step_num`` says otherwise."""
RATE: Final = 2.5
"""Length of all its steps together in eps, unless ``step_size`` says otherwise."""


@condition
class Captum(Misleading):
    """An attack of ``captum.robust``, each model its own: ``attack.captum.NAME``.

    ``audit(..., conditions=[Captum(captum.robust.PGD, severity=0.03, norm="L2", step_num=40)])``.
    Severity is eps, in the units of ``attack.pgd``, and so is a ``step_size``. What captum demands
    is set: cross-entropy row by row unless a ``loss`` is given, no threshold on gradients, the
    data's bounds, steps along the gradient for L2, and a start that is the same for all models.
    Captum keeps the last iterate; here it is kept where it is worse than the clean point, and eps
    and bounds are checked. Classification with integer classes only.

    Args:
        attack: ``FGSM``, ``PGD``, a subclass, or an instance, whose model is replaced.
        name: completes the id; None: the class in small letters.
        severity: eps.
        loss: (b, classes) logits and (b,) classes -> (b,) losses; larger is worse.
        options: arguments of ``perturb``, such as ``norm``, ``step_num`` and ``random_start``.

    Raises ConfigError for what is no such attack, options that are set by the condition, that
    ``perturb`` does not know or that mean nothing, and a loss that does not give one value a row.
    """

    kind = "attack.captum"
    about = "FGSM or PGD of captum.robust, its traps disarmed"
    source = "captum.robust, https://captum.ai"

    def __init__(
        self,
        attack: Any,
        name: str | None = None,
        severity: float | None = None,
        loss: losses.Loss | None = None,
        **options: Any,
    ) -> None:
        super().__init__(_name(attack) if name is None else name, severity)
        if taken := sorted(set(options) & set(_OURS)):
            raise ConfigError(f"{self.kind}.{taken[0]}", "is set by the condition", "leave it out")
        norm = options.get("norm", "Linf")
        if norm not in _BALLS:
            raise ConfigError(f"{self.kind}.norm", f"is {norm!r}", "give Linf or L2")
        _check(attack, options, self.kind)
        self.attack, self.loss, self.options = attack, loss, options
        self.ball = _BALLS[norm]

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Self]:  # noqa: ARG003
        """None: it is made of an object that no cell can name."""
        return ()

    def batch(self, model: Answering, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The worst inputs found; a loss or an attack of the user's may call ``backward()``."""
        with without_gradients(model):
            return super().batch(model, x, y, rng)

    def search(
        self, search: Search, outputs: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> None:
        """One run, against the examples that are right as they are."""
        start = search.ball.start(rng)
        left = search.left(start)
        if left is None:
            return
        assert y is not None
        (start, y) = left.part((start, y.long()))
        found = _within(self.attack, left, start, y, self.loss, self.options)
        left.record(found, left.damage(left.outputs(found)))
        left.close()


def _check(attack: Any, options: dict[str, Any], kind: str) -> None:
    """ConfigError for options that this attack would fail by, or heed in no way."""
    given = dict(options)
    if not hasattr(attack, "perturb"):
        return  # told in whole where it is run
    known = inspect.signature(attack.perturb).parameters
    if "norm" not in known and given.pop("norm", "Linf") != "Linf":
        fix = "give PGD, or leave the norm out"
        raise ConfigError(f"{kind}.norm", f"is L2, and {_name(attack)} moves in Linf only", fix)
    free = any(p.kind is p.VAR_KEYWORD for p in known.values())
    if unknown := [name for name in given if name not in known and not free]:
        fix = close_to(unknown[0], [name for name in known if name not in ("self", *_OURS)])
        raise ConfigError(f"{kind}.{unknown[0]}", f"is no option of {_name(attack)}", fix)
    if "step_num" in given:
        checked.count(f"{kind}.step_num", given["step_num"], 1)
    if "step_size" in given and not is_positive(given["step_size"]):
        raise ConfigError(
            f"{kind}.step_size", f"is {given['step_size']!r}", "give a positive number"
        )


def _within(
    attack: Any,
    left: Left,
    start: Tensor,
    y: Tensor,
    loss: losses.Loss | None,
    options: dict[str, Any],
) -> Tensor:
    """(m, ...) where captum ends, run in units of eps: there one number is the radius of all."""
    ball = left.ball
    free = (ball.unit > 0).to(ball.centre)
    unit = torch.where(ball.unit > 0, ball.unit, 1.0)
    made = disarmed(attack, lambda z: left.outputs(z * unit), loss)
    made.bound = lambda z: ball.box(z * unit) / unit
    centre, mask = ball.centre / unit, free.expand_as(ball.centre)
    if hasattr(made, "fgsm"):
        made._random_point = lambda *_: start / unit
        if isinstance(ball, L2):
            made.fgsm._perturb = _along(ball, unit)
        given = {"step_num": STEPS, "random_start": True, **options}
        given.setdefault("step_size", RATE / given["step_num"] * ball.eps)
        given["radius"] = ball.eps
    else:
        given = {k: v for k, v in options.items() if k != "norm"} | {"epsilon": ball.eps}
    with quiet():
        found = made.perturb(centre, target=y, mask=mask, **given)
    return ball.box(same_form(found, centre, f"attack {_name(attack)}") * unit)


def _along(ball: Ball, unit: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """Steps of a length along the gradient, in place of captum's signs."""

    def step(
        inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...], size: float, *_: Any
    ) -> tuple[Tensor, ...]:
        return tuple(
            z + size * ball.steepest(z, grad / unit) for z, grad in zip(inputs, grads, strict=True)
        )

    return step


def disarmed(
    attack: Any, forward: Callable[[Tensor], Tensor], loss: Any = None, norm: str = "Linf"
) -> Any:
    """A copy of an attack of captum's for one model, its loss row by row and without a threshold.

    Args:
        attack: FGSM or PGD of ``captum.robust``: a class, or an instance, whose bounds are kept.
        forward: (b, ...) inputs -> (b, classes) logits.
        loss: in place of the attack's own; None: its own, or if it has none cross-entropy of
            classes and the squared error of values.
        norm: what ``perturb`` will be given; for L2, PGD starts in the ball and goes along the
            gradient.

    Raises ConfigError for anything else. The attack itself is left as it is.
    """
    if not is_attack(attack):
        fix = "give FGSM or PGD of captum.robust; others go into ringtest.perturb.callables"
        raise ConfigError("attack", f"is {_name(attack)}", fix)
    made = attack(forward) if isinstance(attack, type) else copy.copy(attack)
    made.forward_func = forward
    inner = made
    if hasattr(made, "fgsm"):
        inner = made.fgsm = copy.copy(made.fgsm)
        inner.forward_func = forward
    inner.loss_func = _by_row(loss or inner.loss_func or _usual)
    inner.zero_thresh = 0.0
    if norm == "L2" and inner is not made:
        inner._perturb, made._random_point = _euclidean_step, _euclidean_point
    return made


def _euclidean_step(
    inputs: tuple[Tensor, ...],
    grads: tuple[Tensor, ...],
    size: float,
    targeted: bool,
    masks: tuple[Any, ...],
) -> tuple[Tensor, ...]:
    """Steps of a length along the gradient, in place of captum's signs."""
    size = -size if targeted else size
    each = zip(inputs, grads, masks, strict=True)
    return tuple(z + size * _ball(z).steepest(z, grad * mask) for z, grad, mask in each)


def _euclidean_point(centre: Tensor, radius: float, _norm: str, mask: Any) -> Tensor:
    """A uniform point of each example's ball: captum's radii have the wrong shape."""
    offset = _ball(torch.zeros_like(centre), radius).start(torch.default_generator)
    point: Tensor = centre + offset * mask
    return point


def _ball(centre: Tensor, radius: float = 1.0) -> L2:
    """Within a radius of each example, in the units that the inputs have."""
    return L2(centre, torch.ones_like(centre[:1]), radius, None)


def is_attack(attack: Any) -> bool:
    """Whether it is FGSM or PGD of captum's, or made of them: what is attacked is a model."""
    from captum.robust import FGSM, PGD  # takes 2 s

    kind = attack if isinstance(attack, type) else type(attack)
    return issubclass(kind, FGSM | PGD)


@contextmanager
def quiet() -> Iterator[None]:
    """Without captum's warnings: it tells on every call that it does what it is for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input Tensor", UserWarning)
        yield


def _usual(outputs: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of classes, the squared error of values."""
    if not y.is_floating_point():
        return losses.cross_entropy(outputs, y)
    return (outputs - y.reshape(outputs.shape)).square().sum(1)


def _by_row(loss: Any) -> losses.Loss:
    torchs = isinstance(loss, nn.modules.loss._Loss)
    if torchs:
        loss = copy.copy(loss)
        loss.reduction = "none"

    def rows(outputs: Tensor, y: Tensor) -> Tensor:
        value = loss(outputs, y)
        if torchs and value.shape == outputs.shape:
            value = value.sum(1)  # of values, one for each column
        if not isinstance(value, Tensor) or value.shape != outputs.shape[:1]:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                "loss", f"gave {shape} for {len(outputs)} rows", "return one value a row"
            )
        return value

    return rows


def _name(attack: Any) -> str:
    kind = attack if isinstance(attack, type) else type(attack)
    return kind.__name__.lower()
