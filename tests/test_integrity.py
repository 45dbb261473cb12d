"""A report whose digest was made anew is still refused where its rows or sections are odd."""

import copy
import json
import math
from contextlib import suppress
from dataclasses import replace

import pytest

from ringtest.cli import main
from ringtest.errors import Exit, ReportError
from ringtest.integrity import digest
from ringtest.measurement import Measurement
from ringtest.policy import Policy
from ringtest.report import Report, load_report

NUMBERS = ("teacher", "student", "delta", "harm", "se", "df", "margin", "p_fail", "p_pass",
           "ci_low", "ci_high", "ci_level")  # fmt: skip
TEXTS = ("measure", "area", "condition", "statistic", "unit", "reason")
NAMES = ("slice", "concept", "teacher_layer", "student_layer", "group")
GROUPS = ("benchmark", "global geometry", "local geometry", "function", "twins")
JUDGED, CONTEXT = 1, 5


def row(group: str | None, harm: float = 0.0) -> Measurement:
    """Context where there is no group."""
    judged = group is not None
    return Measurement(
        f"m.{group}", "probes", "clean", teacher=0.9, student=0.9 - harm, delta=-harm, harm=harm,
        se=0.01, df=500.0, ci_low=-harm - 0.02, ci_high=-harm + 0.02, ci_level=0.95,
        margin=0.1 if judged else math.nan, n=500, unit="share", headline=judged, required=judged,
        null="paired" if judged else None, group=group,
    )  # fmt: skip


def build(rows: list[Measurement]) -> Report:
    return Report.build(
        rows, Policy(), "full", student="s", task="classification",
        subjects={"teacher": {"name": "t", "members": []}, "student": {"name": "s"},
                  "references": []},
        data={"n": 500}, not_measured=[], config={}, environment={}, timing={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def sound() -> Report:
    made = build([*(row(g) for g in GROUPS), row(None)])
    assert made.verdict.label == "sound"
    return made


def refused(data: dict) -> str:
    """What is said of a report whose digest fits."""
    # What no digest can be made of needs none.
    with suppress(ValueError):
        data["integrity"] = {"sha256": digest(data)}
    with pytest.raises(ReportError) as caught:
        Report(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("where", [JUDGED, CONTEXT])
@pytest.mark.parametrize("name", [*NUMBERS, "severity"])
@pytest.mark.parametrize("value", [True, "0.0", [], {}, 10**400, math.inf])
def test_a_number_is_a_number(sound, where, name, value):
    data = copy.deepcopy(sound.data)
    data["measurements"][where][name] = value
    assert value == math.inf or name in refused(data)
    assert refused(data)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_judged_row_has_all_its_numbers_and_context_may_lack_them(sound, name):
    data = copy.deepcopy(sound.data)
    data["measurements"][CONTEXT][name] = None
    data["integrity"] = {"sha256": digest(data)}
    Report(data)
    data["measurements"][JUDGED][name] = None
    assert f"row {JUDGED}: {name} is null in a judged row" in refused(data)


@pytest.mark.parametrize("where", [JUDGED, CONTEXT])
@pytest.mark.parametrize("name", [*TEXTS, *NAMES, "status", "direction", "null"])
@pytest.mark.parametrize("value", [True, 0, [], {}, 10**400])
def test_a_text_is_a_text(sound, where, name, value):
    data = copy.deepcopy(sound.data)
    data["measurements"][where][name] = value
    assert refused(data)


@pytest.mark.parametrize("where", [JUDGED, CONTEXT])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((n, v) for n in ("n", "family") for v in (True, -1, 1.0, "1", None, 10**13, 10**400)),
        ("family", 0),
        *((n, v) for n in ("headline", "required") for v in (1, 0, None, "yes")),
        ("params", None),
        ("params", []),
        *((n, None) for n in TEXTS),
        ("direction", "sideways"),
        ("null", "hypothesis"),
    ],
)
def test_other_fields_have_their_type_and_range(sound, where, name, value):
    data = copy.deepcopy(sound.data)
    data["measurements"][where][name] = value
    assert refused(data)


@pytest.mark.parametrize(
    "change",
    [{"ci_low": 0.5}, {"ci_level": 0.0}, {"ci_level": 95.0}, {"ci_low": math.nan}],
)
def test_a_judged_row_has_an_interval(change):
    with pytest.raises(ReportError, match="row 1"):
        build([row("benchmark"), replace(row("twins"), **change)])


@pytest.mark.parametrize("group", [None, ""])
def test_a_headline_has_a_group(group):
    """It would be judged and count for nothing."""
    lost = replace(row("twins", 5.0), group=group)
    with pytest.raises(ReportError, match="row 5: a headline has no group"):
        build([*(row(g) for g in GROUPS), lost])


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("verdict", "matched", 1),
        ("verdict", "margins_version", True),
        ("verdict", "reasons", "fine"),
        ("verdict", "settle", [1]),
        ("verdict", "strength", False),
    ],
)
def test_what_was_decided_is_compared_with_its_type(sound, section, name, value):
    """In Python true is 1."""
    data = copy.deepcopy(sound.data)
    assert data[section][name] != value or type(data[section][name]) is not type(value)
    data[section][name] = value
    assert name in refused(data)


@pytest.mark.parametrize("value", [None, True, 0, "x", 10**400, [], {}])
@pytest.mark.parametrize(
    "section",
    ["schema_version", "student", "task", "verdict", "policy", "subjects", "measurements",
     "not_measured"],
)  # fmt: skip
def test_a_section_of_another_kind_is_refused(sound, section, value):
    if (section, value) in (("not_measured", []), ("student", "x"), ("task", "x")):
        return
    data = copy.deepcopy(sound.data)
    data[section] = value
    assert refused(data)


def test_a_report_beside_reports_in_subfolders_is_ambiguous(tmp_path, sound, capsys):
    """Judging either alone could pass what the other would fail."""
    for folder in (tmp_path, tmp_path / "b"):
        folder.mkdir(exist_ok=True)
        (folder / "report.json").write_text(json.dumps(sound.data))
    with pytest.raises(ReportError, match="and reports in subfolders"):
        load_report(tmp_path)
    assert main(["gate", str(tmp_path)]) == Exit.ERROR
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["gate", str(tmp_path / "report.json")]) == Exit.PASS
