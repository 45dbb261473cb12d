"""``ensemble.selection``: how far would sampling go, and where does its gain come from?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ringtest import margins
from ringtest.ensembles import selection, votes
from ringtest.ensembles.candidates import Candidates
from ringtest.ensembles.ceiling import doublings
from ringtest.ensembles.measured import spread
from ringtest.ensembles.recorded import Recorded
from ringtest.ensembles.recorded.rows import gained, joined, measured, possible, row, share
from ringtest.ensembles.selection import Gains
from ringtest.errors import DataError
from ringtest.estimate import NOTHING, Estimate
from ringtest.measure import RecordedMeasure, measure
from ringtest.measurement import Measurement

Answer = Literal["aggregation", "selection", "both", "neither", "open"]
SMALL = margins.BENCHMARK
"""A gain whose whole interval lies below this is none: what two matched models may differ by."""


def answer(g: Gains) -> Answer:
    """Where the gain over a single sample comes from, as far as the intervals say.

    ``open`` too where there is one sample: of one nothing could have been gained.
    """
    if g.k < 2:
        return "open"
    if g.source == "aggregation and selection":
        return "both"
    if g.source in ("aggregation", "selection"):
        return g.source  # type: ignore[return-value]
    gains = [e for e in (g.aggregation, g.selection) if measured(e)]
    return "neither" if gains and all(spread(e)[1] < SMALL for e in gains) else "open"


def words(g: Gains, items: int) -> str:
    """The split in words, every number with its interval."""
    of = f"{items:,} {'item' if items == 1 else 'items'}"
    said = [f"Of {of} a single sample has {share(g.mean)} right."]
    if g.k < 2:
        return joined([*said, _SINGLE])
    if measured(g.aggregation):
        said.append(f"The vote of {g.k} gains {gained(g.aggregation)}.")
    if measured(g.selection):
        over = f", {gained(g.beyond_vote)} over the vote" if measured(g.beyond_vote) else ""
        said.append(f"What the verifier picks of {g.k} gains {gained(g.selection)}{over}.")
    else:
        said.append("No verifier was recorded, so nobody selected.")
    said.append(f"{share(g.unreachable)} of the items have no right sample among {g.k}.")
    if not (measured(g.aggregation) or measured(g.selection)):
        return joined([*said, "Without answers or scores no gain can be told."])
    said.append(_CONCLUSIONS[answer(g)])
    if answer(g) == "selection" and not measured(g.aggregation):
        said.append("No answers were recorded: what a vote would gain is not known.")
    if answer(g) == "aggregation" and measured(g.beyond_vote) and spread(g.beyond_vote)[1] >= SMALL:
        said.append("Whether the verifier adds to it is open.")
    return joined(said)


_CONCLUSIONS: dict[Answer, str] = {
    "aggregation": "That gain of the vote lies in the predictions.",
    "selection": "The gain is selection: without the verifier it is not there to be shipped.",
    "both": "The vote gains, and the verifier beyond it: without it that part is not shipped.",
    "neither": f"No gain of {100 * SMALL:g} points or more is left to either.",
    "open": "Too few items to tell whether there is a gain.",
}
_SINGLE = "One sample of an item leaves nothing to vote on or to pick from: draw more."


@measure
class Selection(RecordedMeasure):
    """Accuracy of what is made of n recorded samples, and the parts of its gain over a single one.

    All in [0, 1], or differences of such; higher is better but for what is unreachable or missed.
    Items are the units of every interval. ``pass@k`` and ``best of n`` have k as their severity.
    Sources: Chen et al. 2021 (arXiv 2107.03374), Brown et al. 2024 (arXiv 2407.21787).
    """

    id = "ensemble.selection"
    about = "pass@k, votes and best of n of recorded samples, and where their gain comes from"
    direction = "higher"
    range = (-1.0, 1.0)
    unit = "accuracy"
    told_as = "candidates"
    source = "Chen et al. 2021, arXiv:2107.03374; Brown et al. 2024, arXiv:2407.21787"

    def read(self, recorded: Recorded, student: str | None, seed: int) -> list[Measurement]:
        """All rows; nothing without the teacher's candidates."""
        theirs, mine = recorded.candidates, recorded.of(student).candidates
        if theirs is None:
            return []

        def both(of: Callable[[Candidates], Estimate]) -> tuple[Estimate, Estimate]:
            return of(theirs), NOTHING if mine is None else of(mine)

        n = theirs.samples
        own = {} if mine is None or mine.samples == n else {"student_samples": mine.samples}
        sizes = {*doublings(theirs.samples), *(() if mine is None else doublings(mine.samples))}
        rows = [
            row(self, "pass@k", *both(_pass_at(k)), seed=seed, severity=k) for k in sorted(sizes)
        ]
        for name, of, why in (
            ("majority", _majority(seed), "a vote needs the answer of each sample"),
            ("weighted vote", _weighted(seed), "takes answers, and scores that are weights"),
        ):
            rows.append(row(self, name, *both(of), seed=seed, reason=why, params=own))
        for k in sorted(sizes if theirs.scores is not None else [n]):
            pair = both(_best_of(k))
            rows.append(row(self, "best of n", *pair, seed=seed, severity=k, reason=_NO_SCORES))
        rows.append(row(self, "oracle", *both(selection.oracle), seed=seed, params=own))
        return rows + self._gains(theirs, mine, seed)

    def _gains(self, theirs: Candidates, mine: Candidates | None, seed: int) -> list[Measurement]:
        found = selection.gains(theirs, seed=seed)
        own = None if mine is None else selection.gains(mine, seed=seed)
        told = {"words": words(found, theirs.items), "answer": answer(found), "k": found.k}
        if own is not None and mine is not None:
            told |= {"student_answer": answer(own), "student_k": own.k}
        reasons = {"aggregation": _NO_ANSWERS}
        if theirs.scores is not None:
            reasons |= {"beyond_vote": _NO_ANSWERS, "recovery": found.recovery.reason}
        rows = []
        for name, field in (
            ("gain by aggregation", "aggregation"),
            ("gain by selection", "selection"),
            ("gain by selection over the vote", "beyond_vote"),
            ("missed", "missed"),
            ("unreachable", "unreachable"),
            ("recovery", "recovery"),
        ):
            pair = [_estimate(g, field) for g in (found, own)]
            low_is_better = field in ("missed", "unreachable")
            ends = [None if field == "unreachable" else spread(e) for e in pair]
            if field != "recovery":
                ends = [None if e is None else possible(e) for e in ends]
            rows.append(
                row(
                    self, name, *pair, seed=seed, lower=low_is_better,
                    reason=reasons.get(field, _NO_SCORES), intervals=(ends[0], ends[1]),
                    params=told if field == "selection" else {"k": found.k},
                    unit="share of what selection could gain" if field == "recovery" else "",
                )
            )  # fmt: skip
        return rows


_NO_ANSWERS = "no answers were recorded"
_NO_SCORES = "no scores of a verifier were recorded"


def _pass_at(k: int) -> Callable[[Candidates], Estimate]:
    """pass@k; NOTHING beyond the samples at hand."""
    return lambda c: selection.pass_at_k(c, k) if k <= c.samples else NOTHING


def _best_of(k: int) -> Callable[[Candidates], Estimate]:
    """Best of k; NOTHING beyond the samples at hand, or without scores."""
    return lambda c: selection.best_of(c, k) if c.scores is not None and k <= c.samples else NOTHING


def _majority(seed: int) -> Callable[[Candidates], Estimate]:
    return lambda c: NOTHING if c.codes is None else votes.majority(c, seed=seed).estimate


def _weighted(seed: int) -> Callable[[Candidates], Estimate]:
    def vote(c: Candidates) -> Estimate:
        if c.codes is None or c.scores is None:
            return NOTHING
        try:
            return votes.weighted(c, seed=seed).estimate
        except DataError:  # log probabilities, say, are scores and no weights
            return NOTHING

    return vote


def _estimate(g: Gains | None, field: str) -> Estimate:
    if g is None:
        return NOTHING
    return g.recovery.estimate if field == "recovery" else getattr(g, field)
