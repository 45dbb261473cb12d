"""Every command: what it prints, what it writes and, above all, what it exits with."""

import contextlib
import io
import json
import math
import shutil
from pathlib import Path

import jsonschema
import pytest
from quick import undrawn

import ringtest
from ringtest import margins
from ringtest.cli import main
from ringtest.commands import audits as commands
from ringtest.commands import listings
from ringtest.condition import conditions
from ringtest.errors import Exit
from ringtest.measure import measures
from ringtest.report import Report, ReportSet, load_report

MODELS = """
import torch
from torch import nn


def build(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def teacher(): return [build(0), build(1)]
def student(): return build(0)
def other(): return build(7)
"""
DATA = """
import torch
from ringtest import AuditData


def rows():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(150, 5, generator=rng)
    return AuditData(x, x[:, :3].argmax(1), unlabelled={"far": 2 * x[:110].flip(1) + 1})
"""
CONFIG = """
[teacher]
load = "models:teacher"
[student]
load = "models:student"
[data]
load = "rows:rows"
"""
SET = CONFIG.replace("[student]", '[[student]]\nname = "copy"') + (
    '[[student]]\nname = "other"\nload = "models:other"\n'
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with models, data and two config files."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in (
        ("models.py", MODELS),
        ("rows.py", DATA),
        ("audit.toml", CONFIG),
        ("set.toml", SET),
    ):
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def quiet_lines(project) -> list[str]:
    """What both audits print with -q."""
    with undrawn(), contextlib.redirect_stdout(io.StringIO()) as shown:
        for name in ("audit.toml", "set.toml"):
            assert main(["audit", str(project / name), "-q"]) == Exit.PASS
    return shown.getvalue().splitlines()


@pytest.fixture(scope="module")
def audited(project, quiet_lines) -> Path:
    """The same folder after both audits."""
    return project


# --- audit, plan, layers --------------------------------------------------------------------------


def test_audit_writes_beside_the_config_and_finishes_with_0(audited, capsys):
    names = {"report.json", "report.html", "cells", ".lock"}
    assert {p.name for p in (audited / "audit").iterdir()} == names
    found = load_report(audited / "audit")
    assert isinstance(found, Report)
    assert found.data["config"]["file"]["student"] == [{"load": "models:student"}]
    assert found.data["config"]["seed"] == 0
    code = main(["gate", str(audited / "audit")])
    assert code == found.verdict.exit_code
    assert found.verdict.label in capsys.readouterr().out


def test_audit_of_several_students_gives_a_folder_each(audited, capsys):
    found = load_report(audited / "set")
    assert isinstance(found, ReportSet)
    assert list(found) == ["copy", "other"]
    assert (audited / "set" / "other" / "report.html").is_file()
    main(["gate", str(audited / "set")])
    shown = capsys.readouterr().out
    assert "copy" in shown
    assert "other" in shown


def test_audit_prints_the_report_and_what_to_type_next(audited, tmp_path, capsys):
    out = tmp_path / "out"
    more = (
        '[audit]\nlayers = ["1", "3"]\ncells = [["probe.de*", "noise.input"]]\n'
        '[[gate]]\nmeasure = "outputs.score"\nmargin = 0.5\n'
    )
    path = audited / "more.toml"
    path.write_text(CONFIG + more)
    assert main(["audit", str(path), "--out", str(out), "--seed", "5"]) == Exit.PASS
    shown = capsys.readouterr()
    assert f"ringtest gate {out}" in shown.out
    assert "What the gate asks for" in shown.out
    assert shown.err == ""
    found = load_report(out)
    assert found.verdict.label in shown.out
    config = found.data["config"]
    assert config["seed"] == found.data["environment"]["seed"] == 5
    assert config["layers"] == ["1", "3"]
    assert [g.margin for g, _ in found.verdict.gates] == [0.5]
    extra = [r for r in found.rows if r.condition == "noise.input" and r.area == "probes"]
    assert extra
    assert not any(r.headline for r in extra)


