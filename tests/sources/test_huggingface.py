"""Hugging Face checkpoints: tiny ones, built from configs and saved here; no network."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ringtest import AuditData, Subject, audit, subjects, tasks
from ringtest.errors import ConfigError, RingtestError
from ringtest.sources.encoders import Encoder

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings(
    # peft asks transformers for what it used to be called.
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

VOCABULARY, LENGTH, CLASSES = 60, 9, 3


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def bert(**more: Any) -> Any:
    return transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=VOCABULARY,
        num_labels=CLASSES,
        **more,
    )


def distilbert() -> Any:
    return transformers.DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=VOCABULARY, num_labels=CLASSES
    )


def roberta() -> Any:
    return transformers.RobertaConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=VOCABULARY,
        num_labels=CLASSES,
        max_position_embeddings=LENGTH + 4,
    )


def gpt2(pad: int | None = 0) -> Any:
    return transformers.GPT2Config(
        n_embd=16,
        n_layer=2,
        n_head=2,
        vocab_size=VOCABULARY,
        num_labels=CLASSES,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=pad,
    )


CLASSIFIERS = {
    "bert": (bert, "BertForSequenceClassification", "classifier"),
    "distilbert": (distilbert, "DistilBertForSequenceClassification", "classifier"),
    "roberta": (roberta, "RobertaForSequenceClassification", "classifier.out_proj"),
    "gpt2": (gpt2, "GPT2ForSequenceClassification", "score"),
}


def made(kind: str, config: Any, seed: int = 0) -> Any:
    """A model with random weights, large enough to tell inputs apart."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, kind)(config).eval()
        with torch.no_grad():
            for p in model.parameters():
                if p.ndim > 1:
                    p.mul_(6)
    return model


def saved(folder: Path, kind: str, config: Any, seed: int = 0) -> Any:
    model = made(kind, config, seed)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    """What a tokenizer gives: rows of different lengths, padded on the right."""
    rng = torch.Generator().manual_seed(5)
    ids = torch.randint(3, VOCABULARY, (130, LENGTH), generator=rng)
    lengths = torch.randint(3, LENGTH + 1, (130, 1), generator=rng)
    mask = (torch.arange(LENGTH) < lengths).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": ids * 0}


@pytest.fixture
def data(batch: dict[str, Tensor]) -> AuditData:
    return AuditData(batch, batch["input_ids"][:, 0] % CLASSES)


def few(batch: dict[str, Tensor], n: int = 20) -> dict[str, Tensor]:
    return {k: v[:n] for k, v in batch.items()}


def refusal(folder: Any, task: str = "classification", **more: Any) -> str:
    with pytest.raises(RingtestError) as caught:
        Subject(hf=folder, **more).resolve("student", task)
    assert "\n" not in str(caught.value)
    assert caught.value.field == "student.hf"
    return str(caught.value)


# -- classifiers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_is_loaded_with_its_own_head(
    tmp_path: Path, data: AuditData, batch: dict[str, Tensor], name: str
) -> None:
    config, kind, head = CLASSIFIERS[name]
    source = saved(tmp_path / "checkpoint", kind, config())
    task = tasks.make("classification", data)
    # The teacher's tokenizer may give more than this model takes.
    (model,) = subjects.teacher(Subject(hf=tmp_path / "checkpoint"), task, data)
    assert model.layers is not None
    assert model.layers.last.name == f"input of {head}"
    assert model.layers.last.width == 16
    assert len(model.layers.names) >= 3
    model.at(data.rows, slice(0, 20))
    part = few(batch)
    if name in ("distilbert", "roberta"):
        del part["token_type_ids"]  # all zero, and the only type that they know
    with torch.no_grad():
        expected = source(**part).logits
        torch.testing.assert_close(model.raw(data.inputs[:20]), expected)
    assert expected.std() > 0.01


def test_audit_toml_names_a_checkpoint_beside_it(tmp_path: Path) -> None:
    from ringtest.commands.audits import ask

    saved(tmp_path / "checkpoint", "BertForSequenceClassification", bert())
    (tmp_path / "rows_of_hf.py").write_text(
        "import torch, ringtest\n"
        "def rows():\n"
        "    ids = torch.arange(120).reshape(60, 2) % 50 + 1\n"
        "    return ringtest.AuditData({'input_ids': ids}, torch.arange(60) % 3)\n"
    )
    (tmp_path / "audit.toml").write_text(
        '[teacher]\nhf = "checkpoint"\n'
        '[student]\nhf = "checkpoint"\ndtype = "bfloat16"\n'
        '[data]\nload = "rows_of_hf:rows"\n'
    )
    asked = ask(tmp_path / "audit.toml").arguments
    assert asked["teacher"].resolve("teacher").dtype == torch.float32
    assert asked["student"].resolve("student").dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "auto", None])
