"""Whatever is wrong with what a user gives: exit code 2, one line that helps, nothing written."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ringtest.cli import main
from ringtest.errors import Exit

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, columns=3):
        super().__init__()
        self.encoder = nn.Linear(4, 8)
        self.middle = nn.Linear(8, 6)
        self.head = nn.Linear(6, columns)

    def forward(self, x):
        return self.head(self.middle(self.encoder(x).relu()).relu())


class Raises(Net):
    def forward(self, x):
        raise RuntimeError("a message\\nof two lines")


class NaN(Net):
    def forward(self, x):
        return super().forward(x) * float("nan")


class Flat(Net):
    def forward(self, x):
        return super().forward(x).sum()


def build(columns=3):
    torch.manual_seed(0)
    return Net(columns)


def two_columns(): return build(2)
def four_columns(): return build(4)
def raises(): return Raises()
def gives_nan(): return NaN()
def gives_a_number(): return Flat()
def gives_text(): return "weights.pt"
def gives_a_class(): return Net
def gives_nothing(): return None
def gives_a_list(): return [build(), build()]
def gives_no_members(): return []
def fails(): raise ValueError("no checkpoint")
table = {"a": 1}
"""
DATA = """
import torch
from ringtest import AuditData

x = torch.randn(120, 4, generator=torch.Generator().manual_seed(1))
y = x[:, :3].argmax(dim=1)


def rows(): return AuditData(x, y)
def shorter(): return AuditData(x, y[:100])
def empty(): return AuditData(x[:0], y[:0])
def holes():
    z = x.clone()
    z[7, 2] = float("nan")
    return AuditData(z, y)
def negative(): return AuditData(x, y - 1)
def beyond(): return AuditData(x, y + 5)
def floats(): return AuditData(x, y + 0.5)
def no_targets(): return AuditData(x)
def groups(): return AuditData(x, y, groups={"site": y[:3]})
def narrow(): return AuditData(x, y, unlabelled={"web": x[:, :2]})
def tensors(): return x, y
def fails(): raise OSError("disk")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with everything that the rows of the tables below name."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "zoo.py").write_text(MODELS)
    (folder / "rows.py").write_text(DATA)
    (folder / "broken.py").write_text("def rows(:\n")
    (folder / "quits.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "needs.py").write_text("import no_such_package_here\n")
    (folder / "garbage.safetensors").write_bytes(b"\x93 not weights at all")
    (folder / "truncated.safetensors").write_bytes(b"")
    with (folder / "pickle.safetensors").open("wb") as file:
        pickle.dump({"head.weight": [1.0]}, file)
    torch.save(nn.Linear(2, 2).state_dict(), folder / "model.pt")
    save_file({"head.weight": torch.zeros(3, 6)}, folder / "part.safetensors")
    shapes = {"encoder": (8, 4), "middle": (6, 8), "head": (5, 6)}
    state = {f"{k}.weight": torch.zeros(v) for k, v in shapes.items()}
    state |= {f"{k}.bias": torch.zeros(v[0]) for k, v in shapes.items()}
    save_file(state, folder / "wide.safetensors")
    return folder


def config(student='load = "zoo:build"', data="rows:rows", teacher="zoo:build", more="", top=""):
    """A config file in which one thing is replaced."""
    return f"""{top}
