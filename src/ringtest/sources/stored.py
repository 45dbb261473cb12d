"""Evidence computed elsewhere: an .npz file of outputs and named layers, instead of a model.

    save_evidence("student.npz", outputs, {"encoder": rows, "pool": rows}, {
        "shift.unlabelled.phone": (outputs_there, {"encoder": rows_there, "pool": rows_there}),
    })

The members of the file are ``outputs`` (n, k) and ``layers/NAME`` (n, d) on the benchmark's rows,
in the order of the data and of the model's depth, the last hidden layer last; and the same behind
``CONDITION/``, the condition's id in the report, for what the model showed elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.errors import SubjectError, close_to
from ringtest.files import write_atomically

CLEAN: Final = "clean"
"""Condition of the members that stand at the root of a file."""
_FIX: Final = "write it with ringtest.save_evidence"
_KEY: Final = re.compile(r"(?:(?P<condition>.+?)/)??(?:layers/(?P<layer>.+)|outputs)")
"""Name of a member; what stands behind ``layers/`` is the layer's name, whatever it holds."""

Shown = tuple[NDArray[Any], dict[str, NDArray[Any]]]
"""What a model shows under one condition: (n, k) outputs and layer name -> (n, d) rows."""


@dataclass(frozen=True)
class Stored:
    """A model of which only its evidence is here; it can be seen under no other conditions."""

    names: tuple[str, ...]
    """Layers in the order of depth, the last hidden one last; empty: outputs only."""
    conditions: tuple[str, ...]
    """Ids of the conditions that the file holds, ``clean`` first."""
    digest: str
    """SHA-256 of names, shapes, types and values: stands in for a weights hash."""
    _shown: dict[str, Shown] = field(repr=False)

    @classmethod
    def load(cls, field: str, path: str | os.PathLike[str]) -> Stored:
        """Read and check a file; nothing in it is ever unpickled.

        Args:
            field: name for messages, such as ``student.evidence``.
            path: .npz file in the form that :func:`save_evidence` writes.

        Raises SubjectError for a file that is missing or no .npz, holds objects, lacks outputs, or
        whose arrays are not finite numbers of matching row counts and layers.
        """
        arrays = _read(field, Path(path))
        shown = _arranged(field, Path(path).name, arrays)
        _check(field, shown)
        layers = tuple(shown[CLEAN][1])
        return cls(layers, tuple(shown), _digest(arrays), shown)

    def holds(self, condition: str) -> bool:
        """Whether the file says what the model showed under a condition."""
        return condition in self._shown

    @property
    def n(self) -> int:
        """Number of rows of the benchmark."""
        return len(self._shown[CLEAN][0])

    def outputs(self, condition: str = CLEAN) -> Tensor | None:
        """(n, k) float outputs under a condition, or None if the file does not hold it."""
        shown = self._shown.get(condition)
        return None if shown is None else torch.from_numpy(shown[0])

    def layers(self, condition: str = CLEAN) -> dict[str, Tensor]:
        """Layer name -> (n, d) float rows under a condition; empty if there are none."""
        shown = self._shown.get(condition)
        return {} if shown is None else {k: torch.from_numpy(v) for k, v in shown[1].items()}


def save_evidence(
    path: str | os.PathLike[str],
    outputs: Any,
    layers: Mapping[str, Any] | None = None,
    conditions: Mapping[str, tuple[Any, Mapping[str, Any]]] | None = None,
) -> None:
    """Write what a model showed to an .npz file, to be audited where the model cannot be run.

    Args:
        path: file to write, such as ``student.npz``; it appears whole or not at all.
        outputs: (n, k) logits, probabilities, values or embeddings, a row for each row of the data.
        layers: name -> (n, d) rows, shallowest first, the last hidden layer last; None: outputs
            only.
        conditions: condition id, such as ``shift.unlabelled.phone`` -> (outputs, layers) there.

    Raises SubjectError for what an audit could not use, ReportError if it cannot be written.
    """
    shown = {CLEAN: _as_arrays(outputs, layers or {})}
    if CLEAN in (conditions or {}):
        raise SubjectError("evidence", "names clean among its conditions", "give it as outputs")
    for name, (there, rows) in (conditions or {}).items():
        shown[str(name)] = _as_arrays(there, rows)
    _check("evidence", shown)
    members = {}
    for name, (values, rows) in shown.items():
        prefix = "" if name == CLEAN else f"{name}/"
        members[f"{prefix}outputs"] = values
        members |= {f"{prefix}layers/{k}": v for k, v in rows.items()}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **members)
    write_atomically(Path(path), content.getvalue())


