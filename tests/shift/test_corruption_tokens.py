"""Corruptions of tokens, held against lists of words that are changed one row at a time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ringtest
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.shift.corruption_tokens import (
    Shortened,
    TokenCorruption,
    TokenDropout,
    TokenNoise,
    Truncation,
)

NO_MODEL: Any = None
PAD, OPEN, CLOSE, N = 0, 1, 2, 300
KINDS = [k.make for k in conditions if issubclass(k.make, TokenCorruption)]
SHORT = [k for k in KINDS if issubclass(k, Shortened)]
SIDES = ["right", "left"]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def words() -> list[list[int]]:
    """Rows of 1 to 24 words, every word once: so what is left tells which were left out."""
    draws = np.random.default_rng(4)
    return [
        draws.permutation(np.arange(3, 80))[: 1 if i == 0 else draws.integers(1, 25)].tolist()
        for i in range(N)
    ]


WORDS = words()


def padded(rows: list[list[int]], side: str, length: int = 26) -> dict[str, Tensor]:
    """What a tokenizer gives, with types 1 from the fourth token on, and positions."""
    made: dict[str, list[list[int]]] = {
        k: [] for k in ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    }
    for row in rows:
        full = [OPEN, *row, CLOSE]
        pad = [0] * (length - len(full))
        ones = [1] * len(full)
        types, places = [int(t % 2) for t in full], list(range(len(full)))
        behind = list(range(len(full), length))
        for key, value, filling in (
            ("input_ids", full, [PAD] * len(pad)),
            ("attention_mask", ones, pad),
            ("token_type_ids", types, pad),
            ("position_ids", places, behind if side == "right" else pad),
        ):
            made[key].append(value + filling if side == "right" else filling + value)
    return {k: torch.tensor(v) for k, v in made.items()}


def data(side: str = "right", **more: Any) -> AuditData:
    return AuditData(padded(WORDS, side), torch.arange(N) % 3, **more)


def run(condition: Any, at: AuditData, seed: int = 1) -> Any:
    condition.fit([], at, rng(seed))
    return condition.start(at)


def left(row: Tensor) -> list[int]:
    return [t for t in row.tolist() if t not in (PAD, OPEN, CLOSE)]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", SHORT, ids=lambda k: k.kind)
@pytest.mark.parametrize("severity", range(1, 6))
def test_rows_are_those_of_a_tokenizer_without_the_words(
    kind: Any, side: str, severity: int
) -> None:
    at = data(side)
    made = run(kind(severity=severity), at)
    kept = [left(row) for row in made.main]
    # Everything but positions behind the row is as if the shorter texts had been tokenised.
    expected = padded(kept, side)
    assert torch.equal(made.main, expected["input_ids"])
    assert torch.equal(made.mask, expected["attention_mask"].bool())
    for key in ("attention_mask", "token_type_ids"):
        assert torch.equal(made.beside[key], expected[key]), key
    counts = expected["attention_mask"].bool()
    assert torch.equal(made.beside["position_ids"][counts], expected["position_ids"][counts])
    for before, after in zip(WORDS, kept, strict=True):
        gone = min(max(1, round(kind.strengths[severity - 1] * len(before))), len(before) - 1)
        assert len(before) - len(after) == gone
        if kind is Truncation:
            assert after == before[: len(before) - gone]
        else:
            assert after == [w for w in before if w in after]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("severity", range(1, 6))
def test_noise_replaces_a_share_by_words_of_the_data(side: str, severity: int) -> None:
    at = data(side)
    made = run(TokenNoise(severity=severity), at)
    framed = at.inputs < 3
    assert torch.equal(made.main[framed], at.inputs[framed])
    assert torch.equal(made.mask, at.mask)
    assert (made.main[~framed] >= 3).all()
    changed = (made.main != at.inputs).sum(1)
    share = TokenNoise.strengths[severity - 1]
    most = torch.tensor([max(1, round(share * len(w))) for w in WORDS])
    assert (changed <= most).all()
    # A word is drawn in its own place about once in 77.
    assert changed.sum() > 0.95 * most.sum()


def test_which_words_are_left_out_is_drawn() -> None:
    at, row = data(), [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    at = AuditData(padded([row] * N + [[20]], "right"))
    made = run(TokenDropout(severity=2), at).main
    gone = [(set(row) - set(left(r))).pop() for r in made[:N]]
    counts = np.bincount(gone)[10:]
    assert (abs(counts - N / 10) < 5 * np.sqrt(N * 0.09)).all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_contract(kind: Any) -> None:
    at = data()
    before, state = at.inputs.clone(), torch.get_rng_state()
    made = [run(kind(severity=s), at) for s in range(1, 6)]
    for severity, rows in enumerate(made, 1):
        again = run(kind(severity=severity), at)
        assert torch.equal(again.main, rows.main)
        assert (rows.main.shape, rows.main.dtype) == (at.inputs.shape, at.inputs.dtype)
        assert (rows.main != at.inputs).any()
        condition = kind(severity=severity)
        condition.fit([], at, rng(1))
        assert condition.batch(NO_MODEL, rows.main[:5], None, rng()) is not None
        assert rows.numbers.tolist() == list(range(N))
    assert torch.equal(at.inputs, before)
    assert torch.equal(at.rows.beside["attention_mask"], padded(WORDS, "right")["attention_mask"])
    assert torch.equal(torch.get_rng_state(), state)
    if kind is TokenNoise:
        moved = [int((rows.main != at.inputs).sum()) for rows in made]
    else:
        moved = [int((~rows.mask).sum()) for rows in made]
    assert all(a < b for a, b in pairwise(moved)), moved
    if kind is not Truncation:
        assert not torch.equal(run(kind(severity=3), at, seed=2).main, made[2].main)


@pytest.mark.parametrize("kind", SHORT, ids=lambda k: k.kind)
def test_padding_is_the_masks_or_the_users(kind: Any) -> None:
    ids = padded(WORDS, "right")["input_ids"]
    # Padding that is a word, too (the end of a text, say): the mask tells.
    reused = torch.where(ids == PAD, CLOSE, ids)
    made = run(kind(severity=3), AuditData(reused, mask=ids != PAD))
    assert (made.main[~made.mask] == CLOSE).all()
    assert made.mask.sum() < (ids != PAD).sum()
    # Without a mask it has to be told, and nothing of the mask is made up.
    plain = AuditData(ids)
    assert not list(kind.asked(plain))
    with pytest.raises(DataError, match="mask: shows no padding, and shift") as caught:
        run(kind(severity=3), plain)
    assert "\n" not in str(caught.value)
    told = run(kind(severity=3, pad=PAD), plain)
    assert told.mask is None
    assert (told.main == PAD).sum() > (ids == PAD).sum()
    with pytest.raises(ConfigError, match=r"pad of .*: is '\[PAD\]'; give the id"):
        kind(severity=3, pad="[PAD]")


def test_what_goes_along_and_cannot_be_closed_up_is_told() -> None:
    given = padded(WORDS, "right")
    given["boxes"] = torch.zeros(N, 26, 4)
    with pytest.raises(DataError, match=r"inputs\['boxes'\]: has shape .* cannot close it up"):
        run(TokenDropout(severity=1), AuditData(given))
    # Something of another length goes along as it is.
    del given["boxes"]
    given["site"] = torch.arange(N)[:, None]
    made = run(TokenDropout(severity=1), AuditData(given))
    assert torch.equal(made.beside["site"], given["site"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_they_are_offered_where_they_mean_something(kind: Any) -> None:
    at = data()
    assert not list(kind.defaults(at))
    assert [c.key for c in kind.asked(at)] == [f"{kind.kind}@{s}" for s in range(1, 6)]
    assert [c.severity for c in kind.asked(at, 4)] == [4]
    for other in (AuditData(torch.rand(9, 3)), AuditData(torch.rand(9, 1, 4, 4))):
        assert not list(kind.asked(other))
        with pytest.raises(DataError, match="is for tokens") as caught:
            run(kind(severity=1), other)
        assert "\n" not in str(caught.value)
    for wrong in (None, 0, 2.5, 6):
        with pytest.raises(ConfigError, match="give a whole number from 1 to 5"):
            kind(severity=wrong)


class Bag(nn.Module):
    """The mean of the words that count."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(80, 6), nn.Linear(6, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[:, :, None].float()
        out: Tensor = self.head((self.embed(input_ids) * mask).sum(1) / mask.sum(1))
        return out


def bag(seed: int) -> Bag:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Bag().eval()


@pytest.mark.usefixtures("asked_alone")
def test_models_are_shown_the_shorter_mask() -> None:
    given = {k: v for k, v in padded(WORDS, "right").items() if k[0] in "ia"}
    at = AuditData(given, torch.arange(N) % 3)
    cells = [(m, "shift.corruption.truncation@5") for m in ("outputs.score", "outputs.agreement")]
    report = ringtest.audit([bag(0), bag(1)], bag(2), at, cells=cells, progress=False)
    found = {r.measure: r for r in report.rows if r.condition == "shift.corruption.truncation"}
    kept = [w[: max(1, len(w) - max(1, round(0.75 * len(w))))] for w in WORDS]
    shown = {k: v for k, v in padded(kept, "right").items() if k[0] in "ia"}
    with torch.no_grad():
        guesses = [bag(i)(**shown).argmax(1) for i in range(3)]
    score = float((guesses[2] == torch.arange(N) % 3).double().mean())
    assert found["outputs.score"].student == pytest.approx(score)
    agreement = np.mean([float((guesses[2] == g).double().mean()) for g in guesses[:2]])
    assert found["outputs.agreement"].student == pytest.approx(agreement)
