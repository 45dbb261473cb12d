"""The pytest plugin and ``assert_sound``: nothing passes that a gate would not let pass."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from quick import undrawn

from ringtest import margins
from ringtest.measurement import Measurement
from ringtest.policy import Gate, Policy
from ringtest.report import Report, ReportSet
from ringtest.testing import MOST, assert_sound

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]
GROUPS = ("global geometry", "local geometry", "function", "twins")
# `make venv` registers the entry point; an environment older than it tests the plugin, too.
INSTALLED = any(e.name == "ringtest" for e in entry_points(group="pytest11"))
USE = () if INSTALLED else ("-p", "ringtest.pytest_plugin")


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs inside these tests are no workers, even where a worker runs the tests."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def row(group: str, harm: float) -> Measurement:
    """A headline whose standard error is a tenth of its margin of .1 (benchmark: .03)."""
    return Measurement(
        "outputs.score" if group == "benchmark" else f"test.{group}",
        "probes",
        "clean",
        teacher=0.9,
        student=0.9 - harm,
        delta=-harm,
        harm=harm,
        se=0.005,
        df=500.0,
        ci_low=-harm - 0.01,
        ci_high=-harm + 0.01,
        ci_level=0.95,
        margin=margins.BENCHMARK if group == "benchmark" else 0.1,
        n=500,
        headline=True,
        required=True,
        null="paired",
        group=group,
    )


def model(name: str) -> dict:
    """One model of the ``subjects`` section."""
    return {"name": name, "parameters": 10, "weights_hash": "ab", "architecture": "Net",
            "capabilities": ["layers"], "layers": ["fc"]}  # fmt: skip


def report(harm: float = 0.0, student: str = "student", gates: tuple[Gate, ...] = ()) -> Report:
    """All groups have lost ``harm``: 0 is sound, .5 fractured, .1 inconclusive."""
    return Report.build(
        [row("benchmark", 0.0), *(row(group, harm) for group in GROUPS)],
        Policy(gates=gates),
        "full",
        student=student,
        task="classification",
        subjects={"teacher": {"name": "t", "members": [model("t")]}, "student": model(student),
                  "references": []},
        data={"n": 500, "fingerprint": "f", "modality": "table", "groups": {}, "unlabelled": {},
              "warnings": []},
        not_measured=[],
        config={},
        environment={"seed": 0},
        timing={},
    )  # fmt: skip


def failure(*arguments, **keywords) -> str:
    with pytest.raises(AssertionError) as caught:
        assert_sound(*arguments, **keywords)
    return str(caught.value)


def test_a_sound_student_passes(tmp_path: Path) -> None:
    assert assert_sound(report()) is None
    assert assert_sound(report().save(tmp_path / "audit")) is None


def test_a_fractured_student_fails_with_the_verdict_and_its_reasons() -> None:
    found = report(0.5)
    lines = failure(found).splitlines()
    assert lines[0].startswith("student is fractured (strength 0.8")
    assert lines[0].endswith("gate: fail, exit code 1")
    assert f"  - {found.verdict.reasons[0]}" in lines
    assert "What to do next:" in lines
    assert len(lines) <= 2 + 3 * (MOST + 2)


def test_an_inconclusive_student_fails_and_is_called_inconclusive() -> None:
    found = report(0.1)
    text = failure(found)
    assert text.startswith("student is inconclusive")
    assert "gate: inconclusive, exit code 3" in text
    assert "What would settle it:" in text
    assert found.verdict.settle[0] in text


def test_a_policy_of_the_test_decides(tmp_path: Path) -> None:
    assert assert_sound(report(0.1), Policy(inconclusive="pass")) is None
    with pytest.warns(UserWarning, match="student is inconclusive"):
        assert_sound(report(0.1), Policy(inconclusive="warn"))
    (tmp_path / "gate.toml").write_text('[[gate]]\nmeasure = "test.twins"\nmargin = 0.001\n')
    text = failure(report(), tmp_path / "gate.toml")
    assert text.startswith("student is sound")
    assert "What the policy asks for:" in text
    assert "Harm within 0.001 is asked for" in text


def test_a_gate_that_matches_nothing_fails() -> None:
    text = failure(report(gates=(Gate("no.such", 0.1),)))
    assert "gate: error, exit code 2" in text
    assert "matches no row" in text


def test_of_a_set_the_worst_student_speaks() -> None:
    names = {"a": 0.0, "b": 0.1, "c": 0.5}
    text = failure(ReportSet({name: report(harm, name) for name, harm in names.items()}))
    assert text.startswith("c is fractured")
    assert "2 of 3 students do not pass:\n  - b: inconclusive\n  - c: fractured" in text
    assert assert_sound(ReportSet({"a": report(0.0, "a")})) is None


def test_the_plugin_is_an_entry_point_and_imports_nothing_heavy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"ringtest": "ringtest.pytest_plugin"}
    code = (
        "import sys, pytest; before = set(sys.modules); import ringtest.pytest_plugin; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    new = set(done.stdout.split()) - set(sys.stdlib_module_names)
    assert new == {"ringtest"}


STAND_IN = """
import pathlib, pytest, ringtest, shutil
REPORTS = pathlib.Path({reports!r})

