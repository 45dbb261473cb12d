"""What a network could as well have shown: a code is judged in the form that is kindest to it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import AGREE, CKA, NEAR, At, judge, like, only

from ringtest import likeness, margins
from ringtest.condition import Clean
from ringtest.measure import NotMeasurable
from ringtest.nulls import OFF_SUPPORT
from ringtest.policy import Policy
from ringtest.representations import standardised
from ringtest.verdict import decide

UNITS = "units at SD 1"


def forms(first, second):
    """One likeness in two forms."""
    return replace(first, other=replace(second, form=UNITS))


@pytest.fixture
def models(rng, seen):
    """Three members and an unlike student, of units of one scale; and two rescaled copies."""
    base = rng.normal(size=(1200, 12))
    codes = {f"m{k}": base + 0.25 * rng.normal(size=base.shape) for k in range(3)}
    codes["sibling"] = base + 0.25 * rng.normal(size=base.shape)
    codes["unlike"] = np.hstack([base[:, :3], rng.normal(size=(1200, 9))])
    scale = np.exp(1.5 * rng.normal(size=12))
    codes |= {f"{name} rescaled": codes[name] * scale for name in ("sibling", "unlike")}
    return {n: seen(c.astype(np.float32), name=n) for n, c in codes.items()}


@pytest.mark.parametrize("entry", [CKA, NEAR])
def test_the_scale_of_a_unit_is_not_held_against_a_student(entry, models, setting):
    """A ReLU unit can be scaled and read by inverse weights; what is computed stays."""
    at = setting(np.zeros((1200, 1), np.float32))
    members, students = ["m0", "m1", "m2"], [n for n in models if not n.startswith("m")]
    found = likeness.compute(entry, models, members, students, {}, at)

    def row(name):
        j = judge()
        j.see_likeness(entry, At("off_support"), found[name])
        (made,) = decide(j.headlines(), Policy()).rows
        return made

    assert row("sibling").status == row("sibling rescaled").status == "pass"
    assert row("sibling rescaled").params["form"] == UNITS
    assert row("unlike").status == row("unlike rescaled").status == "fail"
    # With units at one scale a copy and what it was made of are one and the same.
    for name in ("sibling", "unlike"):
        (_, plain), (raw, scaled) = (found[n].forms for n in (name, f"{name} rescaled"))
        assert plain.student.value == pytest.approx(scaled.student.value, abs=1e-5)
        assert plain.members.value == scaled.members.value
        assert raw.student.value < plain.student.value - margins.OFF_SUPPORT[entry.group] / 2


def test_a_form_is_that_of_the_layer_alone(models):
    first, second = CKA.forms(models["m0"]).values()
    assert first is models["m0"]
    assert torch.equal(second.last, standardised(first.last))
    assert second.outputs is first.outputs
    assert list(AGREE.forms(models["m0"]).values()) == [models["m0"]]


def test_off_support_the_kindest_form_counts():
    j = judge()
    j.see_likeness(CKA, At("off_support"), forms(like(0.2), like(0.7, 0.8)))
    row = only(j.headlines(), condition=OFF_SUPPORT)
    assert (row.harm, row.teacher) == (pytest.approx(0.1), pytest.approx(0.8))
    assert row.params["form"] == UNITS
    j = judge()
    j.see_likeness(CKA, At("off_support"), forms(like(0.9), like(0.2)))
    row = only(j.headlines(), condition=OFF_SUPPORT)
    assert row.harm == pytest.approx(0.1)
    assert "form" not in row.params


def test_the_form_is_the_same_under_all_conditions():
    """Otherwise a student could be kind to itself in one form here and in another there."""
    j = judge()
    j.see_likeness(CKA, At("off_support", "x"), forms(like(0.9), like(0.3)))
    j.see_likeness(CKA, At("off_support", "y"), forms(like(0.3), like(0.9)))
    assert only(j.headlines(), condition=OFF_SUPPORT).harm == pytest.approx(0.4)


def test_a_form_in_which_members_agree_by_chance_acquits_nobody():
    j = judge()
    nothing = like(0.0, 0.001, se=0.01)
    j.see_likeness(CKA, At("off_support"), forms(like(0.2), nothing))
    assert only(j.headlines(), condition=OFF_SUPPORT).harm == pytest.approx(0.8)
    j = judge()
    at = At("unlabelled")
    j.see_likeness(CKA, Clean(), forms(like(1.0), nothing))
    j.elsewhere(at, 0.9)
    j.see_likeness(CKA, at, forms(like(0.2), nothing))
    assert only(j.headlines(), condition=at.id).harm == pytest.approx(0.8)


def test_members_that_agree_by_chance_elsewhere_make_context():
    j = judge()
    at = At("unlabelled")
    j.see_likeness(CKA, Clean(), like(1.0))
    j.elsewhere(at, 0.9)
    j.see_likeness(CKA, at, like(0.0, 0.001, se=0.01))
    row = only(j.headlines(), condition=at.id)
    assert (row.status, row.headline, row.required) == ("context", False, False)
    assert "no more than by chance" in row.reason


def test_a_transformation_without_agreement_excuses_no_other():
    """Only what is said nothing of is left out; what the others show is judged."""
    j = judge()
    for entry in (CKA, NEAR):
        j.see_likeness(entry, Clean(), like(1.0))
        for name, there in (("turn", like(0.2)), ("blur", like(0.0, 0.001, se=0.01))):
            j.certify(At("certified", name), 0.99, moved=False)
            j.see_likeness(entry, At("certified", name), there)
    rows = [r for r in j.headlines() if r.condition == "shift.certified"]
    assert [(r.headline, r.params["certified"]) for r in rows] == [(True, ["turn"])] * 2
    assert all(r.harm == pytest.approx(0.8) for r in rows)


def test_one_answer_of_all_members_is_no_lack_of_agreement():
    """Where production asks for one class, chance agrees as often as they do."""
    j = judge()
    at = At("unlabelled")
    j.see_likeness(AGREE, Clean(), like(1.0))
    j.elsewhere(at, 0.9)
    j.see_likeness(AGREE, at, like(0.5, 1.0, chance=1.0))
    row = only(j.headlines(), condition=at.id)
    assert (row.harm, row.headline) == (pytest.approx(0.5), True)


def test_what_could_not_be_measured_is_no_lack_of_agreement():
    j = judge()
    at = At("unlabelled")
    j.see_likeness(CKA, Clean(), like(1.0))
    j.elsewhere(at, 0.9)
    j.see_likeness(CKA, at, forms(like(math.nan, math.nan), like(1.0)))
    row = only(j.headlines(), condition=at.id)
    assert (row.headline, row.required, row.measured) == (True, True, False)
    assert decide([row], Policy()).groups["global geometry"].status == "not_measurable"


def test_a_drift_is_taken_within_one_form():
    """Worse by .6 in both: mixing forms would show .1, from .4 below the members to .5 below."""
    j = judge()
    at = At("unlabelled")
    j.see_likeness(CKA, Clean(), forms(like(1.0), like(0.6)))
    j.elsewhere(at, 0.9)
    j.see_likeness(CKA, at, forms(like(0.4), like(0.1)))
    row = only(j.headlines(), condition=at.id)
    assert (row.harm, row.params["form"]) == (pytest.approx(0.5), UNITS)


def test_references_and_a_single_teacher_are_held_in_one_form_too():
    j = judge(references=True)
    first, second = like(0.2, references=0.9), like(0.8, references=0.85)
    j.see_likeness(CKA, At("off_support"), forms(first, second))
    row = only(j.headlines(), condition=OFF_SUPPORT, null="references")
    assert (row.harm, row.params["form"]) == (pytest.approx(0.05), UNITS)
    j = judge(members=1)
    far, near = (like(v, None, left_out=()) for v in (0.5, 1.4))
    j.see_likeness(CKA, At("off_support"), forms(far, near))
    row = only(j.headlines(), condition=OFF_SUPPORT, null="level")
    assert (row.student, row.params["form"]) == (pytest.approx(CKA.raw(1.4)), UNITS)


def test_what_cannot_be_shown_in_another_form_is_judged_as_it_is(models, setting, monkeypatch):
    def none(*_):
        raise NotMeasurable("not in this form")

    at = setting(np.zeros((1200, 1), np.float32))
    own = CKA.prepare
    monkeypatch.setattr(
        CKA, "prepare", lambda e, a: own(e, a) if e is models[e.subject] else none()
    )
    found = likeness.compute(CKA, models, ["m0", "m1"], ["sibling"], {}, at)["sibling"]
    assert found.other is None
    assert found.student.value > 0
