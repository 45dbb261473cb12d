"""Meaning instead of spelling: an embedder of sentences for ``texts.diversity``."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any, Final

import numpy as np

from ringtest.ensembles.texts.ngrams import Embed
from ringtest.errors import ConfigError, DataError
from ringtest.sources.loading import first_line, library, offline

SMALL: Final = "sentence-transformers/all-MiniLM-L6-v2"
"""A small English encoder, 384 numbers a text, texts cut at 256 tokens."""


def sentence_embedder(
    model: str | PathLike[str] = SMALL, *, device: str = "cpu", batch: int = 64
) -> Embed:
    """An ``embed`` by the library sentence-transformers, which is imported here and not before.

    Args:
        model: folder of a model, or its name on the hub. With HF_HUB_OFFLINE=1 only what is in the
            cache is found, and nothing is asked for. No code of a model's repository is run.
        device: where it runs, as torch writes it.
        batch: texts at a time.

    Returns:
        (n,) texts -> (n, d) float32 vectors. What is beyond the model's longest text is not seen:
        two answers that begin with the same 256 tokens are the same to it.

    Raises:
        ConfigError: the library is missing, or has no such model.

    Similarities of another embedder are on another scale: compare those of one embedder alone.
    """
    encoders = library("sentence_embedder", "sentence_transformers", "texts")
    name = fspath(model)
    try:
        encoder = encoders.SentenceTransformer(name, device=device, local_files_only=offline())
    except Exception as error:  # of the hub, of the files, of torch: each has its own
        raise ConfigError(
            "sentence_embedder",
            f"cannot load {name!r}: {type(error).__name__}: {first_line(error)}",
            "give the folder of a model, or the name of one that the hub or its cache has",
        ) from error

    def embed(texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        try:
            vectors = encoder.encode(texts, batch_size=batch, show_progress_bar=False)
        except RuntimeError as error:
            fix = "take a smaller batch, or another device"
            raise DataError("embed", first_line(error), fix) from error
        return np.asarray(vectors, dtype=np.float32)

    return embed
