"""Captum's ``AttackComparator``: its attacks as conditions, and its averages over all rows.

Captum's own ``summary()`` averages the means of batches: a short last batch weighs too much.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from torch import Tensor

from ringtest.condition import Condition
from ringtest.errors import ConfigError
from ringtest.perturb.callables import Against, Changed
from ringtest.perturb.captum_robust import disarmed, is_attack, quiet

_WITHOUT: Final = "Original"
"""What captum calls the rows as they are."""


def conditions_of(comparator: Any) -> list[Condition]:
    """A condition for each attack of a comparator, for ``audit(..., conditions=...)``.

    FGSM and PGD attack each model by itself, disarmed as in ``attack.captum`` but with the bounds
    and units that they have (``attack.callable.NAME``); all others change inputs for all models
    alike (``perturb.callable.NAME``). Of an attack with several attempts each is one: ``NAME.1``.

    Raises ConfigError for a ``preproc_fn``, which belongs into the model, and for an attack that
    asks for more than the targets.
    """
    _check(comparator)
    out: list[Condition] = []
    for name, info in comparator.attacks.items():
        wanted = [
            a for a in info.additional_args if not (a == "target" and is_attack(info.attack_fn))
        ]
        if wanted:
            fix = "give ringtest.perturb.callables.Against in its place"
            raise ConfigError(f"attack {name!r}", f"asks for {wanted[0]!r}", fix)
        make = _own if is_attack(info.attack_fn) else _shared
        several = info.num_attempts > 1
        names = [f"{name}.{i + 1}" if several else name for i in range(info.num_attempts)]
        out += [make(info, each) for each in names]
    return out


def _own(info: Any, name: str) -> Condition:
    def attack(forward: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
        with quiet():
            found: Tensor = _disarmed(info, forward).perturb(
                x, **{"target": y, **info.attack_kwargs}
            )
        return found

    return Against(attack, name)


def _disarmed(info: Any, forward: Callable[[Tensor], Tensor]) -> Any:
    return disarmed(info.attack_fn, forward, norm=info.attack_kwargs.get("norm", "Linf"))


def _shared(info: Any, name: str) -> Condition:
    return Changed(lambda x: info.attack_fn(x, **info.attack_kwargs), name)


def compared(
    comparator: Any,
    forward: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Mapping[str, Any]]],
) -> dict[str, dict[str, Any]]:
    """The comparator's ``summary()``, each row weighing the same whatever the batches.

    Args:
        comparator: ``captum.robust.AttackComparator``; it is left as it is. Its model is replaced
            by ``forward``, and FGSM and PGD are disarmed.
        forward: (b, ...) inputs -> outputs, such as ``model.logits``.
        batches: inputs, and what ``evaluate`` takes by keyword, as the metric and attacks need it.

    Returns:
        Attack -> {"mean": value}, and with several attempts "min" and "max", too; ``Original`` is
        without an attack. Metrics may be a float or (b,) tensor, or a tuple of them.

    Raises ConfigError for a ``preproc_fn``, and without any batch.
    """
    _check(comparator)
    made = copy.copy(comparator)
    made.forward_func, made.summary_results = forward, {}
    made.attacks = {
        name: info._replace(attack_fn=_disarmed(info, forward))
        if is_attack(info.attack_fn)
        else info
        for name, info in comparator.attacks.items()
    }
    total, rows = None, 0
    for x, given in batches:
        with quiet():
            results = made.evaluate(x, **given)
        results[_WITHOUT] = {"mean": results[_WITHOUT]}
        sums = {k: {s: _sum(v, len(x)) for s, v in r.items()} for k, r in results.items()}
        total = sums if total is None else _map(lambda a, b: a + b, total, sums)
        rows += len(x)
    if total is None or not rows:
        raise ConfigError("batches", "hold no rows", "give at least one")
    means: dict[str, dict[str, Any]] = _map(lambda a: a / rows, total)
    return means


def _sum(value: Any, rows: int) -> Any:
    """Sum of a metric over the rows of a batch: of one value a row, or of one for all of them."""
    if isinstance(value, tuple):
        return _like(value, [_sum(v, rows) for v in value])
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value * rows
    if len(value) not in (1, rows):
        raise ConfigError("metric", f"gave {len(value)} values for {rows} rows", "give one a row")
    # With its graph, the memory would grow with the batches.
    return value.detach().double().sum(0) * (rows if len(value) == 1 else 1)


def _map(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """Apply a function to what dicts and tuples of one form hold."""
    if isinstance(first, dict):
        return {k: _map(function, v, *(o[k] for o in others)) for k, v in first.items()}
    if isinstance(first, tuple):
        return _like(first, [_map(function, *each) for each in zip(first, *others, strict=True)])
    return function(first, *others)


def _like(value: tuple[Any, ...], items: list[Any]) -> tuple[Any, ...]:
    made: Any = type(value)
    found: tuple[Any, ...] = made._make(items) if hasattr(value, "_make") else made(items)
    return found


def _check(comparator: Any) -> None:
    if not hasattr(comparator, "attacks"):
        fix = "give a captum.robust.AttackComparator"
        raise ConfigError("comparator", f"is {type(comparator).__name__}", fix)
    if comparator.preproc_fn is not None:
        raise ConfigError("preproc_fn", "is given", "give a model that does it by itself")
