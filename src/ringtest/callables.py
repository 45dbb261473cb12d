"""Callables of the user's that change inputs: given private random numbers, and checked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ringtest.blocks import derive, seed_from
from ringtest.errors import DataError, RingtestError


@contextmanager
def seeded(rng: torch.Generator, device: torch.device) -> Iterator[None]:
    """The global random states of torch, numpy and Python, set by a generator and then put back.

    A callable that draws from them sees the block's seed, the same for every model.
    """
    seed = seed_from(rng)
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 - put back
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            seed_all(seed)
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002 - see above
        random.setstate(python_state)


def seed_all(seed: int) -> None:
    """Seed the global random states; for use within :func:`seeded`, which puts them back."""
    if _accelerated():
        torch.manual_seed(seed)
    else:
        # torch.manual_seed formats the stack for each kind of accelerator that might yet be found,
        # which takes longer than a row.
        torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - it is the user's callable that draws
    random.seed(seed)


@cache
def _accelerated() -> bool:
    """Whether anything but the processor could draw."""
    parts = (torch.cuda, torch.backends.mps, torch.xpu, torch.mtia)
    return any(part.is_available() for part in parts)


@contextmanager
def without_gradients(model: object) -> Iterator[None]:
    """Parameters of a model begin with no gradient of their own, and get back what they had.

    A callable that calls ``backward()`` leaves gradients on whatever has taken part.
    """
    module = getattr(model, "module", None)
    found = [] if module is None else [(p, p.grad) for p in module.parameters()]
    try:
        for parameter, _ in found:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in found:
            parameter.grad = gradient


def row_by_row(call: Callable[[Tensor], Any], x: Tensor, field: str) -> Tensor:
    """(b, ...) what a callable makes of each row, with draws of its own; within :func:`seeded`.

    What a row is given depends on its place in the block alone: not on what the callable drew for
    the rows before it. Raises DataError, naming ``field``, for a row of another shape or type.
    """
    block, out = torch.initial_seed(), []
    for i, row in enumerate(x):
        seed_all(derive(block, i))
        out.append(_placed(call(row), row, field, "a row"))
    return torch.stack(out)


def changed(call: Callable[[Tensor], Any], x: Tensor, rng: torch.Generator, field: str) -> Tensor:
    """What a callable makes of a copy of the (b, ...) inputs: it may work in place.

    Raises DataError, naming ``field``, if it fails, changes the shape, turns floats to tokens or
    back, or gives NaN or infinity.
    """
    with seeded(rng, x.device):
        try:
            found = call(x.clone())
        except RingtestError:
            raise
        except Exception as error:
            raise DataError(field, f"raised {type(error).__name__}: {error}", "mend it") from error
    return same_form(found, x, field)


def same_form(found: object, x: Tensor, field: str) -> Tensor:
    """What was made of (b, ...) inputs, in their type and place.

    Raises DataError, naming ``field``, for another shape, floats in place of tokens or the other
    way round, and NaN or infinity.
    """
    placed = _placed(found, x, field, "inputs")
    # Asked of what models are shown: a double can be too large for the inputs' own floats.
    if placed.is_floating_point() and not bool(placed.isfinite().all()):
        rows = int((~placed.isfinite()).reshape(len(placed), -1).any(dim=1).sum())
        raise DataError(field, f"gave NaN or infinity in {rows} rows", "mend it")
    return placed


def _placed(found: object, x: Tensor, field: str, what: str) -> Tensor:
    """What was given in the place of ``x``, where it has its shape and is of its sort."""
    if not isinstance(found, Tensor) or found.shape != x.shape:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise DataError(field, f"gave {got} for {what} of shape {tuple(x.shape)}", "keep the shape")
    if found.is_floating_point() != x.is_floating_point() or found.is_complex() != x.is_complex():
        raise DataError(field, f"turned {x.dtype} into {found.dtype}", "keep the type")
    placed = found.detach().to(x.device, x.dtype)
    if not placed.is_floating_point() and not torch.equal(
        placed.to(found.device, found.dtype), found
    ):
        raise DataError(field, f"gave numbers that {x.dtype} does not hold", "keep the type")
    return placed
