"""Hugging Face checkpoints: tiny ones, built from configs and saved here; no network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from ringtest import AuditData, Subject, audit, subjects, tasks
from ringtest.errors import RingtestError
from ringtest.model import evaluating, hooked
from ringtest.sources.encoders import Encoder

pytestmark = pytest.mark.filterwarnings(
    # peft asks transformers for what it used to be called.
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

VOCABULARY, LENGTH, CLASSES = 60, 9, 3


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": VOCABULARY,
    "num_labels": CLASSES,
}
"""A model of any architecture that names its sizes as BERT does."""


def bert(**more: Any) -> Any:
    return transformers.BertConfig(**SMALL, **more)


def distilbert() -> Any:
    return transformers.DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=VOCABULARY, num_labels=CLASSES
    )


def roberta() -> Any:
    return transformers.RobertaConfig(**SMALL, max_position_embeddings=LENGTH + 4)


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


def llama() -> Any:
    return transformers.LlamaConfig(**SMALL, pad_token_id=0)


def opt() -> Any:
    return transformers.OPTConfig(**SMALL, word_embed_proj_dim=16, ffn_dim=32, pad_token_id=0)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("kind", "config"),
    [("GPT2", gpt2), ("Llama", llama), ("OPT", opt)],
    ids=["gpt2", "llama", "opt"],
)
def test_a_decoder_is_judged_by_the_token_that_its_logits_read(
    tmp_path: Path, batch: dict[str, Tensor], kind: str, config: Any, side: str
) -> None:
    source = saved(tmp_path, f"{kind}ForSequenceClassification", config())
    ids = batch["input_ids"].flip(1) if side == "left" else batch["input_ids"]
    rows = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    data = AuditData(rows, ids.sum(1) % CLASSES)
    task = tasks.make("classification", data)
    model = subjects.students(Subject(hf=tmp_path), task, data)["student"]
    assert model.layers is not None
    model.at(data.rows, slice(0, 20))
    part = few(rows)
    with evaluating([model]), hooked(model, model.layers.names) as seen, torch.no_grad():
        seen.rows, seen.mask = 20, model.mask
        logits = model.raw(data.inputs[:20])
        expected = source(**part, output_hidden_states=True)
        # The head says it best: what was read gives the logits.
        torch.testing.assert_close(source.score(seen.values["input of score"]), logits)
        torch.testing.assert_close(logits, expected.logits)
        states = expected.hidden_states[-1]
        mean = (states * part["attention_mask"][..., None]).sum(1)
        mean = mean / part["attention_mask"].sum(1, keepdim=True)
        assert not torch.allclose(seen.values["input of score"], mean, atol=1e-2)


# -- images and audio ----------------------------------------------------------------------------


def vit() -> Any:
    return transformers.ViTConfig(**SMALL, image_size=8, patch_size=4)


def resnet() -> Any:
    return transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic", num_labels=CLASSES
    )


def wav2vec() -> Any:
    return transformers.Wav2Vec2Config(
        **SMALL | {"num_hidden_layers": 1},
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
    )


SENSES = {
    "vit": ("ViTForImageClassification", vit, "pixel_values", (30, 3, 8, 8), "classifier"),
    "resnet": (
        "ResNetForImageClassification",
        resnet,
        "pixel_values",
        (30, 3, 16, 16),
        "classifier.1",
    ),
    "wav2vec": (
        "Wav2Vec2ForSequenceClassification",
        wav2vec,
        "input_values",
        (30, 400),
        "classifier",
    ),
}


@pytest.mark.parametrize("name", SENSES)
def test_classifiers_of_images_and_audio(tmp_path: Path, name: str) -> None:
    kind, config, key, shape, head = SENSES[name]
    source = saved(tmp_path, kind, config())
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(4))
    data = AuditData({key: x}, torch.arange(30) % CLASSES)
    task = tasks.make("classification", data)
    model = subjects.students(Subject(hf=tmp_path), task, data)["student"]
    assert model.capabilities == ["outputs", "layers", "gradients"]
    assert model.layers.last.name == f"input of {head}"
    with torch.no_grad():
        torch.testing.assert_close(model.raw(data.inputs), source(**{key: x}).logits)


def test_a_head_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    saved(tmp_path, "BertForTokenClassification", bert())
    message = refusal(tmp_path)
    assert "BertForTokenClassification, without a trained classification head of a known" in message
    assert "texts, images or audio" in message


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


def test_an_image_encoder_is_averaged_over_places_by_channel(tmp_path: Path) -> None:
    source = saved(tmp_path, "ResNetModel", resnet())
    encoder = Subject(hf=tmp_path).resolve("student", "embedding")
    x = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        states = source(pixel_values=x).last_hidden_state
        assert states.shape[1] == 6
        torch.testing.assert_close(encoder(pixel_values=x), states.mean((2, 3)))


class Given(nn.Module):
    """Gives the states that it was made with."""

    def __init__(self, states: Tensor | None, width: int | None = None) -> None:
        super().__init__()
        self.states, self.config = states, type("Config", (), {"hidden_size": width})

    def forward(self, **_: Tensor) -> Any:
        return type("Out", (), {"last_hidden_state": self.states})


def test_states_of_other_shapes_are_no_embedding() -> None:
    last = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert torch.equal(Encoder(Given(last, 4))(), last.mean((1, 2)))
    assert torch.equal(Encoder(Given(last))(), last.mean((2, 3)))
    for states in (torch.zeros(2, 3), torch.zeros(2, 3, 4, 5, 6), None):
        with pytest.raises(ValueError, match="neither"):
            Encoder(Given(states))()
    with pytest.raises(ValueError, match=r"3 steps for an attention_mask \(2, 9\)"):
        Encoder(Given(torch.zeros(2, 3, 4)))(attention_mask=torch.ones(2, 9))


def test_a_sentence_transformers_module_gives_its_sentences() -> None:
    class Sentences(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, 4)

        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            tokens = self.embed(features["input_ids"])
            return {**features, "token_embeddings": tokens, "sentence_embedding": tokens.mean(1)}

    ids = torch.arange(120).reshape(40, 3) % VOCABULARY
    data = AuditData({"input_ids": ids})
    net = Sentences()
    model = subjects.students(net, tasks.make("embedding", data), data)["student"]
    with torch.no_grad():
        torch.testing.assert_close(model.raw(data.inputs), net.embed(ids).mean(1))


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
    assert "pad has no pad_token_id; set the tokenizer's in pad/config.json" in refusal(
        tmp_path / "pad"
    )
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
