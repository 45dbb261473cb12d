"""Sentence encoders: how the tokens of a row become one vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from ringtest.errors import SubjectError
from ringtest.sources.loading import read_json

Pooling = Literal["mean", "cls", "max"]
_OLD_MODES: Final = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True)
class Style:
    """What a checkpoint says of its pooling."""

    pooling: Pooling = "mean"
    normalized: bool = False
    encoder: str = ""
    """Folder of the encoder inside the checkpoint's."""

    @classmethod
    def read(cls, field: str, folder: Path) -> Style:
        """The style of a sentence-transformers folder; of any other, the mean over all tokens.

        Raises SubjectError for modules after the encoder that are neither pooling nor
        normalisation: leaving them out would audit another model.
        """
        pooling: Pooling = "mean"
        normalized, encoder = False, ""
        modules = folder / "modules.json"
        for entry in read_json(field, modules) if modules.is_file() else []:
            kind, path = str(entry.get("type")).rpartition(".")[2], str(entry.get("path", ""))
            if kind == "Transformer":
                encoder = path
            elif kind == "Pooling":
                pooling = _mode(field, read_json(field, folder / path / "config.json"))
            elif kind == "Normalize":
                normalized = True
            else:
                raise SubjectError(
                    field,
                    f"{folder.name} has a {kind} module after its encoder",
                    "only Pooling and Normalize are known: wrap it in an nn.Module and use load",
                )
        return cls(pooling, normalized, encoder)


class Encoder(nn.Module):
    """An encoder whose tokens or places are pooled into one vector a row, padding left out.

    Called with the tokenizer's tensors by keyword, ``attention_mask`` (b, length) among them;
    without one all tokens count. States of images, (b, channels, height, width), are averaged over
    places. Gives (b, d) floats.
    """

    def __init__(self, model: nn.Module, pooling: Pooling = "mean", normalized: bool = False):
        super().__init__()
        self.model, self.pooling, self.normalized = model, pooling, normalized

    def forward(self, **inputs: Tensor) -> Tensor:
        """(b, d) embeddings, of length 1 if ``normalized``; raises ValueError for other states."""
        hidden = getattr(self.model(**inputs), "last_hidden_state", None)
        if not isinstance(hidden, Tensor) or hidden.ndim not in (3, 4):
            shape = tuple(hidden.shape) if isinstance(hidden, Tensor) else "no last_hidden_state"
            raise ValueError(f"it gives {shape}, neither (b, tokens, d) nor (b, d, height, width)")
        mask = inputs.get("attention_mask")
        out = (
            self._places(hidden.float()) if hidden.ndim == 4 else self._tokens(hidden.float(), mask)
        )
        return nn.functional.normalize(out, dim=-1) if self.normalized else out

    def _places(self, hidden: Tensor) -> Tensor:
        width = getattr(getattr(self.model, "config", None), "hidden_size", None)
        if hidden.shape[1] != width == hidden.shape[-1]:
            return hidden.mean((1, 2))  # channels last
        return hidden.mean((2, 3))

    def _tokens(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and mask.shape != hidden.shape[:2]:
            raise ValueError(
                f"it gives {hidden.shape[1]} steps for an attention_mask {tuple(mask.shape)}"
            )
        counts = torch.ones_like(hidden[..., :1]) if mask is None else mask[..., None].float()
        if self.pooling == "cls":
            # With padding on the left, the first token that counts.
            first = counts.argmax(1, keepdim=True).expand(-1, 1, hidden.shape[-1])
            out = hidden.gather(1, first)[:, 0]
        elif self.pooling == "max":
            out = hidden.masked_fill(counts == 0, -torch.inf).amax(1)
        else:
            out = (counts * hidden).sum(1) / counts.sum(1).clamp_min(1)
        return out


def _mode(field: str, settings: Mapping[str, Any]) -> Pooling:
    """The kind of pooling, in the old or the new form of the config."""
    on = [_OLD_MODES.get(k, k) for k, v in settings.items() if k.startswith("pooling_mode_") and v]
    found = settings.get("pooling_mode", on or "mean")
    modes = [found] if isinstance(found, str) else list(found)
    for known in ("mean", "cls", "max"):
        if modes == [known]:
            return known
    raise SubjectError(
        field, f"pools by {' and '.join(modes)}", "mean, cls and max are known: use load"
    )
