"""The forms in which rows come in, and the one form in which everything else sees them.

A tensor or array, a dict of tensors (what a tokenizer gives), a map-style data set or a
memory-mapped array becomes :class:`Rows`: one tensor that conditions change, and what goes along.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.errors import DataError, close_to
from ringtest.rows import datasets

MAIN_KEYS: Final = (
    "input_ids",
    "inputs_embeds",
    "pixel_values",
    "input_values",
    "input_features",
)
"""Keywords that name what conditions change, in this order, where inputs are a dict."""
MASK_KEY: Final = "attention_mask"
_TAKEN: Final = {
    torch.float64: torch.float32,
    # torch stores these, and can hardly compute with them.
    torch.uint16: torch.int32,
    torch.uint32: torch.int64,
    torch.uint64: torch.int64,
}
CHUNK: Final = 2**24
"""Numbers that a check looks at together."""


@dataclass(frozen=True)
class Rows:
    """Rows as models take them."""

    main: Tensor
    """(n, ...) what conditions change; images are (n, channels, height, width)."""
    beside: dict[str, Tensor] = field(default_factory=dict)
    """What goes along unchanged, by keyword: (n, ...) each."""
    key: str | None = None
    """Keyword of ``main``; None where inputs are one tensor."""
    mask: Tensor | None = None
    """(n, length) true where a token or step counts, or None."""
    kept: NDArray[np.int64] | None = None
    """Which rows of the data these are, if they are a sample."""
    of: int | None = None
    """Rows of the data that they are a sample of."""

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.main.shape[0])

    @property
    def keys(self) -> list[str]:
        """Keywords, sorted; none where inputs are one tensor."""
        return sorted([*([] if self.key is None else [self.key]), *self.beside])

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(n,) which rows of the data as given these are."""
        return np.arange(len(self)) if self.kept is None else self.kept

    def fits(self, n: int) -> bool:
        """Whether something of ``n`` rows was made on the data as given."""
        return n == (len(self) if self.of is None else self.of)

    def take(self, rows: NDArray[np.int64] | slice) -> Rows:
        """Some of the rows, in the given order."""
        index: Any = torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        return replace(
            self,
            kept=self.numbers[rows],
            of=len(self) if self.of is None else self.of,
            main=self.main[index],
            beside={k: v[index] for k, v in self.beside.items()},
            mask=None if self.mask is None else self.mask[index],
        )

    def tensors(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of everything that models see."""
        yield prefix, self.main
        for name, value in self.beside.items():
            yield f"{prefix}.{name}", value
        if self.mask is not None:
            yield f"{prefix}.mask", self.mask


@dataclass(frozen=True)
class Form:
    """How models take a batch, where that differs from what conditions change."""

    key: str | None = None
    channels_last: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] = ()
    """Models see (x - mean) / std, by channel; None: what conditions see."""

    def __call__(self, x: Tensor, beside: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """The batch as the user's own models take it."""
        if self.mean is not None:
            shape = (1, -1, *[1] * (x.ndim - 2)) if x.ndim == 4 else (1,) * (x.ndim - 1) + (-1,)
            mean, std = x.new_tensor(self.mean).view(shape), x.new_tensor(self.std).view(shape)
            x = (x - mean) / std
        if self.channels_last:
            x = x.movedim(1, -1).contiguous()
        return x if self.key is None else {self.key: x, **beside}


def read(name: str, value: Any, main: str | None = None) -> tuple[Rows, NDArray[Any] | None]:
    """Rows of whatever was given, and the targets that a data set brings along.

    Args:
        name: field for messages.
        value: tensor, array, dict of them, or a map-style data set.
        main: key of what conditions change, if inputs are a dict.

    Raises DataError.
    """
    if isinstance(value, Rows):
        return value, None
    if isinstance(value, Mapping):
        rows = _of_mapping(name, dict(value), main)
        _check_main(name if rows.key is None else f"{name}[{rows.key!r}]", rows.main)
        return rows, None
    if datasets.is_dataset(value):
        found, targets = datasets.read(name, value)
        return read(name, found, main)[0], targets
    if main is not None:
        raise DataError("main", f"is {main!r}, but {name} is no dict", "leave it out")
    found = tensor(name, value)
    _check_main(name, found)
    return Rows(found), None


def _check_main(name: str, value: Tensor) -> None:
    """What conditions change has rows of numbers."""
    if value.ndim < 2:
        raise DataError(
            name, f"has shape {tuple(value.shape)}", "give (n, ...) with at least 2 axes"
        )
    if value.dtype == torch.bool:
        raise DataError(name, "is torch.bool", "give float values or integer tokens")
    if value.dtype == torch.uint8 and value.ndim > 2:
        raise DataError(
            name, "is uint8 images", "give floats, and the model the same, e.g. inputs / 255"
        )


def tensor(name: str, value: Any) -> Tensor:
    """A dense tensor of (n, ...) numbers; memory-mapped arrays stay where they are."""
    if not isinstance(value, Tensor):
        if datasets.is_dataset(value):
            value = list(value)  # a column of a table
        if not isinstance(value, np.ndarray | list | tuple):
            raise DataError(
                name,
                f"is a {type(value).__name__}",
                "give a tensor or array (n, ...), a dict of them, or a map-style data set",
            )
        value = _of_array(name, value)
    if value.layout != torch.strided or value.is_meta:
        raise DataError(name, f"is a {value.layout} tensor", "give a dense tensor with values")
    if value.is_nested or value.is_quantized or "float8" in str(value.dtype):
        raise DataError(name, f"is a nested, quantised or {value.dtype} tensor", "give floats")
    if value.is_complex():
        raise DataError(name, f"is {value.dtype}", "give float values or integer tokens")
    found: Tensor = value.detach()
    if found.ndim and found.numel() == 0:
        raise DataError(name, f"is empty, shape {tuple(found.shape)}", "give at least one row")
    wanted = _TAKEN.get(found.dtype)
    if wanted is not None:
        found = _converted(found, wanted)
    if found.is_floating_point():
        _check_finite(name, found)
    return found


def chunks(value: Tensor) -> Iterator[Tensor]:
    """Consecutive rows, a bounded number of numbers at a time."""
    step = max(1, CHUNK // max(1, value[0].numel() if len(value) else 1))
    for low in range(0, len(value), step):
        yield value[low : low + step]


def _of_array(name: str, value: Any) -> Tensor:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(name, "is an array with masked values", "drop or impute them")
    try:
        array = np.asarray(value)
        mapped = isinstance(value, np.memmap) or isinstance(getattr(value, "base", None), np.memmap)
        if not (mapped and array.dtype.isnative and min(array.strides, default=1) > 0):
            # A copy in native order: torch takes no reversed or big-endian array.
            array = array.astype(array.dtype.newbyteorder("="), order="C")
        with warnings.catch_warnings():
            # A read-only map cannot be written to, and nobody here does.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.as_tensor(array)
    except (TypeError, ValueError) as error:
        raise DataError(name, f"cannot be a tensor ({error})", "give numbers") from error


def _check_finite(name: str, value: Tensor) -> None:
    bad, first, seen = 0, None, 0
    for part in chunks(value):
        wrong = ~torch.isfinite(part.reshape(part.shape[0], -1)).all(dim=1)
        if bool(wrong.any()):
            bad += int(wrong.sum())
            first = seen + int(wrong.nonzero()[0]) if first is None else first
        seen += len(part)
    if bad:
        raise DataError(
            name,
            f"{bad} rows hold NaN or infinity, the first is row {first}",
            "drop or impute them",
        )


def _of_mapping(name: str, value: dict[Any, Any], main: str | None) -> Rows:
    if not value:
        raise DataError(name, "is an empty dict", "give at least one tensor (n, ...)")
    found = {str(k): tensor(f"{name}[{k!r}]", v) for k, v in value.items()}
    key = _main_key(name, found, main)
    n = {k: int(v.shape[0]) if v.ndim else 0 for k, v in found.items()}
    for other, rows in n.items():
        if rows != n[key]:
            raise DataError(
                f"{name}[{other!r}]", f"has {rows} rows, {key!r} has {n[key]}", "give one a row"
            )
    mask = found.get(MASK_KEY)
    x = found.pop(key)
    if mask is not None and mask.shape != x.shape[:2]:
        mask = None  # of patches or frames, not of the steps that conditions change
    return Rows(x, found, key, None if mask is None else zero_or_one(f"{name}[{MASK_KEY!r}]", mask))


def zero_or_one(name: str, value: Any) -> Tensor:
    """A mask as booleans; raises DataError for any value but 0 and 1."""
    try:
        mask = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(name, f"is no mask ({error})", "give 0 and 1, or booleans") from error
    if mask.is_complex() or not bool(((mask == 0) | (mask == 1)).all()):
        raise DataError(name, "holds other values than 0 and 1", "give 1 where a step counts")
    return mask.bool()


def _main_key(name: str, found: Mapping[str, Tensor], main: str | None) -> str:
    if main is not None:
        if main not in found:
            raise DataError("main", f"{main!r} is no key of {name}", close_to(main, found))
        return main
    for key in MAIN_KEYS:
        if key in found:
            return key
    floats = [k for k, v in found.items() if v.is_floating_point() and v.ndim > 1]
    if len(floats) == 1 or len(found) == 1:
        return floats[0] if floats else next(iter(found))
    raise DataError(
        name,
        f"is a dict of {', '.join(map(repr, found))}",
        "say which of them conditions change: AuditData(..., main='...')",
    )


def _converted(value: Tensor, dtype: torch.dtype) -> Tensor:
    out = datasets.room(tuple(value.shape), dtype)
    low = 0
    for part in chunks(value) if value.ndim else ():
        out[low : low + len(part)] = part
        low += len(part)
    return out if value.ndim else value.to(dtype)
