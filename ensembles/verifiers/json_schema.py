"""A verifier of structure: is a candidate JSON that satisfies a JSON Schema?"""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ringtest.ensembles.verifiers.verify import of_item
from ringtest.errors import ConfigError, DataError

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)
_MAX_DIGITS = 300
"""Digits of a whole number: more than a double's range makes validators overflow."""


@dataclass(frozen=True, kw_only=True)
class JsonSchema:
    """1 where a candidate is JSON that its schema accepts, else 0. Needs ``jsonschema``.

    Stricter than Python's own reader: NaN and infinities, numbers beyond a double's range and
    keys that occur twice are refused, since other readers disagree about them; so is what is too
    long or too deep. A schema may point into itself; nothing is fetched from elsewhere. ``format``
    is not checked. A ``pattern`` of the schema is run on the candidate's text, so write none that
    backtracks without end.
    """

    schema: Any = None
    """One schema for all items, a dict or bool; None: each item's own."""
    key: str = "schema"
    """Key of an item under which its schema stands; an item that is no mapping of such a key is
    an error."""
    max_chars: int = 20_000
    """Longest candidate. Some checks, such as ``uniqueItems``, take the square of its length."""
    max_depth: int = 64
    fenced: bool = False
    """Whether a candidate may stand in one Markdown code fence."""
    _made: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises ConfigError where jsonschema is missing, DataError for a bad schema."""
        for name in ("max_chars", "max_depth"):
            if getattr(self, name) < 1:
                raise ConfigError(name, f"is {getattr(self, name)}", "give a whole number from 1")
        _library("jsonschema")
        if self.schema is not None:
            object.__setattr__(self, "_made", _validator(self.schema, "schema"))

    def __call__(self, item: Any, candidate: str) -> float:
        """1 or 0. Raises DataError for an item without a schema, or with a bad one."""
        if not isinstance(candidate, str):
            raise DataError("candidate", f"is {type(candidate).__name__}", "give text")
        validator = self._made
        if validator is None:
            validator = _validator(of_item(item, self.key), self.key)
        if self.fenced and (inside := _FENCE.fullmatch(candidate[: self.max_chars + 100])):
            candidate = inside.group(1)
        if len(candidate) > self.max_chars or _depth(candidate) > self.max_depth:
            return 0.0
        try:
            found = json.loads(
                candidate,
                object_pairs_hook=_without_repeats,
                parse_constant=_no_constant,
                parse_float=_finite,
                parse_int=_whole,
            )
        except (ValueError, RecursionError):
            return 0.0
        try:
            return float(next(validator.iter_errors(found), None) is None)
        except Exception as error:
            # Such as a reference to a schema that is not there: the schema's fault.
            raise DataError(
                self.key, f"cannot be applied: {type(error).__name__}: {error}", "mend the schema"
            ) from error


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            "JsonSchema",
            f"needs {name}, which is not installed",
            "pip install 'ringtest[verifiers]'",
        ) from None


def _validator(schema: Any, key: str) -> Any:
    if not isinstance(schema, dict | bool):
        raise DataError(key, f"is {type(schema).__name__}", "give a JSON Schema as a dict")
    jsonschema = _library("jsonschema")
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise DataError(key, f"is no JSON Schema: {error.message}", "mend it") from error
    # An empty registry: left to its default, jsonschema fetches a $ref over the network.
    return kind(schema, registry=_library("referencing.jsonschema").EMPTY_REGISTRY)


def _depth(text: str) -> int:
    """How deep brackets nest, counted before anything recursive reads them."""
    codes = np.frombuffer(_STRING.sub("", text).encode("utf-8", "replace"), np.uint8)
    steps = np.isin(codes, list(b"[{")).astype(np.int64) - np.isin(codes, list(b"]}"))
    return int(np.cumsum(steps).max(initial=0))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not np.isfinite(number):
        raise ValueError("the number is out of range")
    return number


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("the number is out of range")
    return int(text)
