"""What an object or a class holds, told so that another value is never taken for it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from functools import cached_property
from types import FunctionType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from ringtest.cells.versions import Versions, digest

_PLAIN: Final = (bool, int, float, str, bytes, type(None))
_KNOWN: Final = ("builtins", "numpy", "torch")
"""Packages whose version is in every key."""


def of_class(cls: type, versions: Versions) -> str | None:
    """What a class holds besides its code, or None if some of it cannot be told."""
    static = {k: inspect.getattr_static(cls, k) for k in dir(cls) if not k.startswith("__")}
    held = {k: v for k, v in static.items() if not _is_code(v) and k != "_abc_impl"}
    return told(held, versions)


def told(value: Any, versions: Versions) -> str | None:
    """A text that no other value has, or None if there is none.

    Args:
        value: plain values, tensors and arrays, classes, functions of ringtest's, and mappings,
            sequences, sets and dataclasses of them.
        versions: those of the code behind classes.
    """
    if type(value) in _PLAIN:
        return repr(value)
    if isinstance(value, type):
        return _of_type(value, versions)
    if isinstance(value, FunctionType):
        return _of_function(value)
    if type(value) in (Tensor, nn.Parameter):
        return _of_tensor(value)
    if type(value) is np.ndarray or isinstance(value, np.generic):
        return _of_array(np.asarray(value))
    if dataclasses.is_dataclass(value) and hasattr(value, "__dict__"):
        return _of_all([type(value), vars(value)], versions)
    if type(value) is dict:
        return _of_all([dict, *value.items()], versions)
    if type(value) in (tuple, list):
        return _of_all([type(value), *value], versions)
    if type(value) in (set, frozenset):
        found = [told(v, versions) for v in value]
        # Their order differs from process to process.
        return None if None in found else f"{type(value).__name__} {sorted(map(str, found))}"
    return None


def _of_all(parts: Iterable[Any], versions: Versions) -> str | None:
    found: list[str] = []
    for part in parts:
        text = told(part, versions)
        if text is None:
            return None
        found.append(text)
    return f"[{', '.join(found)}]"


def _of_type(cls: type, versions: Versions) -> str | None:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if cls.__module__.partition(".")[0] in _KNOWN:
        return name
    code = versions.of_class(cls)
    return None if code is None else f"{name} {code}"


def _of_function(function: FunctionType) -> str | None:
    """Its name, if it is one of ours: what others call by name cannot be told."""
    name = f"{function.__module__}.{function.__qualname__}"
    return name if name.startswith("ringtest.") and "<" not in name else None


def _of_tensor(value: Tensor) -> str | None:
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return None
    plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = plain.view(torch.uint8).numpy().tobytes().hex()
    return f"{value.dtype} {tuple(value.shape)} {value.device} {digest([data])}"


def _of_array(value: np.ndarray[Any, Any]) -> str | None:
    if value.dtype.hasobject:
        return None
    return f"{value.dtype!r} {value.shape} {digest([value.tobytes().hex()])}"


def _is_code(value: Any) -> bool:
    """Whether it is a method or the like, which sources tell."""
    inner = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    return isinstance(inner, FunctionType | property | cached_property)
