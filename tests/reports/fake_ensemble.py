"""Builders of rows on the ensemble, as an audit or `ringtest ensemble` writes them."""

from __future__ import annotations

import math
from typing import Any

from ringtest.measurement import Measurement

NAN = math.nan
DISAGREEMENT = "attack.disagreement"


def ensemble_row(
    measure: str,
    condition: str,
    statistic: str,
    teacher: float,
    student: float = NAN,
    half: float = 0.02,
    **params: Any,
) -> Measurement:
    """A row with intervals of one half width; ``params`` as given."""
    severity, reason = params.pop("severity", None), params.pop("reason", "")
    delta = student - teacher
    for key, value in (("teacher_interval", teacher), ("student_interval", student)):
        if math.isfinite(value):
            params.setdefault(key, [value - half, value + half])
    return Measurement(
        measure=measure,
        area=measure.split(".")[0],
        condition=condition,
        statistic=statistic,
        severity=severity,
        teacher=teacher,
        student=student,
        delta=delta,
        harm=-delta,
        ci_low=delta - 0.7 * half,
        ci_high=delta + 0.7 * half,
        ci_level=0.95,
        n=1200,
        params=params,
        reason=reason,
    )


def diversity(student: bool = True, **params: Any) -> list[Measurement]:
    """Members that err apart in part, and a student that is less of a vote than a member."""
    given = {
        "members": 3,
        "answer": "some",
        "words": "2.3 effective votes of 3 (95 % interval 2.1 to 2.5)",
        **params,
    }
    values = {
        "effective votes": (2.31, 2.12, 0.2),
        "correlation of errors": (0.149, 0.207, 0.04),
        "error consistency": (0.144, 0.201, 0.04),
        "CAPA": (0.161, 0.243, 0.03),
        "Q": (0.71, 0.79, 0.06),
        "disagreement": (0.064, 0.058, 0.008),
        "double fault": (0.011, 0.013, 0.004),
        "Vendi score": (1.18, 1.15, 0.02),
        "mutual information": (0.041, 0.036, 0.003),
        "diversity of log loss": (0.038, 0.031, 0.004),
    }
    return [
        ensemble_row("ensemble.diversity", "clean", name, ours, theirs if student else NAN, half,
                     **(given if name == "effective votes" else {"members": 3}))
        for name, (ours, theirs, half) in values.items()
    ]  # fmt: skip


def waterfall(
    levels: dict[str, float] | None = None,
    student: float = 0.9633,
    condition: str = "clean",
    half: float = 0.006,
    **first: Any,
) -> list[Measurement]:
    """Levels by name, and the student's share of the way to each."""
    levels = levels or {"mean member": 0.9517, "ensemble": 0.9708, "oracle": 0.9925}
    rows: list[Measurement] = []
    start = before = next(iter(levels.values()))
    for name, level in levels.items():
        params: dict[str, Any] = {"members": 3}
        if name == "mean member":
            params |= {"sentence": "Of 1,200 items the mean member has most.", **first}
        else:
            rise = level - before
            params |= {"rise": rise, "rise_interval": [rise - half, rise + half]}
            if math.isfinite(student):
                share = (student - start) / (level - start) if level != start else NAN
                params |= {"share": share, "share_interval": [share - 0.2, share + 0.24]}
        if name == "ensemble" and math.isfinite(student):
            params |= {"answer": "partial", "words": "more than a member, less than the ensemble"}
        rows.append(
            ensemble_row("ensemble.waterfall", condition, name, level, student, half, **params)
        )
        before = level
    return rows


def fidelity() -> list[Measurement]:
    """On clean rows and where the members disagree, with a control."""
    out = []
    for condition, severity, fall in (("clean", None, 0.0), (DISAGREEMENT, 0.1, 0.17)):
        for measure, statistic, member, student, control in (
            ("outputs.fidelity", "share where the teacher is right", 0.981, 0.976, 0.969),
            ("outputs.fidelity", "share where the teacher is wrong", 0.61, 0.55, 0.47),
            ("outputs.kl", "KL(teacher || model)", 0.052, 0.074, 0.121),
            ("outputs.kl", "KL(model || teacher)", 0.049, 0.068, 0.118),
            ("outputs.calibration", "calibration error", 0.018, 0.022, 0.031),
        ):
            over = student - control
            out.append(
                ensemble_row(measure, condition, statistic, member - fall * member,
                             student - 1.3 * fall * student, severity=severity, control=control,
                             over_control=[over, over - 0.02, over + 0.02])
            )  # fmt: skip
    return out


def samples(student: bool = True) -> list[Measurement]:
    """What recorded samples say: selection, verifier, budget, with limits."""
    rows = []
    for k in (1, 2, 4, 8, 16, 32, 64):
        ours, theirs = 1 - 0.62 * k**-0.5, (1 - 0.71 * k**-0.4 if student else NAN)
        rows.append(ensemble_row("ensemble.selection", "candidates", "pass@k", ours, theirs,
                                 severity=k))  # fmt: skip
        rows.append(ensemble_row("ensemble.selection", "candidates", "best of n",
                                 0.38 + 0.3 * (1 - k**-0.6), severity=k))  # fmt: skip
        vote = (0.38 + 0.2 * (1 - 1 / k), 0.29 + 0.17 * (1 - 1 / k) if student else NAN)
        rows.append(ensemble_row("ensemble.budget", "candidates", "accuracy of the majority", *vote,
                                 severity=k))  # fmt: skip
    rows += [
        ensemble_row("ensemble.selection", "candidates", "majority", 0.577),
        ensemble_row("ensemble.selection", "candidates", "oracle", 0.92),
        ensemble_row("ensemble.selection", "candidates", "gain by aggregation", 0.197),
        ensemble_row("ensemble.selection", "candidates", "gain by selection", 0.275,
                     answer="both", words="a vote gains 19.7 points, the verifier 7.8 more"),
        ensemble_row("ensemble.selection", "candidates", "unreachable", 0.08),
        ensemble_row("ensemble.selection", "candidates", "recovery", NAN,
                     reason="oracle - pass@1 holds 0"),
        ensemble_row("ensemble.verifier", "candidates", "AUC", 0.83),
        ensemble_row("ensemble.verifier", "candidates", "ceiling", 0.78),
        ensemble_row("ensemble.budget", "candidates", "limit of the majority", 0.583,
                     0.465 if student else NAN, answer="no budget" if student else "open",
                     words="the student's limit lies below the teacher's curve at every budget"),
        ensemble_row("ensemble.texts", "answers", "effective votes of texts", 1.4,
                     answer="one", words="of their texts: one opinion held 3 times", members=3),
    ]  # fmt: skip
    return rows


def audited(**votes: Any) -> list[Measurement]:
    """All that an audit of an ensemble's student has."""
    return [*diversity(**votes), *waterfall(), *fidelity()]
