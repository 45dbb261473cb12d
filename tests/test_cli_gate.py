"""`ringtest gate`: the exit code of every label, and that nothing untrusted ever passes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringtest.cli import main
from ringtest.errors import Exit
from ringtest.measurement import Measurement
from ringtest.policy import Gate, Policy
from ringtest.report import Report

HEAVY = (
    "torch", "captum", "seaborn", "matplotlib", "pandas", "sklearn", "jinja2", "numpy", "scipy",
)  # fmt: skip


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def row(group: str, harm: float, **more) -> Measurement:
    """A headline whose standard error is small against its margin of .1."""
    values = {
        "teacher": 0.9,
        "student": 0.9 - harm,
        "delta": -harm,
        "harm": harm,
        "se": 0.01,
        "df": 500.0,
        "margin": 0.1,
        "n": 500,
        "null": "paired",
        "required": True,
        "ci_low": -harm - 0.02,
        "ci_high": -harm + 0.02,
        "ci_level": 0.95,
    }
    return Measurement(
        f"test.{group}", "probes", "clean", headline=True, group=group, **(values | more)
    )


GROUPS = ("global geometry", "local geometry", "function", "twins")
HARMS = {
    "sound": dict.fromkeys(GROUPS, 0.0),
    "fractured": dict.fromkeys(GROUPS, 0.5),
    "inconclusive": dict.fromkeys(GROUPS, 0.1),
    "below-benchmark": dict.fromkeys(GROUPS, 0.0) | {"benchmark": 0.5},
}
CODES = {
    "sound": Exit.PASS,
    "fractured": Exit.FAIL,
    "below-benchmark": Exit.FAIL,
    "inconclusive": Exit.INCONCLUSIVE,
}


def report(label: str, student: str = "student", gates: tuple[Gate, ...] = ()) -> Report:
    """A report with a given label."""
    rows = [row(group, harm) for group, harm in ({"benchmark": 0.0} | HARMS[label]).items()]
    built = Report.build(
        rows,
        Policy(gates=gates),
        "full",
        student=student,
        task="classification",
        subjects={
            "teacher": {"name": "teacher", "members": []},
            "student": {"name": student},
            "references": [],
        },
        data={
            "n": 500,
            "fingerprint": "0",
            "modality": "table",
            "groups": {},
            "unlabelled": {},
            "warnings": [],
        },
        not_measured=[],
        config={},
        environment={},
        timing={},
    )
    assert built.verdict.label == label
    return built


def write(folder: Path, built: Report) -> Path:
    """Write report.json alone: the page is another test's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(built.data))
    return folder


@pytest.mark.parametrize("label", CODES)
def test_gate_exits_by_label(tmp_path, label, capsys):
    folder = write(tmp_path, report(label))
    code = CODES[label]
    for target in (folder, folder / "report.json"):
        assert main(["gate", str(target)]) == code
        shown = capsys.readouterr()
        assert label in shown.out
        assert f"gate: {code.name.lower()} (exit code {int(code)})" in shown.out
        assert shown.err == ""


