"""Columns beside the rows: dicts, data frames, CSV and Parquet files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ringtest.errors import DataError, close_to


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
    if array.dtype.kind == "M" and (array == array.astype("datetime64[D]")).all():
        array = array.astype("datetime64[D]")  # a day reads the same from every kind of file
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
    """Columns by name, each checked; none for None. A path is read as CSV or Parquet."""
    if value is None:
        return {}
    if isinstance(value, str | os.PathLike):
        path = Path(value)
        value = _read(name, path)
        rows = len(next(iter(value.values()), ()) if isinstance(value, dict) else value)
        if rows != n:
            fix = "give one row an input, in their order, below a line of names"
            raise DataError(name, f"{path.name} has {rows} rows, inputs have {n}", fix)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = {str(c): value[c].to_numpy() for c in value.columns}
    if not isinstance(value, Mapping):
        raise DataError(
            name,
            f"is a {type(value).__name__}",
            "give a DataFrame, a dict name -> (n,), or a .csv or .parquet file",
        )
    return {str(k): column(f"{name}[{k!r}]", v, n) for k, v in value.items()}


def codes(values: NDArray[Any]) -> NDArray[np.int64]:
    """(n,) codes from 0 that are equal for equal values."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def numpy(value: Tensor) -> NDArray[Any]:
    """As an array; NumPy knows no bfloat16."""
    import torch

    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


_KINDS = (".csv", ".tsv", ".parquet")


def _read(name: str, path: Path) -> Any:
    """A table from a file, its rows in the order of the inputs."""
    import pandas as pd

    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise DataError(name, f"{path.name} is no .csv, .tsv or .parquet file", "convert it")
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(name, f"{path} is not there", close_to(path.name, near))
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        # As text: a reader that guesses makes one group of 01 and 1, and nothing of NA.
        table = pd.read_csv(
            path, sep="\t" if kind == ".tsv" else ",", dtype=str, keep_default_na=False
        )
    except ImportError as error:
        raise DataError(
            name, "reading Parquet needs pyarrow", "pip install 'ringtest[parquet]'"
        ) from error
    except Exception as error:
        raise DataError(name, f"{path.name} cannot be read ({error})", "mend the file") from error
    if len(table.columns) == 1 and ";" in str(table.columns[0]):
        raise DataError(name, f"{path.name} is separated by semicolons", "write it with commas")
    # What pandas writes before the first comma is its index.
    table = table.drop(columns=[c for c in table.columns if str(c) == "Unnamed: 0"])
    return {str(c): _typed(table[c].to_numpy(dtype=object)) for c in table.columns}


def _typed(texts: NDArray[Any]) -> NDArray[Any]:
    """A column of texts as numbers where that loses nothing; an empty text is a missing value."""
    values = np.array([None if t.strip() == "" else t for t in texts], dtype=object)
    for kind, form in ((int, _WHOLE), (float, _NUMBER)):
        if all(t is None or form.fullmatch(t) for t in values) and None not in values:
            return np.array([kind(t) for t in values])
    return values


_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