@pytest.fixture(autouse=True, scope="session")
def stand_in():
    "A stored report in place of an audit: the teacher's name is its folder."
    def audit(teacher, student, data, *, out, progress, **options):
        assert progress is False
        shutil.copytree(REPORTS / teacher, out)
        return ringtest.load_report(out)
    ringtest.audit = audit
"""
TESTS = """
def test_sound(ringtest_audit, assert_sound):
    assert_sound(ringtest_audit("sound", None, None))

def test_fractured(ringtest_audit, assert_sound):
    report = ringtest_audit("fractured", None, None, name="mine")
    assert_sound(report)

def test_inconclusive(ringtest_audit, assert_sound):
    assert_sound(ringtest_audit("inconclusive", None, None))
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one saved report of each kind."""
    folder = tmp_path_factory.mktemp("stored")
    with undrawn():
        for name, harm in {"sound": 0.0, "fractured": 0.5, "inconclusive": 0.1}.items():
            report(harm, name).save(folder / name)
    return folder


@pytest.fixture
def project(pytester: pytest.Pytester, stored: Path) -> pytest.Pytester:
    """A user's tests over stored reports."""
    pytester.makeconftest(STAND_IN.format(reports=str(stored)))
    pytester.makepyfile(test_models=TESTS)
    pytester.makeini("[pytest]\n")
    return pytester


def test_fixtures_audit_and_judge(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess(*USE)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: fractured is fractured (strength 0.8*gate: fail, exit code 1",
            "*= ringtest =*",
            "sound: sound, strength 0.00 (*test_models.py--test_sound-*report.html)",
            "fractured: fractured, strength 0.8* (*mine*report.html)",
            "inconclusive: inconclusive, strength 0.50 (*",
        ]
    )
    # The failure points at the test, not into ringtest.
    assert "testing.py:" not in result.stdout.str()
    kept = project.path / ".pytest_cache" / "d" / "ringtest"
    mine, inconclusive, sound = sorted(p.name for p in kept.iterdir())
    assert mine == "mine"
    assert re.fullmatch(r"test_models\.py--test_inconclusive-[0-9a-f]{8}", inconclusive)
    assert re.fullmatch(r"test_models\.py--test_sound-[0-9a-f]{8}", sound)


def test_options_say_where_and_by_what(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nringtest_policy = gates/mild.toml\n")
    project.mkdir("gates").joinpath("mild.toml").write_text('inconclusive = "pass"\n')
    result = project.runpytest_subprocess(*USE, "--ringtest-out", "kept", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
    assert (project.path / "kept" / "mine" / "report.json").is_file()
    assert not (project.path / ".pytest_cache").exists()


NAMES = """
import pytest

@pytest.mark.parametrize("name", ["a/b", "a b", "层" * 200, "层" * 199 + "屬"])
def test_it(ringtest_audit, name):
    for own in (None, name):
        ringtest_audit("sound", None, None, name=own)
"""


def test_folders_of_any_name_differ_and_fit(project: pytest.Pytester) -> None:
    project.makepyfile(test_models=NAMES)
    # Else pytest itself would escape them.
    project.makeini(
        "[pytest]\ndisable_test_id_escaping_and_forfeit_all_rights_to_community_support = true\n"
    )
    result = project.runpytest_subprocess(*USE, "--ringtest-out", "kept")
    result.assert_outcomes(passed=4)
    names = [p.name for p in (project.path / "kept").iterdir()]
    assert len(names) == 8
    assert max(len(name.encode()) for name in names) <= 160


@pytest.mark.slow
def test_workers_hand_over_their_verdicts(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess(*USE, "-n", "2")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*= ringtest =*"])
    for label in ("sound: sound", "fractured: fractured", "inconclusive: inconclusive"):
        result.stdout.fnmatch_lines([f"{label}, strength *(*gw*report.html)"])


def test_runs_without_audits_have_no_section(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess(*USE)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= ringtest =*")


REAL = """
import json, torch, ringtest, pytest
from torch import nn

def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

@pytest.fixture(scope="session")
def report(ringtest_audit):
    data = ringtest.AuditData(torch.randn(120, 6, generator=torch.Generator().manual_seed(0)),
                              torch.arange(120) % 3)
    return ringtest_audit([network(0), network(1)], network(SEED), data)

def test_first(report):
    assert report.verdict.label != "sound"

def test_second(report):
    print("cached", sum(report.data["timing"]["cached"].values()))
"""


@pytest.mark.slow
def test_a_real_audit_is_kept_and_goes_on(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\n")
    cached = []
    for seed in (2, 2, 3):
        pytester.makepyfile(test_real=REAL.replace("SEED", str(seed)))
        result = pytester.runpytest_subprocess(*USE, "-rP")
        result.assert_outcomes(passed=2)
        (line,) = (line for line in result.outlines if line.startswith("cached"))
        cached.append(int(line.split()[1]))
    # The same again needs no model; other weights are another audit, in the same folder.
    assert cached[0] == 0 < cached[1]
    assert cached[2] < cached[1]
