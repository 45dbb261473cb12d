"""One pass over the prompts of an ensemble's answers: a prompt's texts at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ringtest.ensembles.texts import pairs
from ringtest.ensembles.texts.answers import of_prompt
from ringtest.ensembles.texts.ngrams import Rows, identical, runs
from ringtest.estimate import Array


@dataclass(frozen=True)
class Scan:
    """What every prompt's answers have in common."""

    cosine: Array
    """(prompts, members, members) mean cosine of different answers, as are the next two."""
    identical: Array
    """Share of equal texts."""
    copied: Array
    """Share of runs of words in common."""
    above: pairs.Kinds | None
    """(prompts + 1,) shares above the thresholds: of all prompts, then without each; None where
    there are no thresholds."""


def scan(
    answers: list[list[list[str]]],
    embedding: Callable[[Sequence[str]], Rows],
    thresholds: pairs.Kinds | None,
) -> Scan:
    """Go through the prompts.

    Args:
        answers: as :func:`ringtest.ensembles.texts.answers.checked` gives them.
        embedding: (n, d) unit rows of n texts.
        thresholds: (prompts + 1,) of either kind: of all prompts, then without each, which is how
            the influence of a prompt comes to hold what it does to the threshold.
    """
    members, prompts = len(answers), len(answers[0])
    cosine, same, copied = np.empty((3, prompts, members, members))
    totals, own = np.zeros((2, prompts + 1)), np.zeros((2, prompts + 1))
    for p in range(prompts):
        texts, counts = of_prompt(answers, p)
        rows = embedding(texts)
        cosine[p] = pairs.kernel(rows, counts)
        same[p] = pairs.kernel(identical(texts), counts)
        copied[p] = pairs.kernel(runs(texts), counts)
        if thresholds is not None:
            found = pairs.above(rows, counts, thresholds)
            shares = np.stack([found.within, found.between])
            totals += shares
            own[:, p + 1] = shares[:, p + 1]
    above = None
    if thresholds is not None:
        rest = (totals - own) / max(prompts - 1, 1)
        rest[:, 0] = totals[:, 0] / prompts
        above = pairs.Kinds(*np.clip(rest, 0.0, 1.0))  # for rounding
    return Scan(cosine, same, copied, above)
