"""Builders of realistic reports, without any model: every label and every awkward content."""

from __future__ import annotations

import math
from typing import Any

# Registered by conftest.py, which loads them before this file.
from reports_fake_ensemble import audited, ensemble_row, samples
from reports_fake_rows import (
    CERTIFIED,
    GEOMETRY,
    LAYERS,
    OFF,
    WEB,
    benchmark,
    context,
    headlines,
    judged,
    row,
    structure,
)

from ringtest import margins
from ringtest.decision import Scope
from ringtest.measurement import Measurement
from ringtest.policy import Gate, Policy
from ringtest.report import Report, ReportSet


def model(name: str, layers: tuple[str, ...] = LAYERS, outputs_only: bool = False) -> dict:
    """One model of the ``subjects`` section."""
    digest = "".join(f"{(sum(map(ord, name)) * k) % 256:02x}" for k in range(7, 39))
    return {
        "name": name,
        "parameters": None if outputs_only else 183_402,
        "weights_hash": None if outputs_only else digest,
        "architecture": "function" if outputs_only else "DigitNet",
        "capabilities": [] if outputs_only else ["gradients", "layers"],
        "layers": [] if outputs_only else list(layers),
    }


def report(
    rows: list[Measurement],
    student: str = "compact",
    scope: Scope = "full",
    members: int = 3,
    layers: tuple[str, ...] = LAYERS,
    gates: tuple[Gate, ...] = (),
    **sections: Any,
) -> Report:
    """Rows and the sections that every report has; ``sections`` replaces any of them."""
    outputs_only = scope == "outputs-only"
    teachers = [model(f"member {k}", layers, outputs_only) for k in range(1, members + 1)]
    defaults: dict[str, Any] = {
        "student": student,
        "task": "classification",
        "subjects": {
            "teacher": {"name": "ensemble" if members > 1 else "teacher", "members": teachers},
            "student": model(student, layers, outputs_only),
            "references": [model("sibling", layers)] if scope == "full" and members > 1 else [],
        },
        "data": {
            "n": 1200,
            "fingerprint": "b7d1f0c2a9e84d53",
            "modality": "image",
            "groups": {"domain": {"clinic A": 400, "clinic B": 400, "clinic C": 400}},
            "unlabelled": {"web": 800},
            "warnings": ["12 rows occur twice; they share a cluster."],
        },
        "not_measured": [
            {
                "measure": "usage.ablation",
                "condition": "attack.apgd",
                "reason": "needs gradients through the loss, which the student does not offer",
                "required": False,
            }
        ],
        "config": {"layers": "auto", "seed": 0, "task": "classification"},
        "environment": {
            "ringtest": "0.1.0",
            "python": "3.11.9",
            "torch": "2.9.0",
            "numpy": "2.3.4",
            "seed": 0,
            "threads": 2,
            "device": "cpu",
        },
        "timing": {"seconds": 81.4},
    }
    return Report.build(rows, Policy(gates=gates), scope, **{**defaults, **sections})


def sound() -> Report:
    """Everything passes."""
    return report([benchmark(), *headlines(0.3), *structure(0.1), *context(0.3)], "careful")


def fractured(student: str = "compact") -> Report:
    """Geometry, function and slice transfer fall; twins pass."""
    return report([benchmark(), *headlines(2.6), *structure(0.4), *context(2.0)], student,
                  gates=(Gate("similarity.cka", 0.15), Gate("no.such", 0.1)))  # fmt: skip


def below() -> Report:
    """The benchmark itself is lost."""
    return report([benchmark(0.09), *headlines(1.2), *structure(0.5), *context(3.0)], "tiny")


def inconclusive() -> Report:
    """Harms lie near their margins, and two rows could not be measured."""
    rows = [benchmark(0.02), *headlines(0.95, (OFF, CERTIFIED)), *structure(0.8), *context(0.9)]
    rows[-1] = row("probe.selectivity", "clean", math.nan, math.nan, math.nan, concept="domain")
    rows.append(judged("similarity.cka", WEB, "global geometry", "drift", teacher=math.nan,
                       harm=math.nan, se=math.nan, margin=0.12, unit="z",
                       reason="a layer has no variance left"))  # fmt: skip
    return report(rows, "half-width")


def undecided() -> Report:
    """Everything was measured; some harms lie near their margins."""
    return report([benchmark(), *headlines(0.95), *structure(0.8)], "quarter-width")


