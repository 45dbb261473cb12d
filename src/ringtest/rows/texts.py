"""The texts that inputs were made of, and the tokenizer that made them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ringtest.errors import DataError
from ringtest.rows.inputs import Rows

Tokenizer = Callable[[list[str]], Any]
"""From texts to inputs, padded to one length: whatever ``AuditData(inputs=...)`` takes."""


def texts(value: Any, tokenizer: Any, n: int) -> list[str] | None:
    """One text a row, or None; raises DataError, also where one comes without the other."""
    if value is None and tokenizer is None:
        return None
    if value is None:
        raise DataError("texts", "are missing, and a tokenizer is given", "give one text a row")
    if tokenizer is None:
        raise DataError("tokenizer", "is missing, and texts are given", "give texts -> inputs")
    if not callable(tokenizer):
        raise DataError("tokenizer", f"is a {type(tokenizer).__name__}", "give a callable")
    if isinstance(value, str) or not (isinstance(value, Sequence) or hasattr(value, "tolist")):
        raise DataError("texts", f"are a {type(value).__name__}", "give a list of texts")
    found = list(value.tolist() if hasattr(value, "tolist") else value)
    wrong = next((i for i, text in enumerate(found) if not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError("texts", f"row {wrong} is a {type(found[wrong]).__name__}", "give texts")
    if len(found) != n:
        raise DataError("texts", f"have {len(found)} rows, inputs have {n}", "give one a row")
    return found


def tokenised(tokenizer: Tokenizer, found: list[str]) -> Any:
    """What a tokenizer makes of texts; raises DataError if it fails."""
    try:
        return tokenizer(list(found))
    except Exception as error:
        raise DataError(
            "tokenizer", f"raised {type(error).__name__}: {error}", "mend it"
        ) from error


def check_same(made: Rows, given: Rows) -> None:
    """Raise DataError unless the tokenizer gives the inputs that models are compared on."""
    theirs = dict(given.tensors("inputs"))
    for name, tensor in made.tensors("inputs"):
        other = theirs[name]
        if tensor.shape != other.shape:
            problem = f"makes {name} of shape {tuple(tensor.shape)}, given are {tuple(other.shape)}"
        elif not torch.equal(tensor, other):
            rows = (tensor != other).flatten(1).any(dim=1)
            problem = (
                f"makes other {name} than given of {int(rows.sum())} texts, the first is"
                f" row {int(rows.nonzero()[0])}"
            )
        else:
            continue
        raise DataError("tokenizer", problem, "give inputs=tokenizer(texts)")


def as_bytes(found: list[str]) -> NDArray[np.uint8]:
    """All texts in a form that differs for different lists."""
    return np.frombuffer(json.dumps(found).encode(), dtype=np.uint8)
