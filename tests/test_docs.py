"""What README and CONTRIBUTING tell people to type works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]


def blocks(file: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text("utf-8"), re.DOTALL)


def network() -> nn.Module:
    """A small classifier of six features."""
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


MODELS = """
import torch
from torch import nn
import ringtest

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

def teacher():
    return [build() for _ in range(3)]

def benchmark():
    torch.manual_seed(1)
    return ringtest.AuditData(torch.randn(120, 6), torch.arange(120) % 3)
"""


def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippet of 'Audit your own', with small models in place of the reader's."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {
        "inputs": torch.randn(120, 6),
        "targets": torch.arange(120) % 3,
        "source": torch.arange(120) // 60,
        "traffic": torch.randn(100, 6) + 1,
        "member_a": network(),
        "member_b": network(),
        "member_c": network(),
        "student": network(),
    }
    (snippet,) = blocks("README.md", "python")
    exec(compile(snippet, "README.md", "exec"), names)
    rows = names["report"].frame()
    assert {"benchmark", "function", "slice transfer"} <= set(rows.group[rows.headline])
    assert rows.condition.str.startswith("shift.unlabelled.production").any()
    assert (tmp_path / "audit" / "report.html").is_file()


def test_readme_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ``ringtest`` command of the README, on its audit.toml, in order."""
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)
    (config,) = blocks("README.md", "toml")
    (tmp_path / "audit.toml").write_text(config)
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "data.py").write_text("from models import benchmark\n")
    save_file(network().state_dict(), tmp_path / "student.safetensors")
    commands = [
        line.removeprefix("$ ").split("#")[0].split()
        for block in blocks("README.md", "console")
        for line in block.splitlines()
        if line.startswith("$ ringtest ")
    ]
    assert len(commands) == 7
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, check=False
        )
        allowed = {0, 1, 3} if command[1] == "gate" else {0}
        assert done.returncode in allowed, (command, done.stderr)
        assert "Traceback" not in done.stderr


def test_readme_make_targets_exist() -> None:
    """make demo and make test, and what the pip lines install."""
    makefile = (ROOT / "Makefile").read_text()
    for block in blocks("README.md", "console"):
        for target in re.findall(r"^\$ make (\S+)", block, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_contributing_examples_are_one_file_each(tmp_path: Path) -> None:
    """The measure and the condition of CONTRIBUTING, dropped into their areas and nothing else."""
    # Links are followed: a package with its areas inside, as it is installed.
    shutil.copytree(
        ROOT / "src" / "ringtest",
        tmp_path / "ringtest",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    examples = blocks("CONTRIBUTING.md", "python")
    for name, example in zip(
        ("probes/participation.py", "shift/darkness.py"), examples, strict=True
    ):
        assert example.startswith(f"# {name}")
        (tmp_path / "ringtest" / name).write_text(example)
    program = """
import torch, ringtest
from torch import nn
assert str(ringtest.__file__).startswith(HERE), ringtest.__file__
hidden = lambda: nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
net = lambda: nn.Sequential(nn.Flatten(), hidden())
data = ringtest.AuditData(torch.rand(120, 1, 4, 4), torch.arange(120) % 3)
cells = [("outputs.score", "shift.darkness")]
report = ringtest.audit([net(), net()], net(), data, cells=cells, progress=False)
rows = report.frame()
assert rows.query("measure == 'structure.participation'").student.gt(1).all()
assert (rows.measure == "structure.participation").any()
assert (rows.condition == "shift.darkness").sum() == 1
"""
    done = subprocess.run(
        [sys.executable, "-c", program.replace("HERE", repr(str(tmp_path)))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