def single_teacher() -> Report:
    """One teacher, so levels that can only be passed; the band is void off support."""
    rows = [benchmark(), *structure(0.3)]
    for group, (measure, _) in GEOMETRY.items():
        margin = 1 - margins.LEVELS[group]
        rows.append(judged(measure, OFF, group, "level", teacher=1.0, harm=0.6 * margin, se=0.01,
                           margin=margin, unit="similarity",
                           params={"student_raw": 1 - 0.6 * margin}))  # fmt: skip
    rows.append(judged("outputs.agreement", OFF, "function", "level", teacher=1.0, harm=0.08,
                       margin=0.05, unit="share"))  # fmt: skip
    return report(rows, "clone", members=1)


def band_void() -> Report:
    """A student of another architecture without references."""
    rows = [benchmark(), *headlines(2.2), *structure(0.3), *context(1.0)]
    for r in rows:
        if r.null == "band":
            r.null = "band void"
    return report(rows, "cnn")


def outputs_only() -> Report:
    """Only outputs can be seen."""
    rows = [benchmark(), *(r for r in headlines(0.3) if r.group == "function")]
    rows += [r for r in context(0.4) if r.measure == "outputs.score"]
    missing = [
        {"measure": m, "condition": OFF, "reason": "the student shows no layers", "required": False}
        for m in ("similarity.cka", "similarity.neighbours", "structure.twin_spread")
    ]
    return report(rows, "api", "outputs-only", not_measured=missing)


NASTY = '<script>alert("x")</script>'


def odd_names() -> Report:
    """Markup, mathematics, control characters and other alphabets in every name."""
    layers = (NASTY, "$\\frac{$", "a_very.long.module.path.inside.of.blocks.17.attention.output",
              "слой.層", "tab\tnew\nline \x1b[31m")  # fmt: skip
    rows = [benchmark(slice=None), *headlines(2.4, (OFF, f"shift.unlabelled.{NASTY}")),
            *structure(0.4), *context(1.5, layers, (NASTY, "$x$"))]  # fmt: skip
    for r in rows:
        if r.headline and r.teacher_layer:
            r.teacher_layer = r.student_layer = NASTY
    rows.append(row("outputs.score", "clean", 0.9, 0.1, slice=f"domain={NASTY}"))
    said = {"words": NASTY, "sentence": NASTY, "share_reason": NASTY, "reason": NASTY}
    rows += [
        ensemble_row(measure, NASTY, statistic, 0.5, 0.4, **said)
        for measure in ("ensemble.diversity", "ensemble.waterfall", "ensemble.\x1b[31m")
        for statistic in ("effective votes", "mean member", "ensemble", NASTY)
    ]
    data = {
        "n": 1200,
        "fingerprint": "b7d1f0c2a9e84d53",
        "modality": NASTY,
        "groups": {NASTY: {NASTY: 1200}},
        "unlabelled": {NASTY: 800},
        "warnings": [NASTY],
    }
    missing = [{"measure": NASTY, "condition": NASTY, "reason": NASTY, "required": True}]
    return report(rows, f"{NASTY} [red]$x$[/red] \x1b[31m", layers=layers, data=data,
                  not_measured=missing, config={NASTY: NASTY})  # fmt: skip


def many_rows(count: int = 5000) -> Report:
    """So many rows, layers, conditions and unlabelled sets that everything has to be cut."""
    layers = tuple(f"encoder.blocks.{k}.mlp" for k in range(48))
    sets = [OFF, CERTIFIED, *(f"shift.unlabelled.hospital_{k:02d}" for k in range(30))]
    rows = [benchmark(), *headlines(1.8, sets[:5]), *headlines(0.5, sets[5:]), *structure(0.5)]
    rows += context(1.4, layers, [f"kind_{k:02d}" for k in range(40)])
    rows += [row("outputs.score", "clean", 0.9, 0.01, slice=f"patient={k}") for k in range(3000)]
    return report(rows[:count], "large", layers=layers)


def ensemble() -> Report:
    """A student of an ensemble, with all that is asked of what there was to distil."""
    rows = [benchmark(), *headlines(2.6), *structure(0.4), *context(2.0)]
    return report([*rows, *audited(), *samples()], "distilled")


def bare() -> Report:
    """The least that can be a report: one row that has no value."""
    return report([benchmark(math.nan)], "bare", not_measured=[])


EVERY = {
    f.__name__: f
    for f in (sound, fractured, below, inconclusive, single_teacher, band_void, outputs_only,
              odd_names, many_rows, ensemble, bare)
}  # fmt: skip


def report_set() -> ReportSet:
    """Students of one teacher, one with an awkward name."""
    found = [sound(), fractured(), below(), inconclusive(), single_teacher(), odd_names(), bare()]
    return ReportSet({r.student: r for r in found})
