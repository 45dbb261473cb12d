"""`ringtest ensemble`, and recordings in `ringtest audit`, as typed."""

import json

import jsonschema
import numpy as np
import pytest

import ringtest
from ringtest.cli import main
from ringtest.errors import Exit
from ringtest.report import Report, load_report
from ringtest.verdict import decide

MODELS = """
import torch
from torch import nn
from ringtest import AuditData, Recorded, Subject

X = torch.randn(120, 5, generator=torch.Generator().manual_seed(1))

def net(seed):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    return Subject(lambda x: module(x).detach(), version=str(seed))  # outputs only: a quick audit

def teacher(): return [net(0), net(1)]
def single(): return net(0)
def student(): return net(3)
def rows(): return AuditData(X, X[:, :3].argmax(1))
def short(item, text): return 1 / len(text)
def broken(item, text): raise ZeroDivisionError("planted")
def recorded(): return Recorded(candidates={"correct": [[1, 0], [0, 1], [1, 1]]})
def nothing(): return {}
"""
TEACHER = '[teacher]\nload = "nets:teacher"\n[data]\nload = "nets:rows"\n'
STUDENT = '[student]\nload = "nets:student"\n'
SAMPLES = '[recorded]\ncandidates = "teacher.npz"\n'
TEXTS = '[recorded]\nanswers = "answers.json"\n'
NAMED = '[[student]]\nname = "b"\nload = "nets:student"\n'
OWN = '[[student]]\nname = "small"\ncandidates = "student.npz"\ncost = 0.5\n'


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Models, rows and recordings."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "nets.py").write_text(MODELS)
    rng = np.random.default_rng(0)
    truth = rng.integers(9, size=60)
    for name, n, right in (("teacher", 6, 0.6), ("student", 3, 0.4), ("other", 6, 0.3)):
        correct = rng.random((60, n)) < right
        answers = truth[:, None] + np.where(correct, 0, rng.integers(1, 4, size=correct.shape))
        scores = correct + rng.normal(size=correct.shape)
        np.savez(folder / f"{name}.npz", correct=correct, answers=answers, scores=scores)
        told = [
            {"truth": int(t), "correct": c.tolist(), "answers": a.tolist(),
             "texts": [f"{t} or {v}" for v in a]}
            for t, c, a in zip(truth, correct, answers, strict=True)
        ]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, told)))
    texts = [[f"m{m} p{p} {'w' * s}" for s in range(2)] for p in range(6) for m in range(2)]
    (folder / "answers.json").write_text(json.dumps([texts[::2], texts[1::2]]))
    return folder


@pytest.fixture
def run(project, tmp_path, capsys):
    """run(text of a config, *options, command=) -> exit code, what was printed, errors, folder."""

    def ran(text, *options, command="ensemble", out=None):
        config = project / f"{tmp_path.name}.toml"
        config.write_text(text)
        folder = tmp_path / "out" if out is None else out
        code = main([command, str(config), "--out", str(folder), *options])
        shown = capsys.readouterr()
        return code, shown.out, shown.err, folder

    return ran


def test_recordings_alone(run, capsys):
    code, shown, _, folder = run(SAMPLES + OWN)
    assert code == Exit.PASS
    assert "Was the gain selection?" in shown
    found = ringtest.EnsembleReport.load(folder)
    assert list(found.students) == ["small"]
    assert found.data["subjects"] == {"members": [], "students": {"small": None}}
    assert {r.condition for r in found.rows} == {"candidates"}
    cost = next(r for r in found.rows if r.statistic == "cost")
    assert (cost.teacher, cost.student) == pytest.approx((np.nan, 0.5), nan_ok=True)
    assert main(["schema", "ensemble.json"]) == Exit.PASS
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(found.data, schema)


def test_quietly_with_another_seed_and_the_same_again(run, tmp_path):
    text = SAMPLES.replace("teacher.npz", "teacher.jsonl") + 'verifier = "arithmetic"\n'
    code, shown, errors, folder = run(text, "-q", "--seed", "3")
    assert (code, errors) == (Exit.PASS, "")
    found = ringtest.EnsembleReport.load(folder)
    assert found.data["config"]["seed"] == 3
    assert shown == found.words() + "\n"
    # "3 or 5" ends with 5: the verifier sees the texts, and is right
    auc = next(r for r in found.rows if r.statistic == "AUC")
    assert auc.teacher == 1
    run(text, "-q", "--seed", "3", out=tmp_path / "again")
    again = ringtest.EnsembleReport.load(tmp_path / "again")
    assert again.data["integrity"] == found.data["integrity"]


def test_a_callable_for_a_verifier_and_for_all_of_it(run):
    text = SAMPLES.replace("teacher.npz", "teacher.jsonl") + 'verifier = "nets:short"\n'
    code, shown, _, _ = run(text, "-q")
    assert code == Exit.PASS
    assert "the verifier" in shown
    code, shown, _, folder = run('[recorded]\nload = "nets:recorded"\n', "-q")
    assert code == Exit.PASS
    assert ringtest.EnsembleReport.load(folder).data["data"]["recorded"]["candidates"]["items"] == 3


def test_texts_alone(run):
    code, _, _, folder = run(TEXTS, "-q")
    assert code == Exit.PASS
    assert {r.measure for r in ringtest.EnsembleReport.load(folder).rows} == {"ensemble.texts"}