def cut(text):
    return text[: len(text) // 2]


def edited(change):
    """The file after a change of its JSON object."""

    def apply(text):
        data = json.loads(text)
        change(data)
        return json.dumps(data)

    return apply


def sign_again(data):
    """Make the digest fit, as a forger who knows the code would."""
    from ringtest.integrity import digest

    data["integrity"] = {"sha256": digest(data)}


def call_it_sound(data):
    data["verdict"]["label"] = "sound"


def call_it_sound_and_sign(data):
    call_it_sound(data)
    sign_again(data)


def call_rows_passed(data):
    for r in data["measurements"]:
        r["status"] = "pass"
    sign_again(data)


def drop_rows(data):
    data["measurements"] = [r for r in data["measurements"] if r["status"] != "fail"]
    sign_again(data)


def mend_a_row(data):
    data["measurements"][1]["harm"] = 0.0


def widen_margins(data):
    data["policy"]["overrides"] = {f"test.{group}": 9.0 for group in GROUPS}
    sign_again(data)


def widen_rows(data):
    for r in data["measurements"]:
        r["margin"] = 9.0
    sign_again(data)


def soften(data):
    data["policy"]["inconclusive"] = "pass"
    sign_again(data)


def waive(data):
    data["policy"]["waivers"] = [
        {"id": "x", "statement": "fine", "expires": "2999-12-31", "measure": "*",
         "condition": None, "slice": None, "group": None, "student": None}
    ]  # fmt: skip
    data["policy"]["today"] = "2026-01-01"
    sign_again(data)


UNTRUSTED = {
    "a missing field": edited(lambda d: d["measurements"][1].pop("se")),
    "a missing field of context": edited(lambda d: d["measurements"][0].pop("unit")),
    "one wider margin": edited(lambda d: d["measurements"][1].update(margin=9.0)),
    "wider margins of rows": edited(widen_rows),
    "a softer policy": edited(soften),
    "a waiver written in": edited(waive),
    "a policy of another kind": edited(lambda d: d["policy"].update(inconclusive="exit4")),
    "a waiver of another kind": edited(lambda d: d["policy"].update(waivers=[{"id": 1}])),
    "another policy's level": edited(lambda d: d["policy"].update(alpha=0.2)),
    "context in place of a judged row": edited(
        lambda d: d["measurements"][1].update(headline=False, status="context")
    ),
    "truncated": cut,
    "empty": lambda text: "",
    "no JSON": lambda text: "sound\n",
    "another kind of JSON": lambda text: "[]",
    "an empty object": lambda text: "{}",
    "null": lambda text: "null",
    "a newer schema": edited(lambda d: d.update(schema_version=2)),
    "a schema in words": edited(lambda d: d.update(schema_version="1")),
    "NaN": lambda text: text.replace('"harm": 0.5', '"harm": NaN', 1),
    "null for a judged number": edited(lambda d: d["measurements"][1].update(harm=None)),
    "text for a number": edited(lambda d: d["measurements"][1].update(se="small")),
    "a changed status": edited(lambda d: d["measurements"][1].update(status="pass")),
    "all rows called passed": edited(call_rows_passed),
    "an edited verdict": edited(call_it_sound),
    "an edited verdict, signed": edited(call_it_sound_and_sign),
    "an edited strength": edited(lambda d: d["verdict"].update(strength=0.1)),
    "removed rows": edited(drop_rows),
    "no rows": edited(lambda d: d.update(measurements=[])),
    "an edited row": edited(mend_a_row),
    "edited margins": edited(widen_margins),
    "no verdict": edited(lambda d: d.pop("verdict")),
    "a verdict in words": edited(lambda d: d.update(verdict="sound")),
    "no policy": edited(lambda d: d.pop("policy")),
    "no digest": edited(lambda d: d.pop("integrity")),
}


@pytest.mark.parametrize("name", UNTRUSTED)
def test_gate_never_passes_a_report_that_it_cannot_trust(tmp_path, name, capsys):
    file = write(tmp_path, report("fractured")) / "report.json"
    before = file.read_text()
    file.write_text(UNTRUSTED[name](before))
    assert file.read_text() != before
    assert main(["gate", str(tmp_path)]) == Exit.ERROR
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert "unexpected" not in shown.err
    assert shown.out == ""


def test_gate_needs_a_report(tmp_path, capsys):
    for target in (tmp_path, tmp_path / "missing"):
        assert main(["gate", str(target)]) == Exit.ERROR
        assert "give the folder that an audit wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (("sound", "sound"), Exit.PASS),
        (("sound", "fractured"), Exit.FAIL),
        (("inconclusive", "sound"), Exit.INCONCLUSIVE),
        (("inconclusive", "below-benchmark"), Exit.FAIL),
    ],
)
def test_gate_takes_the_worst_student_of_a_set(tmp_path, labels, code, capsys):
    for name, label in zip("ab", labels, strict=True):
        write(tmp_path / name, report(label, student=name))
    assert main(["gate", str(tmp_path)]) == code
    last = capsys.readouterr().out.splitlines()[-1]
    worst = [n for n, label in zip("ab", labels, strict=True) if CODES[label] == code]
    assert last.endswith(")" if code is Exit.PASS else f", by {', '.join(worst)}")


def test_one_broken_report_breaks_the_set(tmp_path, capsys):
    write(tmp_path / "a", report("sound", student="a"))
    file = write(tmp_path / "b", report("sound", student="b")) / "report.json"
    file.write_text(cut(file.read_text()))
    assert main(["gate", str(tmp_path)]) == Exit.ERROR
    assert str(file) in capsys.readouterr().err


def test_a_gate_of_the_user_s_own_counts(tmp_path, capsys):
    for margin, code in ((0.1, Exit.PASS), (0.0001, Exit.INCONCLUSIVE), (-0.1, Exit.FAIL)):
        write(tmp_path, report("sound", gates=(Gate("test.function", margin),)))
        assert main(["gate", str(tmp_path)]) == code
        assert f"(exit code {int(code)})" in capsys.readouterr().out


def test_a_gate_that_speaks_of_no_row_is_an_error(tmp_path, capsys):
    write(tmp_path, report("sound", gates=(Gate("test.function", 0.1, slice="site=9"),)))
    assert main(["gate", str(tmp_path)]) == Exit.ERROR
    shown = capsys.readouterr()
    assert "gate: error (exit code 2)" in shown.out
    assert "gate test.function site=9: Harm within 0.1 is asked for: matches no row" in shown.err
    assert "(student 'student')" in shown.err


def test_help_and_gate_import_nothing_heavy(tmp_path):
    write(tmp_path, report("sound"))
    (tmp_path / "gate.toml").write_text("alpha = 0.01\n")
    gate = ["gate", str(tmp_path)]
    outputs = [
        text
        for name in ("junit", "markdown", "sarif", "json")
        for text in (f"--{name}", str(tmp_path / name))
    ]
    for arguments, heavy in (
        (["--help"], HEAVY),
        (gate, (*HEAVY, "ringtest.config", "filelock")),
        ([*gate, "--policy", str(tmp_path / "gate.toml"), "--annotations", *outputs], HEAVY),
        (["schema", "gate.toml"], HEAVY[:-2]),
        (["x"], HEAVY),
    ):
        code = (
            f"import sys; from ringtest.cli import main; main({arguments!r}); "
            f"print('heavy:', sorted(set({heavy!r}) & set(sys.modules)))"
        )
        done = run("-c", code)
        assert done.stdout.endswith("heavy: []\n"), (arguments, done.stdout[-200:], done.stderr)


def test_python_dash_m_passes_the_exit_code_on(tmp_path):
    write(tmp_path, report("fractured"))
    done = run("-m", "ringtest", "gate", ".", cwd=tmp_path)
    assert done.returncode == Exit.FAIL
    assert "fractured" in done.stdout


def test_a_reader_that_leaves_is_no_pass_and_no_traceback(tmp_path):
    write(tmp_path, report("sound"))
    reader, writer = os.pipe()
    os.close(reader)
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-m", "ringtest", "gate", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == Exit.ERROR
    assert done.stderr == ""
