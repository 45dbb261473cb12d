"""Texts as directions whose product is their similarity: character n-grams, runs of words, or ours.

Every function here gives unit rows, one a text, so that a product of two rows is a cosine and the
mean over pairs of texts is a product of mean rows (:mod:`ringtest.ensembles.texts.pairs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

from ringtest.errors import DataError

Rows = Any
"""(n, d) unit rows: a scipy.sparse.csr_matrix or an array, of float32."""
Embed = Callable[[list[str]], NDArray[np.floating[Any]]]

SIZES: Final = (3, 5)
"""Shortest and longest n-gram, in characters."""
WIDTH: Final = 1 << 14
"""Places that n-grams are hashed to. Two share one with probability 1 / WIDTH; signs alternate, so
that a product is right on average (Weinberger et al. 2009, arXiv 0902.2206)."""
RUN: Final = 8
"""Words of a run that counts as copied."""


def ngrams(texts: Sequence[str]) -> Rows:
    """Counts of character 3- to 5-grams, hashed, as unit rows.

    Args:
        texts: n texts, as :func:`~ringtest.ensembles.texts.answers.plain` gives them. Case is
            ignored; a space before and after lets answers of one letter have an n-gram.

    Returns:
        (n, WIDTH) csr_matrix of float32 with signed counts over their Euclidean norm. The product
        of two rows is the cosine of the counts, but for collisions of n-grams.
    """
    return _hashing().transform([f" {text} " for text in texts])


@lru_cache(maxsize=1)
def _hashing() -> HashingVectorizer:
    return HashingVectorizer(
        analyzer="char", ngram_range=SIZES, n_features=WIDTH, norm="l2", dtype=np.float32
    )


def runs(texts: Sequence[str], words: int = RUN) -> Rows:
    """Which runs of ``words`` words each text has, as unit rows: exact, not hashed.

    The product of two rows is |A and B| / sqrt(|A| |B|), the geometric mean of the shares of
    either text's runs that the other has too (Ochiai 1957). A text of fewer words is one run;
    words are what spaces part, so a text in a script without spaces is one run as well.
    """

    def split(text: str) -> list[str]:
        of = text.split()
        return [" ".join(of[i : i + words]) for i in range(max(len(of) - words, 0) + 1)]

    return _sets([split(text) for text in texts])


def identical(texts: Sequence[str]) -> Rows:
    """Which text each one is, as unit rows: a product is 1 for equal texts, else 0."""
    return _sets([[text] for text in texts])


def _sets(given: Sequence[Sequence[str]]) -> Rows:
    """Unit rows of n sets that are not empty; repeats count once."""
    codes: dict[str, int] = {}
    # CountVectorizer also sorts its vocabulary, which took a fifth of the whole comparison.
    code = [list({codes.setdefault(s, len(codes)) for s in of}) for of in given]
    sizes = np.array([len(of) for of in code])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    data = np.repeat(1.0 / np.sqrt(sizes), sizes).astype(np.float32)
    shape = (len(code), len(codes))
    return sparse.csr_matrix((data, np.concatenate(code).astype(np.int64), ends), shape=shape)


class Embedding:
    """Unit rows from n-grams or from an ``embed`` of the user's, empty answers apart.

    An answer of no words has no direction of its own, and embedders differ on it: it is like other
    empty answers (1) and unlike all the rest (0), in one column more than the embedder gives.
    """

    def __init__(self, embed: Embed | None = None) -> None:
        self._embed = embed
        self._width = WIDTH if embed is None else 0

    def __call__(self, texts: Sequence[str]) -> Rows:
        """(n, d + 1) unit rows of n :func:`~ringtest.ensembles.texts.answers.plain` texts.

        Raises DataError if ``embed`` gives another shape than (n, d) with the same d every time,
        values that are no numbers or not finite, or zeros alone for a text that has words.
        """
        empty = np.array([not text for text in texts])
        said = [text for text in texts if text]
        if self._embed is None:
            last = sparse.csr_matrix(empty[:, None].astype(np.float32))
            return sparse.hstack([ngrams(texts), last], format="csr", dtype=np.float32)
        vectors = self._checked(self._embed(said), said) if said else np.zeros((0, self._width))
        rows = np.zeros((len(texts), self._width + 1), np.float32)
        rows[~empty, :-1] = vectors
        rows[empty, -1] = 1
        return rows

    def prepare(self, text: str) -> None:
        """Learn the width of the user's vectors from one text that has words."""
        self([text])

    def _checked(self, given: object, texts: list[str]) -> NDArray[np.float64]:
        try:
            vectors = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise _wrong("gave something that is no array of numbers") from error
        width = self._width or (vectors.shape[1] if vectors.ndim == 2 else 1)
        if vectors.shape != (len(texts), width) or width == 0:
            raise _wrong(
                f"gave shape {vectors.shape} for {len(texts)} texts, "
                f"not ({len(texts)}, {self._width or 'd'})"
            )
        if not np.isfinite(vectors).all():
            at = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise _wrong(f"gave NaN or infinite values for {_short(texts[at])}")
        # By the largest first: squares of very large or small values would leave the range.
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        if (largest == 0).any():
            at = int(np.flatnonzero(largest[:, 0] == 0)[0])
            raise _wrong(f"gave a vector of zeros for {_short(texts[at])}")
        scaled = vectors / largest
        self._width = width
        unit: NDArray[np.float64] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
        return unit


def _wrong(problem: str) -> DataError:
    return DataError(
        "embed", problem, "it takes a list of n strings and returns finite (n, d) vectors"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
