"""How alike answers to *different* prompts are: the shuffled-prompt null of similarity.

A fixed threshold such as .8 does not carry over between embedders, whose similarities of unrelated
texts differ. Here the prompts of one side of every pair are shifted: the members and their numbers
of pairs stay, the prompt in common goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ringtest.ensembles.texts.answers import of_prompt
from ringtest.ensembles.texts.ngrams import Rows
from ringtest.ensembles.texts.pairs import Kinds
from ringtest.estimate import Array

_SAMPLES: Final = 2
"""Answers of each member to a prompt that are compared with those to other prompts."""
_PROMPTS: Final = 1_000
"""Prompts at most."""
_SIMILARITIES: Final = 1 << 20
"""Similarities kept, about."""
_ROUNDING: Final = 1e-6
"""How far above the threshold of float32 products a similarity counts as above."""


@dataclass(frozen=True)
class Kind:
    """Null similarities of one kind of pairs, over pairs of prompts."""

    similarity: NDArray[np.float32]
    """(s,) in falling order."""
    weight: Array
    """(s,) so that every pair of members and every pair of prompts weighs the same."""
    pair: NDArray[np.int64]
    """(s,) which pair of prompts each belongs to."""
    prompts: NDArray[np.int64]
    """(pairs, 2) the prompts."""

    def leave_out(self, prompt: int | None) -> NDArray[np.bool_]:
        """(pairs,) those without a prompt; None: all."""
        if prompt is None:
            return np.ones(self.prompts.shape[0], dtype=bool)
        kept: NDArray[np.bool_] = (self.prompts != prompt).all(axis=1)
        return kept

    def expected(self, prompt: int | None = None) -> float:
        """Mean similarity of answers to different prompts, without those to ``prompt``."""
        weight = self.weight * self.leave_out(prompt)[self.pair]
        return float(weight @ self.similarity / weight.sum())

    def threshold(self, quantile: float, prompt: int | None = None) -> float:
        """The least of the similarities that at most 1 - ``quantile`` of them lie above."""
        weight = np.cumsum(self.weight * self.leave_out(prompt)[self.pair])
        at = int(np.searchsorted(weight, (1.0 - quantile) * weight[-1], side="right"))
        return float(self.similarity[min(at, weight.size - 1)]) + _ROUNDING


@dataclass(frozen=True)
class Null:
    """The null of both kinds of pairs: each is judged by pairs of the same members."""

    within: Kind
    between: Kind | None
    """None for one member."""

    def thresholds(self, quantile: float, prompts: int) -> Kinds:
        """(prompts + 1,) thresholds of either kind: of all prompts, then without each."""
        return self._each(lambda kind, p: kind.threshold(quantile, p), prompts)

    def expected(self, prompts: int) -> Kinds:
        """(prompts + 1,) mean similarities of either kind: of all prompts, then without each."""
        return self._each(lambda kind, p: kind.expected(p), prompts)

    def _each(self, of: Callable[[Kind, int | None], float], prompts: int) -> Kinds:
        def values(kind: Kind | None) -> Array:
            if kind is None:
                return np.full(prompts + 1, np.nan)
            everything = np.full(prompts + 1, of(kind, None))
            for p in np.unique(kind.prompts):
                everything[p + 1] = of(kind, int(p))
            return everything

        return Kinds(values(self.within), values(self.between))


def shuffled(
    answers: list[list[list[str]]], embedding: Callable[[Sequence[str]], Rows], seed: int
) -> Null:
    """Similarities of answers to different prompts.

    Args:
        answers: of at least three prompts, as :func:`~ringtest.ensembles.texts.answers.checked`
            gives them.
        embedding: (n, d) unit rows of n texts.
        seed: of the order of prompts and of which samples are taken; the same for every member.

    Prompts are put in random order on a ring and each is compared with the next few, two samples
    a member: about a million similarities of at most 1,000 prompts, each in as many as the others.
    """
    rng = np.random.default_rng(seed)
    members, prompts = len(answers), len(answers[0])
    order = rng.permutation(prompts)[:_PROMPTS]
    starts = rng.random(prompts)
    size = members**2 * order.size
    samples = _SAMPLES if size * _SAMPLES**2 <= _SIMILARITIES else 1
    # Beyond half the ring every pair would come again.
    shifts = max(1, min(_SIMILARITIES // (size * samples**2), order.size // 2))

    @lru_cache(maxsize=2 * shifts + 1)
    def rows(prompt: int) -> tuple[Rows, NDArray[np.int64], NDArray[np.int64]]:
        chosen = [_some(of[prompt], starts[prompt], samples) for of in answers]
        texts, counts = of_prompt([[c] for c in chosen], 0)
        code = np.repeat(np.arange(members), counts)
        return embedding(texts), code, np.asarray(counts)

    found: dict[bool, list[tuple[NDArray[np.float32], Array]]] = {True: [], False: []}
    pairs: list[tuple[int, int]] = []
    for i, p in enumerate(map(int, order)):
        others = [
            int(order[(i + shift) % order.size])
            for shift in range(1, shifts + 1)
            if 2 * shift != order.size or i < shift  # across the ring every pair comes twice
        ]
        if not others:
            continue
        (a, of_a, n_a), those = rows(p), [rows(q) for q in others]
        # One product for all of them: of small sparse matrices it takes as long as for one
        stacked = [b for b, _, _ in those]
        sparsely = sparse.issparse(a)
        product = a @ (sparse.vstack(stacked, "csr") if sparsely else np.concatenate(stacked)).T
        similarities = product.toarray() if sparsely else product
        ends = np.cumsum([of_b.size for _, of_b, _ in those])
        for similarity, (_, of_b, n_b) in zip(
            np.split(similarities, ends[:-1], axis=1), those, strict=True
        ):
            weight = 1.0 / np.outer(n_a[of_a], n_b[of_b])
            same = of_a[:, None] == of_b
            for kind in (True, False):
                mask = same == kind
                found[kind].append((similarity[mask].astype(np.float32), weight[mask]))
        pairs += [(p, q) for q in others]
    return Null(_kind(found[True], pairs), _kind(found[False], pairs) if members > 1 else None)


def _kind(found: list[tuple[NDArray[np.float32], Array]], pairs: list[tuple[int, int]]) -> Kind:
    similarity = np.concatenate([s for s, _ in found])
    weight = np.concatenate([w for _, w in found])
    pair = np.repeat(np.arange(len(found)), [s.size for s, _ in found])
    falling = np.argsort(-similarity, kind="stable")
    return Kind(similarity[falling], weight[falling], pair[falling], np.asarray(pairs))


def _some(texts: list[str], start: float, most: int) -> list[str]:
    n = len(texts)
    k = min(n, most)
    return [texts[(int(start * n) + i * n // k) % n] for i in range(k)]
