"""AuditData: the rows on which models are compared, and the checks that they have to pass."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ringtest import checks, margins
from ringtest.checks import Invariance, Modality
from ringtest.errors import DataError


@dataclass
class AuditData:
    """Rows, targets and what is known about them.

    Args:
        inputs: (n, ...) tensor or array, float or integer tokens.
        targets: (n,) int classes; (n,) or (n, k) float values; None for embedding models.
        groups: DataFrame or dict name -> (n,): domain, subgroup, source, time.
        concepts: dict name -> (n,): factors to decode besides the target.
        invariances: dict name -> callable(inputs) -> inputs that must not change the output.
        cluster: (n,) rows that are not independent share a value.
        bounds: (low, high) legal input range; None: no bounds, and eps is in units of each
            feature's standard deviation.
        unlabelled: dict name -> inputs from elsewhere, no targets needed.
        train: inputs (or AuditData) that the student was distilled on, for leakage checks.
        modality: ``image`` (n, channels, height, width), ``table`` (n, features), ``tokens``
            (n, length) integers, ``sequence`` (n, length, features); None: read off the shape.
        mask: (n, length) true where a token or step counts; layers are pooled over those alone.
        unit_ids: reserved for causal language models.

    Raises DataError, in one line, for whatever is not as it must be.
    """

    inputs: Tensor
    targets: Any = None
    groups: Any = None
    concepts: Any = None
    invariances: Mapping[str, Invariance] | None = None
    cluster: Any = None
    bounds: tuple[float, float] | None = None
    unlabelled: Mapping[str, Tensor] | None = None
    train: Any = None
    modality: Modality | None = None
    mask: Any = None
    unit_ids: Any = None
    warnings: list[str] = field(default_factory=list, init=False)
    """What the checks noticed without refusing it."""

    def __post_init__(self) -> None:
        """Check everything that can be checked without a model."""
        self.inputs = checks.inputs("inputs", self.inputs)
        self.modality = checks.modality(self.inputs, self.modality)
        if self.targets is not None:
            self.targets = checks.column("targets", self.targets, self.n, wide=True)
        self.groups = checks.columns("groups", self.groups, self.n)
        self.concepts = checks.columns("concepts", self.concepts, self.n)
        self.invariances = checks.invariances(self.invariances, self.inputs)
        if self.cluster is not None:
            self.cluster = checks.codes(checks.column("cluster", self.cluster, self.n))
        self.bounds = checks.bounds(self.bounds, self.inputs)
        self.mask = checks.mask(self.mask, self.inputs)
        if self.unit_ids is not None:
            raise DataError("unit_ids", "come with causal-lm", "leave them out")
        self.unlabelled = self._unlabelled()
        if isinstance(self.train, AuditData):
            self.train = self.train.inputs
        if self.train is not None:
            self.train = checks.inputs("train", self.train)
        self._notice()

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.inputs.shape[0])

    @cached_property
    def duplicates(self) -> int:
        """Number of rows that repeat an earlier row exactly."""
        return self.n - int(checks.row_codes(self.inputs).max()) - 1

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything in the data that an audit reads."""
        digest = hashlib.sha256()
        for name, value in self._parts():
            digest.update(
                f"{name}:{getattr(value, 'dtype', '')}:{getattr(value, 'shape', '')}".encode()
            )
            digest.update(np.ascontiguousarray(value).tobytes())
        digest.update(repr((self.bounds, self.modality, sorted(self.invariances or {}))).encode())
        return digest.hexdigest()

    def _parts(self) -> list[tuple[str, NDArray[Any]]]:
        parts = [("inputs", checks.numpy(self.inputs))]
        if self.targets is not None:
            parts.append(("targets", self.targets))
        for kind, columns in (("group", self.groups), ("concept", self.concepts)):
            parts += [(f"{kind}.{k}", np.asarray(v, dtype=str)) for k, v in columns.items()]
        if self.cluster is not None:
            parts.append(("cluster", self.cluster))
        assert self.unlabelled is not None
        parts += [(f"unlabelled.{k}", checks.numpy(v)) for k, v in self.unlabelled.items()]
        if self.mask is not None:
            parts.append(("mask", self.mask.numpy()))
        if self.train is not None:
            parts.append(("train", checks.numpy(self.train)))
        return parts

    def _unlabelled(self) -> dict[str, Tensor]:
        if self.unlabelled is None:
            return {}
        if not isinstance(self.unlabelled, Mapping):
            raise DataError(
                "unlabelled", f"is a {type(self.unlabelled).__name__}", "give a dict name -> inputs"
            )
        out = {}
        for name, rows in self.unlabelled.items():
            rows = checks.inputs(f"unlabelled[{name!r}]", rows)
            if rows.shape[1:] != self.inputs.shape[1:] or rows.dtype != self.inputs.dtype:
                raise DataError(
                    f"unlabelled[{name!r}]",
                    f"has rows of shape {tuple(rows.shape[1:])} and type {rows.dtype}",
                    f"inputs have {tuple(self.inputs.shape[1:])} and {self.inputs.dtype}",
                )
            out[str(name)] = rows
        return out

    def _notice(self) -> None:
        for name, values in self.groups.items():
            labels, counts = np.unique(values, return_counts=True)
            small = [f"{v} ({c})" for v, c in zip(labels, counts, strict=True) if c < margins.MIN_N]
            if small:
                self.warnings.append(
                    f"groups[{name!r}]: under {margins.MIN_N} rows, so not judged: "
                    f"{', '.join(small[:5])}{' ...' if len(small) > 5 else ''}"
                )
        if self.duplicates:
            self.warnings.append(
                f"inputs: {self.duplicates} of {self.n} rows repeat an earlier one exactly; "
                "if they are not independent, give them a common value in cluster"
            )
        if self.n < margins.MIN_N:
            self.warnings.append(f"inputs: {self.n} rows; nothing under {margins.MIN_N} is judged")
