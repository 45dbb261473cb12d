"""Reports: what is saved comes back, and what was altered is refused."""

import copy
import errno
import hashlib
import json
import math
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringtest import margins
from ringtest.errors import Exit, ReportError
from ringtest.files import claim, folder_name, make_folder, write_atomically
from ringtest.measurement import Measurement
from ringtest.policy import Gate, Policy
from ringtest.report import Report, ReportSet, gate, load_report

GROUPS = ("global geometry", "local geometry", "function", "twins")


def rows(harm: float = 0.0) -> list[Measurement]:
    common = {
        "teacher": 0.9,
        "student": 0.9 - harm,
        "delta": -harm,
        "se": 0.01,
        "df": 400.0,
        "n": 500,
        "headline": True,
        "required": True,
        "null": "paired",
        "ci_low": -harm - 0.02,
        "ci_high": -harm + 0.02,
        "ci_level": 0.95,
    }
    benchmark = Measurement(
        "outputs.score",
        "shift",
        "clean",
        harm=0.0,
        margin=margins.BENCHMARK,
        group="benchmark",
        **{**common, "student": 0.9, "delta": 0.0},
    )
    judged = [
        Measurement(
            f"m.{g}", "probes", "shift.off_support", harm=harm, margin=0.1, group=g, **common
        )
        for g in GROUPS
    ]
    context = Measurement("outputs.score", "shift", "noise.input", severity=1.0, teacher=0.8, n=500)
    return [benchmark, *judged, context]


def model(name: str) -> dict:
    """One model of the ``subjects`` section."""
    return {
        "name": name,
        "parameters": 10,
        "weights_hash": "ab",
        "architecture": "Net",
        "capabilities": ["layers"],
        "layers": ["fc"],
    }


def build(
    harm: float = 0.0,
    student: str = "small",
    policy: Policy | None = None,
    config: dict[str, object] | None = None,
) -> Report:
    return Report.build(
        rows(harm),
        policy or Policy(),
        "full",
        student=student,
        task="classification",
        subjects={
            "teacher": {"name": "teacher", "members": [model("teacher")]},
            "student": model(student),
            "references": [],
        },
        data={
            "n": 500,
            "fingerprint": "ab",
            "modality": "table",
            "groups": {},
            "unlabelled": {},
            "warnings": [],
        },
        not_measured=[],
        config={"identity": {"task": "classification", "data": "ab"}, **(config or {})},
        environment={"python": "3.11", "seed": 0, "threads": 1, "device": "cpu"},
        timing={"total": 1.0, "seconds": {}},
    )


def stored(folder: Path, data) -> Path:
    path = folder / "report.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def signed(data: dict) -> dict:
    """The digest of the altered content: only deciding again can tell."""
    content = {k: v for k, v in data.items() if k not in ("timing", "integrity")}
    text = json.dumps(content, sort_keys=True)
    data["integrity"] = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    return data


@pytest.fixture(scope="module")
def fractured() -> Report:
    return build(0.5)


@pytest.fixture
def data(fractured) -> dict:
    return copy.deepcopy(fractured.data)


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "label"), [(0.0, "sound"), (0.5, "fractured"), (0.1, "inconclusive")]
)
def test_what_is_saved_comes_back(tmp_path, harm, label):
    made = build(harm)
    again = load_report(stored(tmp_path, made.data))
    assert made.verdict.label == again.verdict.label == label
    assert again.data == made.data
    assert [r.as_dict() for r in again.rows] == [r.as_dict() for r in made.rows]
    assert gate(again) == gate(made) == made.verdict.exit_code
    assert label in repr(again)


def test_a_row_survives_json_with_nan_as_null():
    row = rows()[-1]
    assert math.isnan(row.harm)
    values = json.loads(json.dumps(row.as_dict(), allow_nan=False))
    assert values["harm"] is None
    again = Measurement.from_dict(values)
    assert again.as_dict() == row.as_dict()
    assert replace(row, harm=math.inf).as_dict()["harm"] is None


def test_rows_with_other_fields_are_refused():
    values = rows()[0].as_dict()
    with pytest.raises(KeyError, match="unknown"):
        Measurement.from_dict({**values, "colour": 1})
    del values["se"]
    with pytest.raises(KeyError, match="missing"):
        Measurement.from_dict(values)


def test_the_frame_has_one_line_a_measurement(fractured):
    frame = fractured.frame()
    assert list(frame.columns) == [f.name for f in fields(Measurement)]
    assert len(frame) == len(fractured.rows)
    assert (frame[frame.headline & (frame.group != "benchmark")].status == "fail").all()


