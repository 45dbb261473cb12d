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
        loader = DataLoader(dataset, batch_size=_BATCH, generator=torch.Generator())
        whole: _Whole | None = None
        done = 0
        with bar(True) as tell:
            for batch in loader:
                leaves = _leaves(batch)
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
    first, again = (_leaves(torch.utils.data.default_collate([dataset[0]])) for _ in range(2))
    if any(not torch.equal(first[k], again[k]) for k in first):
        raise DataError(
            name, "gives another item 0 on every reading", "switch its random augmentation off"
        )


_TARGET: Final = "\0target"


def _leaves(batch: Any) -> dict[str, Tensor]:
    """Tensors of a collated batch by name; the target under a name that no input can have."""
    if isinstance(batch, tuple | list) and len(batch) == 2:
        x, y = batch
        return {**_leaves(x), _TARGET: torch.as_tensor(y)}
    if isinstance(batch, Mapping):
        found = {str(k): torch.as_tensor(v) for k, v in batch.items()}
        key = next((k for k in TARGET_KEYS if k in found), None)
        if key is not None:
            found[_TARGET] = found.pop(key)
        return found
    if isinstance(batch, tuple | list):
        batch = batch[0]
    return {"": torch.as_tensor(batch)}


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
