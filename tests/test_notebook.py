"""What a notebook holds: tidy frames, a quiet progress bar, and two notebooks that run."""

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import jupytext
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest

import ringtest
from ringtest import margins
from ringtest.measurement import Measurement
from ringtest.policy import Policy
from ringtest.report import Report, ReportSet

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples" / "notebooks").glob("*.py"))


def report(student: str = "student", harm: float = 0.5) -> Report:
    """A benchmark row that passes, a group that fails and context without numbers."""
    common = {"se": 0.01, "df": 400.0, "n": 500, "headline": True, "required": True,
              "teacher": 0.9, "null": "paired",
              "ci_low": -1.0, "ci_high": 1.0, "ci_level": 0.95}  # fmt: skip
    rows = [
        Measurement("outputs.score", "shift", "noise.input", severity=1, n=500, teacher=0.8),
        Measurement("outputs.score", "shift", "clean", harm=0.0, delta=0.0, student=0.9,
                    margin=margins.BENCHMARK, group="benchmark", **common),
        Measurement("structure.twin_spread", "probes", "clean", harm=harm, delta=harm,
                    student=0.9 + harm, margin=0.2, group="twins", direction="lower", **common),
    ]  # fmt: skip
    return Report.build(
        rows,
        Policy(),
        "full",
        student=student,
        task="classification",
        subjects={"teacher": {"name": "t", "members": []}, "student": {"name": student},
                  "references": []},
        data={"n": 500, "fingerprint": "f", "modality": "table", "groups": {}, "unlabelled": {},
              "warnings": []},
        not_measured=[],
        config={},
        environment={"seed": 0},
        timing={},
    )  # fmt: skip


def test_frame_has_the_fields_with_types_to_sort_by() -> None:
    frame = report().frame()
    assert list(frame.columns) == [f.name for f in fields(Measurement)]
    assert frame.severity.dtype == float
    assert frame.n.dtype == int
    assert frame.headline.dtype == bool
    assert np.isnan(frame.loc[0, "student"])
    # What fails comes first, context last.
    assert list(frame.sort_values("status").status) == ["fail", "pass", "context"]
    assert frame.status.cat.ordered
    assert set(frame.direction.cat.categories) == {"higher", "lower"}
    assert list(frame.null.isna()) == [True, False, False]


def test_frame_without_severities_is_numeric_all_the_same() -> None:
    rows = [r for r in report().rows if r.severity is None]
    built = report()
    built.verdict = ringtest.report.decide(rows, built.policy)
    assert built.frame().severity.dtype == float


def test_frame_of_a_set_names_the_students() -> None:
    frame = ReportSet({"a": report("a"), "b": report("b", 0.0)}).frame()
    assert frame.columns[0] == "name"
    assert list(frame.columns[1:]) == list(report().frame().columns)
    assert isinstance(frame.status.dtype, pd.CategoricalDtype)
    twins = frame[frame.group == "twins"].set_index("name")
    assert dict(twins.status) == {"a": "fail", "b": "pass"}


PROGRESS = """
import sys, types, warnings
warnings.simplefilter("always")
# A notebook's kernel without ipywidgets.
ipython = types.ModuleType("IPython")
ipython.get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = ipython
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
sys.modules["ipywidgets"] = None
from ringtest.progress import bar
with bar(True) as tell:
    tell("clean", 0.5)
from tqdm.auto import tqdm
print(tqdm.__module__)
"""


def test_progress_is_silent_in_a_notebook_without_widgets() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRESS], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "tqdm.asyncio" in done.stdout


def test_there_are_two_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["first_audit", "same_score_different_insides"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_is_paired_text_with_words_and_claims(file: Path) -> None:
    notebook = jupytext.read(file)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert kinds.count("markdown") >= 6
    assert notebook.metadata.kernelspec.name == "python3"
    # The last cell asserts what the words say.
    claims = ast.parse(notebook.cells[-1].source)
    assert any(isinstance(node, ast.Assert) for node in claims.body)


ONCE = """
from ringtest.demo import training

def once(data, seeds, train=training.train_members, kept={}):
    import copy

    key = float(data.train_images.double().sum()), *seeds
    if key not in kept:
        kept[key] = train(data, seeds)
    return copy.deepcopy(kept[key])

training.train_members = once
"""
"""Both notebooks train the same teacher: the second is given that of the first."""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Cells of the notebooks, run one after the other in one kernel, each in an empty namespace."""
    folder = tmp_path_factory.mktemp("notebooks")
    found = {file.stem: jupytext.read(file) for file in NOTEBOOKS}
    whole = jupytext.read(NOTEBOOKS[0])
    whole.cells = [nbformat.v4.new_code_cell(ONCE)]
    for notebook in found.values():
        whole.cells += [nbformat.v4.new_code_cell("%reset -f"), *notebook.cells]
    client = nbclient.NotebookClient(
        whole, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("IPYTHONDIR", str(folder))
        client.execute()  # raises where a cell or one of its claims fails
    return {name: notebook.cells for name, notebook in found.items()}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_runs_and_shows_reports_and_figures(
    file: Path, executed: dict[str, list[Any]]
) -> None:
    outputs = [out for cell in executed[file.stem] for out in cell.get("outputs", [])]
    errors = [out.text for out in outputs if out.get("name") == "stderr"]
    assert errors == []
    shown = [set(out.get("data", {})) for out in outputs]
    assert sum("image/png" in data for data in shown) == 3
    assert any("rt-fragment" in out.get("data", {}).get("text/html", "") for out in outputs)
    # The last figure of a cell is shown, not also told.
    assert not any("Axes" in out.get("data", {}).get("text/plain", "") for out in outputs
                   if out.output_type == "execute_result")  # fmt: skip
