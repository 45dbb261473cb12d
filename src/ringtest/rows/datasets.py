"""Map-style data sets, read once into one tensor (or file) each."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.errors import DataError
from ringtest.progress import bar

TARGET_KEYS: Final = ("labels", "label", "targets", "target")
"""Keys that hold the target where the items of a data set are dicts."""

IN_MEMORY: Final = 2**30
"""Larger data sets are read into a temporary memory-mapped file, in bytes."""
_BATCH: Final = 256


def is_dataset(value: Any) -> bool:
    """Whether something has items by number and a length, and is no array, list or frame."""
    if isinstance(value, Tensor | np.ndarray | list | tuple | str | bytes):
        return False
    if hasattr(value, "iloc"):  # a data frame: its items are columns
        return False
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def read(name: str, dataset: Any) -> tuple[Any, NDArray[Any] | None]:
    """All items of a map-style data set, read once, in order.

    Args:
        name: field for messages.
        dataset: gives (input, target), input alone, or a dict with one of TARGET_KEYS.

    Returns:
        A tensor (n, ...) or dict of them, and the (n, ...) targets, if there are any.

    Raises DataError.
    """
    from torch.utils.data import DataLoader

    if len(dataset) == 0:
        raise DataError(name, "is an empty data set", "give at least one row")
    try:
        _check_repeats(name, dataset)
        # A generator of its own: the loader draws a seed, and not from the caller's state.
        loader = DataLoader(
            dataset, batch_size=_BATCH, collate_fn=_collated, generator=torch.Generator()
        )
        whole: _Whole | None = None
        done = 0
        with bar(True) as tell:
            for leaves in loader:
                if whole is None:
                    whole = _Whole(leaves, len(dataset))
                whole.put(leaves, done)
                done += len(next(iter(leaves.values())))
                tell(f"reading {name}", done / len(dataset))
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            name,
            f"reading the data set raised {type(error).__name__}: {error}",
            "its items must be (input, target) with tensors of one shape",
        ) from error
    assert whole is not None
    return _parts(whole.tensors)


def _check_repeats(name: str, dataset: Any) -> None:
    """An augmentation left on would show every model other inputs than the report says."""
    # Several items, several times: a flip with probability one half shows in one of them.
    for number in np.unique(np.linspace(0, len(dataset) - 1, _REREAD).astype(int)).tolist():
        first, *others = (_leaves(dataset[number]) for _ in range(3))
        if any(not torch.equal(first[k], again[k]) for again in others for k in first):
            raise DataError(
                name,
                f"gives another item {number} on every reading",
                "switch its random augmentation off",
            )


_REREAD: Final = 8
"""Items that are read three times."""
_TARGET: Final = "\0target"


def _collated(items: list[Any]) -> dict[str, Tensor]:
    leaves = [_leaves(item) for item in items]
    return {k: torch.stack([leaf[k] for leaf in leaves]) for k in leaves[0]}


def _leaves(item: Any) -> dict[str, Tensor]:
    """Tensors of an item by name; the target under a name that no input can have."""
    parts = item if isinstance(item, tuple) or _is_pair(item) else (item,)
    if len(parts) > 2:
        raise ValueError(f"an item has {len(parts)} parts")
    x, *target = parts
    found = dict.fromkeys([_TARGET], _tensor(target[0])) if target else {}
    if isinstance(x, tuple) or _is_pair(x):
        raise ValueError("an item has several inputs, which a dict would name")
    if not isinstance(x, Mapping):
        return {"": _tensor(x), **found}
    found |= {str(k): _tensor(v) for k, v in x.items()}
    key = next((k for k in TARGET_KEYS if k in found), None)
    if key is not None and not target:
        found[_TARGET] = found.pop(key)
    return found


def _is_pair(item: Any) -> bool:
    """A list of tensors is several things; a list of numbers is one."""
    return isinstance(item, list) and any(
        isinstance(part, Tensor | np.ndarray | Mapping) for part in item
    )


def _tensor(value: Any) -> Tensor:
    # A copy: torch warns of arrays that cannot be written to.
    return value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


class _Whole:
    """Room for all items: in memory, or in a temporary file where they are large."""

    def __init__(self, leaves: Mapping[str, Tensor], n: int) -> None:
        self.tensors = {k: room((n, *v.shape[1:]), v.dtype) for k, v in leaves.items()}

    def put(self, leaves: Mapping[str, Tensor], at: int) -> None:
        for k, v in leaves.items():
            self.tensors[k][at : at + len(v)] = v


def room(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An empty tensor; above IN_MEMORY bytes in a file that vanishes with it."""
    size = int(np.prod(shape)) * dtype.itemsize
    if size <= IN_MEMORY or dtype == torch.bfloat16:
        return torch.empty(shape, dtype=dtype)
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    with tempfile.TemporaryFile(prefix="ringtest-") as file:
        # The map keeps the file alive after it is closed.
        return torch.from_numpy(np.memmap(file, dtype=kind, mode="w+", shape=shape))


def _parts(found: dict[str, Tensor]) -> tuple[Any, NDArray[Any] | None]:
    target = found.pop(_TARGET, None)
    inputs: Any = found[""] if set(found) == {""} else found
    return inputs, None if target is None else target.numpy()
