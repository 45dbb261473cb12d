"""One decision: terminal, JSON, JUnit, Markdown, SARIF, annotations and the exit code agree."""

import io
import json
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ringtest import reports
from ringtest.errors import ReportError
from ringtest.gates.gating import judge
from ringtest.policy import Gate, Policy, Waiver
from ringtest.report import Report, ReportSet
from ringtest.reports import view

CODES = {"pass": 0, "warn": 0, "fail": 1, "error": 2, "inconclusive": 3}


def terminal(gated) -> str:
    with io.StringIO() as stream:
        reports.terminal_gate(gated, Console(file=stream, width=100))
        return stream.getvalue().splitlines()[-1]


def junit_outcome(text: str) -> str:
    """What a reader of test results makes of it; a warning and a pass are both green."""
    root = ET.fromstring(text)
    types = {e.get("type") for tag in ("failure", "error") for e in root.iter(tag)}
    assert (types == set()) == (int(root.get("failures")) + int(root.get("errors")) == 0)
    named = {p.get("value") for p in root.iter("property") if p.get("name") == "outcome"}
    worst = next((t for t in ("error", "fail", "inconclusive") if t in types), "green")
    assert (named <= {"pass", "warn"}) == (worst == "green")
    return worst


def agree(gated) -> None:
    outcome, code = gated.outcome, int(gated.exit_code)
    assert code == CODES[outcome]
    shown = f"{outcome} (exit code {code})"

    assert terminal(gated).startswith(f"gate: {shown}")

    data = json.loads(reports.render(gated, "gate"))
    assert (data["outcome"], data["exit_code"]) == (outcome, code)
    assert max(s["exit_code"] == code for s in data["students"].values())
    order = ("error", "fail", "inconclusive", "warn", "pass")
    assert min((s["outcome"] for s in data["students"].values()), key=order.index) == outcome

    green = outcome in ("pass", "warn")
    assert junit_outcome(reports.render(gated, "junit")) == ("green" if green else outcome)

    assert reports.render(gated, "markdown").splitlines()[0] == f"# ringtest gate: {shown}"

    (run,) = json.loads(reports.render(gated, "sarif"))["runs"]
    (invocation,) = run["invocations"]
    assert invocation["exitCode"] == code
    assert invocation["executionSuccessful"] == (outcome != "error")
    red = [r for r in run["results"] if r["level"] == "error" and "suppressions" not in r]
    statuses = {r["properties"]["status"] for r in red}
    assert bool(red) == (code != 0)
    assert code == 0 or outcome in statuses

    lines = reports.render(gated, "github").splitlines()
    assert f"title=ringtest gate%3A {shown}::" in lines[0]
    assert lines[0].startswith("::error") == (code != 0)
    assert any(line.startswith("::error") for line in lines) == (code != 0)

    for name, verdict in gated.verdicts.items():
        student = data["students"][name]
        assert (student["label"], student["outcome"]) == (verdict.label, verdict.outcome)
        assert run["properties"]["labels"][view.clean(name)] == verdict.label


harm = st.sampled_from([0.1, 0.3, 0.95, 1.0, 1.6, 3.0])


@st.composite
def some_report(draw, fakes, student="compact") -> Report:
    """Random harms, rows that are missing or without a number, one of the scopes."""
    rows = [
        fakes.benchmark(draw(st.sampled_from([0.0, 0.025, 0.03, 0.09]))),
        *fakes.headlines(draw(harm)),
        *fakes.structure(draw(harm)),
    ]
    for row in rows:
        row.n = draw(st.sampled_from([1200, 1200, 1200, 1200, 50]))
        if row.null != "paired":
            row.null = draw(st.sampled_from([row.null, row.null, "level", "band void"]))
        if draw(st.integers(0, 19)) == 0:
            row.harm = row.delta = row.student = float("nan")
    kept = [r for r in rows if draw(st.integers(0, 14))]
    scope = draw(st.sampled_from(["full", "full", "full", "no-gradient", "outputs-only"]))
    identity = {"config": {"layers": "auto", "seed": 0, "identity": {"seed": 0}}}
    return fakes.report(kept or rows[:1], student, scope, **identity)


@st.composite
def some_policy(draw) -> Policy:
    def glob(*names):
        return draw(st.sampled_from([None, "*", *names]))

    waivers = [
        Waiver(
            name,
            "statement | with % , : marks",
            draw(st.sampled_from(["2999-12-31", "2999-12-31", "2020-01-01"])),
            measure=glob("similarity.*", "no.such"),
            condition=glob("shift.*"),
            group=draw(st.sampled_from(["*n*", "function", "* geometry", "benchmark", "twins"])),
            student=glob("compact", "b*"),
        )
        for name in draw(st.sampled_from([(), (), ("A",), ("A", "B")]))
    ]
    gate = Gate("outputs.*", draw(st.sampled_from([-0.1, 0.05, 0.5])), glob("shift.*", "no.such"))
    return Policy(
        alpha=draw(st.sampled_from([0.05, 0.01])),
        min_n=draw(st.sampled_from([100, 2])),
        overrides=draw(st.sampled_from([{}, {}, {"similarity.*": 0.4}, {"no.such": 0.1}])),
        gates=draw(st.sampled_from([(), (gate,)])),
        require=draw(st.sampled_from([(), (), ("function",), ("benchmark", "twins")])),
        inconclusive=draw(st.sampled_from(["exit3", "fail", "warn", "pass"])),
        waivers=tuple(waivers),
        today="2026-06-01" if waivers else "",
    )


@settings(max_examples=60)
@given(st.data())
def test_all_formats_and_the_exit_code_agree(fakes, data):
    report = data.draw(some_report(fakes))
    policy = data.draw(st.one_of(st.none(), some_policy()))
    base = data.draw(st.one_of(st.none(), some_report(fakes, "shipped")))
    try:
        gated = judge(report, policy, base)
    except ReportError as error:
        # Another scope shows other subjects, and a baseline may have judged nothing.
        assert re.search("cannot be compared|judged nothing", str(error))  # noqa: PT017
        gated = judge(report, policy)
    agree(gated)


@settings(max_examples=25)
@given(st.data())
def test_all_formats_agree_on_sets(fakes, data):
    names = data.draw(st.sampled_from([("compact",), ("compact", "big"), ("a", "big", "c")]))
    students = ReportSet({n: data.draw(some_report(fakes, n)) for n in names})
    agree(judge(students, data.draw(st.one_of(st.none(), some_policy()))))


def test_all_formats_agree_on_every_fake(report):
    agree(judge(report))


def test_every_outcome_was_among_them(fakes):
    """Else the property above would hold of less than it says."""
    undecided = fakes.undecided()
    found = {
        judge(fakes.sound()).outcome,
        judge(fakes.below()).outcome,
        judge(fakes.fractured()).outcome,
        judge(undecided).outcome,
        judge(undecided, Policy(inconclusive="warn")).outcome,
    }
    assert found == set(CODES)


@pytest.mark.parametrize("form", ["gate", "junit", "markdown", "sarif", "github"])
def test_formats_are_the_same_on_every_run(fakes, form):
    texts = {reports.render(judge(fakes.report_set()), form) for _ in range(2)}
    assert len(texts) == 1
    assert not re.search(r"\d{4}-\d\d-\d\dT", texts.pop())