@pytest.fixture(scope="module")
def audited(project):
    """The report of an audit with recordings, beside what `ringtest ensemble` wrote there."""
    config = project / "both.toml"
    config.write_text(TEACHER + STUDENT + 'candidates = "student.npz"\n' + SAMPLES)
    assert main(["ensemble", str(config), "-q"]) == Exit.PASS
    assert main(["audit", str(config), "-q"]) == Exit.PASS
    ringtest.EnsembleReport.load(project / "both").save(project / "both")
    return project / "both"


def test_neither_report_replaces_the_other(audited):
    names = {p.name for p in audited.iterdir()}
    assert {"report.json", "report.html", "ensemble.json", "ensemble.html"} <= names
    audit, alone = load_report(audited), ringtest.EnsembleReport.load(audited)
    assert isinstance(audit, Report)
    theirs, ours = (
        [r.as_dict() for r in found if r.measure.startswith("ensemble.")]
        for found in (audit.rows, alone.rows)
    )
    assert theirs == ours
    assert {"clean", "candidates"} <= {r["condition"] for r in ours}
    assert [m["name"] for m in alone.data["subjects"]["members"]] == [
        "teacher[0]", "teacher[1]",
    ]  # fmt: skip
    assert alone.data["subjects"]["students"]["student"]["name"]


def test_recordings_are_told_and_not_judged(audited):
    report = load_report(audited)
    kept = [r for r in report.rows if r.condition != "candidates"]
    assert len(kept) < len(report.rows)
    again = decide(kept, report.policy, report.verdict.scope, report.student)
    assert (again.label, again.strength) == (report.verdict.label, report.verdict.strength)
    assert report.data["config"]["recorded"]["candidates"]["samples"] == 6
    digest = report.data["config"]["identity"]["recorded"]
    assert digest == report.data["config"]["recorded"]["digest"]


def test_other_recordings_are_another_audit(audited, run):
    text = TEACHER + STUDENT + 'candidates = "student.npz"\n' + SAMPLES
    code, _, errors, _ = run(text.replace("teacher.npz", "other.npz"), command="audit", out=audited)
    assert code == Exit.ERROR
    assert "belongs to another audit" in errors


BAD = {
    "neither teacher nor recordings": "",
    "data: is missing": '[teacher]\nload = "nets:teacher"\n',
    "one member, of which no diversity": TEACHER.replace("nets:teacher", "nets:single"),
    "recorded: names nothing": "[recorded]\ncost = 1\n",
    "recorded.load: stands beside candidates": SAMPLES + 'load = "nets:recorded"\n',
    "recorded.load: nets:nothing gave a dict": '[recorded]\nload = "nets:nothing"\n',
    "there is no [recorded]": TEACHER + OWN,
    "recorded.candidate: is no known key": '[recorded]\ncandidate = "teacher.npz"\n',
    "did you mean teacher.npz": SAMPLES.replace("teacher", "techer"),
    "'arithmetics' is not known; did you mean arithmetic": SAMPLES + 'verifier = "arithmetics"\n',
    "ZeroDivisionError: planted": SAMPLES.replace("npz", "jsonl") + 'verifier = "nets:broken"\n',
    "has scores, and a verifier is named": SAMPLES + 'verifier = "arithmetic"\n',
    "recorded.verifier: has no candidates": TEXTS + 'verifier = "a:b"\n',
    "of 60 items, the teacher's are of 3": '[recorded]\ncandidates = "three.json"\n' + OWN,
    "scores: NaN in item 1": '[recorded]\ncandidates = "nan.json"\n',
    "recorded.candidates (ragged.json): correct": '[recorded]\ncandidates = "ragged.json"\n',
    "correct: has the shape": '[recorded]\ncandidates = "empty.json"\n',
    "there is no student 'small'": TEACHER + SAMPLES + OWN + NAMED,
    "recorded.cost": SAMPLES + "cost = -1\n",
    "student: is given without a teacher": SAMPLES + STUDENT,
}  # fmt: skip


@pytest.mark.parametrize("problem", BAD)
def test_bad_input_is_told_in_a_line(run, project, problem):
    three = {"correct": [[1, 0], [0, 1], [1, 1]]}
    for name, content in (
        ("three", three),
        ("nan", {**three, "scores": [[1, 2], [np.nan, 1], [0, 0]]}),
        ("ragged", {"correct": [[1, 0], [0], [1, 1]]}),
        ("empty", {"correct": []}),
    ):
        (project / f"{name}.json").write_text(json.dumps(content))
    code, shown, errors, folder = run(BAD[problem], "-q")
    assert code == Exit.ERROR, shown
    assert shown == ""
    assert errors.count("\n") == 1
    assert errors.startswith("error: ")
    assert problem.split(";")[0] in errors
    assert not folder.exists()


def test_the_audit_still_needs_all_of_it_and_knows_its_students(run):
    for text, problem in (
        (SAMPLES, "teacher: is missing"),
        (TEACHER + SAMPLES + OWN, "names no model"),
        (TEACHER + STUDENT + 'candidates = "student.npz"\n', "there is no [recorded]"),
    ):
        code, _, errors, _ = run(text, "-q", command="audit")
        assert code == Exit.ERROR
        assert problem in errors
