"""PEFT adapters: small sets of weights, merged into those of their base, all of them or none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import nn

from ringtest.errors import SubjectError
from ringtest.sources.loading import first_line, library, no_safetensors, read_json

_HEADS: Final = re.compile(r".*\b(classifier|score|out_proj)\.weight")
_ROOT: Final = "base_model.model."
"""What peft writes before the names of the model that an adapter was made on."""


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder, and what its file holds."""

    folder: Path
    base: str
    names: frozenset[str]
    """What the adapter holds, in the names of the model that it was made on."""
    columns: int | None
    """Rows of the classification head that it brings along."""

    @classmethod
    def read(cls, field: str, folder: Path) -> Adapter | None:
        """The adapter in a folder; None if there is none. Raises SubjectError."""
        if not (folder / "adapter_config.json").is_file():
            return None
        settings = read_json(field, folder / "adapter_config.json")
        base = settings.get("base_model_name_or_path")
        if not base:
            raise SubjectError(
                field, "the adapter names no base", "set base_model_name_or_path in its config"
            )
        file = folder / "adapter_model.safetensors"
        if not file.is_file():
            no_safetensors(field, folder, file.name)
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "pt") as weights:
                shapes = {k: weights.get_slice(k).get_shape() for k in weights.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise SubjectError(
                field, f"{file.name} is no safetensors file ({error})", "save the adapter again"
            ) from error
        heads = [s[0] for k, s in shapes.items() if _HEADS.fullmatch(k)]
        names = frozenset(k.removeprefix(_ROOT) for k in shapes)
        return cls(folder, str(base), names, heads[-1] if heads else None)

    def merged(self, field: str, model: nn.Module, encodes: bool) -> nn.Module:
        """The base with the adapter inside its weights, as it would be shipped.

        An adapter of a classifier fits the encoder inside (its head is left out), one of an encoder
        the body of a classifier: their names differ by a prefix alone.

        Args:
            field: name for messages.
            model: the base, a classifier or (``encodes``) an encoder.
            encodes: whether the model has no head.

        Raises SubjectError unless every tensor of the file has found its place and every place of
        the adapter a tensor: peft would only warn, and audit the base in the adapter's stead.
        """
        peft = library(field, "peft")
        body = str(getattr(model, "base_model_prefix", ""))
        whole = any(n.startswith(f"{body}.") for n in self.names)
        target: nn.Module = model
        mapping: dict[str, str] = {}
        if encodes and whole:
            mapping = {f"^{re.escape(body)}\\.": ""}
        elif not (encodes or whole) and isinstance(getattr(model, body, None), nn.Module):
            target = getattr(model, body)
        how = {"key_mapping": mapping, "torch_device": "cpu", "use_safetensors": True}
        try:
            adapted = peft.PeftModel.from_pretrained(target, self.folder, **how)
            # Loaded a second time, for what the first time only warns of.
            loaded = adapted.load_adapter(self.folder, "default", **how)
            found = adapted.merge_and_unload()
        except Exception as error:
            raise SubjectError(
                field,
                f"the adapter cannot be merged into its base ({first_line(error)})",
                "give an adapter of the kind of LoRA, or the merged model's folder",
            ) from error
        # With bias = "all", peft writes a head's bias twice, and reads one of them.
        astray = [
            k
            for k in map(_plain, loaded.unexpected_keys)
            if ".modules_to_save." not in k or k.replace(".modules_to_save", "") not in self.names
        ]
        if encodes:
            astray = [k for k in astray if not self._beside_the_encoder(k, body, whole)]
        empty = [_plain(k) for k in loaded.missing_keys]
        if astray or empty:
            problem = (
                f"has no place for {len(astray)} of the adapter's tensors ({astray[0]})"
                if astray
                else f"finds nothing for {len(empty)} of its places in the adapter ({empty[0]})"
            )
            raise SubjectError(
                field,
                f"the base {self.base} {problem}",
                "give the base, and the task, that the adapter was trained for",
            )
        assert isinstance(found, nn.Module)
        if target is not model:
            setattr(model, body, found)
            return model
        return found

    def _beside_the_encoder(self, name: str, body: str, whole: bool) -> bool:
        """Whether a tensor belongs to what an encoder is read without: a head, BERT's pooler."""
        return name.startswith("pooler.") or (whole and f"{body}.{name}" not in self.names)


def _plain(key: str) -> str:
    """A key of peft in the names of the adapter's file, without the adapter's own name."""
    return key.removeprefix(_ROOT).replace(".default.", ".")
