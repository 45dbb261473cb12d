"""What `ringtest gate` reads, writes and prints: all of it, or nothing that says what is not so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringtest.cli import main
from ringtest.commands import gate as command
from ringtest.errors import Exit, ReportError
from ringtest.measurement import Measurement
from ringtest.policy import Policy
from ringtest.report import Report

GROUPS = ("benchmark", "global geometry", "local geometry", "function", "twins")


def report(student: str = "student", harm: float = 0.0) -> Report:
    """All groups but the benchmark have lost ``harm``: 0 is sound, .5 fractured."""
    rows = [
        Measurement(
            f"m.{g}", "probes", "clean", teacher=0.9, student=0.9 - lost, delta=-lost, harm=lost,
            se=0.01, df=500.0, ci_low=-lost - 0.02, ci_high=-lost + 0.02, ci_level=0.95,
            margin=0.1, n=500, headline=True, required=True, null="paired", group=g,
        )
        for g in GROUPS
        for lost in [0.0 if g == "benchmark" else harm]
    ]  # fmt: skip
    return Report.build(
        rows, Policy(), "full", student=student, task="classification",
        subjects={
            "teacher": {"name": "t", "members": [{"name": "t", "weights_hash": "ab"}]},
            "student": {"name": student}, "references": [],
        },
        data={"n": 500, "fingerprint": "f00d"}, not_measured=[],
        config={"layers": "auto", "seed": 0}, environment={"ringtest": "0.1.0"}, timing={},
    )  # fmt: skip


def write(folder: Path, made: Report) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(made.data))
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a report, one of what was shipped, a policy and an old result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    write(tmp_path / "audit", report())
    (tmp_path / "named.json").write_text(json.dumps(report().data))
    (tmp_path / "shipped.json").write_text(json.dumps(report("old").data))
    (tmp_path / "gate.toml").write_text("")
    (tmp_path / "old.xml").write_text("old")
    (tmp_path / "link.xml").symlink_to("audit/report.json")
    (tmp_path / "elsewhere.xml").symlink_to("nowhere")


def files() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--json", "named.json"], "named.json: would be overwritten"),
        (["--json", "./audit/../named.json"], "would be overwritten"),
        (["--junit", "shipped.json"], "shipped.json: would be overwritten"),
        (["--junit", "gate.toml"], "gate.toml: would be overwritten"),
        (["--junit", "link.xml"], "is no plain file"),
        (["--junit", "elsewhere.xml"], "is no plain file"),
        (["--junit", "audit"], "is no plain file"),
        (["--junit", os.devnull], "is no plain file"),
        (["--junit", "x", "--markdown", "./audit/../x"], "would be written twice"),
    ],
)
def test_no_output_takes_the_place_of_an_input_or_of_another(options, said, capsys) -> None:
    """Nothing is removed before all of them are known to be ours to write."""
    before = files()
    inputs = ["--baseline", "shipped.json", "--policy", "gate.toml"]
    assert main(["gate", "named.json", *inputs, "--sarif", "old.xml", *options]) == Exit.ERROR
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert files() == before


def test_a_link_to_the_report_in_its_folder_is_no_output(capsys) -> None:
    assert main(["gate", "audit", "--junit", "link.xml"]) == Exit.ERROR
    assert "would be overwritten" in capsys.readouterr().err
    assert Path("link.xml").is_symlink()


OUTPUTS = [f"--{form}=out/{form}" for form in ("junit", "markdown", "sarif")]


def broken(*_: object) -> str:
    raise ValueError("a bug")


@pytest.mark.parametrize("annotate", [[], ["--annotations"]])
@pytest.mark.parametrize("how", ["no folder", "rendering", "terminal", "output"])
def test_what_fails_leaves_nothing_that_says_pass(how, annotate, capsys, monkeypatch) -> None:
    last = "--json=out/json"
    if how == "no folder":
        last = "--json=old.xml/x/json"
    elif how == "rendering":
        monkeypatch.setattr("ringtest.reports.writers.gate.render", broken)
    elif how == "terminal":
        monkeypatch.setattr("ringtest.reports.terminal_gate", broken)
    elif how == "output":
        say = command._print

        def full(text: str) -> None:
            if "pass" in text:
                raise ReportError("standard output", "No space left on device")
            say(text)

        monkeypatch.setattr(command, "_print", full)
    assert main(["gate", "audit", *OUTPUTS, last, *annotate]) == Exit.ERROR
    shown = capsys.readouterr()
    assert "pass" not in shown.out + shown.err
    assert shown.err.count("\n") == 1
    assert [p for p in Path().rglob("out/*") if p.is_file()] == []
    lines = shown.out.splitlines()
    assert len(lines) == len(annotate)
    assert all(line.startswith("::error title=ringtest gate%3A error (exit") for line in lines)


def test_names_are_no_commands_wherever_github_runs_it(capsys, monkeypatch) -> None:
    write(Path("set/a"), report("::add-mask::a"))
    write(Path("set/b"), report("b", 0.5))

    def commands() -> list[str]:
        assert main(["gate", "set"]) == Exit.FAIL
        lines = capsys.readouterr().out.splitlines()
        return [line.strip() for line in lines if line.lstrip().startswith("::")]

    assert [line.split(" ")[0] for line in commands()] == ["::add-mask::a"]
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    first, *_, last = commands()
    assert first == f"::stop-commands::{last.strip(':')}"
    assert len(last) == 36


def run(*arguments: str, encoding: str = "utf-8", stdout: int | None = subprocess.PIPE):
    """The command in a process of its own, with its own output."""
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.run(
        [sys.executable, "-m", "ringtest", "gate", *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": encoding},
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_name_is_printed_in_every_encoding(encoding) -> None:
    write(Path("audit"), report("größe-層"))
    done = run("audit", "--annotations", encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    line = done.stdout.decode(encoding).splitlines()[-1]
    said = {"ascii": "gr??e-?", "utf-8": "größe-層"}.get(encoding, "größe-?")
    assert line.startswith(f"::notice title=ringtest gate%3A pass (exit code 0)::{said}: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_is_one_line_and_no_pass() -> None:
    for options in ([], ["--annotations", "--junit", "j.xml"]):
        with Path("/dev/full").open("wb") as disk:
            done = run("audit", *options, stdout=disk.fileno())
        assert done.returncode == Exit.ERROR
        assert done.stderr.count(b"\n") == 1
        assert done.stderr.startswith(b"error: standard output: No space left on device")
    assert not Path("j.xml").exists()


def test_a_closed_output_is_one_line_and_no_pass(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["gate", "audit", "--junit", "j.xml"]) == Exit.ERROR
    assert capsys.readouterr().err.startswith("error: standard output: is closed")
    assert not Path("j.xml").exists()
