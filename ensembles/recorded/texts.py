"""``ensemble.texts``: do members, asked the same, write the same?"""

from __future__ import annotations

import math

import numpy as np

from ringtest.ensembles import texts
from ringtest.ensembles.recorded import Recorded
from ringtest.ensembles.recorded.rows import Ends, row
from ringtest.ensembles.texts import scores
from ringtest.ensembles.texts.ngrams import Embedding
from ringtest.ensembles.texts.scan import scan
from ringtest.estimate import NOTHING, Array, Estimate, row_mean
from ringtest.margins import CI_LEVEL
from ringtest.measure import RecordedMeasure, measure
from ringtest.measurement import Measurement


@measure
class Texts(RecordedMeasure):
    """Similarity of recorded answers, within members and between them, against shuffled prompts.

    The texts are compared by hashed character n-grams; prompts are the units of every interval.
    Effective votes lie in [1, members], higher is more diverse; all else is in [-1, 1], and lower
    is more diverse. Of a student whose answers to the same prompts were recorded: within, it is
    compared with itself, between, with the members. Source: Jiang et al. 2025 (arXiv 2510.22954).
    """

    id = "ensemble.texts"
    about = "do members, asked the same, write the same? Answers against shuffled prompts"
    direction = "higher"
    range = (-1.0, math.inf)
    unit = "similarity"
    told_as = "answers"
    source = "Jiang et al. 2025, arXiv:2510.22954; Friedman & Dieng 2023, arXiv:2210.02410"

    def read(self, recorded: Recorded, student: str | None, seed: int) -> list[Measurement]:
        """Effective votes first, with the sentence; nothing without recorded answers."""
        if recorded.answers is None:
            return []
        if (self.id, seed) not in recorded.derived:
            # The same for all students, and what takes longest
            recorded.derived[self.id, seed] = texts.diversity(
                recorded.answers, recorded.embed, seed=seed
            )
        found = recorded.derived[self.id, seed]
        own = _of_student(recorded, recorded.of(student).answers)
        verdict = texts.verdict(found)
        told = {
            "words": texts.words(found),
            "answer": verdict.answer,
            "members": found.members,
            "prompts": found.prompts,
            "answers": found.answers,
        }
        why = "; ".join(found.reasons.values())
        rows = [
            row(
                self, "effective votes of texts", found.effective, seed=seed, params=told,
                reason=why, intervals=((verdict.low, verdict.high), None), unit="votes",
            )
        ]  # fmt: skip
        for name, both in (
            ("similarity", found.similarity),
            ("similarity, shuffled prompts", found.expected),
            ("share above the threshold", found.above),
            ("identical", found.identical),
            ("verbatim overlap", found.copied),
        ):
            for kind in ("between", "within"):
                value: Estimate = getattr(both, kind)
                mine = own.get((name, kind), NOTHING)
                rows.append(
                    row(
                        self, f"{name} {kind} members", value, mine, seed=seed, lower=True,
                        reason=_reason(found, kind), intervals=(_ends(value), _ends(mine)),
                        params=_threshold(found, kind) if name.startswith("share") else None,
                        unit="similarity" if name.startswith("similarity") else "share",
                    )
                )  # fmt: skip
        for kind in ("between", "within"):
            value = getattr(found.vendi, kind)
            rows.append(
                row(
                    self, f"Vendi score {kind} members", value, seed=seed,
                    reason=_reason(found, kind), intervals=(_ends(value), None), unit="votes",
                )
            )  # fmt: skip
        return rows


def _of_student(recorded: Recorded, own: list[list[str]] | None) -> dict[tuple[str, str], Estimate]:
    """What a student's answers have in common, with each other and with those of the members."""
    if own is None or recorded.answers is None:
        return {}
    embedding = Embedding(recorded.embed)
    embedding.prepare(next((t for samples in own for t in samples if t), ""))
    found = scan([*recorded.answers, own], embedding, None)
    out = {}
    for name, kernels in (
        ("similarity", found.cosine),
        ("identical", found.identical),
        ("verbatim overlap", found.copied),
    ):
        out[name, "within"] = _mean(kernels[:, -1, -1])
        out[name, "between"] = _mean(kernels[:, -1, :-1].mean(axis=1))
    return out


def _mean(values: Array) -> Estimate:
    return row_mean(values) if np.isfinite(values).all() else NOTHING


def _ends(value: Estimate) -> Ends:
    return scores.bounds(value, CI_LEVEL)


def _threshold(found: texts.TextDiversity, kind: str) -> dict[str, float | None]:
    at = found.threshold[0 if kind == "within" else 1]
    return {"threshold": at if math.isfinite(at) else None, "quantile": found.quantile}


def _reason(found: texts.TextDiversity, kind: str) -> str:
    keys = (kind, "prompts", f"above.{kind}")
    return "; ".join(found.reasons[k] for k in keys if k in found.reasons)