def test_floats_are_as_asked_for_or_as_saved(
    tmp_path: Path, data: AuditData, dtype: str | None
) -> None:
    made("BertForSequenceClassification", bert()).to(torch.bfloat16).save_pretrained(tmp_path)
    module = Subject(hf=tmp_path, dtype=dtype).resolve("student")
    wanted = torch.bfloat16 if dtype in ("auto", None) else getattr(torch, dtype)
    assert {p.dtype for p in module.parameters()} == {wanted}
    task = tasks.make("classification", data)
    model = subjects.students(Subject(hf=tmp_path, dtype=dtype), task, data)["student"]
    model.at(data.rows, slice(0, 20))
    with torch.no_grad():
        assert model.raw(data.inputs[:20]).dtype == torch.float32


def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "encoder", "BertModel", bert())
    assert "BertModel, without a trained classification head" in refusal(tmp_path / "encoder")
    # The config promises a head that the file does not hold: transformers would draw one.
    shutil.copytree(tmp_path / "encoder", tmp_path / "promise")
    file = tmp_path / "promise" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"architectures": ["BertForSequenceClassification"]}))
    message = refusal(tmp_path / "promise")
    assert "no trained weights for classifier.bias, classifier.weight" in message


# -- encoders ------------------------------------------------------------------------------------

POOLINGS = {
    "mean": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    "cls": {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True},
    "max": {"pooling_mode": "max"},
}


