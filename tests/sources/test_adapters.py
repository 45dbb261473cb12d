"""PEFT adapters: merged whole into their base, or refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch as safetensors
import torch
import transformers
from torch import Tensor

from ringtest import AuditData, Subject, subjects, tasks
from ringtest.errors import ConfigError, RingtestError

pytestmark = pytest.mark.filterwarnings(
    # peft asks transformers for what it used to be called.
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

CLASSES = 3


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def batch() -> dict[str, Tensor]:
    ids = torch.randint(1, 40, (60, 7), generator=torch.Generator().manual_seed(5))
    ids[::2, 4:] = 0
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def config() -> Any:
    return transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=40,
        num_labels=CLASSES,
    )


def lora(
    root: Path,
    base: str = "BertModel",
    on: str = "BertForSequenceClassification",
    task: str = "SEQ_CLS",
    **more: Any,
) -> Path:
    """A base in root/base, and in root/adapter an adapter of it as another class."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, base)(config()).save_pretrained(root / "base")
        model = getattr(transformers, on).from_pretrained(root / "base", num_labels=CLASSES)
    settings = {"r": 2, "target_modules": ["query", "value", "dense"]} | more
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type=task, **settings))
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora" in name or "classifier" in name:
                p.normal_(0, 0.5, generator=rng)
    adapted.save_pretrained(root / "adapter")
    return root / "adapter"


def refusal(folder: Path, task: str = "classification") -> str:
    with pytest.raises(RingtestError) as caught:
        Subject(hf=folder).resolve("student", task)
    assert "\n" not in str(caught.value)
    assert caught.value.field == "student.hf"
    return str(caught.value)


CLASSIFIER = {"base": "BertForSequenceClassification"}
ENCODER = {"on": "BertModel", "task": "FEATURE_EXTRACTION"}


@pytest.mark.parametrize("bias", ["none", "all"])
@pytest.mark.parametrize("base", ["BertModel", "BertForSequenceClassification"])
def test_an_adapter_is_merged_into_its_base(
    tmp_path: Path, batch: dict[str, Tensor], base: str, bias: str
) -> None:
    folder = lora(tmp_path, base, bias=bias)
    source = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "base", num_labels=CLASSES
    )
    expected = peft.PeftModel.from_pretrained(source, folder).eval()
    module = Subject(hf=folder).resolve("student")
    # Merged, it has the architecture that will be shipped: the base's own.
    assert type(module).__name__ == "BertForSequenceClassification"
    assert not any("lora" in name for name, _ in module.named_parameters())
    with torch.no_grad():
        found = module(**batch).logits
        torch.testing.assert_close(found, expected(**batch).logits, atol=1e-4, rtol=1e-4)
    data = AuditData(batch, batch["input_ids"][:, 0] % CLASSES)
    task = tasks.make("classification", data)
    assert subjects.students(Subject(hf=folder), task, data)["student"].layers is not None


@pytest.mark.parametrize("kind", [CLASSIFIER, ENCODER], ids=["of a classifier", "of an encoder"])
def test_an_encoder_gets_the_adapter_of_its_classifier_too(
    tmp_path: Path, batch: dict[str, Tensor], kind: dict[str, str]
) -> None:
    folder = lora(tmp_path, **kind)
    found = Subject(hf=folder).resolve("student", "embedding")
    plain = Subject(hf=tmp_path / "base").resolve("student", "embedding")
    whole = getattr(transformers, kind.get("on", kind.get("base", ""))).from_pretrained(
        tmp_path / "base"
    )
    merged = peft.PeftModel.from_pretrained(whole, folder).merge_and_unload().eval()
    body = merged.bert if "base" in kind else merged
    mask = batch["attention_mask"][..., None]
    with torch.no_grad():
        states = body(**batch).last_hidden_state
        expected = (states * mask).sum(1) / mask.sum(1)
        torch.testing.assert_close(found(**batch), expected, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found(**batch), plain(**batch), atol=1e-2)


