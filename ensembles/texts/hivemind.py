"""The 'Artificial Hivemind' test: do members, asked the same, write the same?

Jiang et al. 2025 (arXiv 2510.22954) sampled 25 language models 50 times on each of 100 open-ended
prompts, and found single models repeating themselves and different models alike. Here the same
comparison without a model: texts become unit vectors (hashed character n-grams, or any ``embed``),
and prompts are the independent units of every interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ringtest import margins
from ringtest.ensembles.effective import Verdict
from ringtest.ensembles.texts import pairs, scores
from ringtest.ensembles.texts.answers import Answers, checked
from ringtest.ensembles.texts.ngrams import Embed, Embedding
from ringtest.ensembles.texts.prompt_null import shuffled
from ringtest.ensembles.texts.scan import Scan, scan
from ringtest.ensembles.texts.scores import UNMEASURED, Both, jackknife, leave_each_out
from ringtest.ensembles.wording import percent, percents
from ringtest.errors import ConfigError
from ringtest.estimate import NOTHING, Array, Estimate, row_mean

_LEAST_PROMPTS = 3
"""Without any one of them there must be two left to compare."""
_ALIKE = 1.0 - 1e-5
"""Cosine from which texts are the same but for rounding."""


@dataclass(frozen=True)
class TextDiversity:
    """What members' answers have in common; every Estimate has the influence of each prompt."""

    members: int
    prompts: int
    answers: int
    empty: int
    """Answers without a word: like each other, unlike all the rest."""
    quantile: float
    """Share of the similarities of answers to different prompts that the threshold lies above."""
    similarity: Both
    """Mean cosine, -1..1; higher is more alike. How alike unrelated texts are depends on the
    embedder: read it beside ``expected``."""
    expected: Both
    """Mean cosine of answers to *different* prompts, of the same members."""
    correlation: Estimate
    """(similarity - expected) between members, over the same within: 1 where members differ no
    more from each other than from themselves, 0 where the prompt in common makes them no more
    alike. It is the correlation of members' mean vectors over prompts, each member centred."""
    effective: Estimate
    """Effective number of members M / (1 + (M - 1) correlation), 1..M; higher is more diverse."""
    vendi: Both
    """Vendi score of M answers, 1..M; ``between``: one of each member, ``within``: all of one.
    Their difference is what members add to sampling again."""
    threshold: tuple[float, float]
    """Similarity within and between that 1 - ``quantile`` of the null lie above; NaN: none."""
    above: Both
    """Share of pairs above the threshold, 0..1; 1 - quantile if the prompt did not matter."""
    identical: Both
    """Share of pairs that are the same letter for letter, but for white space; 0..1."""
    copied: Both
    """Share of runs of eight words in common, 0..1 (:func:`~ringtest.ensembles.texts.ngrams.runs`).
    """
    kernel: Array
    """(members, members) mean similarity; within members on the diagonal, NaN if not measurable."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a number is NOTHING, by its name: ``"within"`` and ``"between"`` for all of a kind."""


