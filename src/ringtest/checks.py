"""What AuditData refuses, one field at a time, and the form in which it keeps the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ringtest.errors import DataError, close_to

Invariance = Callable[[Tensor], Tensor]
Modality = Literal["image", "table", "tokens", "sequence"]
MODALITIES: Final[tuple[Modality, ...]] = ("image", "table", "tokens", "sequence")


def inputs(name: str, value: Any) -> Tensor:
    """Inputs as a dense tensor of finite values; raises DataError."""
    if isinstance(value, Mapping):
        raise DataError(name, "is a dict of tensors", "dict inputs come with a later version")
    if not isinstance(value, Tensor):
        if isinstance(value, np.ndarray | list | tuple):
            try:
                array = np.asarray(value)
                # A copy in native order: torch takes no reversed or big-endian array.
                value = torch.as_tensor(array.astype(array.dtype.newbyteorder("="), order="C"))
            except (TypeError, ValueError) as error:
                raise DataError(name, f"cannot be a tensor ({error})", "give numbers") from error
        else:
            raise DataError(
                name,
                f"is a {type(value).__name__}",
                "give a tensor or array (n, ...); data sets come with a later version",
            )
    if value.layout != torch.strided or value.is_meta:
        raise DataError(name, f"is a {value.layout} tensor", "give a dense tensor with values")
    if value.ndim < 2:
        raise DataError(
            name, f"has shape {tuple(value.shape)}", "give (n, ...) with at least 2 axes"
        )
    if value.shape[0] == 0 or value.numel() == 0:
        raise DataError(name, f"is empty, shape {tuple(value.shape)}", "give at least one row")
    if value.is_complex() or value.dtype == torch.bool:
        raise DataError(name, f"is {value.dtype}", "give float values or integer tokens")
    tensor: Tensor = value.detach()
    if tensor.dtype == torch.uint8 and tensor.ndim > 2:
        raise DataError(
            name, "is uint8 images", "give floats, and the model the same, e.g. inputs / 255"
        )
    if tensor.dtype == torch.float64:
        tensor = tensor.float()
    if tensor.is_floating_point():
        bad = ~torch.isfinite(tensor.reshape(tensor.shape[0], -1)).all(dim=1)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            raise DataError(
                name,
                f"{int(bad.sum())} rows hold NaN or infinity, the first is row {first}",
                "drop or impute them",
            )
    return tensor


def modality(inputs: Tensor, given: Modality | None) -> Modality:
    """What the inputs are, given or read off their shape; raises DataError."""
    if given is not None:
        if given not in MODALITIES:
            raise DataError("modality", f"{given!r} is not known", close_to(str(given), MODALITIES))
        axes = {"image": 4, "table": 2}.get(given, inputs.ndim)
        if inputs.ndim != axes or (given == "tokens" and inputs.is_floating_point()):
            raise DataError(
                "modality",
                f"{given!r} does not fit inputs of shape {tuple(inputs.shape)} and {inputs.dtype}",
                "leave it out, or change the inputs",
            )
        return given
    if not inputs.is_floating_point():
        return "tokens"
    return {2: "table", 4: "image"}.get(inputs.ndim, "sequence")  # type: ignore[return-value]


def numpy(value: Tensor) -> NDArray[Any]:
    """As an array; NumPy knows no bfloat16."""
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def row_codes(inputs: Tensor) -> NDArray[np.int64]:
    """(n,) codes from 0 that are equal for equal rows.

    Rows are told apart by exact integer sums under random odd weights: sorting wide rows themselves
    would compare them byte by byte, many times over.
    """
    words: NDArray[Any] = np.ascontiguousarray(numpy(inputs).reshape(inputs.shape[0], -1))
    words = words.view(np.uint8 if words.itemsize < 4 else np.uint32)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 2**63, size=words.shape[1], dtype=np.uint64) * np.uint64(2)
    weights += np.uint64(1)
    step = max(1, (1 << 22) // words.shape[1])
    parts = [
        (words[low : low + step] * weights).sum(axis=1, dtype=np.uint64)
        for low in range(0, words.shape[0], step)
    ]
    return codes(np.concatenate(parts))


def column(name: str, value: ArrayLike | Tensor, n: int, wide: bool = False) -> NDArray[Any]:
    """One value (or, if ``wide``, one row) for each input; raises DataError."""
    try:
        array = numpy(value) if isinstance(value, Tensor) else np.asarray(value)
    except ValueError as error:
        raise DataError(name, f"is no array ({error})", "give one value a row") from error
    if array.ndim not in ((1, 2) if wide else (1,)):
        raise DataError(name, f"has shape {array.shape}", f"give ({n},)")
    if array.shape[0] != n:
        raise DataError(name, f"has {array.shape[0]} rows, inputs have {n}", "give one a row")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).reshape(n, -1).any(axis=1).sum())
        raise DataError(name, f"{bad} rows hold NaN or infinity", "drop those rows")
    if array.dtype.kind in "mM" and np.isnat(array).any():
        raise DataError(name, f"{int(np.isnat(array).sum())} rows hold no time", "drop those rows")
    if array.dtype.kind == "O":
        bad = sum(missing(v) for v in array.reshape(-1))
        if bad:
            raise DataError(name, f"{bad} rows hold no value", "fill them or drop those rows")
        array = np.array(array.tolist())
        # Values of several types cannot be sorted.
        array = array.astype(str) if array.dtype.kind == "O" else array
    return array


def missing(value: Any) -> bool:
    """None, and what a data frame has for it: NaN, NaT, NA."""
    return value is None or type(value).__name__ in ("NaTType", "NAType") or value != value


def columns(name: str, value: Any, n: int) -> dict[str, NDArray[Any]]:
    """Columns by name, each checked; none for None."""
    if value is None:
        return {}
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = {str(c): value[c].to_numpy() for c in value.columns}
    if not isinstance(value, Mapping):
        raise DataError(
            name, f"is a {type(value).__name__}", "give a DataFrame or a dict name -> (n,)"
        )
    return {str(k): column(f"{name}[{k!r}]", v, n) for k, v in value.items()}


def codes(values: NDArray[Any]) -> NDArray[np.int64]:
    """(n,) codes from 0 that are equal for equal values."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def bounds(value: Any, inputs: Tensor) -> tuple[float, float] | None:
    """The legal range as two floats, or None; raises DataError."""
    if value is None:
        return None
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    if not (isinstance(value, Sequence) and len(value) == 2):
        raise DataError("bounds", f"is {value!r}", "give (low, high)")
    try:
        low, high = float(value[0]), float(value[1])
    except (TypeError, ValueError) as error:
        raise DataError("bounds", f"is {value!r}", "give two numbers") from error
    if not low < high:
        raise DataError("bounds", f"({low}, {high}) is no range", "give low < high")
    seen = float(inputs.min()), float(inputs.max())
    if seen[0] < low - 1e-6 or seen[1] > high + 1e-6:
        raise DataError(
            "bounds",
            f"inputs reach from {seen[0]:.4g} to {seen[1]:.4g}, outside ({low:g}, {high:g})",
            "give the legal range",
        )
    return low, high


