"""The ways in which a model may be named, and what goes with which. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ringtest.errors import ConfigError, close_to

WAYS: Final = ("load", "factory", "hf", "exported", "evidence")
DTYPES: Final = ("auto", "float32", "bfloat16", "float16")


def check(field: str, given: Mapping[str, Any]) -> str:
    """The one way that is used.

    Args:
        field: name for messages, such as ``student``.
        given: way -> value, with ``weights`` and ``dtype``; None where it was left out.

    Raises ConfigError unless one way is named, with weights for a factory alone, and a dtype for a
    checkpoint alone.
    """
    used = [w for w in ("model", *WAYS) if given.get(w) is not None]
    if len(used) != 1:
        raise ConfigError(
            field,
            f"names {' and '.join(used) or 'no model'}",
            'give one of load = "module:callable", factory with weights, hf, exported, evidence',
        )
    way = used[0]
    weights, dtype = given.get("weights"), given.get("dtype")
    if weights is not None and way != "factory":
        raise ConfigError(
            f"{field}.weights", f"goes with factory, not with {way}", "leave it out, or use factory"
        )
    if weights is None and way == "factory":
        raise ConfigError(
            f"{field}.weights", "is missing", 'add weights = "file.safetensors", or use load'
        )
    if dtype is not None and way != "hf":
        raise ConfigError(f"{field}.dtype", f"goes with hf, not with {way}", "leave it out")
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"{field}.dtype", f"is {dtype!r}", close_to(str(dtype), DTYPES))
    return way
