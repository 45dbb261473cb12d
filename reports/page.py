"""The page of one student and the page of several: a finished report poured into templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import jinja2

from ringtest import reasons
from ringtest.files import folder_name
from ringtest.measurement import AREA, Measurement
from ringtest.reports import distilled, distilled_page, gallery, names, panels, unread, view
from ringtest.reports.figures import conditions, deficits, forest, layers, students, svg

if TYPE_CHECKING:
    from ringtest.decision import Verdict
    from ringtest.report import Report, ReportSet

CONTEXT_ROWS: Final = 400
"""Context rows that the page shows, shared among the measures; report.json has all of them."""
MISSING_ROWS: Final = 200
REASONS: Final = 8
"""Reasons that a notebook shows, and that the page shows unfolded."""
COUNTS: Final = 20
"""Values of a group column that are listed."""

_DARK: Final = (
    "--rt-paper:#15181d;--rt-card:#1b1f25;--rt-ink:#e8eaee;--rt-muted:#a2a9b6;--rt-line:#343a44;"
    "--rt-pass:#62c491;--rt-fail:#f2877d;--rt-open:#e3b04b;--rt-none:#9aa2af;"
    "--rt-pass-soft:#17301f;--rt-fail-soft:#3a1c1a;--rt-open-soft:#33270f;--rt-none-soft:#242931;"
    "--rt-teacher:#b3bac6;--rt-student:#7db2f0;--rt-band:#5b9ae0;color-scheme:dark;"
)


def page(report: Report) -> str:
    """One self-contained page."""
    verdict, data = report.verdict, report.data
    prefix = svg.unique(report.student, str(data["integrity"]["sha256"]))
    context = [r for r in verdict.rows if not r.headline]
    missing = _missing(report)
    figures = {
        "forest": forest.forest(verdict, f"{prefix}a"),
        "similarity": layers.similarity(verdict.rows, f"{prefix}c"),
        "scores": conditions.scores(verdict.rows, f"{prefix}d"),
        "corruptions": conditions.corruptions(verdict.rows, f"{prefix}e"),
        "deficits": deficits.deficits(verdict.rows, f"{prefix}i"),
        "strengths": conditions.strengths(verdict.rows, f"{prefix}h"),
        "nearness": conditions.nearness(verdict.rows, f"{prefix}f"),
    }
    settings = {"config": data["config"], "environment": data["environment"]}
    section = distilled.section(verdict.rows, verdict)
    elsewhere = [r for r in verdict.rows if section is None or not distilled.takes(r)]
    return _render(
        "page.html.j2",
        report=report,
        sentence=reasons.sentence(verdict),
        figures=figures,
        gallery=gallery.pictures(verdict.rows),
        distilled=distilled_page.shown(section, f"{prefix}j"),
        families=panels.sections(elsewhere, f"{prefix}g"),
        reasons=verdict.reasons[:REASONS],
        other_reasons=verdict.reasons[REASONS:],
        headlines=view.headlines(verdict),
        context_rows=_by_measure(context),
        context_count=len(context),
        missing=missing[:MISSING_ROWS],
        more_missing=max(0, len(missing) - MISSING_ROWS),
        subjects=_subjects(data["subjects"]),
        seed=data["environment"].get("seed", 0),
        settings=view.lines(json.dumps(settings, indent=2, ensure_ascii=False)),
    )


def fragment(report: Report) -> str:
    """Verdict, groups and reasons for a notebook cell."""
    verdict = report.verdict
    prefix = svg.unique("fragment", report.student, str(report.data["integrity"]["sha256"]))
    return _render(
        "fragment.html.j2",
        report=report,
        sentence=reasons.sentence(verdict),
        distilled=distilled.section(verdict.rows, verdict),
        figures={"forest": forest.forest(verdict, prefix)},
        reasons=verdict.reasons[:REASONS],
        more_reasons=max(0, len(verdict.reasons) - REASONS),
    )


def ensemble_page(rows: Sequence[Measurement], about: Mapping[str, Any]) -> str:
    """The page of `ringtest ensemble`, which has no student to judge."""
    said = [f"{row.measure} {row.condition} {row.statistic} {row.teacher}" for row in rows]
    shown = distilled_page.shown(distilled.section(rows), svg.unique("ensemble", *said))
    return _render("ensemble.html.j2", shown=shown, about=distilled_page.about(about))


def set_page(reports: ReportSet) -> str:
    """The comparison of students, with links to their pages."""
    return _set(reports, whole=True)


def set_fragment(reports: ReportSet) -> str:
    """The comparison of students for a notebook cell."""
    return _set(reports, whole=False)


def _set(reports: ReportSet, whole: bool) -> str:
    verdicts = {name: report.verdict for name, report in reports.items()}
    digests = [str(r.data["integrity"]["sha256"]) for r in reports.values()]
    prefix = svg.unique("page" if whole else "fragment", *digests)
    teacher = next(iter(reports.values())).data["subjects"]["teacher"]
    return _render(
        "set.html.j2",
        whole=whole,
        title=view.set_title(len(reports)),
        tally=view.tally(verdicts),
        note=view.comparable(verdicts),
        teacher=f"{view.clean(teacher['name'])} of {len(teacher['members'])}",
        entries=[_entry(name, verdict) for name, verdict in verdicts.items()],
        figures={"ratios": students.ratios(verdicts, prefix)},
        distilled=distilled_page.students(
            {name: distilled.section(v.rows, v) for name, v in verdicts.items()}
        ),
    )


def _entry(name: str, verdict: Verdict) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        link=f"{folder_name(name)}/report.html",
        verdict=verdict,
        score=view.benchmark(verdict),
        worst=reasons.worst_finding(verdict),
    )


def _by_measure(rows: list[Measurement]) -> list[tuple[str, list[Measurement], int]]:
    """Context rows by measure, cut to the budget: (measure, rows shown, rows left out)."""
    grouped: dict[str, list[Measurement]] = {}
    for row in rows:
        grouped.setdefault(row.measure, []).append(row)
    share = max(10, CONTEXT_ROWS // max(1, len(grouped)))
    return [(name, found[:share], max(0, len(found) - share)) for name, found in grouped.items()]


def _missing(report: Report) -> list[dict[str, Any]]:
    """What was left out by the plan, then the rows that came to no value."""
    found: list[dict[str, Any]] = []
    for item in [*report.data["not_measured"], *unread.table(report.verdict.rows)]:
        if item not in found[:MISSING_ROWS]:
            found.append(item)
    return found


def _subjects(subjects: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    members = [("member", m) for m in subjects["teacher"]["members"]]
    references = [("reference", m) for m in subjects["references"]]
    controls = [("control", m) for m in subjects.get("controls", [])]
    return [("student", subjects["student"]), *members, *references, *controls]


def _counts(counts: Mapping[str, int]) -> str:
    items = list(counts.items())
    text = ", ".join(f"{view.clean(name)} {count:,}" for name, count in items[:COUNTS])
    return text + (f" and {len(items) - COUNTS} more" if len(items) > COUNTS else "")


def _details(row: Measurement) -> str:
    """The small print of a judged row: its id, layer and scale, and why it has no value."""
    parts = [f"{row.measure} on {row.condition}", row.statistic, row.reason]
    if layer := view.layers(row):
        parts.insert(1, f"layer {layer}")
    return "; ".join(view.clean(part) for part in parts if part)


def _statistics(rows: Sequence[Measurement]) -> bool:
    """Whether rows of one measure need to be told apart by their statistic."""
    return len({row.statistic for row in rows} - {AREA}) > 1


def _gauge(verdict: Verdict) -> str:
    """Colour of the strength: a failing one only where two groups lie beyond their margins."""
    return "fail" if verdict.strength is not None and verdict.strength > 0.5 else "none"


@cache
def _environment() -> jinja2.Environment:
    folder = Path(__file__).with_name("templates")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["css"] = _css((folder / "style.css").read_text("utf-8"))
    environment.globals["words"] = SimpleNamespace(
        **{name: value for name, value in vars(view).items() if not name.startswith("_")},
        counts=_counts,
        details=_details,
        gauge=_gauge,
        statistics=_statistics,
        statistic=lambda row: view.clean(names.statistic(row.statistic)),
    )
    return environment


def _css(text: str) -> str:
    """The style sheet with both sets of colours wherever they are asked for."""
    light = text[text.index("{") + 1 : text.index("color-scheme: light;")] + "color-scheme:light;"
    text = text.replace("DARK", _DARK).replace("LIGHT", light)
    return "\n".join(line.strip() for line in text.splitlines())


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values) + "\n"
