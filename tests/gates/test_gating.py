"""Gates over reports and sets: what can be compared, whose waiver it is, and what is refused."""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import ringtest
from ringtest import margins
from ringtest.cli import main
from ringtest.errors import ConfigError, Exit, ReportError
from ringtest.gates.gating import judge
from ringtest.integrity import digest
from ringtest.measurement import Measurement
from ringtest.policy import Gate, Policy, Waiver
from ringtest.report import Report, ReportSet, gate

FOUR = ("global geometry", "local geometry", "function", "twins")


def rows(**harms) -> list[Measurement]:
    named = {k.replace("_", " "): v for k, v in harms.items()}
    common = {
        "se": 0.01, "df": 500.0, "n": 500, "headline": True, "required": True, "null": "paired",
        "ci_low": -1.0, "ci_high": 1.0, "ci_level": 0.95,
    }  # fmt: skip
    return [
        Measurement(
            f"m.{g}", "probes", "clean", group=g, teacher=1.0, student=1.0 - named.get(g, 0.0),
            delta=-named.get(g, 0.0), harm=named.get(g, 0.0),
            margin=margins.BENCHMARK if g == "benchmark" else 0.1, **common,
        )
        for g in ("benchmark", *FOUR)
    ]  # fmt: skip


def model(name: str, weights: str | None = "ab") -> dict:
    return {
        "name": name,
        "parameters": 10,
        "weights_hash": weights,
        "architecture": "Net",
        "capabilities": ["layers"],
        "layers": ["fc"],
    }


def build(student: str = "new", policy: Policy | None = None, change=None, **harms) -> Report:
    """A report; ``change`` alters its sections before they are frozen."""
    sections = {
        "student": student,
        "task": "classification",
        "subjects": {
            "teacher": {"name": "teacher", "members": [model("member 1"), model("member 2", "cd")]},
            "student": model(student, "ef"),
            "references": [],
        },
        "data": {"n": 500, "fingerprint": "f00d", "modality": "table", "groups": {},
                 "unlabelled": {}, "warnings": []},
        "not_measured": [],
        "config": {
            "layers": "auto",
            "seed": 0,
            "metric": None,
            "identity": {"layers": "auto", "seed": 0, "students": {student: "ef"}},
        },
        "environment": {"ringtest": "0.1.0", "python": "3.11", "seed": 0, "threads": 1,
                        "device": "cpu", "packages": {"torch": "2.13.0"}},
        "timing": {},
    }  # fmt: skip
    if change is not None:
        change(sections)
    return Report.build(rows(**harms), policy or Policy(), "full", **sections)