def diversity(
    answers: Answers, embed: Embed | None = None, quantile: float = 0.95, seed: int = 0
) -> TextDiversity:
    """Compare what members answered to the same prompts.

    Args:
        answers: ``answers[member][prompt][sample]``, strings; all members have the same prompts in
            the same order, numbers of samples may differ. Every member weighs the same.
        embed: list of n strings -> (n, d) finite vectors, of which the cosine is taken; None:
            hashed character n-grams (:func:`ringtest.ensembles.texts.ngrams.ngrams`). Called once a
            prompt and for the null, never with an empty string.
        quantile: of the similarities of answers to different prompts, in (0, 1): the threshold.
        seed: of the pairs of prompts of the null.

    Numbers within members need two samples of each for every prompt, numbers between need two
    members, and whatever compares with other prompts needs three prompts: what cannot be measured
    is NOTHING, with its reason in ``reasons``. Beyond the texts, memory holds one prompt's vectors
    and about a million similarities of the null.

    Raises:
        DataError: ``answers`` or ``embed``'s vectors are not as described; the place is named.
        ConfigError: ``quantile`` is out of range.
    """
    if not 0.0 < quantile < 1.0:
        raise ConfigError("quantile", f"{quantile} is not between 0 and 1", "0.95 is usual")
    texts = checked(answers)
    members, prompts = len(texts), len(texts[0])
    everything = [t for of in texts for samples in of for t in samples]
    embedding = Embedding(embed)
    embedding.prepare(next((t for t in everything if t), ""))
    null = shuffled(texts, embedding, seed) if prompts >= _LEAST_PROMPTS else None
    thresholds = null.thresholds(quantile, prompts) if null else None
    found = scan(texts, embedding, thresholds)
    reasons = _reasons(texts)
    expected, excess = UNMEASURED, UNMEASURED
    if null:
        mean = null.expected(prompts)
        expected = Both(jackknife(mean.within), jackknife(mean.between))
        excess = Both(
            jackknife(leave_each_out(pairs.within(found.cosine)) - mean.within),
            jackknife(leave_each_out(pairs.between(found.cosine)) - mean.between),
        )
    correlation = NOTHING
    if not reasons:
        correlation, why = scores.correlation(excess)
        reasons |= {"correlation": why} if why else {}
    return TextDiversity(
        members=members,
        prompts=prompts,
        answers=len(everything),
        empty=sum(not t for t in everything),
        quantile=quantile,
        similarity=_both(found.cosine),
        expected=expected,
        correlation=correlation,
        effective=scores.votes(correlation, members),
        vendi=scores.vendi_scores(found.cosine),
        threshold=_first(thresholds),
        above=_above(found, _first(thresholds), reasons),
        identical=_both(found.identical),
        copied=_both(found.copied),
        kernel=found.cosine.mean(axis=0),
        reasons=reasons,
    )


def verdict(found: TextDiversity, level: float = margins.CI_LEVEL) -> Verdict:
    """Effective votes, interval and answer; NaN, and ``open``, where they cannot be measured."""
    m = found.members
    low, high = scores.votes_interval(found.correlation, m, level)
    return Verdict(found.effective.value, low, high, m, level)


def words(found: TextDiversity, level: float = margins.CI_LEVEL) -> str:
    """The verdict in one sentence, with intervals at ``level``."""
    if not math.isfinite(found.effective.value):
        why = "; ".join(found.reasons.values())
        return f"Not measurable whether members share an opinion: {why}."
    text = verdict(found, level).words("prompts", found.prompts)
    share = found.above.between
    if math.isfinite(share.value):
        low, high = scores.bounds(share, level, never=True)
        text += (
            f"; of the pairs of answers from two members {percent(share.value)} "
            f"({percents(max(low, 0), min(high, 1))}) are more alike than "
            f"{100 * found.quantile:g} % of answers to different prompts, and "
            f"{percent(found.identical.between.value)} are the same word for word"
        )
    return f"{text[0].upper()}{text[1:]}."


def _both(kernels: Array) -> Both:
    def estimate(values: Array) -> Estimate:
        return row_mean(values) if np.isfinite(values).all() else NOTHING

    return Both(estimate(pairs.within(kernels)), estimate(pairs.between(kernels)))


def _first(thresholds: pairs.Kinds | None) -> tuple[float, float]:
    if thresholds is None:
        return math.nan, math.nan
    return float(thresholds.within[0]), float(thresholds.between[0])


def _above(found: Scan, threshold: tuple[float, float], reasons: dict[str, str]) -> Both:
    """Shares above; NOTHING, with a reason, where nothing can lie above."""
    if found.above is None:
        return UNMEASURED
    shares = []
    for kind, at in zip(("within", "between"), threshold, strict=True):
        share = jackknife(getattr(found.above, kind))
        if kind in reasons:
            share = NOTHING
        elif at >= _ALIKE:
            share = NOTHING
            reasons[f"above.{kind}"] = (
                "too many answers to different prompts are the same for any to be more alike"
            )
        shares.append(share)
    return Both(*shares)


def _reasons(texts: list[list[list[str]]]) -> dict[str, str]:
    """What the shape of the answers leaves out."""
    reasons = {}
    if len(texts) < 2:
        reasons["between"] = "one member has none to be compared with"
    single = [(m, p) for m, of in enumerate(texts) for p, s in enumerate(of) if len(s) < 2]
    if single:
        m, p = single[0]
        reasons["within"] = (
            f"answers[{m}][{p}] has one sample and {len(single) - 1} others have, "
            "two are needed to see a member repeat itself"
        )
    if len(texts[0]) < _LEAST_PROMPTS:
        reasons["prompts"] = (
            f"{len(texts[0])} of at least {_LEAST_PROMPTS} prompts: how alike answers to different "
            "prompts are cannot be told"
        )
    return reasons