def test_quiet_is_a_line_a_student(quiet_lines):
    single, reports, first, second, last = quiet_lines
    assert single.startswith("student: ")
    assert first.startswith("copy: ")
    assert second.startswith("other: ")
    assert reports.startswith("Reports: ")
    assert last.endswith("set")


@pytest.mark.usefixtures("undrawn")
def test_the_same_command_again_writes_the_same(audited):
    file = audited / "audit" / "report.json"
    first = json.loads(file.read_text())
    assert main(["audit", str(audited / "audit.toml"), "-q"]) == Exit.PASS
    second = json.loads(file.read_text())
    assert {**first, "timing": 0} == {**second, "timing": 0}


@pytest.mark.usefixtures("undrawn")
def test_another_audit_s_folder_is_taken_only_with_fresh(audited, tmp_path, capsys):
    other = audited / "other.toml"
    other.write_text(CONFIG.replace("models:teacher", "models:other"))
    shutil.copytree(audited / "audit", tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "report.json").read_bytes()
    again = ["audit", str(other), "--out", str(tmp_path), "-q"]
    assert main(again) == Exit.ERROR
    assert (tmp_path / "report.json").read_bytes() == before
    assert main([*again, "--fresh"]) == Exit.PASS
    assert (tmp_path / "report.json").read_bytes() != before


def test_plan_shows_cells_passes_and_rows_needed(project, capsys):
    out = project / "nothing here"
    assert main(["plan", str(project / "set.toml"), "--out", str(out), "-q"]) == Exit.PASS
    # Lines are broken wherever the numbers let them.
    shown = " ".join(capsys.readouterr().out.split())
    case = commands.prepare(project / "set.toml")
    assert f"{case.plan.cells} cells" in shown
    assert f"{case.plan.passes:,} forward passes" in shown
    for stage in case.plan.stages:
        assert stage.condition.kind in shown
    for need in listings.needs(case):
        assert f"{need.rows:,}" in shown
    for word in ("Time: about ", "Memory: about ", "Disk: about "):
        assert word in shown
    assert "already" not in shown
    assert not out.exists()


def test_plan_says_what_is_there_already(audited, capsys):
    assert main(["plan", str(audited / "set.toml"), "-q"]) == Exit.PASS
    total = commands.prepare(audited / "set.toml").plan.cells
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Cells in the output folder already: {total} of {total}." in shown
    assert "models 0.0 s, measures 0.0 s" in shown


def test_rows_needed_follow_from_what_is_assumed(project):
    found = {
        (n.measure, n.where): n for n in listings.needs(commands.prepare(project / "set.toml"))
    }

    def wanted(margin, sd):
        """((z_.95 + z_.80) x SD / margin)^2, and never under the least n that is judged."""
        return pytest.approx(max(margins.MIN_N, math.ceil((2.48647 * sd / margin) ** 2)), abs=1)

    # One output in ten differs: sqrt(.1 x .9).
    assert found["outputs.score", "benchmark"].rows == wanted(margins.BENCHMARK, 0.3)
    assert found["outputs.score", "benchmark"].rows > margins.MIN_N
    assert found["outputs.score", "benchmark"].have == 150
    assert found["outputs.agreement", "each unlabelled set"].have == 110
    stay = found["outputs.consistency", "certified"]
    sd = listings.ROW_SD["outputs.consistency"]
    assert stay.rows == wanted(margins.OWN_FLOORS["certified"]["function"], sd)
    # Off support it takes the margin of the members' own kind to pass, whatever the student's.
    near = found["similarity.neighbours", "off support"]
    own = margins.OWN_FLOORS["off support"]["local geometry"]
    assert (near.margin, near.rows) == (own, wanted(own, listings.ROW_SD["similarity.neighbours"]))