def _as_arrays(outputs: Any, layers: Mapping[str, Any]) -> Shown:
    return _floats(outputs), {str(k): _floats(v) for k, v in layers.items()}


def _floats(value: Any) -> NDArray[Any]:
    """As an array; bfloat16, which NumPy lacks, as float32."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    return np.ascontiguousarray(value)


def _read(field: str, path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.npz")] if path.parent.is_dir() else []
        raise SubjectError(field, f"{path} is not there", close_to(path.name, near))
    try:
        # Opened apart from NumPy, which takes a file that is no .npz for a pickle.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        problem = f"{path.name} cannot be read as arrays of numbers ({error})"
        raise SubjectError(field, problem, f"{_FIX}; pickles are not loaded") from error
    for name, value in found.items():
        # NumPy hands over the bytes of what is no array.
        if not isinstance(value, np.ndarray):
            raise SubjectError(field, f"{path.name} holds {name!r}, no array", _FIX)
    return found


def _arranged(field: str, file: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Shown]:
    """The members of a file by condition, ``clean`` first."""
    outputs: dict[str, NDArray[Any]] = {}
    layers: dict[str, dict[str, NDArray[Any]]] = {}
    for key, value in arrays.items():
        found = _KEY.fullmatch(key)
        if found is None:
            raise SubjectError(field, f"{file} holds {key!r}", _FIX)
        condition, layer = found["condition"] or CLEAN, found["layer"]
        holder = outputs if layer is None else layers.setdefault(condition, {})
        name = layer or condition
        if name in holder:
            raise SubjectError(field, f"{file} holds {key!r} twice", _FIX)
        holder[name] = value
    for condition in (CLEAN, *layers):
        if condition not in outputs:
            place = "" if condition == CLEAN else f"{condition}/"
            raise SubjectError(field, f"{file} holds no '{place}outputs'", _FIX)
    return {
        c: (outputs[c], layers.get(c, {})) for c in (CLEAN, *(o for o in outputs if o != CLEAN))
    }


def _check(field: str, shown: dict[str, Shown]) -> None:
    """Every array (n, d) finite numbers, and all conditions the same layers of the same widths."""
    at_home = shown[CLEAN]
    widths = [at_home[0].shape[1:], *(rows.shape[1:] for rows in at_home[1].values())]
    for condition, (outputs, layers) in shown.items():
        where = "" if condition == CLEAN else f"{condition}/"
        if list(layers) != list(at_home[1]):
            raise SubjectError(
                field,
                f"shows the layers {list(layers)} under {condition}, {list(at_home[1])} clean",
                "store the same layers everywhere, in the order of depth",
            )
        named = {"outputs": outputs, **{f"layers/{k}": v for k, v in layers.items()}}
        for (name, value), width in zip(named.items(), widths, strict=True):
            _check_array(field, f"{where}{name}", value, len(outputs))
            if value.shape[1:] != width:
                raise SubjectError(
                    field,
                    f"{where}{name} has rows of {value.shape[1:]}, {width} in the clean ones",
                    "store what one and the same model showed",
                )


def _check_array(field: str, name: str, value: NDArray[Any], n: int) -> None:
    wide = value.ndim == 2 and value.shape[1] > 0
    if not (wide or (name.endswith("outputs") and value.ndim == 1)) or not len(value):
        raise SubjectError(
            field, f"{name} has shape {value.shape}", "give (rows, columns); pool tokens beforehand"
        )
    if value.dtype.kind != "f":
        raise SubjectError(field, f"{name} is {value.dtype}", "give floats")
    if len(value) != n:
        raise SubjectError(field, f"{name} has {len(value)} rows, outputs have {n}", "give as many")
    bad = int((~np.isfinite(value)).reshape(n, -1).any(1).sum())
    if bad:
        raise SubjectError(field, f"{name} is not finite in {bad} rows", "store numbers alone")


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, value in arrays.items():
        digest.update(f"{name}:{value.dtype.str}:{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