def sentence_folder(folder: Path, pooling: dict[str, Any], *more: str) -> Any:
    """A folder in the form of sentence-transformers."""
    source = saved(folder, "BertModel", bert())
    kinds = ["Transformer", "Pooling", *more]
    modules = [
        {"idx": i, "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.x.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return source


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("normalized", [False, True])
def test_pooling_is_the_checkpoints_own(
    tmp_path: Path, batch: dict[str, Tensor], pooling: str, normalized: bool
) -> None:
    more = ["Normalize"] if normalized else []
    source = sentence_folder(tmp_path / "s", POOLINGS[pooling], *more)
    encoder = Subject(hf=tmp_path / "s").resolve("student", "embedding")
    part = few(batch)
    with torch.no_grad():
        found, hidden = encoder(**part), source(**part).last_hidden_state
    for i, n in enumerate(part["attention_mask"].sum(1).tolist()):
        rows = hidden[i, :n]
        row = {"mean": rows.mean(0), "cls": rows[0], "max": rows.amax(0)}[pooling]
        torch.testing.assert_close(found[i], row / row.norm() if normalized else row)


def test_a_plain_encoder_is_averaged_over_its_mask_however_long_the_padding(
    tmp_path: Path, batch: dict[str, Tensor]
) -> None:
    saved(tmp_path, "BertModel", bert())
    encoder = Subject(hf=tmp_path).resolve("student", "embedding")
    assert isinstance(encoder, Encoder)
    part = few(batch)
    longer = {k: nn.functional.pad(v, (0, 5)) for k, v in part.items()}
    with torch.no_grad():
        torch.testing.assert_close(encoder(**part), encoder(**longer))
        unmasked = encoder(input_ids=part["input_ids"])
        assert not torch.allclose(encoder(**part), unmasked, atol=1e-3)


def test_cls_is_the_first_token_that_counts() -> None:
    class Hidden(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return type("Out", (), {"last_hidden_state": input_ids[..., None].float()})

    ids = torch.tensor([[0, 0, 7, 8], [5, 6, 7, 8]])
    found = Encoder(Hidden(), "cls")(input_ids=ids, attention_mask=(ids > 0).long())
    assert found.tolist() == [[7.0], [5.0]]


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForSequenceClassification"])
def test_the_encoder_of_a_checkpoint_with_another_head(
    tmp_path: Path, batch: dict[str, Tensor], kind: str
) -> None:
    source = saved(tmp_path, kind, bert())
    encoder = Subject(hf=tmp_path).resolve("student", "embedding")
    part = few(batch)
    part["attention_mask"] = torch.ones_like(part["attention_mask"])
    with torch.no_grad():
        expected = source.bert(**part).last_hidden_state.mean(1)
        torch.testing.assert_close(encoder(**part), expected)


def test_what_follows_the_pooling_is_not_left_out_in_silence(tmp_path: Path) -> None:
    sentence_folder(tmp_path / "dense", POOLINGS["mean"], "Dense")
    assert "has a Dense module" in refusal(tmp_path / "dense", "embedding")
    sentence_folder(tmp_path / "last", {"pooling_mode": "lasttoken"})
    assert "pools by lasttoken" in refusal(tmp_path / "last", "embedding")


# -- what is refused -----------------------------------------------------------------------------


def test_folders_that_cannot_be_loaded(tmp_path: Path) -> None:
    assert "the folder" in refusal("../no/where/here")
    assert "in the cache (offline)" in refusal("no-such-model-anywhere")
    assert "holds no config.json" in refusal(tmp_path)
    saved(tmp_path / "gpt", "GPT2LMHeadModel", gpt2())
    for task in ("classification", "embedding"):
        assert "GPT2LMHeadModel, and language models come" in refusal(tmp_path / "gpt", task)
    saved(tmp_path / "pad", "GPT2ForSequenceClassification", gpt2(pad=None))
    assert "has no pad_token_id" in refusal(tmp_path / "pad")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "no-such-kind"}')
    (tmp_path / "odd" / "model.safetensors").write_bytes(b"")
    assert "transformers cannot load" in refusal(tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text('{"auto_map": {"AutoConfig": "code.Config"}}')
    (tmp_path / "odd" / "code.py").write_text("raise SystemExit('run')")
    assert "transformers cannot load" in refusal(tmp_path / "odd")


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, "BertForSequenceClassification", bert())
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    assert "transformers cannot load" in refusal(tmp_path)


@pytest.mark.parametrize("library", ["transformers", "peft"])
def test_a_missing_library_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    pytest.importorskip("peft")
    folder = lora(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError) as caught:
        Subject(hf=folder).resolve("student")
    assert f"needs {library}, which is not installed" in str(caught.value)
    assert "pip install 'ringtest[hf]'" in str(caught.value)


def test_loading_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, "BertForSequenceClassification", bert())
    bars = transformers.utils.logging.is_progress_bar_enabled()
    level = transformers.utils.logging.get_verbosity()
    capfd.readouterr()
    Subject(hf=tmp_path).resolve("student")
    refusal(tmp_path / "nowhere")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled() == bars
    assert transformers.utils.logging.get_verbosity() == level


# -- adapters ------------------------------------------------------------------------------------


def lora(root: Path, kind: str = "BertModel", seed: int = 0) -> Path:
    """A base in root/base, and an adapter with a head of its own in root/adapter."""
    import peft

    source = saved(root / "base", kind, bert())
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(root / "base")
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
    adapted = peft.get_peft_model(classifier, settings)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora" in name or "classifier" in name:
                p.normal_(0, 0.5, generator=torch.Generator().manual_seed(seed))
    adapted.save_pretrained(root / "adapter")
    del source
    return root / "adapter"


def test_an_adapter_is_merged_into_its_base(
    tmp_path: Path, data: AuditData, batch: dict[str, Tensor]
) -> None:
    peft = pytest.importorskip("peft")
    folder = lora(tmp_path)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    expected = peft.PeftModel.from_pretrained(base, folder).eval()
    module = Subject(hf=folder).resolve("student")
    # Merged, it has the architecture that will be shipped: the base's own.
    assert type(module).__name__ == "BertForSequenceClassification"
    assert not any("lora" in name for name, _ in module.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(
            module(**few(batch)).logits, expected(**few(batch)).logits, atol=1e-4, rtol=1e-4
        )
    task = tasks.make("classification", data)
    assert subjects.students(Subject(hf=folder), task, data)["student"].layers is not None


def test_adapters_that_cannot_be_loaded(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    folder = lora(tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())

    def variant(name: str, **more: Any) -> Path:
        other = tmp_path / name
        shutil.copytree(folder, other)
        (other / "adapter_config.json").write_text(json.dumps(config | more))
        return other

    assert "names no base" in refusal(variant("none", base_model_name_or_path=None))
    assert "no checkpoint" in refusal(variant("gone", base_model_name_or_path="gone-base"))
    pickled = variant("pickled")
    weights = pickled / "adapter_model.safetensors"
    weights.rename(pickled / "adapter_model.bin")
    assert "only adapter_model.bin, a pickle" in refusal(pickled)
    # An adapter without the head that its base lacks, too.
    from safetensors.torch import load_file, save_file

    bare = variant("bare", modules_to_save=None)
    state = load_file(bare / "adapter_model.safetensors")
    save_file(
        {k: v for k, v in state.items() if "classifier" not in k},
        bare / "adapter_model.safetensors",
    )
    assert "without a trained classification head" in refusal(bare)


# -- end to end ----------------------------------------------------------------------------------


def test_checkpoints_are_audited_end_to_end(tmp_path: Path, data: AuditData) -> None:
    for i in range(2):
        saved(tmp_path / f"t{i}", "BertForSequenceClassification", bert(), seed=i)
    saved(tmp_path / "s", "DistilBertForSequenceClassification", distilbert(), seed=3)
    report = audit(
        [Subject(hf=tmp_path / "t0"), Subject(hf=tmp_path / "t1")],
        {
            "other": Subject(hf=tmp_path / "s"),
            "half": Subject(hf=tmp_path / "t0", dtype="bfloat16"),
        },
        data,
        progress=False,
    )
    assert {r.verdict.scope for r in report.values()} == {"no-gradient"}
    agreement = {
        name: next(
            r.student
            for r in found.rows
            if (r.measure, r.condition) == ("outputs.agreement", "shift.off_support.random")
        )
        for name, found in report.items()
    }
    assert agreement["half"] > agreement["other"] + 0.1
