"""Builders of the rows of fake reports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ringtest import inference, margins
from ringtest.measurement import Measurement

KINDS = ("gaussian_noise", "defocus_blur", "contrast", "fog", "pixelate", "jpeg")
LAYERS = ("stem", "block1", "block2", "block3", "block4", "pool")
OFF, CERTIFIED, WEB = "shift.off_support", "shift.certified", "shift.unlabelled.web"
GEOMETRY = {
    "global geometry": ("similarity.cka", f"atanh({margins.CKA_RELIABILITY:g} cka)"),
    "local geometry": ("similarity.neighbours", "log(overlap)"),
}

SEEN = {"global geometry": math.atanh(margins.CKA_RELIABILITY * 0.914), "local geometry": -0.62}
"""What the teacher shows there, on the judged scale."""


def row(
    measure: str,
    condition: str,
    teacher: float,
    harm: float,
    se: float = 0.01,
    margin: float = math.nan,
    direction: str = "higher",
    n: int = 1200,
    df: float = 1199,
    **more: Any,
) -> Measurement:
    """A row whose student, delta and interval follow from the teacher and the harm."""
    delta = -harm if direction == "higher" else harm
    low, high = inference.interval(delta, se, df, margins.CI_LEVEL)
    return Measurement(
        measure=measure,
        area=measure.split(".")[0],
        condition=condition,
        teacher=teacher,
        student=teacher + delta,
        delta=delta,
        harm=harm,
        se=se,
        df=df,
        ci_low=low,
        ci_high=high,
        ci_level=margins.CI_LEVEL,
        margin=margin,
        n=n,
        direction=direction,  # type: ignore[arg-type]
        **more,
    )


def judged(measure: str, condition: str, group: str, null: str, **more: Any) -> Measurement:
    """A headline row of a verdict group."""
    return row(measure, condition, group=group, null=null, headline=True, required=True, **more)


def benchmark(harm: float = 0.006, n: int = 1200, **more: Any) -> Measurement:
    """The benchmark's headline."""
    return judged(
        "outputs.score",
        "clean",
        "benchmark",
        "paired",
        teacher=0.958,
        harm=harm,
        se=0.005,
        margin=margins.BENCHMARK,
        unit="accuracy",
        statistic="mean",
        n=n,
        **more,
    )


def headlines(fall: float, conditions: Iterable[str] = (OFF, CERTIFIED, WEB)) -> list[Measurement]:
    """Geometry and function on each condition, ``fall`` margins beyond the teacher."""
    out: list[Measurement] = []
    table = {OFF: margins.OWN_FLOORS["off support"], CERTIFIED: margins.CERTIFIED}
    for shake, condition in enumerate(conditions):
        null = "band" if condition == OFF else "paired" if condition == CERTIFIED else "drift"
        floors = table.get(condition, margins.UNLABELLED)
        scale = fall * (1 - 0.18 * shake)
        params = {"largest": "rotate -10"} if condition == CERTIFIED else {}
        for group, (measure, statistic) in GEOMETRY.items():
            margin = floors[group]
            out.append(
                judged(
                    measure,
                    condition,
                    group,
                    null if null == "band" else "drift",
                    teacher=SEEN[group],
                    harm=scale * margin,
                    se=0.11 * margin,
                    margin=margin,
                    statistic=statistic,
                    unit=statistic,
                    teacher_layer="pool",
                    student_layer="pool",
                    df=19,
                    params={**params, "teacher_raw": 0.914, "student_raw": 0.914 - 0.1 * scale},
                    family=6 if condition == CERTIFIED else 1,
                )
            )
        out.append(
            judged(
                "outputs.consistency" if condition == CERTIFIED else "outputs.agreement",
                condition,
                "function",
                null,
                teacher=0.93,
                harm=0.9 * scale * floors["function"],
                se=0.006,
                margin=floors["function"],
                unit="share",
                params=params,
            )
        )
    return out


def structure(fall: float) -> list[Measurement]:
    """Slice transfer, invariance and twins."""
    out = []
    for measure, condition, group, margin, teacher in (
        ("probe.slice_transfer", "clean", "slice transfer", 0.05, 0.08),
        ("structure.invariance_spread", "shift.invariance.mirror", "invariance", 0.2, 0.31),
        ("structure.twin_spread", "clean", "twins", 0.2, 0.22),
    ):
        out.append(
            judged(
                measure,
                condition,
                group,
                "paired",
                teacher=teacher,
                harm=fall * margin,
                se=0.12 * margin,
                margin=margin,
                direction="lower",
                teacher_layer="pool",
                student_layer="pool",
                concept="domain" if group == "slice transfer" else None,
                unit="share",
                df=60,
            )
        )
    return out


def context(fall: float, layers: tuple[str, ...] = LAYERS, kinds: Iterable[str] = KINDS) -> list:
    """Scores by condition, severity and slice; similarities of layers; probes over depth."""
    score = {"unit": "accuracy", "statistic": "mean"}
    out = [
        row("outputs.score", "noise.input", 0.91, 0.01 * fall, severity=0.1, **score),
        row("outputs.score", "noise.input", 0.84, 0.02 * fall, severity=0.3, **score),
        row("outputs.score", "attack.pgd", 0.52, 0.05 * fall, severity=0.03, **score),
        row("outputs.score", OFF, math.nan, math.nan, math.nan, reason="no targets", **score),
    ]
    for k, kind in enumerate(kinds):
        for severity in range(1, 6):
            teacher = 0.95 - 0.02 * severity * (1 + k % 3)
            harm = 0.012 * fall * severity
            out.append(
                row("outputs.score", f"shift.corruption.{kind}", teacher, harm, severity=severity,
                    **score)
            )  # fmt: skip
    for domain, harm in (("clinic A", 0.004), ("clinic B", 0.01 * fall), ("clinic C", 0.03 * fall)):
        out.append(row("outputs.score", "clean", 0.95, harm, slice=f"domain={domain}", n=400,
                       se=0.014, **score))  # fmt: skip
    size = len(layers)
    for i, ours in enumerate(layers):
        for j, theirs in enumerate(layers):
            near = math.exp(-abs(i - j) / size * 2.2)
            loss = 0.12 * fall * j / size
            out.append(
                row("similarity.cka", "clean", 0.98 * near, loss * near, statistic="cka",
                    unit="cka", teacher_layer=ours, student_layer=theirs)
            )  # fmt: skip
    for concept in ("target", "domain"):
        for j, layer in enumerate(layers):
            depth = (j + 1) / size
            for measure, top in (("probe.decodability", 0.93), ("probe.selectivity", 0.55)):
                teacher = top * (0.55 + 0.45 * depth) if concept == "target" else 0.7 - 0.2 * depth
                out.append(
                    row(measure, "clean", teacher, 0.05 * fall * depth, concept=concept,
                        teacher_layer=layer, student_layer=layer, params={"depth": depth},
                        unit="score")
                )  # fmt: skip
    return out
