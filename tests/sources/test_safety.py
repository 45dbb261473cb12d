"""No way in runs what a stranger has pickled (exported programs: test_subjects_exported.py)."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from ringtest import Subject
from ringtest.errors import RingtestError

MODELS = "from torch import nn\ndef build():\n    return nn.Linear(3, 2)\n"


class Malice:
    """Pickled, it creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def _torch(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _old_torch(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _npz(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, outputs=np.array([value], dtype=object))
    return buffer.getvalue()


def _npy(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([value], dtype=object))
    return buffer.getvalue()


WEIGHTS = {
    "state_dict": lambda m: _torch({"weight": torch.zeros(2, 3), "bias": m}),
    "state_dict inside": lambda m: _torch({"state_dict": {"weight": m}}),
    "beside a state_dict": lambda m: _torch({"state_dict": nn.Linear(3, 2).state_dict(), "m": m}),
    "old torch": _old_torch,
    "pickle": pickle.dumps,
}


def refused(subject: Subject, trace: Path, *says: str) -> None:
    with pytest.raises(RingtestError) as caught:
        subject.resolve("student")
    assert "\n" not in str(caught.value)
    assert any(s in str(caught.value) for s in says), str(caught.value)
    assert not trace.exists()


def test_the_malice_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Malice(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("how", WEIGHTS)
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "safetensors"])
def test_weights(tmp_path: Path, how: str, suffix: str) -> None:
    make: Callable[[Any], bytes] = WEIGHTS[how]
    (tmp_path / f"w.{suffix}").write_bytes(make(Malice(tmp_path / "trace")))
    (tmp_path / "malice_models.py").write_text(MODELS)
    subject = Subject(factory="malice_models:build", weights=f"w.{suffix}", where=tmp_path)
    refused(subject, tmp_path / "trace", "no file of tensors alone", "no safetensors file")


@pytest.mark.parametrize("form", ["plain", "inside", "bare old"])
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin"])
def test_an_honest_state_dict_is_loaded(tmp_path: Path, form: str, suffix: str) -> None:
    state = nn.Linear(3, 2).state_dict()
    content = {
        "plain": lambda: _torch(state),
        "inside": lambda: _torch({"state_dict": state, "epoch": 3, "lr": 0.1}),
        "bare old": lambda: _old_torch(state),
    }[form]()
    (tmp_path / f"w.{suffix}").write_bytes(content)
    (tmp_path / "honest_models.py").write_text(MODELS)
    subject = Subject(factory="honest_models:build", weights=f"w.{suffix}", where=tmp_path)
    torch.testing.assert_close(subject.resolve("student").state_dict(), state)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (nn.Linear(3, 2).state_dict()["weight"], "holds no state_dict"),
        ({}, "holds no state_dict"),
        ({"weight": torch.zeros(2, 3), "bias": 3}, "bias"),
        (nn.Linear(4, 2).state_dict(), "weight is (2, 4), the module has (2, 3)"),
        ({"net.weight": torch.zeros(2, 3)}, "does not fit: missing ['bias', 'weight']"),
    ],
)
def test_files_that_hold_no_state_of_the_module(tmp_path: Path, value: Any, says: str) -> None:
    (tmp_path / "w.pt").write_bytes(_torch(value))
    (tmp_path / "unfit_models.py").write_text(MODELS)
    subject = Subject(factory="unfit_models:build", weights="w.pt", where=tmp_path)
    refused(subject, tmp_path / "trace", says)


@pytest.mark.parametrize("make", [_npz, _npy, pickle.dumps, _torch])
def test_evidence(tmp_path: Path, make: Callable[[Any], bytes]) -> None:
    (tmp_path / "s.npz").write_bytes(make(Malice(tmp_path / "trace")))
    subject = Subject(evidence=tmp_path / "s.npz")
    refused(subject, tmp_path / "trace", "cannot be read as arrays of numbers", "no array")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "adapter_model.bin"])
def test_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = transformers.BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        vocab_size=9,
        architectures=["BertForSequenceClassification"],
    )
    config.save_pretrained(tmp_path)
    (tmp_path / name).write_bytes(_torch({"classifier.weight": Malice(tmp_path / "trace")}))
    if name.startswith("adapter"):
        (tmp_path / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": str(tmp_path), "peft_type": "LORA"})
        )
    refused(Subject(hf=tmp_path), tmp_path / "trace", "a pickle", "transformers cannot load")


def test_a_refusal_gives_the_reason_and_not_torchs_advice(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(_torch({"weight": Malice(tmp_path / "trace")}))
    (tmp_path / "builds_here.py").write_text(MODELS)
    with pytest.raises(RingtestError) as caught:
        Subject(factory="builds_here:build", weights="w.pt", where=tmp_path).resolve("student")
    message = str(caught.value)
    assert "was not an allowed global" in message
    for advice in ("\x1b", "weights_only", "add_safe_globals", "trust"):
        assert advice not in message
