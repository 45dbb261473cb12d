"""Weights that are held as a direction and a length: torch's ``weight_norm``, in both its forms."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.weight_norm import WeightNorm


def lengths(module: nn.Module) -> dict[str, str]:
    """Name of a parameter that is a direction -> name of the one that is its length."""
    held = dict(module.named_parameters())
    return {
        direction: length
        for path, part in module.named_modules()
        for stem, v, g in _pairs(part)
        if (direction := f"{path}.{stem}{v}".lstrip(".")) in held
        and (length := f"{path}.{stem}{g}".lstrip(".")) in held
    }


def _pairs(part: nn.Module) -> Iterator[tuple[str, str, str]]:
    """Stem of the names, and how they end, of what one module holds in this way."""
    for hook in part._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield hook.name, "_v", "_g"
    if is_parametrized(part):
        assert isinstance(part.parametrizations, nn.ModuleDict)
        for name, chain in part.parametrizations.items():
            # It comes first where there are several: no other takes two tensors.
            if isinstance(next(iter(chain.children())), _WeightNorm):
                yield f"parametrizations.{name}", ".original1", ".original0"


def joined(direction: Tensor, length: Tensor) -> Tensor:
    """The weight that they stand for."""
    return direction * (length / _norm(direction, length))


def split(weight: Tensor, direction: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Direction and length of another weight, held as the given ones are."""
    norm = _norm(weight, length)
    # A filter of zeros has no direction, and 0 / 0 is no weight.
    return torch.where(norm > 0, weight, direction), norm


def _norm(weight: Tensor, like: Tensor) -> Tensor:
    """Euclidean, over whatever one length stands for."""
    over = [i for i, size in enumerate(like.shape) if size == 1] or None
    found: Tensor = torch.linalg.vector_norm(weight, dim=over, keepdim=like.ndim > 0)
    return found
