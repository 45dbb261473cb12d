"""What AuditData refuses, one field at a time, and the form in which it keeps the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.errors import DataError, close_to
from ringtest.rows.inputs import Form, Rows, zero_or_one
from ringtest.rows.tables import codes, numpy

Invariance = Callable[[Tensor], Tensor]
Modality = Literal["image", "table", "tokens", "sequence"]
MODALITIES: Final[tuple[Modality, ...]] = ("image", "table", "tokens", "sequence")
Layout = Literal["NCHW", "NHWC"]
_COLOURS: Final = (1, 3, 4)


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


def layout(inputs: Tensor, kind: Modality, given: Layout | None) -> Layout | None:
    """Where images have their channels; raises DataError where that must be said.

    Shapes of (n, height, width, 1, 3 or 4) with equal height and width are taken for channels last
    by nobody but the user: rotating them about the wrong axes would go unnoticed.
    """
    if kind != "image":
        if given is not None:
            raise DataError("layout", f"is {given!r}, inputs are no images", "leave it out")
        return None
    if given is None:
        _, a, b, c = inputs.shape
        if c in _COLOURS and a not in _COLOURS and b != c:
            raise DataError(
                "layout",
                f"inputs of shape {tuple(inputs.shape)} look like channels last",
                "say layout='NHWC', or 'NCHW' if they are not",
            )
        return "NCHW"
    if given not in ("NCHW", "NHWC"):
        raise DataError("layout", f"{given!r} is not known", "give 'NCHW' or 'NHWC'")
    return given


def normalise(value: Any, channels: int | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) by channel; raises DataError.

    Args:
        value: (mean, std), each a number or one a channel.
        channels: channels of images, features of others; None where inputs are tokens.
    """
    rule = f"give (mean, std), numbers or {channels} values each"
    if channels is None:
        raise DataError("normalise", "is given, inputs are tokens", "leave it out")
    try:
        mean, std = (tuple(np.asarray(v, dtype=np.float64).reshape(-1).tolist()) for v in value)
    except (TypeError, ValueError) as error:
        raise DataError("normalise", f"is {value!r}", rule) from error
    for part in (mean, std):
        if len(part) not in (1, channels) or not np.isfinite(part).all():
            raise DataError("normalise", f"is {value!r}", rule)
    if min(std) <= 0:
        raise DataError("normalise", f"has a std of {min(std):g}", "give std above 0")
    wide = max(len(mean), len(std))
    return mean * (wide // len(mean)), std * (wide // len(std))


def row_codes(inputs: Tensor) -> NDArray[np.int64]:
    """(n,) codes from 0 that are equal for equal rows."""
    return codes(row_sums(inputs))


def row_sums(inputs: Tensor) -> NDArray[np.uint64]:
    """(n,) numbers that are equal for equal rows of one shape and type, and hardly for others.

    Rows are told apart by exact integer sums under random odd weights: sorting wide rows themselves
    would compare them byte by byte, many times over.
    """
    words = _words(inputs[:1]).shape[1]
    weights = np.random.default_rng(0).integers(0, 2**63, size=words, dtype=np.uint64)
    weights *= np.uint64(2)
    weights += np.uint64(1)
    step = max(1, (1 << 22) // words)
    return np.concatenate(
        [
            (_words(inputs[low : low + step]) * weights).sum(axis=1, dtype=np.uint64)
            for low in range(0, inputs.shape[0], step)
        ]
    )


def _words(rows: Tensor) -> NDArray[Any]:
    flat: NDArray[Any] = np.ascontiguousarray(numpy(rows).reshape(rows.shape[0], -1))
    if flat.dtype.kind == "f":
        flat = flat + 0.0  # -0.0 is 0.0, in other bits
    return flat.view(np.uint8 if flat.itemsize < 4 else np.uint32)


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
    if not low < high or not np.isfinite([low, high]).all():
        raise DataError("bounds", f"({low}, {high}) is no range", "give finite low < high")
    inside("inputs", inputs, (low, high))
    return low, high


def inside(name: str, values: Tensor, bounds: tuple[float, float] | None) -> None:
    """Raise DataError if rows leave the legal range."""
    if bounds is None:
        return
    seen, (low, high) = (float(values.min()), float(values.max())), bounds
    if seen[0] < low - 1e-6 or seen[1] > high + 1e-6:
        raise DataError(
            "bounds",
            f"{name} reach from {seen[0]:.4g} to {seen[1]:.4g}, outside ({low:g}, {high:g})",
            "give the legal range",
        )


def mask(value: Any, inputs: Tensor, name: str = "mask") -> Tensor | None:
    """(n, length) true where a token or step counts, or None; raises DataError."""
    if value is None:
        return None
    mask = zero_or_one(name, value)
    if mask.shape != inputs.shape[:2]:
        raise DataError(name, f"has shape {tuple(mask.shape)}", f"give {tuple(inputs.shape[:2])}")
    if not bool(mask.any(dim=1).all()):
        raise DataError(name, "leaves some rows without a single step", "drop those rows")
    return mask


def padding(tokens: Tensor, mask: Tensor) -> Tensor:
    """(k,) ids of tokens that stand only where the (n, length) mask is false."""
    inside, outside = torch.unique(tokens[mask]), torch.unique(tokens[~mask])
    only: Tensor = outside[~torch.isin(outside, inside)]
    return only


def frame_tokens(rows: Rows) -> Tensor:
    """(k,) ids of tokens that no condition moves or replaces: padding, and a tokenizer's frame.

    Padding is what stands where the mask is false. A frame token is one that opens every row, or
    that ends every row (its last place that counts).
    """
    x, mask = rows.main, rows.mask
    if x.is_floating_point() or x.ndim != 2:
        return torch.empty(0, dtype=torch.int64)
    found = []
    counts = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
    if mask is not None:
        found.append(padding(x, mask))
    places = torch.arange(x.shape[1])
    first = torch.where(counts, places, x.shape[1]).amin(dim=1)
    last = torch.where(counts, places, -1).amax(dim=1)
    varied = not bool((x == x[0]).all())
    for at in (first, last):
        tokens = x.gather(1, at[:, None])[:, 0]
        # A token that stands elsewhere too is a word that happens to open every row.
        frames = varied and bool((tokens == tokens[0]).all())
        if frames and int((x[counts] == tokens[0]).sum()) == len(x):
            found.append(tokens[:1])
    return torch.unique(torch.cat(found)).long() if found else torch.empty(0, dtype=torch.int64)


def invariances(value: Any, inputs: Tensor, form: Form) -> dict[str, Invariance]:
    """Callables by name, each tried on two rows in the user's own layout; raises DataError."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DataError(
            "invariances", f"is a {type(value).__name__}", "give a dict name -> callable"
        )
    found: dict[str, Invariance] = {}
    for name, function in value.items():
        field_name = f"invariances[{name!r}]"
        if not callable(function):
            raise DataError(field_name, f"is a {type(function).__name__}", "give a callable")
        if form.channels_last:
            function = _channels_last(function)
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
        found[str(name)] = function
    return found


def _channels_last(function: Invariance) -> Invariance:
    """A user's function of (b, height, width, channels) as one of (b, channels, height, width)."""

    def turned(x: Tensor) -> Any:
        out: Any = function(x.movedim(1, -1))
        return out.movedim(-1, 1) if isinstance(out, Tensor) and out.ndim == x.ndim else out

    return turned