def test_layers_says_what_is_read_and_what_is_not(project, capsys):
    assert main(["layers", str(project / "set.toml")]) == Exit.PASS
    shown = capsys.readouterr().out
    for expected in (
        "teacher[0]  203 parameters; outputs, layers, gradients",
        "Built like teacher[0]",
        "input of 5  (n, 8)",
        "input of the last module that owns",
        "Passed over, changes nothing: 0.",
        "Passed over, itself the last hidden layer: 4.",
    ):
        assert expected in shown


# --- catalogues and schema ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "entries"), [("measures", measures), ("conditions", conditions)])
def test_catalogues_fit_a_terminal_and_leave_nothing_out(name, entries, capsys):
    assert main([name]) == Exit.PASS
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= 80
    for entry in entries:
        assert entry.id in shown
        assert entry.about.split()[0] in shown


def test_a_catalogue_can_be_asked_for_a_part(capsys):
    assert main(["measures", "usage.*"]) == Exit.PASS
    shown = capsys.readouterr().out
    assert "usage.erasure" in shown
    assert "probe." not in shown
    assert main(["measures", "probe.mdl"]) == Exit.PASS
    said = " ".join(capsys.readouterr().out.split())
    # A single one with all of its docstring: shapes, range, error, source.
    assert said.count("Source: Voita & Titov 2020.") == 1
    assert "In (0, inf), higher is better: 1 is no better than naming one of K" in said
    assert "`" not in said
    assert main(["conditions", "noise.input"]) == Exit.PASS
    assert "noise.weights" not in capsys.readouterr().out
    for name in ("measures", "conditions"):
        assert main([name, "nois.imput"]) == Exit.ERROR
        error = capsys.readouterr().err
        assert "'nois.imput': is not known; " in " ".join(error.split())
        assert "Traceback" not in error


def test_schema_prints_all_or_one(capsys):
    assert main(["schema"]) == Exit.PASS
    schemas = json.loads(capsys.readouterr().out)
    written = ["audit.toml", "ensemble.toml", "gate.toml"]
    assert list(schemas) == [*written, "report.json", "ensemble.json"]
    for found in schemas.values():
        jsonschema.Draft202012Validator.check_schema(found)
    assert main(["schema", "gate.toml"]) == Exit.PASS
    assert json.loads(capsys.readouterr().out) == schemas["gate.toml"]


def test_a_written_report_follows_the_printed_schema(audited, capsys):
    assert main(["schema", "report.json"]) == Exit.PASS
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validate(json.loads((audited / "audit" / "report.json").read_text()), schema)


# --- the program as a whole -----------------------------------------------------------------------


def test_version_and_help(capsys):
    assert main(["--version"]) == Exit.PASS
    assert capsys.readouterr().out == f"ringtest {ringtest.__version__}\n"
    assert main(["--help"]) == Exit.PASS
    shown = capsys.readouterr().out
    names = ("demo", "plan", "audit", "ensemble", "gate", "layers", "measures", "conditions")
    for name in (*names, "schema"):
        assert f" {name} " in shown


def test_no_command_is_no_success(capsys):
    assert main([]) == Exit.ERROR
    assert "Usage" in capsys.readouterr().out


def test_ctrl_c_is_130_with_a_hint(project, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "audit", interrupt)
    assert main(["audit", str(project / "audit.toml")]) == Exit.INTERRUPTED
    shown = capsys.readouterr().err
    assert shown.startswith("interrupted: ")
    assert shown.count("\n") == 1


def test_an_unexpected_exception_is_one_line_unless_debugging(project, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of\ntwo lines")

    monkeypatch.setattr(commands, "audit", fail)
    assert main(["audit", str(project / "audit.toml")]) == Exit.ERROR
    shown = capsys.readouterr().err
    assert shown.startswith("error: unexpected ZeroDivisionError: of two lines; add --debug")
    assert shown.count("\n") == 1
    for arguments in (["--debug", "audit", "a.toml"], ["audit", "a.toml", "--debug"]):
        assert main(arguments) == Exit.ERROR
        assert "Traceback (most recent call last)" in capsys.readouterr().err