def test_a_classifier_gets_the_adapter_of_its_encoder(
    tmp_path: Path, batch: dict[str, Tensor]
) -> None:
    folder = lora(tmp_path, **(CLASSIFIER | ENCODER))
    found = Subject(hf=folder).resolve("student")
    expected = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        before = expected(**batch).logits
        body = peft.PeftModel.from_pretrained(expected.bert, folder).merge_and_unload()
        assert body is expected.bert
        torch.testing.assert_close(found(**batch).logits, expected(**batch).logits)
        assert not torch.allclose(found(**batch).logits, before, atol=1e-2)


def _without(part: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {k: v for k, v in state.items() if part not in k}


def _moved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.replace("encoder.layer.1.", "encoder.layer.7."): v for k, v in state.items()}


BROKEN = {
    "half of each pair": (_without("lora_B"), "finds nothing for 11 of its places"),
    "a layer less": (_without("layer.1."), "finds nothing for"),
    "a layer that the base lacks": (_moved, "has no place for"),
    "a name of nowhere": (lambda s: s | {"x.lora_A.weight": torch.zeros(2, 2)}, "has no place for"),
    "half of the head": (_without("classifier.bias"), "cannot be merged"),
    "nothing": (lambda _: {"a": torch.zeros(1)}, "finds nothing for|has no place for|merged"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_adapter_that_does_not_fit_is_refused_whole(tmp_path: Path, case: str) -> None:
    """peft would warn, and the base would be audited in its stead."""
    change, says = BROKEN[case]
    folder = lora(tmp_path, **CLASSIFIER)
    file = folder / "adapter_model.safetensors"
    safetensors.save_file(change(safetensors.load_file(file)), file)
    message = refusal(folder)
    assert any(s in message for s in says.split("|")), message


def test_adapters_that_cannot_be_loaded(tmp_path: Path) -> None:
    folder = lora(tmp_path)
    settings = json.loads((folder / "adapter_config.json").read_text())

    def variant(name: str, **more: Any) -> Path:
        other = tmp_path / name
        shutil.copytree(folder, other)
        (other / "adapter_config.json").write_text(json.dumps(settings | more))
        return other

    assert "names no base" in refusal(variant("none", base_model_name_or_path=None))
    gone = refusal(variant("gone", base_model_name_or_path="gone-base"))
    assert "the adapter's base 'gone-base' is no folder here" in gone
    assert "set base_model_name_or_path in adapter_config.json" in gone
    away = refusal(variant("away", base_model_name_or_path="/no/where/base"))
    assert "the adapter's base '/no/where/base' is not there" in away
    pickled = variant("pickled")
    weights = pickled / "adapter_model.safetensors"
    weights.rename(pickled / "adapter_model.bin")
    assert "only adapter_model.bin, a pickle" in refusal(pickled)
    cut = variant("cut") / "adapter_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:50])
    assert "is no safetensors file" in refusal(cut.parent)
    # An adapter without the head that its base lacks, too.
    bare = variant("bare", modules_to_save=None)
    state = _without("classifier")(safetensors.load_file(bare / "adapter_model.safetensors"))
    safetensors.save_file(state, bare / "adapter_model.safetensors")
    assert "without a trained classification head" in refusal(bare)


def test_a_base_without_its_padding_is_named(tmp_path: Path) -> None:
    small = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 40, "num_labels": CLASSES}
    source = transformers.GPT2Config(**small, bos_token_id=1, eos_token_id=2)
    transformers.GPT2LMHeadModel(source).save_pretrained(tmp_path / "base")
    kind = transformers.GPT2ForSequenceClassification
    model = kind.from_pretrained(tmp_path / "base", num_labels=CLASSES)
    settings = peft.LoraConfig(
        r=2, target_modules=["c_attn"], task_type="SEQ_CLS", fan_in_fan_out=True
    )
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    message = refusal(tmp_path / "adapter")
    assert "base has no pad_token_id; set the tokenizer's in base/config.json" in message


@pytest.mark.parametrize("library", ["transformers", "peft"])
def test_a_missing_library_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    folder = lora(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError) as caught:
        Subject(hf=folder).resolve("student")
    assert f"needs {library}, which is not installed" in str(caught.value)
    assert "pip install 'ringtest[hf]'" in str(caught.value)
