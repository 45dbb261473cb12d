"""The example scripts do what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringtest.errors import Exit
from ringtest.report import gate

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """An example in a process of its own, on one thread."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "post_training_audit.py"), *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_post_training_audit_passes_a_careful_student_and_resumes(tmp_path: Path) -> None:
    done = run("--out", "audit", cwd=tmp_path)
    assert done.returncode == Exit.PASS, done.stderr
    assert "sound" in done.stdout
    folder = tmp_path / "audit"
    assert (folder / "report.html").is_file()
    first = json.loads((folder / "report.json").read_text())
    assert gate(folder) is Exit.PASS

    again = run("--out", "audit", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (done.returncode, done.stdout)
    second = json.loads((folder / "report.json").read_text())
    assert second["timing"]["cached"]
    assert not first["timing"]["cached"]
    assert {**first, "timing": 0} == {**second, "timing": 0}

    # Another student does not silently take the place of this one.
    other = run("--out", "audit", "--careless", cwd=tmp_path)
    assert other.returncode == Exit.ERROR
    assert "belongs to another audit" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.slow
def test_post_training_audit_fails_a_careless_student(tmp_path: Path) -> None:
    done = run("--careless", cwd=tmp_path)
    assert done.returncode == Exit.FAIL, done.stderr
    assert "fractured" in done.stdout
    assert gate(tmp_path / "audit") is Exit.FAIL