def save(folder: Path, report: Report) -> Path:
    """report.json alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report.data))
    return folder


def waiver(name="W", expires="2999-12-31", **match) -> Waiver:
    return Waiver(name, "accepted", expires, **match)


def waivers(*given: Waiver) -> Policy:
    return Policy(waivers=given, today="2026-06-01")


# -- baseline --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "before", "code"),
    [
        ({}, {}, 0),
        ({}, {"function": 0.5}, 0),
        ({"function": 0.05}, {"function": -0.4}, 1),
        ({"function": 0.1}, {}, 1),  # sound before, inconclusive now
        ({"function": 0.1}, {"function": 0.1}, 3),
        ({"function": 0.9, "twins": 0.9}, {"function": 0.9, "twins": 0.9}, 1),
    ],
)
def test_never_worse_than_what_was_shipped(now, before, code, tmp_path):
    new, old = build(**now), build("old", **before)
    assert gate(new, baseline=old) == code
    assert gate(save(tmp_path / "new", new), baseline=save(tmp_path / "old", old)) == code
    assert judge(new, baseline=old).verdicts["new"].label == new.verdict.label


def test_the_baseline_is_decided_by_the_present_policy():
    """A margin that is wider now makes what was shipped sound, too: then nothing may be less."""
    old, new = build("old", function=0.15), build(function=0.25)
    assert old.verdict.label == "inconclusive"
    wide = Policy(overrides={"m.function": 0.2})
    assert gate(new, wide, old) == Exit.FAIL
    assert gate(new, Policy(overrides={"m.function": 0.4}), old) == Exit.PASS


def test_gates_and_waivers_are_not_asked_of_what_was_shipped():
    policy = replace(waivers(waiver(group="function")), gates=(Gate("m.twins", 0.05),))
    assert gate(build(function=0.1), policy, build("old")) == Exit.PASS


def _set(path, value):
    def change(sections):
        *inside, last = path.split(".")
        for key in inside:
            sections = sections[key]
        sections[last] = value

    return change


DIFFERENT = {
    "task": _set("task", "regression"),
    "data.fingerprint": _set("data.fingerprint", "beef"),
    "no data.fingerprint": _set("data.fingerprint", None),
    "environment.ringtest": _set("environment.ringtest", "0.2.0"),
    "teacher's weights": _set("subjects.teacher.members", [model("member 1"), model("m", "xx")]),
    "one member less": _set("subjects.teacher.members", [model("member 1")]),
    "references": _set("subjects.references", [model("sibling", "99")]),
    "config.layers": _set("config.layers", ["fc"]),
    "config.seed": _set("config.seed", 1),
    "config.metric": _set("config.metric", "f1"),
    "config.identity.layers": _set("config.identity.layers", ["fc"]),
    "config.identity.more": _set("config.identity.more", 1),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_named_and_nothing_is_compared(name, tmp_path, capsys):
    old = build("old", change=DIFFERENT[name])
    said = {"one member less": "teacher's weights"}.get(name, name.removeprefix("no "))
    with pytest.raises(ReportError, match="cannot be compared") as caught:
        gate(build(), baseline=old)
    assert said in str(caught.value)
    folders = save(tmp_path / "new", build()), save(tmp_path / "old", old)
    assert main(["gate", str(folders[0]), "--baseline", str(folders[1])]) == Exit.ERROR
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1


def test_what_nobody_knows_is_not_known_to_be_equal():
    for change in (
        _set("data.fingerprint", None),
        _set("environment", {}),
        _set("subjects.teacher.members", [model("m", None)]),
        _set("subjects.references", [model("r", None)]),
    ):
        with pytest.raises(ReportError, match="cannot be compared"):
            gate(build(change=change), baseline=build("old", change=change))


def test_another_margins_version_is_not_comparable():
    other = margins.VERSION + 1
    policy = Policy(version=other)
    with pytest.raises(ReportError, match=f"margins_version was {other}, now {margins.VERSION}"):
        gate(build(), baseline=build("old", policy=policy))
    # A policy of the present version judges rows of another: the report says which they carry.
    assert judge(build(policy=policy), Policy()).verdicts["new"].margins_version == other


def test_versions_of_libraries_are_noted_and_forbid_nothing(tmp_path, capsys):
    old = build("old", change=_set("environment.packages", {"torch": "2.12.0"}))
    found = judge(build(), baseline=old)
    assert found.exit_code == Exit.PASS
    (note,) = found.notes
    assert "torch was 2.12.0, now 2.13.0" in note
    folders = save(tmp_path / "new", build()), save(tmp_path / "old", old)
    assert main(["gate", str(folders[0]), "--baseline", str(folders[1])]) == Exit.PASS
    assert "torch was 2.12.0" in capsys.readouterr().out


def test_a_baseline_that_judged_nothing_is_refused():
    nothing = Policy(min_n=10_000)
    with pytest.raises(ReportError, match="judged nothing"):
        gate(build(), nothing, build("old"))


BROKEN = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "newer": lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
    "edited": lambda text: text.replace('"harm": 0.0', '"harm": -0.5', 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_baseline_that_cannot_be_trusted_is_an_error(tmp_path, name, capsys):
    new, old = save(tmp_path / "new", build()), save(tmp_path / "old", build("old"))
    file = old / "report.json"
    before = file.read_text()
    file.write_text(BROKEN[name](before))
    assert file.read_text() != before
    for target in (old, file):
        assert main(["gate", str(new), "--baseline", str(target)]) == Exit.ERROR
        shown = capsys.readouterr()
        assert shown.err.startswith("error: baseline ")
        assert shown.err.count("\n") == 1
    assert main(["gate", str(new), "--baseline", str(tmp_path / "none")]) == Exit.ERROR
    assert main(["gate", str(new), "--baseline", str(tmp_path / "new" / "x")]) == Exit.ERROR


def test_sets_and_baselines_meet_by_name():
    good, bad = build("a"), build("b", function=0.1)
    new = ReportSet({"a": good, "b": bad})
    assert gate(new, baseline=ReportSet({"a": good, "b": bad})) == Exit.INCONCLUSIVE
    # One baseline serves all: b is worse than the sound one.
    found = judge(new, baseline=build("old"))
    assert (found.outcome, found.worst) == ("fail", ["b"])
    with pytest.raises(ReportError, match="has no report of 'b'"):
        gate(new, baseline=ReportSet({"a": good}))
    # A single report finds its own name in a set, and students that are gone are asked of nobody.
    assert gate(good, baseline=ReportSet({"a": good, "b": bad})) == Exit.PASS


def again(report: Report, found: list[Measurement], **sections) -> Report:
    """Other rows in the sections of a report."""
    made = ("schema_version", "verdict", "policy", "measurements", "integrity")
    kept = {k: v for k, v in report.data.items() if k not in made}
    return Report.build(found, Policy(), "full", **{**kept, **sections})


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [("ef", "ef", "pass"), ("ef", "99", "inconclusive"), (None, None, "inconclusive")],
)
def test_the_same_student_is_never_worse_than_itself(before, now, outcome):
    """With few rows it is sound, and could not be shown to be no worse."""
    few = [replace(r, se=0.055) if r.group == "function" else r for r in rows()]
    base = build("a")
    old, new = (
        again(base, few, subjects={**base.data["subjects"], "student": model("a", weights)})
        for weights in (before, now)
    )
    assert new.verdict.label == "sound"
    assert judge(new, baseline=old).outcome == outcome


ODD = {
    "identity in words": _set("config.identity", "x"),
    "identity a list": _set("config.identity", ["a"]),
    "no members": _set("subjects.teacher", {"name": "t"}),
    "members in words": _set("subjects.teacher.members", "two"),
    "a member in words": _set("subjects.teacher.members", ["one"]),
    "no references": lambda sections: sections["subjects"].pop("references"),
    "no student": lambda sections: sections["subjects"].pop("student"),
    "students a number": _set("config.students", 3),
    "what is missing in words": _set("not_measured", "nothing"),
    "what is missing by number": _set("not_measured", [1]),
    "nobody knows whether required": _set("not_measured", [{"required": "no"}]),
    "task a number": _set("task", 1),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_report_or_baseline_is_one_line(tmp_path, name, capsys):
    """Signed anew: only its form can tell."""
    sections = build("old").data
    data = copy.deepcopy(sections)
    ODD[name](data)
    data["integrity"] = {"sha256": digest(data)}
    new = save(tmp_path / "new", build())
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "report.json").write_text(json.dumps(data))
    for arguments in ([str(odd)], [str(new), "--baseline", str(odd)]):
        assert main(["gate", *arguments]) == Exit.ERROR
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        assert "unexpected" not in shown.err


# -- margins and gates in a set --------------------------------------------------------------------


def _pair() -> ReportSet:
    """One student has a row more than the other."""
    extra = replace(rows()[1], measure="my.own", group="invariance")
    return ReportSet({"a": again(build("a"), [*rows(), extra]), "b": build("b")})


def test_a_margin_is_an_error_only_if_it_is_that_of_nobody():
    assert gate(_pair(), Policy(overrides={"my.*": 0.05})) == Exit.PASS
    found = judge(_pair(), Policy(overrides={"my.*": 0.05}))
    assert len({v.policy_hash for v in found.verdicts.values()}) == 1
    assert gate(_pair(), Policy(overrides={"your.*": 0.05})) == Exit.ERROR
    assert gate(_pair()["b"], Policy(overrides={"my.*": 0.05})) == Exit.ERROR


@pytest.mark.parametrize("mode", ["exit3", "fail", "warn", "pass"])
def test_a_gate_on_what_one_student_lacks_is_undecided_and_never_passes(mode):
    found = judge(_pair(), Policy(gates=(Gate("my.own", 0.05),), inconclusive=mode))
    assert found.exit_code == (Exit.FAIL if mode == "fail" else Exit.INCONCLUSIVE)
    assert found.worst == ["b"]
    (check,) = [c for c in found.verdicts["b"].checks if c.kind == "gate"]
    assert "this student has no such row" in check.message
    nobody = Policy(gates=(Gate("your.own", 0.05),), inconclusive=mode)
    assert judge(_pair(), nobody).outcome == "error"


def test_a_policy_can_be_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate.toml").write_text('inconclusive = "fail"\n')
    for path in ("gate.toml", tmp_path / "gate.toml"):
        assert gate(build(function=0.1), path) == Exit.FAIL
    with pytest.raises(ConfigError, match=r"other\.toml: is not there"):
        gate(build(), "other.toml")
    with pytest.raises(ConfigError, match="policy: is a dict; give a"):
        gate(build(), {})


# -- waivers in a set ------------------------------------------------------------------------------


def test_a_waiver_is_unmatched_only_if_no_student_needs_it():
    students = ReportSet({"a": build("a"), "b": build("b", function=0.1)})
    assert gate(students) == Exit.INCONCLUSIVE
    found = judge(students, waivers(waiver(group="function")))
    assert found.exit_code == Exit.PASS
    assert [c.kind for c in found.verdicts["a"].checks if c.kind == "waiver"] == []
    assert gate(students, waivers(waiver(group="twins"))) == Exit.FAIL
    assert gate(students, waivers(waiver(group="function", student="b"))) == Exit.PASS
    assert gate(students, waivers(waiver(group="function", student="a"))) == Exit.FAIL
    assert gate(students, waivers(waiver(student="zzz"))) == Exit.FAIL
    both = waivers(waiver(group="function"), waiver("old", "2020-01-01", group="function"))
    assert gate(students, both) == Exit.FAIL


def test_a_stored_waiver_expires_although_the_report_does_not_change(tmp_path):
    policy = Policy(waivers=(waiver(expires="2020-01-31", group="function"),), today="2020-01-01")
    report = build(policy=policy, function=0.1)
    assert report.verdict.exit_code == Exit.PASS
    assert gate(report) == Exit.FAIL
    again = ringtest.load_report(save(tmp_path, report))
    assert again.policy == policy
    assert gate(tmp_path) == Exit.FAIL


def test_gates_of_the_audit_that_a_policy_leaves_out_are_told():
    asked = Policy(gates=(Gate("m.twins", 0.05),))
    found = judge(build(policy=asked), Policy())
    assert any("Gates that the audit was asked for" in note for note in found.notes)
    assert judge(build(policy=asked), asked).notes == ()


# -- the command -----------------------------------------------------------------------------------


def test_policy_on_the_command_line(tmp_path, capsys):
    folder = save(tmp_path / "audit", build(function=0.1))
    toml = tmp_path / "gate.toml"
    for text, code in (
        ("", 3),
        ('inconclusive = "fail"', 1),
        ('inconclusive = "warn"', 0),
        ('inconclusive = "pass"\nrequire = ["function"]', 1),
        ('[margins]\n"m.func*" = 0.5', 0),
        ('[margins]\n"m.funk*" = 0.5', 2),
        ('[[gate]]\nmeasure = "m.twins"\nmargin = 0.01\ncondition = "noise.*"', 2),
        ('[[gate]]\nmeasure = "m.twins"\nmargin = -0.1', 1),
        ("alpha = 0", 2),
    ):
        toml.write_text(text)
        assert main(["gate", str(folder), "--policy", str(toml)]) == code, text
        shown = capsys.readouterr()
        if shown.out:
            assert shown.out.splitlines()[-1].startswith("gate: ")
            assert f"(exit code {code})" in shown.out.splitlines()[-1]
        assert shown.err.count("\n") == (code == 2)


def test_outputs_are_written_and_old_ones_never_survive(tmp_path, capsys):
    folder = save(tmp_path / "audit", build())
    files = {f"--{k}": tmp_path / "out" / k for k in ("junit", "markdown", "sarif", "json")}
    options = [text for pair in files.items() for text in map(str, pair)]
    assert main(["gate", str(folder), *options]) == Exit.PASS
    assert all(f.stat().st_size > 100 for f in files.values())
    assert json.loads(files["--json"].read_text())["outcome"] == "pass"
    (folder / "report.json").write_text("{")
    assert main(["gate", str(folder), *options]) == Exit.ERROR
    assert not any(f.exists() for f in files.values())
    capsys.readouterr()


@pytest.mark.parametrize("where", ["audit/report.json", "gate.toml", "audit"])
def test_an_output_never_takes_the_place_of_an_input(tmp_path, where, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "audit", build())
    (tmp_path / "gate.toml").write_text("")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert main(["gate", "audit", "--policy", "gate.toml", "--junit", where]) == Exit.ERROR
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert capsys.readouterr().err.count("\n") == 1


def test_annotations_keep_names_from_being_commands(tmp_path, capsys):
    folder = save(tmp_path, build("::error::x", function=0.1))
    assert main(["gate", str(folder), "--annotations"]) == Exit.INCONCLUSIVE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("::stop-commands::")
    word = lines[0].removeprefix("::stop-commands::")
    assert len(word) == 32
    end = lines.index(f"::{word}::")
    assert lines[end - 1].startswith("gate: inconclusive (exit code 3)")
    assert lines[end + 1].startswith("::error title=ringtest gate%3A inconclusive (exit code 3)::")
    (folder / "report.json").write_text("")
    assert main(["gate", str(folder), "--annotations"]) == Exit.ERROR
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("::error title=ringtest gate%3A error (exit code 2)::")


# -- what is no report -----------------------------------------------------------------------------


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


HOSTILE = {
    "deep": _nested(100_000).encode(),
    "deep inside": b'{"schema_version": ' + _nested(100_000).encode() + b"}",
    "binary": bytes(range(256)) * 40,
    "zeros": b"\0" * 1000,
    "half a pair": b'{"student": "\\ud800"}',
    "a huge number": b'{"schema_version": ' + b"9" * 10_000 + b"}",
    "a huge exponent": b'{"schema_version": 1e999}',
    "a key twice": b'{"schema_version": 1, "schema_version": 1}',
    "not text": b"\xff\xfe\xfa",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line_and_exit_2(tmp_path, name, capsys):
    (tmp_path / "report.json").write_bytes(HOSTILE[name])
    assert main(["gate", str(tmp_path)]) == Exit.ERROR
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert len(shown.err) < 600
    assert "unexpected" not in shown.err


def test_a_deep_place_inside_a_good_report(tmp_path, capsys):
    """Deep enough to be read and too deep to be written again."""
    data = copy.deepcopy(build().data)
    data["config"]["x"] = "HERE"
    for depth in (500, 900, 990, 5_000):
        text = json.dumps(data).replace('"HERE"', _nested(depth))
        (tmp_path / "report.json").write_text(text)
        assert main(["gate", str(tmp_path)]) == Exit.ERROR
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1
        assert "unexpected" not in shown.err


def test_a_file_that_is_too_large_is_not_read(tmp_path, capsys):
    with (tmp_path / "report.json").open("wb") as file:
        file.truncate(1 << 30)
    assert main(["gate", str(tmp_path)]) == Exit.ERROR
    assert "bytes" in capsys.readouterr().err


def test_a_pipe_is_no_report(tmp_path, capsys):
    os.mkfifo(tmp_path / "report.json")
    assert main(["gate", str(tmp_path)]) == Exit.ERROR
    assert capsys.readouterr().err.count("\n") == 1


def test_names_that_no_terminal_can_write_are_shown_all_the_same(tmp_path, capsys):
    folder = save(tmp_path, build("\ud800 \x1b[31m\n::error::"))
    assert main(["gate", str(folder), "--junit", str(tmp_path / "j.xml"), "--annotations",
                 "--sarif", str(tmp_path / "s"), "--markdown", str(tmp_path / "m"),
                 "--json", str(tmp_path / "g")]) == Exit.PASS  # fmt: skip
    assert "\x1b" not in capsys.readouterr().out
