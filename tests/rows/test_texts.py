"""Texts beside the inputs: they must be those that the tokenizer turns into the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ringtest.data import AuditData
from ringtest.errors import DataError
from ringtest.rows.inputs import Rows

N = 40


def texts() -> list[str]:
    return [f"text {'long ' * (i % 4)}number {i}" for i in range(N)]


def letters(found: list[str]) -> Tensor:
    """Code points, padded with zeros to the longest."""
    longest = max(map(len, found))
    return torch.tensor([[*map(ord, t), *[0] * (longest - len(t))] for t in found])


def masked(found: list[str]) -> dict[str, Tensor]:
    ids = letters(found)
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def data(tokenizer: Any = masked, **more: Any) -> AuditData:
    given = texts()
    return AuditData(
        tokenizer(given), np.arange(N) % 2, **{"texts": given, "tokenizer": tokenizer} | more
    )


@pytest.mark.parametrize("tokenizer", [letters, masked, lambda t: letters(t).tolist()])
def test_texts_that_make_the_inputs_are_taken(tokenizer: Any) -> None:
    at = data(tokenizer)
    assert at.texts == texts()
    again = at.tokenised(texts())
    assert torch.equal(again.main, at.inputs)
    assert again.keys == at.rows.keys


@pytest.mark.parametrize("form", [tuple, np.array, lambda t: np.array(t, dtype=object)])
def test_texts_come_in_any_list(form: Any) -> None:
    assert data(texts=form(texts())).texts == texts()


WRONG = {
    "tokenizer is missing": ({"tokenizer": None}, "tokenizer: is missing"),
    "texts are missing": ({"texts": None}, "texts: are missing"),
    "no callable": ({"tokenizer": "bert"}, "tokenizer: is a str"),
    "one text": ({"texts": "all of it"}, "texts: are a str"),
    "a number": ({"texts": [*texts()[:-1], 3]}, "texts: row 39 is a int"),
    "too few": ({"texts": texts()[:-1]}, "texts: have 39 rows, inputs have 40"),
    "other texts": (
        {"texts": [*texts()[:-2], *texts()[:-3:-1]]},
        "makes other inputs than given of 2 texts, the first is row 38; give inputs=tokenizer",
    ),
    "longer": ({"texts": [*texts()[:-1], "x" * 90]}, r"shape \(40, 90\), given are \(40, 29\)"),
    "fails": ({"tokenizer": lambda t: t[0] / 2}, "tokenizer: raised TypeError"),
    "other keys": ({"tokenizer": letters}, "tokenizer: has keys none"),
    "fewer rows": ({"tokenizer": lambda t: masked(t[:-1])}, "tokenizer: gave 39 rows of 40"),
    "an empty row": ({"tokenizer": lambda t: masked(["", *t[1:]])}, "tokenizer.mask: leaves some"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_told_in_one_line(name: str) -> None:
    more, why = WRONG[name]
    given = {"texts": texts(), "tokenizer": masked} | more
    with pytest.raises(DataError, match=why) as told:
        AuditData(masked(texts()), np.arange(N) % 2, **given)
    assert "\n" not in str(told.value)


def test_a_mask_of_its_own_must_fit_too() -> None:
    def other(found: list[str]) -> dict[str, Tensor]:
        made = masked(found)
        made["attention_mask"][3, 5] = 0
        return made

    with pytest.raises(DataError, match=r"other inputs.attention_mask than given of 1 texts"):
        AuditData(masked(texts()), texts=texts(), tokenizer=other)


def test_the_mask_of_plain_tokens_is_read_off_their_padding() -> None:
    ids = letters(texts())
    at = AuditData(ids, mask=ids > 0, texts=texts(), tokenizer=letters)
    rows = at.tokenised([t[:3] for t in texts()])
    assert rows.mask is not None
    assert rows.mask.all()
    rows = at.tokenised([t[: 3 + i % 2] for i, t in enumerate(texts())])
    assert rows.mask is not None
    assert torch.equal(rows.mask, rows.main > 0)


def test_samples_and_fingerprints_hold_the_texts() -> None:
    at = data()
    few = at.sample(10)
    assert few.n == 10
    assert few.texts == [at.texts[i] for i in few.rows.numbers]
    rows: Rows = few.tokenised(few.texts)
    # Padded to the longest that is left.
    assert torch.equal(rows.main, few.inputs[:, : rows.main.shape[1]])
    assert rows.numbers.tolist() == few.rows.numbers.tolist()
    assert few.fingerprint != at.fingerprint

    def upper(found: list[str]) -> dict[str, Tensor]:
        return masked([t.lower() for t in found])

    # The same inputs of other texts.
    plain = AuditData(masked(texts()), np.arange(N) % 2)
    prints = {
        plain.fingerprint,
        at.fingerprint,
        data(upper, texts=[t.upper() for t in texts()]).fingerprint,
    }
    assert len(prints) == 3
    assert data().fingerprint == at.fingerprint
