"""Changed texts: as many hits as asked, each text by itself, and models that see the new tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

import ringtest
from ringtest import tasks
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.demo.sentences import told
from ringtest.errors import ConfigError, DataError, RingtestError
from ringtest.evidence import Wanted, gather
from ringtest.perturb import typos
from ringtest.perturb.text import Case, ChangedTexts, Characters, Dropout, Truncation
from ringtest.trial import prepare

N = 90
KINDS = [k.make for k in conditions if issubclass(k.make, ChangedTexts)]


def draws(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def sentences() -> tuple[list[str], np.ndarray[Any, Any]]:
    texts, topics = told(N)
    return texts, np.unique(topics, return_inverse=True)[1]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@cache
def vocabulary() -> dict[str, int]:
    """0 is padding, 1 an unknown word."""
    found = sorted({w for text in sentences()[0] for w in words(text)})
    return {w: i + 2 for i, w in enumerate(found)}


def tokenizer(texts: list[str]) -> dict[str, Tensor]:
    rows = [[vocabulary().get(w, 1) for w in words(text)] for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class BagOfWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(len(vocabulary()) + 2, 8), nn.Linear(8, 6)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[:, :, None].float()
        out: Tensor = self.head((self.embed(input_ids) * mask).sum(1) / mask.sum(1))
        return out


@cache
def trained(seed: int) -> BagOfWords:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = BagOfWords()
        optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
        texts, topics = sentences()
        for _ in range(40):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(**tokenizer(texts)), torch.tensor(topics))
            loss.backward()
            optimiser.step()
        return net.eval()


def data(tokenize: Any = tokenizer, **more: Any) -> AuditData:
    texts, topics = sentences()
    return AuditData(tokenize(texts), topics, texts=texts, tokenizer=tokenize, **more)


def within(hits: int, of: int, share: float) -> bool:
    """Whether a binomial test at 1 in 1,000 lets the number pass."""
    return bool(binomtest(hits, of, share).pvalue > 1e-3)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_as_many_letters_are_hit_as_asked(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistyping alone keeps places, so every hit can be counted."""
    monkeypatch.setattr(typos, "TYPOS", (typos.mistyped,))
    text = " ".join(sentences()[0])
    made = Characters.changed(text, share, draws(1))
    assert len(made) == len(text)
    hits = [(a, b) for a, b in zip(text, made, strict=True) if a != b]
    assert within(len(hits), sum(c.isalpha() for c in text), share)
    assert all(b.lower() in typos.NEIGHBOURS[a.lower()] for a, b in hits)
    assert all(a.isupper() == b.isupper() for a, b in hits)


def test_each_error_is_what_it_says() -> None:
    assert typos.swapped("a", "b") == ["ba"]
    assert typos.dropped("a", "b") == ["b"]
    assert typos.doubled("A", "b") == ["AAb"]
    assert sorted(typos.mistyped("G", "o")) == ["Bo", "Fo", "Ho", "To", "Vo", "Yo"]
    # What would leave the letter as it was, or the word without one, cannot be.
    assert not typos.swapped("l", "l")
    assert not typos.swapped("a", "")
    assert not typos.dropped("a", "")
    assert not typos.mistyped("é", "x")
    near = typos.NEIGHBOURS
    assert len(near) == 26
    assert all(key in near[other] for key in near for other in near[key])


def test_all_errors_occur_as_often_where_all_can_be() -> None:
    found: dict[str, int] = {}
    counted = 2000
    for i in range(counted):
        made = typos.made("g", "o", draws(i))
        kind = {"og": "swapped", "o": "dropped", "ggo": "doubled"}.get(made, "mistyped")
        found[kind] = found.get(kind, 0) + 1
    assert all(within(n, counted, 0.25) for n in found.values())
    assert len(found) == 4


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_only_letters_are_hit_and_no_word_vanishes(share: float) -> None:
    texts = [*sentences()[0], "a", "I am 42, ok?!", "  två  ord\n", "...", "", "日本語 é"]
    for i, text in enumerate(texts):
        made = Characters.changed(text, share, draws(i))
        kept = re.compile(r"[^\W\d_]+")
        assert kept.sub("", made) == kept.sub("", text)
        assert len(made.split()) == len(text.split())
        if share == 1 and any(c.isalpha() for c in text):
            assert made != text


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_as_many_words_are_dropped_as_asked(share: float) -> None:
    text = " ".join(f"w{i}," for i in range(3000))
    made = Dropout.changed(text, share, draws(2)).split()
    assert within(3000 - len(made), 3000, share)
    # In their order, with their punctuation.
    places = [int(w[1:-1]) for w in made]
    assert places == sorted(set(places))