def mask(value: Any, inputs: Tensor) -> Tensor | None:
    """(n, length) true where a step counts, or None; raises DataError."""
    if value is None:
        return None
    mask = torch.as_tensor(value).detach().cpu().bool()
    if mask.shape != inputs.shape[:2]:
        raise DataError("mask", f"has shape {tuple(mask.shape)}", f"give {tuple(inputs.shape[:2])}")
    if not bool(mask.any(dim=1).all()):
        raise DataError("mask", "leaves some rows without a single step", "drop those rows")
    return mask


def invariances(value: Any, inputs: Tensor) -> dict[str, Invariance]:
    """Callables by name, each tried on two rows; raises DataError."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DataError(
            "invariances", f"is a {type(value).__name__}", "give a dict name -> callable"
        )
    for name, function in value.items():
        field_name = f"invariances[{name!r}]"
        if not callable(function):
            raise DataError(field_name, f"is a {type(function).__name__}", "give a callable")
        head = inputs[:2].clone()
        try:
            with torch.random.fork_rng(devices=[]):
                out = function(head)
        except Exception as error:
            raise DataError(
                field_name, f"raised {type(error).__name__}: {error}", "mend it"
            ) from error
        if not isinstance(out, Tensor) or out.shape != head.shape:
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise DataError(
                field_name,
                f"gave {shape} for inputs of shape {tuple(head.shape)}",
                "keep the shape",
            )
    return {str(k): v for k, v in value.items()}