[teacher]
load = "{teacher}"
{f"[student]{chr(10)}{student}" if student else ""}
[data]
load = "{data}"
{more}
"""


def factory(weights: str) -> str:
    return config(f'factory = "zoo:build"\nweights = "{weights}"')


def student(name: str) -> str:
    return config(f'load = "zoo:{name}"')


# What is wrong -> (config file, what the line must name: the field, then the rule or the fix)
BAD = {
    "unknown layer": (
        config(more='[audit]\nlayers = ["encodr"]'),
        ("layers", "'encodr'", "did you mean encoder?"),
    ),
    "unknown key": (
        config(more="[audit]\nsed = 1"),
        ("audit.sed", "no known key", "did you mean seed?"),
    ),
    "unknown task": (
        config(top='task = "clasification"'),
        ("task", "'clasification'", "did you mean classification?"),
    ),
    "task that data do not fit": (
        config(top='task = "regression"'),
        ("teacher", "gives 3 output columns, targets have 1"),
    ),
    "no student": (config(student=""), ("student", "is missing", "add [student]")),
    "wrong type": (config(more='[audit]\nseed = "1"'), ("audit.seed", "'1'", "whole number")),
    "broken TOML": ("[teacher\n", ("broken TOML", "line 1", "mend that line")),
    "no such checkpoint": (
        config('hf = "./folder"'),
        ("student.hf", "'./folder' is not there", "name the checkpoint's"),
    ),
    "no such program": (config('exported = "a.pt2"'), ("student.exported", "a.pt2 is not there")),
    "no such evidence": (config('evidence = "a.npz"'), ("student.evidence", "a.npz is not there")),
    "max_rows negative": (config(more="[audit]\nmax_rows = -9"), ("max_rows", "-9", "equal to 0")),
    "later: references": (
        config(more='[audit]\nreferences = "auto"'),
        ("audit.references", "later version", "[[reference]]"),
    ),
    "unknown measure of a cell": (
        config(more='[audit]\ncells = [["probe.selectivty", "noise.input"]]'),
        ("cells", "'probe.selectivty'", "did you mean probe.selectivity"),
    ),
    "unknown condition of a cell": (
        config(more='[audit]\ncells = [["probe.*", "noise.inputs"]]'),
        ("cells", "'noise.inputs'", "did you mean noise.input"),
    ),
    "unknown measure of a gate": (
        config(more='[[gate]]\nmeasure = "similarity.ckaa"\nmargin = 0.1'),
        ("gate[0].measure", "'similarity.ckaa'", "did you mean similarity.cka"),
    ),
    "no such module": (
        config('load = "zooo:build"'),
        ("student.load", "module 'zooo' is not there", "install it"),
    ),
    "no such function": (student("biuld"), ("student.load", "no 'biuld'", "did you mean build")),
    "no function": (student("table"), ("student.load", "is a dict", "name a callable")),
    "module with an error": (
        config('load = "broken:build"'),
        ("student.load", "SyntaxError", "mend it"),
    ),
    "module that needs another": (
        config('load = "needs:build"'),
        ("student.load", "no_such_package_here", "install what it needs"),
    ),
    "module that ends the process": (
        config('load = "quits:build"'),
        ("sys.exit(0)", "remove it"),
    ),
    "function that fails": (student("fails"), ("student.load", "ValueError: no checkpoint")),
    "text for a model": (student("gives_text"), ("student", "is str, no model", "nn.Module")),
    "class for a model": (student("gives_a_class"), ("student", "the class Net", "nn.Module")),
    "nothing for a model": (student("gives_nothing"), ("student", "is missing", "give")),
    "list for a student": (student("gives_a_list"), ("student", "is a list", "give one model")),
    "teacher without members": (
        config(teacher="zoo:gives_no_members"),
        ("teacher", "empty list", "at least one member"),
    ),
    "model that raises": (
        student("raises"),
        ("student", "RuntimeError", "a message of two lines", "give a model that runs"),
    ),
    "teacher that raises": (config(teacher="zoo:raises"), ("teacher", "raised RuntimeError")),
    "model that gives NaN": (student("gives_nan"), ("student", "gives NaN", "mend the model")),
    "one number for a batch": (student("gives_a_number"), ("student", "one output a row")),
    "too few columns": (
        student("two_columns"),
        ("student", "gives 2 output columns", "at least 3 columns"),
    ),
    "other columns than the teacher": (
        student("four_columns"),
        ("student", "gives 4 output columns, others give 3"),
    ),
    "unequal lengths": (
        config(data="rows:shorter"),
        ("targets", "has 100 rows, inputs have 120", "one a row"),
    ),
    "unequal groups": (config(data="rows:groups"), ("groups['site']", "has 3 rows", "one a row")),
    "empty data": (config(data="rows:empty"), ("inputs", "is empty", "at least one row")),
    "NaN in inputs": (
        config(data="rows:holes"),
        ("inputs", "NaN", "the first is row 7", "drop or impute"),
    ),
    "negative targets": (config(data="rows:negative"), ("targets", "hold -1", "count from 0")),
    "targets beyond the columns": (
        config(data="rows:beyond"),
        ("targets reach class 7", "at least 8 columns"),
    ),
    "targets between classes": (config(data="rows:floats"), ("targets", "int classes")),
    "no targets": (config(data="rows:no_targets"), ("targets", "are missing", "int classes")),
    "unlabelled of another shape": (
        config(data="rows:narrow"),
        ("unlabelled['web']", "(2,)", "(4,)"),
    ),
    "no AuditData": (config(data="rows:tensors"), ("data", "is a tuple", "ringtest.AuditData")),
    "data that fails": (config(data="rows:fails"), ("data.load", "OSError: disk")),
    "missing weights": (
        factory("wide.safetensor"),
        ("student.weights", "is not there", "did you mean wide.safetensors"),
    ),
    "pickle for safetensors": (
        factory("pickle.safetensors"),
        ("student.weights", "no safetensors file", "save_file"),
    ),
    "state_dict of another module": (
        factory("model.pt"),
        ("student.weights", "model.pt does not fit", "save the state_dict"),
    ),
    "garbage for safetensors": (
        factory("garbage.safetensors"),
        ("student.weights", "no safetensors file", "save_file"),
    ),
    "empty file for safetensors": (factory("truncated.safetensors"), ("student.weights",)),
    "weights of another module": (
        factory("part.safetensors"),
        ("student.weights", "does not fit", "state_dict"),
    ),
    "weights of another shape": (
        factory("wide.safetensors"),
        ("student.weights", "head", "(5,", "(3,", "use the factory"),
    ),
}


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for compiled modules; empty folders count too."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in sorted(folder.rglob("*"))
        if "__pycache__" not in p.parts
    }


def one_line(captured, *words: str) -> None:
    """The message is one line for people and holds these words."""
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in lines[0]
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(project, name, capsys):
    text, words = BAD[name]
    path = project / "audit.toml"
    path.write_text(text)
    before = contents(project)
    assert main(["audit", str(path), "-q"]) == Exit.ERROR
    one_line(capsys.readouterr(), *words)
    assert contents(project) == before


@pytest.mark.parametrize("command", ["plan", "layers"])
@pytest.mark.parametrize("name", ["unknown layer", "no such function", "NaN in inputs"])
def test_other_commands_say_the_same(project, command, name, capsys):
    text, words = BAD[name]
    path = project / "audit.toml"
    path.write_text(text)
    assert main([command, str(path)]) == Exit.ERROR
    one_line(capsys.readouterr(), *words)


def test_a_config_that_is_not_there(project, capsys):
    (project / "audit.toml").write_text(config())
    assert main(["audit", str(project / "audti.toml")]) == Exit.ERROR
    one_line(capsys.readouterr(), "audti.toml", "is not there", "did you mean audit.toml")
    assert main(["audit", str(project)]) == Exit.ERROR
    one_line(capsys.readouterr(), "Is a directory", "name a TOML file")


OCCUPIED = {
    "another audit's report": ("report.json", '{"config": {"identity": {"task": "other"}}}'),
    "another audit's set": ("a/report.json", '{"config": {"identity": {"task": "other"}}}'),
    "a report of unknown origin": ("report.json", "not even JSON"),
}


@pytest.mark.parametrize("name", OCCUPIED)
def test_an_output_folder_that_belongs_to_another_audit(project, tmp_path, name, capsys):
    file, text = OCCUPIED[name]
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    (project / "audit.toml").write_text(config())
    before = contents(tmp_path)
    assert main(["audit", str(project / "audit.toml"), "--out", str(tmp_path), "-q"]) == Exit.ERROR
    one_line(capsys.readouterr(), "output folder", "name another folder", "--fresh")
    assert contents(tmp_path) == before


def test_an_output_folder_that_is_a_file(project, tmp_path, capsys):
    out = tmp_path / "report"
    out.write_text("mine")
    (project / "audit.toml").write_text(config())
    assert main(["audit", str(project / "audit.toml"), "--out", str(out), "-q"]) == Exit.ERROR
    one_line(capsys.readouterr(), "output folder", "is a file", "name a folder")
    assert out.read_text() == "mine"


def test_the_demo_takes_no_other_audit_s_folder(tmp_path, capsys):
    file = tmp_path / "student" / "report.json"
    file.parent.mkdir()
    file.write_text('{"config": {"identity": {}}}')
    before = contents(tmp_path)
    assert main(["demo", "--out", str(tmp_path), "-q"]) == Exit.ERROR
    one_line(capsys.readouterr(), "output folder", "another audit", "--out")
    assert contents(tmp_path) == before


USAGE = {
    "no such command": (["adit"], "ringtest --help"),
    "no such option": (["audit", "a.toml", "--sed", "1"], "ringtest audit --help"),
    "no config": (["audit"], "CONFIG"),
    "text for a number": (["audit", "a.toml", "--seed", "one"], "--seed"),
    "negative seed": (["audit", "a.toml", "--seed", "-1"], "--seed"),
    "no such policy": (["gate", "a", "--policy", "gate.toml"], "gate.toml: is not there"),
    "no such schema": (["schema", "audit.tml"], "did you mean audit.toml"),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage_errors(name, capsys):
    arguments, word = USAGE[name]
    assert main(arguments) == Exit.ERROR
    one_line(capsys.readouterr(), word)


def test_a_real_process_says_the_same(project):
    (project / "audit.toml").write_text(student("raises"))
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-m", "ringtest", "audit", "audit.toml"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == Exit.ERROR
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: student: raised RuntimeError")
    assert not (project / "audit").exists()