def test_one_word_stays_and_what_is_not_hit_is_not_touched() -> None:
    for i in range(30):
        assert Dropout.changed("one two  three", 1.0, draws(i)) in ("one", "two", "three")
    assert Dropout.changed(" a\tb\n", 1e-9, draws(0)) == " a\tb\n"
    assert Dropout.changed("", 0.5, draws(0)) == ""
    kept = {Dropout.changed("a  b\tc", 0.5, draws(i)) for i in range(60)}
    assert kept == {"a", "b", "c", "a  b", "b\tc", "a\tc", "a  b\tc"}


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_as_many_words_change_their_case_as_asked(share: float) -> None:
    text = " ".join(f"Word{i}," for i in range(3000))
    made = Case.changed(text, share, draws(2))
    assert made.lower() == text.lower()
    pairs = list(zip(text.split(), made.split(), strict=True))
    changed = [b for a, b in pairs if a != b]
    # Every word can be written in another way, so each that is hit is.
    assert within(len(changed), 3000, share) or share == 1.0 == len(changed) / 3000
    # Two letters in sixteen of the mixed ones are in capitals or small letters all the same.
    for sort in (str.isupper, str.islower):
        assert 0.3 < sum(map(sort, changed)) / len(changed) < 0.45


def test_what_has_no_case_stays_and_spaces_do() -> None:
    for text in ("  42\t, \n", "日本語", ""):
        assert Case.changed(text, 1.0, draws(0)) == text
    for i in range(20):
        made = Case.changed(" a\tBc\n", 1.0, draws(i))
        assert re.sub(r"\S", "x", made) == " x\txx\n"
        assert made[1] == "A"
        assert made[3:5] != "Bc"
    assert Case.changed(" a\tB\n", 1e-9, draws(0)) == " a\tB\n"


@pytest.mark.parametrize(
    ("share", "kept"), [(0.01, 9), (0.1, 9), (0.25, 8), (0.5, 5), (0.9, 1), (1.0, 1)]
)
def test_the_last_words_are_cut_off(share: float, kept: int) -> None:
    text = " w0,  w1\tw2 w3 w4 w5 w6 w7 w8 w9. "
    made = Truncation.changed(text, share, draws(0))
    assert text.startswith(made)
    assert len(made.split()) == kept
    for short in ("", " ", "one", " one. "):
        assert Truncation.changed(short, share, draws(0)) == short


@pytest.mark.parametrize("make", KINDS, ids=lambda k: k.kind)
def test_a_text_is_changed_by_its_seed_and_its_row_alone(make: Any) -> None:
    """Whatever the other rows, and whichever rows are sampled."""
    seen: list[list[str]] = []

    def told_of(texts: list[str]) -> dict[str, Tensor]:
        seen.append(texts)
        return tokenizer(texts)

    at = data(told_of)
    few = at.sample(30)
    other = data(told_of)
    other.texts = [*other.texts[:5], *reversed(other.texts[5:])]
    for each, seed in ((at, 3), (few, 3), (other, 3), (at, 3), (at, 4)):
        make(severity=0.3).fit([], each, rng(seed))
    whole, part, mixed, again, reseeded = seen[-5:]
    assert [whole[i] for i in few.rows.numbers] == part
    assert whole[:5] == mixed[:5]
    assert whole == again
    assert sum(a != b for a, b in zip(whole, at.texts, strict=True)) > N // 2
    if make is Truncation:
        assert whole == reseeded, "nothing of it is drawn"
        return
    assert sum(a != b for a, b in zip(whole, reseeded, strict=True)) > N // 2
    # Rows of one text have draws of their own.
    at.texts = [at.texts[0]] * N
    make(severity=0.5).fit([], at, rng(3))
    assert len(set(seen[-1])) > 10


@pytest.mark.parametrize("make", KINDS, ids=lambda k: k.kind)
def test_they_are_looked_under_only_where_asked_for_and_possible(make: Any) -> None:
    at = data()
    assert not list(make.defaults(at))
    assert [c.severity for c in make.asked(at)] == list(make.usual)
    assert [c.key for c in make.asked(at, 0.2)] == [f"{make.kind}@0.2"]
    plain = AuditData(tokenizer(sentences()[0]), sentences()[1])
    assert not list(make.asked(plain, 0.2))
    with pytest.raises(DataError, match="texts: are missing"):
        make().fit([], plain, rng())
    for wrong in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="give a share above 0") as caught:
            make(severity=wrong)
        assert "\n" not in str(caught.value)


