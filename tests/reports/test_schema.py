"""The schema accepts every report and refuses broken ones."""

import copy
from dataclasses import fields

import jsonschema
import pytest

from ringtest import reports
from ringtest.measurement import Measurement
from ringtest.policy import Baseline, Policy, Shipped, Waiver


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(reports.schema())
    return jsonschema.Draft202012Validator(reports.schema())


def test_accepts_every_report(report, validator):
    validator.validate(report.data)


def test_rows_are_complete(fakes):
    row = reports.schema()["$defs"]["measurement"]
    names = {f.name for f in fields(Measurement)}
    assert set(row["required"]) == set(row["properties"]) == names
    assert set(fakes.sound().data["measurements"][0]) == names


def _set(*path, value):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def _drop(*path):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return change


BROKEN = {
    "unknown section": _set("extra", value=1),
    "no verdict": _drop("verdict"),
    "unknown label": _set("verdict", "label", value="fine"),
    "strength above 1": _set("verdict", "strength", value=1.5),
    "unknown scope": _set("verdict", "scope", value="some"),
    "group without status": _drop("verdict", "groups", "twins", "status"),
    "newer version": _set("schema_version", value=2),
    "version as a float": _set("schema_version", value="1"),
    "no rows": _set("measurements", value=[]),
    "row without ci_level": _drop("measurements", 0, "ci_level"),
    "row with a new field": _set("measurements", 0, "colour", value="red"),
    "status": _set("measurements", 0, "status", value="skipped"),
    "direction": _set("measurements", 0, "direction", value="up"),
    "null": _set("measurements", 0, "null", value="none"),
    "number as text": _set("measurements", 0, "harm", value="0.1"),
    "judged row without harm": _set("measurements", 0, "harm", value=None),
    "p above 1": _set("measurements", 0, "p_fail", value=1.2),
    "negative n": _set("measurements", 0, "n", value=-1),
    "negative se": _set("measurements", 0, "se", value=-0.1),
    "bool as number": _set("measurements", 0, "teacher", value=True),
    "policy without alpha": _drop("policy", "alpha"),
    "policy gate": _set("policy", "gates", value=[{"measure": "x"}]),
    "no members": _set("subjects", "teacher", "members", value=[]),
    "model without hash": _drop("subjects", "student", "weights_hash"),
    "data without fingerprint": _drop("data", "fingerprint"),
    "counts": _set("data", "unlabelled", value={"web": "many"}),
    "no seed": _drop("environment", "seed"),
    "not measured without reason": _drop("not_measured", 0, "reason"),
    "digest": _set("integrity", "sha256", value="abc"),
    "task": _set("task", value="poetry"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_refuses(fakes, validator, name):
    data = copy.deepcopy(fakes.sound().data)
    BROKEN[name](data)
    assert not validator.is_valid(data)


def test_every_field_may_be_null_where_nothing_was_measured(fakes, validator):
    data = fakes.bare().data
    assert data["measurements"][0]["student"] is None
    validator.validate(data)


def test_accepts_policies_that_use_every_field(fakes, validator):
    """And refuses what is no such policy."""
    shown = Shipped("m", "clean", None, None, "paired", "twins", 0.0, 0.1, 9.0, 1)
    base = Baseline("v1", "sound", (shown,), same=True)
    policy = Policy(
        require=("twins",),
        inconclusive="warn",
        waivers=(Waiver("W", "s", "2999-12-31", group="f*"),),
        today="2026-06-01",
        baseline=base,
    )
    data = copy.deepcopy(fakes.sound().data)
    data["policy"] = policy.as_dict()
    validator.validate(data)
    for key, bad in (
        ("require", "twins"),
        ("inconclusive", "exit4"),
        ("waivers", [{"id": "W"}]),
        ("baseline", {"source": "v1", "label": "fine", "rows": []}),
        ("today", 3),
    ):
        changed = copy.deepcopy(data)
        changed["policy"][key] = bad
        assert not validator.is_valid(changed)


def test_schema_is_fresh():
    reports.schema()["properties"].clear()
    assert reports.schema()["properties"]