def test_saving_writes_both_files_whole(tmp_path, fractured):
    fractured.save(tmp_path / "new" / "folder")
    names = sorted(p.name for p in (tmp_path / "new" / "folder").iterdir())
    assert names == ["report.html", "report.json"]
    assert load_report(tmp_path / "new" / "folder").data == fractured.data


def test_timing_is_outside_the_digest_and_all_else_is_inside(fractured, data):
    data["timing"] = {"total": 99.0}
    assert Report(data).data["integrity"] == fractured.data["integrity"]
    for section in sorted(set(data) - {"timing", "integrity"}):
        changed = copy.deepcopy(fractured.data)
        changed[section] = {"x": 1}
        with pytest.raises(ReportError):
            Report(changed)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"report"', "{}", '{"schema_version": 1}', "\x00\xff"],
)
def test_what_is_no_report_is_refused(tmp_path, text):
    with pytest.raises(ReportError):
        load_report(stored(tmp_path, text))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_report_is_refused(tmp_path, data, share):
    text = json.dumps(data)
    with pytest.raises(ReportError, match=r"report\.json"):
        load_report(stored(tmp_path, text[: int(share * len(text))]))


@pytest.mark.parametrize("version", [2, 99, 0, -1, True, "1", 1.0, None])
def test_another_schema_is_refused(data, version):
    data["schema_version"] = version
    with pytest.raises(ReportError, match="schema_version"):
        Report(signed(data))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_no_json_are_refused(tmp_path, data, value):
    data["measurements"][1]["harm"] = 12345.0
    with pytest.raises(ReportError, match=value):
        load_report(stored(tmp_path, json.dumps(data).replace("12345.0", value)))


@pytest.mark.parametrize("field", ["harm", "se", "df", "delta", "teacher", "margin", "p_fail", "n"])
def test_null_in_a_judged_row_is_refused(data, field):
    data["measurements"][1][field] = None
    with pytest.raises(ReportError):
        Report(signed(data))


