"""Recordings in files: the forms that are read, and what a broken or hostile one gets to hear."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from ringtest.ensembles.recorded import files
from ringtest.ensembles.verifiers import Arithmetic
from ringtest.errors import RingtestError

CORRECT = [[1, 0, 1], [0, 0, 1]]
ANSWERS = [[4, 5, 4], [7, 8, 9]]
SCORES = [[0.9, 0.1, 0.8], [0.2, 0.3, 0.7]]
COLUMNS = {"correct": CORRECT, "answers": ANSWERS, "scores": SCORES}


def lines(columns):
    return "\n".join(json.dumps({k: v[i] for k, v in columns.items()}) for i in range(len(CORRECT)))


@pytest.fixture
def write(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def archive(**arrays):
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def test_all_three_forms_say_the_same(write):
    found = [
        files.load_candidates("x", write(name, content))
        for name, content in (
            ("a.npz", archive(**{k: np.array(v) for k, v in COLUMNS.items()})),
            ("a.json", json.dumps(COLUMNS)),
            ("a.jsonl", lines(COLUMNS) + "\n\n"),
        )
    ]
    for c in found:
        assert c.correct.tolist() == [[True, False, True], [False, False, True]]
        assert c.codes.tolist() == [[0, 1, 0], [0, 1, 2]]
        assert c.scores.tolist() == SCORES


def test_answers_by_member_or_by_prompt(write):
    nested = [[["a", "b"], ["c", "d"]], [["e"], ["f"]]]
    turned = [{"answers": [of[p] for of in nested]} for p in range(2)]
    assert files.load_answers("x", write("a.json", json.dumps(nested))) == nested
    text = "\n".join(map(json.dumps, turned))
    assert files.load_answers("x", write("a.jsonl", text)) == nested
    bare = "\n".join(json.dumps(t["answers"]) for t in turned)
    assert files.load_answers("x", write("b.jsonl", bare)) == nested
    own = '{"answers": ["a\u2028b"]}\n["c"]'  # an end of line to Python, none to JSON
    assert files.load_own_answers("x", write("own.jsonl", own)) == [["a b"], ["c"]]


def test_a_verifier_by_name_reads_the_truth_beside_the_texts(write):
    told = {
        "correct": CORRECT,
        "texts": [["it is 4", "5", "= 4"], ["7", "8 or so", "9"]],
        "truth": [4, 9],
    }
    for name, content in (("a.json", json.dumps(told)), ("a.jsonl", lines(told))):
        found = files.load_candidates("x", write(name, content), Arithmetic(answer="truth"))
        assert found.scores.tolist() == CORRECT
    seen = []

    def verifier(item, text):
        seen.append((item, text))
        return 0.5

    files.load_candidates("x", write("b.jsonl", lines(told)), verifier)
    assert seen[0] == ({"truth": 4}, "it is 4")
    numbers = archive(correct=CORRECT, answers=ANSWERS, truth=np.array([4, 9]))
    found = files.load_candidates("x", write("a.npz", numbers), files.VERIFIERS["arithmetic"]())
    assert found.scores.tolist() == CORRECT


def bomb():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("correct.npy", bytes(1 << 22))
    return made.getvalue()


def lying():
    """An array whose header says that it has terabytes."""
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        made, {"descr": "<f8", "fortran_order": False, "shape": (10**11, 10)}
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("correct.npy", made.getvalue() + bytes(80))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.npz", b"not a zip", "cannot be read as arrays"),
        ("a.npz", pickle.dumps({"correct": CORRECT}), "pickles are not loaded"),
        ("a.npz", archive(correct=np.array([[object()]], dtype=object)), "cannot be read"),
        ("a.npz", archive(correct=np.array(CORRECT))[:-40], "cannot be read"),
        ("a.npz", archive(correct=np.array(1)), "correct is no array"),
        ("a.npz", archive(scores=np.array(SCORES)), "correct: is missing"),
        ("a.npz", archive(correct=np.array(CORRECT), scores=np.ones((2, 3)) * 1j), "complex128"),
        ("a.json", json.dumps({**COLUMNS, "scores": [[10**400, 1, 1]] * 2}), "too large"),
        ("a.npz", bomb(), "unpacks to more than"),
        ("a.json", "{", "no JSON"),
        ("a.json", "[" * 100_000, "no JSON"),
        ("a.json", "[1]", "no object of lists"),
        ("a.json", '{"correct": 1}', "x .a.json.: correct"),
        ("a.json", b"\xff\xfe", "save it as UTF-8"),
        ("a.json", json.dumps({**COLUMNS, "scores": [[1, 2], [3, 4]]}), "shape"),
        ("a.json", json.dumps({"correct": CORRECT, "truth": [1]}), "truth has not one value"),
        ("a.json", '{"correct": [[NaN, 1]]}', "correct: has values"),
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", lines(COLUMNS) + "\n{}", "line 3 and line 1 differ in answers"),
        ("a.jsonl", lines(COLUMNS) + "\n1", "line 3 is no object"),
        ("a.jsonl", lines(COLUMNS) + "\n{", "line 3: no JSON"),
        ("a.csv", "correct", "is of no known form"),
        ("a.npz", lying(), "cannot be read as arrays"),
        ("a.json", json.dumps({"correct": CORRECT, "score": SCORES}), "did you mean scores"),
        ("a.json", json.dumps({"corect": CORRECT}), "did you mean correct"),
    ],
)
def test_a_broken_file_is_refused_in_a_line(write, monkeypatch, name, content, problem):
    monkeypatch.setattr(files, "LARGEST", 1 << 21)
    with pytest.raises(RingtestError, match=problem) as error:
        files.load_candidates("x", write(name, content))
    assert name in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"answers": [["a"], ["b"]]}\n{"answers": [["a"]]}', "line 2 has 1 members"),
        ('{"answer": [["a"]]}', "line 1 has no list"),
        ('["a", "b"]', "line 1 has no list"),
        ("3", "line 1 has no list"),
        ('[["a", 1]]', r"x \(a.jsonl\): answers.0..0..1.: is int, not a string"),
    ],
)
def test_ragged_answers_are_refused(write, content, problem):
    with pytest.raises(RingtestError, match=problem):
        files.load_answers("x", write("a.jsonl", content))


def test_files_that_are_too_large_or_not_there_are_refused(write, monkeypatch, tmp_path):
    path = write("a.json", json.dumps(COLUMNS))
    with pytest.raises(RingtestError, match=r"did you mean a\.json"):
        files.load_candidates("x", tmp_path / "a.jsn")
    monkeypatch.setattr(files, "LARGEST", 10)
    with pytest.raises(RingtestError, match="more than 10 bytes"):
        files.load_candidates("x", path)


def test_names_that_are_no_files_are_refused(tmp_path):
    (tmp_path / "a.json").mkdir()
    for name, problem in (("a.json", "is no file"), ("a" * 5000, "too long")):
        with pytest.raises(RingtestError, match=problem) as error:
            files.load_candidates("x", tmp_path / name)
        assert len(str(error.value)) < 300


def test_what_is_wrong_is_told_before_a_verifier_is_asked(write):
    def never(item, text):
        raise AssertionError("was asked")

    for told, problem in (
        ({"correct": [[2, 0, 1]] * 2}, "correct: has values"),
        ({"correct": CORRECT, "texts": [["a"], ["b"]]}, "texts of shape"),
        ({"correct": CORRECT, "texts": [["a"], ["b", "c"]]}, "texts: item 1 has 2"),
    ):
        path = write("a.json", json.dumps({"texts": ANSWERS, **told}))
        with pytest.raises(RingtestError, match=problem):
            files.load_candidates("x", path, never)


def test_scores_stand_in_the_file_or_come_from_a_verifier(write):
    path = write("a.json", json.dumps(COLUMNS))
    with pytest.raises(RingtestError, match="leave one of them out"):
        files.load_candidates("x", path, lambda _i, _t: 1.0)
    bare = write("b.json", json.dumps({"correct": CORRECT}))
    with pytest.raises(RingtestError, match="no texts for the verifier"):
        files.load_candidates("x", bare, lambda _i, _t: 1.0)
    with pytest.raises(RingtestError, match="has no scores"):
        files.load_scores("x", bare)
    assert files.load_scores("x", path) == SCORES
