"""Hugging Face checkpoints: classifiers with their trained heads, and encoders that pool.

Weights come from safetensors alone, code from the installed transformers alone. What a checkpoint
lacks is an error: transformers would fill a missing head with random numbers and only log it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import torch
from torch import nn

from ringtest.errors import SubjectError
from ringtest.sources.adapters import Adapter
from ringtest.sources.encoders import Encoder, Style
from ringtest.sources.loading import first_line, library, no_safetensors, offline

_ID: Final = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_CLASSIFIES: Final = re.compile(r"For(Sequence|Image|Audio)Classification")
_FILES: Final = ["*.json", "*.safetensors"]


def load(field: str, name: str, where: Path | None, task: str, dtype: str | None) -> nn.Module:
    """A checkpoint as a module that takes the tokenizer's dict by keyword, in evaluation mode.

    Args:
        field: name for messages, such as ``student.hf``.
        name: folder (looked up beside the config file, too) or id of a checkpoint, or of a PEFT
            adapter, which is merged into its base.
        where: folder of the config file.
        task: ``embedding`` gives an :class:`Encoder`; other tasks need the trained head of a
            classifier of texts, images or audio.
        dtype: one of ways.DTYPES; None is ``auto``: as the checkpoint was saved.

    Returns:
        The model, which gives (b, classes) logits or values, or an Encoder, which gives (b, d).

    Raises ConfigError without transformers (or peft); SubjectError for a checkpoint that is not
    there, lacks config, safetensors or trained weights, or is of another kind.
    """
    transformers = library(field, "transformers")
    folder = _folder(field, name, where)
    adapter = Adapter.read(field, folder)
    base = folder if adapter is None else _folder(field, adapter.base, folder, adapts=True)
    asked = {"dtype": getattr(torch, dtype) if dtype not in (None, "auto") else "auto"}
    encodes = task == "embedding"
    with _quiet(transformers):
        style = Style.read(field, base)
        source = base / style.encoder if encodes else base
        config = _config(field, transformers, source)
        if adapter is not None and not encodes and adapter.columns is not None:
            config.num_labels = adapter.columns
        model = _model(field, transformers, source, config, encodes, asked, adapter)
        if adapter is not None:
            model = adapter.merged(field, model, encodes)
    _check_padding(field, source.name, model)
    return (Encoder(model, style.pooling, style.normalized) if encodes else model).eval()


def _model(
    field: str,
    transformers: Any,
    source: Path,
    config: Any,
    encodes: bool,
    asked: dict[str, Any],
    adapter: Adapter | None,
) -> nn.Module:
    kind = (getattr(config, "architectures", None) or ["an unnamed model"])[0]
    brings_head = adapter is not None and adapter.columns is not None and not encodes
    generates = kind.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))
    if generates and not brings_head:
        raise SubjectError(
            field,
            f"{source.name} is a {kind}, and language models come with a later version",
            "give an encoder, or a checkpoint with a classification head",
        )
    if not (encodes or brings_head or _CLASSIFIES.search(kind)):
        raise SubjectError(
            field,
            f"{source.name} is a {kind}, without a trained classification head of a known kind",
            "give a checkpoint that classifies texts, images or audio, or task = 'embedding'",
        )
    auto = transformers.AutoModel if encodes else _classifier(field, transformers, config, kind)
    options = {
        "config": config,
        "use_safetensors": True,
        "trust_remote_code": False,
        "local_files_only": True,
        "output_loading_info": True,
        **asked,
    }
    try:
        try:
            # BERT's own pooling layer is not what sentence encoders are read from.
            more = {"add_pooling_layer": False} if encodes else {}
            model, info = auto.from_pretrained(source, **options, **more)
        except TypeError:
            model, info = auto.from_pretrained(source, **options)
    except Exception as error:
        _refuse(field, source, error)
    brought = frozenset() if adapter is None else adapter.names
    missing = sorted(set(info["missing_keys"]) - brought)
    if missing:
        raise SubjectError(
            field,
            f"{source.name} holds no trained weights for {', '.join(missing[:4])}"
            f"{', ...' if len(missing) > 4 else ''}, which would be random numbers",
            "give the checkpoint that was trained for this task",
        )
    assert isinstance(model, nn.Module)
    return model


def _classifier(field: str, transformers: Any, config: Any, kind: str) -> Any:
    """The auto class of a checkpoint's kind: of its name, else any that knows its config."""
    said = _CLASSIFIES.search(kind)
    kinds = ["Sequence", "Image", "Audio"]
    # Audio models call themselves ForSequenceClassification, too.
    for what in sorted(kinds, key=lambda k: said is None or k != said[1]):
        known = getattr(transformers, f"MODEL_FOR_{what.upper()}_CLASSIFICATION_MAPPING")
        if type(config) in known:
            return getattr(transformers, f"AutoModelFor{what}Classification")
    raise SubjectError(
        field,
        f"transformers knows no classifier of texts, images or audio for {type(config).__name__}",
        "give another checkpoint, or load it yourself",
    )


def _config(field: str, transformers: Any, source: Path) -> Any:
    if not (source / "config.json").is_file():
        raise SubjectError(
            field, f"{source} holds no config.json", "name a folder that save_pretrained() wrote"
        )
    saved = ("model.safetensors", "model.safetensors.index.json")
    if not any((source / name).is_file() for name in saved):
        no_safetensors(field, source, saved[0])
    try:
        return transformers.AutoConfig.from_pretrained(
            source, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        _refuse(field, source, error)


def _folder(field: str, name: str, where: Path | None, adapts: bool = False) -> Path:
    """The folder of a checkpoint: named, beside the config file, or fetched without its pickles."""
    for folder in (*([where / name] if where else []), Path(name).expanduser()):
        if folder.is_dir():
            return folder
    what, fix = "", "name a folder that save_pretrained() wrote"
    if adapts:
        what, fix = "the adapter's base ", "set base_model_name_or_path in adapter_config.json"
    if not _ID.fullmatch(name):
        raise SubjectError(
            field,
            f"{what or 'the folder '}{name!r} is not there",
            fix if adapts else "name the checkpoint's",
        )
    hub = library(field, "huggingface_hub")
    cached = offline()
    try:
        return Path(hub.snapshot_download(name, allow_patterns=_FILES, local_files_only=cached))
    except Exception as error:
        raise SubjectError(
            field,
            f"{what}{name!r} is no folder here, and no checkpoint "
            + ("in the cache (offline)" if cached else f"to be had ({first_line(error)})"),
            fix,
        ) from error


def _check_padding(field: str, name: str, model: nn.Module) -> None:
    """A decoder's head reads the last token before the padding: it must know the padding."""
    config: Any = getattr(model, "config", None)
    if hasattr(model, "score") and getattr(config, "pad_token_id", None) is None:
        raise SubjectError(
            field, f"{name} has no pad_token_id", f"set the tokenizer's in {name}/config.json"
        )


def _refuse(field: str, source: Path, error: Exception) -> NoReturn:
    raise SubjectError(
        field,
        f"transformers cannot load {source} ({first_line(error)})",
        "check that AutoModel.from_pretrained takes it, without remote code",
    ) from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No bars, no reports, no warnings: what matters is checked here."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