ALTERED = {
    "status": lambda d: d["measurements"][1].update(status="pass"),
    "unknown status": lambda d: d["measurements"][1].update(status="fine"),
    "label": lambda d: d["verdict"].update(label="sound"),
    "strength": lambda d: d["verdict"].update(strength=0.1),
    "matched": lambda d: d["verdict"].update(matched=False),
    "group": lambda d: d["verdict"]["groups"]["twins"].update(status="pass"),
    "removed row": lambda d: d["measurements"].pop(1),
    "all rows": lambda d: d["measurements"].clear(),
    "added row": lambda d: d["measurements"].append(dict(d["measurements"][1])),
    "margin": lambda d: d["measurements"][1].update(margin=9.0),
    "n": lambda d: d["measurements"][1].update(n=50),
    "harm": lambda d: d["measurements"][1].update(harm=0.0),
    "no headline": lambda d: d["measurements"][1].update(headline=False),
    "policy": lambda d: d["policy"].update(alpha=1e-9),
    "unknown policy": lambda d: d["policy"].update(beta=1),
    "margins version": lambda d: d["verdict"].update(margins_version=margins.VERSION + 1),
    "scope": lambda d: d["verdict"].update(scope="outputs-only"),
    "extra key": lambda d: d["verdict"].update(confidence=1),
    "gates": lambda d: d["verdict"]["gates"].append(
        {"measure": "x", "margin": 1, "status": "pass"}
    ),
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_report_is_refused(data, what):
    ALTERED[what](data)
    with pytest.raises(ReportError):
        Report(data)


@pytest.mark.parametrize("what", [w for w in ALTERED if w != "scope"])
def test_most_alterations_are_seen_even_under_a_new_digest(data, what):
    """The rows are decided again: what they say must be what is stored."""
    ALTERED[what](data)
    with pytest.raises(ReportError):
        Report(signed(data))


def test_a_stored_p_value_must_be_that_of_its_row(data):
    data["measurements"][1]["p_fail"] = 0.7
    with pytest.raises(ReportError, match="p_fail"):
        Report(signed(data))


def leaves(value, path=()):
    """Paths of all leaves and containers of a JSON value."""
    if path:
        yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from leaves(inner, (*path, key))


@settings(max_examples=150)
@given(st.data())
def test_any_change_at_all_is_a_report_error_and_nothing_else(fractured, data):
    """Whatever is done to one value, signed anew or not: no traceback, and no other verdict."""
    changed = copy.deepcopy(fractured.data)
    where = data.draw(st.sampled_from(list(leaves(changed))))
    at = changed
    for key in where[:-1]:
        at = at[key]
    old = at[where[-1]]
    at[where[-1]] = new = data.draw(
        st.sampled_from([None, "x", -1, 0, 1e9, True, [], {}, [1], {"a": None}])
    )
    sign = data.draw(st.booleans())
    if where[0] == "timing" or (new == old and type(new) is type(old)):
        return
    try:
        made = Report(signed(changed) if sign else changed)
    except ReportError as error:
        assert error.args == (" ".join(str(error).split()),)  # noqa: PT017 - either may be
    else:
        assert sign or where[0] == "timing"
        assert made.verdict.label == fractured.verdict.label


def test_a_missing_file_or_folder_is_refused(tmp_path):
    with pytest.raises(ReportError, match="is not there"):
        load_report(tmp_path / "no")
    with pytest.raises(ReportError, match=r"holds no report\.json"):
        load_report(tmp_path)


# -- sets ------------------------------------------------------------------------------------------


def test_a_set_is_gated_by_its_worst_student(tmp_path):
    good, open_, bad = build(0.0, "a"), build(0.1, "b"), build(0.5, "c")
    for chosen, code in (((good,), 0), ((good, open_), 3), ((good, open_, bad), 1)):
        assert gate(ReportSet({r.student: r for r in chosen})) == code
    for r in (good, open_, bad):
        r.save(tmp_path / folder_name(r.student))
    found = load_report(tmp_path)
    assert isinstance(found, ReportSet)
    assert list(found) == ["a", "b", "c"]
    assert gate(tmp_path) == Exit.FAIL
    assert len(found.frame()) == 3 * len(good.rows)
    with pytest.raises(ReportError, match="no report"):
        ReportSet({})


def test_one_bad_file_in_a_set_is_an_error_of_the_set(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        stored(tmp_path / name, build(0.0, name).data)
    (tmp_path / "b" / "report.json").write_text("{")
    with pytest.raises(ReportError):
        gate(tmp_path)


def test_two_reports_of_one_name_do_not_hide_each_other(tmp_path):
    """Else the later folder's report would stand for both, and a failure be lost."""
    for folder, harm in (("a", 0.5), ("b", 0.0)):
        (tmp_path / folder).mkdir()
        stored(tmp_path / folder, build(harm, "small").data)
    with pytest.raises(ReportError, match="small"):
        load_report(tmp_path)


def test_another_policy_decides_the_same_rows_again(fractured):
    loose = Policy(overrides={f"m.{g}": 0.9 for g in GROUPS})
    assert gate(fractured, loose) == Exit.PASS
    assert gate(fractured, replace(loose, gates=(Gate("m.twins", 0.1),))) == Exit.FAIL
    assert gate(fractured) == Exit.FAIL


# -- files -----------------------------------------------------------------------------------------


def test_writing_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(ReportError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="output folder"):
        make_folder(tmp_path / "file" / "inside")
    with pytest.raises(ReportError):
        write_atomically(tmp_path / "none" / "a.txt", "x")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("small net", "small-net"),
        ("../up", "-up"),
        ("..", "student"),
        ("", "student"),
        ("ä_1.5", "ä_1.5"),
    ],
)
def test_folder_names(name, folder):
    assert folder_name(name) == folder


IDENTITY = {"task": "classification", "data": "ab"}


def test_claim_takes_an_empty_folder_and_ones_own(tmp_path):
    claim(tmp_path / "new", IDENTITY, None)
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    stored(tmp_path / "new", build().data)
    claim(tmp_path / "new", IDENTITY, None)


@pytest.mark.parametrize("kind", ["other", "unknown", "single for set", "set for single"])
def test_claim_refuses_anothers_report_before_anything_is_computed(tmp_path, kind):
    (tmp_path / "a").mkdir()
    where = tmp_path / "a" if kind == "set for single" else tmp_path
    text = "{" if kind == "unknown" else json.dumps(build().data)
    path = stored(where, text)
    identity = {"task": "other"} if kind == "other" else IDENTITY
    students = ["a"] if kind == "single for set" else None
    with pytest.raises(ReportError, match="output folder"):
        claim(tmp_path, identity, students)
    assert path.read_text() == text
    claim(tmp_path, identity, students, fresh=True)


def test_claim_refuses_a_file_and_names_that_meet(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="is a file"):
        claim(tmp_path / "file", IDENTITY, None)
    with pytest.raises(ReportError, match="two names"):
        claim(tmp_path, IDENTITY, ["a b", "a/b"])


def test_a_set_that_lost_a_report_is_refused(tmp_path):
    """Deleting the folder of the student that fails must not leave a set that passes."""
    import shutil

    config = {"students": ["a", "b"]}
    made = {n: build(h, n, config=config) for n, h in (("a", 0.0), ("b", 0.5))}
    ReportSet(made).save(tmp_path)
    assert gate(tmp_path) is Exit.FAIL
    shutil.rmtree(tmp_path / "b")
    with pytest.raises(ReportError, match="lacks the report of b"):
        gate(tmp_path)