def test_models_see_the_tokens_and_the_mask_of_the_changed_texts() -> None:
    """Tokenised once for all models and blocks; what a model shows is what it would by itself."""
    calls: list[list[str]] = []

    def counting(texts: list[str]) -> dict[str, Tensor]:
        calls.append(texts)
        return tokenizer(texts)

    at = data(counting)
    task = tasks.make("classification", at)
    models = [prepare(f"m{i}", "member", trained(i), task, at, ["embed"]) for i in range(2)]
    calls.clear()
    condition = Dropout(severity=0.5)
    wanted = Wanted(outcomes=True, sample=True, layers=True)
    found = gather(condition, models, (), at, task, wanted, 0).evidence
    assert len(calls) == 1
    made = tokenizer(calls[0])
    assert made["input_ids"].shape[1] < at.inputs.shape[1]
    for i, model in enumerate(models):
        with torch.no_grad():
            z = trained(i)(**made)
        torch.testing.assert_close(found[model.name].outputs.exp(), z.softmax(1))
        # Layers are averaged over the mask of the changed texts.
        mask = made["attention_mask"][:, :, None]
        mean = (trained(i).embed(made["input_ids"]).detach() * mask).sum(1) / mask.sum(1)
        torch.testing.assert_close(found[model.name].sample["embed"], mean)
        score = (z.argmax(1).numpy() == sentences()[1]).astype(float)
        assert np.array_equal(found[model.name].score, score)


def audit(at: AuditData, *cells: tuple[str, str], **more: Any) -> Any:
    nets = [trained(0), trained(1)]
    return ringtest.audit(nets, trained(2), at, cells=cells, progress=False, **more)


@pytest.mark.usefixtures("asked_alone", "undrawn")
def test_an_audit_runs_end_to_end(tmp_path: Any) -> None:
    cells = [
        ("outputs.score", "text.characters"),
        ("outputs.score", "text.characters@0.8"),
        ("outputs.agreement", "text.dropout@0.6"),
    ]
    report = audit(data(), *cells, out=tmp_path)
    rows = {(r.measure, r.condition, r.severity): r for r in report.rows}
    clean = rows["outputs.score", "clean", None].student
    hit = [rows["outputs.score", "text.characters", s].student for s in (0.05, 0.1, 0.8)]
    assert clean >= hit[0] >= hit[1] > hit[2] + 0.2
    agreement = rows["outputs.agreement", "text.dropout", 0.6]
    assert 0.2 < agreement.student < 1
    assert all(r.status == "context" for k, r in rows.items() if k[1].startswith("text."))
    # The same audit again, partly from its cells; another tokenizer is another audit.
    again = audit(data(), *cells, out=tmp_path)
    assert again.data["integrity"] == report.data["integrity"]
    assert again.data["timing"]["cached"]["clean"]
    assert not {"text.characters@0.1", "text.dropout@0.6"} & set(again.data["timing"]["cached"])
    other: Callable[..., Any] = lambda texts: tokenizer([*texts])  # noqa: E731
    with pytest.raises(RingtestError, match="belongs to another audit"):
        audit(data(other), *cells, out=tmp_path)
    plain = AuditData(tokenizer(sentences()[0]), sentences()[1])
    with pytest.raises(ConfigError, match=r"no condition matches 'text\.characters'"):
        audit(plain, ("outputs.score", "text.characters"))


def test_a_new_kind_is_one_class() -> None:
    class Shouted(ChangedTexts):
        kind = "text.shouted"
        usual = (1.0,)

        @staticmethod
        def changed(text: str, share: float, rng: np.random.Generator) -> str:
            return text.upper() if rng.random() < share else text

    at = data()
    shouted = Shouted()
    shouted.fit([], at, rng())
    # The tokenizer does not mind.
    assert torch.equal(shouted.start(at).main, at.inputs)
    assert torch.equal(shouted.batch(SimpleNamespace(), at.inputs, None, rng()), at.inputs)  # type: ignore[arg-type]


def test_a_word_that_says_something_stays() -> None:
    for i in range(30):
        assert Dropout.changed("... word !!! ?", 1.0, draws(i)) == "word"
        assert Dropout.changed("... !!!", 1.0, draws(i)) in ("...", "!!!")


@pytest.mark.usefixtures("asked_alone")
@pytest.mark.parametrize("fails", [True, False])
def test_changed_texts_that_cannot_be_tokenised_do_not_end_the_audit(fails: bool) -> None:
    given = set(sentences()[0])

    def strict(texts: list[str]) -> dict[str, Tensor]:
        if fails and set(texts) - given:
            raise ValueError("an unknown text")
        found = tokenizer(texts)
        new = torch.tensor([text not in given for text in texts])
        found["attention_mask"][new] = 0
        return found

    report = audit(data(strict), ("outputs.score", "clean"), ("outputs.score", "text.dropout@0.6"))
    (row,) = (r for r in report.rows if r.condition == "text.dropout")
    assert row.status == "not_measurable"
    assert "cannot be shown the changed texts" in row.reason
    assert np.isnan(row.student)
