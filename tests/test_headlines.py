"""The judged rows, on synthetic similarities and readings whose right answer is known by hand."""

import math

import numpy as np
import pytest
from scipy import stats
from synthetic import (
    AGREE,
    CKA,
    NEAR,
    SCORE,
    SIMILARITIES,
    SPREAD,
    STAY,
    TWINS,
    At,
    estimate,
    judge,
    like,
    only,
    paired,
)

from ringtest import compare, likeness, margins, pvalues
from ringtest.compare import Failure, Paired
from ringtest.condition import Clean
from ringtest.errors import Exit
from ringtest.estimate import Estimate
from ringtest.headlines import Judge
from ringtest.largest import CERTIFIED, Drift, certified_row
from ringtest.likeness import Layers, Likeness
from ringtest.measure import Reading, measures
from ringtest.nulls import OFF_SUPPORT
from ringtest.policy import Policy
from ringtest.verdict import decide

# -- the member test -------------------------------------------------------------------------------


def floor(where, group, own=True):
    """Against models of the student's own architecture some floors are lower."""
    special = margins.OWN_FLOORS[where].get(group) if own else None
    return margins.FLOORS[where][group] if special is None else special


def band(a, group):
    """How far another member would lie from these, by hand."""
    m, s0, weight = len(a), margins.BAND_PRIOR_SD[group], margins.BAND_PRIOR_DF
    kappa = (m - 1) / (m - 2) * math.sqrt(1 + 1 / m)
    nu = weight + m - 1
    v = (weight * s0**2 + (m - 1) * (kappa * np.std(a, ddof=1)) ** 2) / nu
    return stats.t.ppf(1 - margins.ALPHA, nu) * math.sqrt(v)


@pytest.mark.parametrize("entry", [CKA, NEAR])
@pytest.mark.parametrize("spread", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("members", [3, 5])
def test_the_margin_of_the_member_test(entry, spread, members):
    j = judge(members)
    first = tuple(1.0 + spread * k for k in range(members))
    second = tuple(1.0 + 3 * spread * k for k in range(members))
    for name, a in (("x", first), ("y", second)):
        j.see_likeness(entry, At("off_support", name), like(0.6, 1.0, left_out=a))
    row = only(j.headlines(), condition=OFF_SUPPORT)
    # The SD is over members of what is averaged over conditions.
    width = band(np.add(first, second) / 2, entry.group)
    assert row.params["band"] == pytest.approx(width)
    assert row.margin == pytest.approx(max(floor("off support", entry.group), width))
    assert row.harm == pytest.approx(0.4)
    assert (row.null, row.group, row.headline) == ("band", entry.group, True)


def test_two_members_and_agreement_have_the_floor_alone():
    for members, entry in ((2, CKA), (2, NEAR), (5, AGREE)):
        j = judge(members)
        wild = tuple(float(k) for k in range(members))
        j.see_likeness(entry, At("off_support"), like(0.6, left_out=wild))
        row = only(j.headlines(), condition=OFF_SUPPORT)
        assert row.margin == floor("off support", entry.group)


def test_conditions_are_averaged_as_pairs():
    j = judge()
    for name, s, t in (("x", 0.6, 1.0), ("y", 0.8, 0.9)):
        j.see_likeness(CKA, At("off_support", name), like(s, t))
    row = only(j.headlines(), condition=OFF_SUPPORT)
    assert row.harm == pytest.approx(0.25)
    assert (row.teacher, row.student) == (pytest.approx(0.95), pytest.approx(0.7))
    # The same rows under both conditions: errors add, they do not average out.
    assert row.se == pytest.approx(0.001 * math.sqrt(2), rel=0.2)
    assert row.params["conditions"] == ["shift.off_support.x", "shift.off_support.y"]


def test_conditions_on_which_members_agree_by_chance_are_left_out():
    j = judge()
    j.see_likeness(CKA, At("off_support", "x"), like(0.9, 1.0))
    j.see_likeness(CKA, At("off_support", "noise"), like(-5.0, 0.0))
    assert only(j.headlines(), condition=OFF_SUPPORT).harm == pytest.approx(0.1)
    j = judge()
    j.see_likeness(CKA, At("off_support"), like(0.5, 0.001, se=0.01))
    row = only(j.headlines(), condition=OFF_SUPPORT)
    assert (row.status, row.headline, row.required) == ("not_measurable", True, True)
    assert "by chance" in row.reason


def test_one_failed_condition_fails_the_row():
    j = judge()
    j.see_likeness(CKA, At("off_support", "x"), like(1.0))
    j.see_likeness(CKA, At("off_support", "y"), Failure("error", "boom"))
    row = only(j.headlines(), condition=OFF_SUPPORT)
    assert (row.status, row.headline, row.reason) == ("error", True, "boom")
    assert math.isnan(row.harm)


# -- elsewhere -------------------------------------------------------------------------------------


def elsewhere(here, there, auc=0.9, **fields):
    j = judge(**fields)
    at = At("unlabelled", "phone")
    for entry in SIMILARITIES:
        j.see_likeness(entry, Clean(), here)
    j.elsewhere(at, auc)
    for entry in SIMILARITIES:
        j.see_likeness(entry, at, there)
    return j


def test_difference_in_differences_by_hand():
    j = elsewhere(like(0.8, 1.0, se=0.01), like(0.3, 0.9, se=0.03))
    row = only(j.headlines(), measure="similarity.cka")
    # Student 0.6 below the members elsewhere, 0.2 below them at home.
    assert row.harm == pytest.approx(0.4)
    assert (row.teacher, row.student) == (pytest.approx(-0.1), pytest.approx(-0.5))
    # Two independent sets of rows, each a difference of two uncorrelated estimates
    assert row.se == pytest.approx(math.sqrt(2 * 0.01**2 + 2 * 0.03**2), rel=0.1)
    assert (row.null, row.headline) == ("drift", True)
    for r in j.headlines():
        # Members that all drift alike leave the prior's width, agreement none.
        width = band((0.0,) * 3, r.group) if r.group in margins.BAND_PRIOR_SD else 0.0
        assert r.margin == pytest.approx(max(floor("elsewhere", r.group), width))
    assert {r.group for r in j.headlines()} == set(margins.UNLABELLED)


def certified_drift(here, there, **fields):
    j = judge(**fields)
    for entry in (CKA, NEAR):
        j.see_likeness(entry, Clean(), here)
        certified(j, entry, {"turn": there})
    return j


@pytest.mark.parametrize(
    ("see", "where"), [(elsewhere, "elsewhere"), (certified_drift, "certified")]
)
@pytest.mark.parametrize("entry", [CKA, NEAR])
@pytest.mark.parametrize("members", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.7])
def test_members_that_drift_apart_widen_the_margin_of_a_drift(see, where, entry, members, spread):
    """What they are here, and a drift that all share, count for nothing."""
    here = np.array([0.3, 1.0, 0.9, 0.5, 0.8])[:members]
    there = here - 0.4 + spread * np.arange(members)
    j = see(like(0.8, 1.0, left_out=tuple(here)), like(0.3, 0.9, left_out=tuple(there)),
            members=members)  # fmt: skip
    row = only(j.headlines(), measure=entry.id)
    width = band(spread * np.arange(members), entry.group)
    assert row.params["band"] == pytest.approx(width)
    assert row.margin == pytest.approx(max(floor(where, entry.group), width))
    # Scatter of this size is beyond any floor, and beyond the prior.
    least = max(floor(where, entry.group), band(np.zeros(members), entry.group))
    assert (row.margin > least) == (spread > 0)
    assert row.harm == pytest.approx(0.4)


@pytest.mark.parametrize("spread", [0.0, 0.7])
def test_a_students_own_drift_fails_unless_members_scatter_as_much(spread):
    """Beyond floor and prior it fails; beside members that scatter more it passes."""
    here, there = np.ones(3), 1.0 + spread * np.arange(3)
    lost = 0.5 * band(0.7 * np.arange(3), CKA.group)
    assert lost > max(floor("elsewhere", CKA.group), band(np.zeros(3), CKA.group)) + 0.05
    j = elsewhere(like(1.0, left_out=tuple(here)), like(1.0 - lost, left_out=tuple(there)))
    row = only(decide(j.headlines(), Policy()).rows, measure=CKA.id)
    assert row.harm == pytest.approx(lost)
    assert row.status == ("fail" if spread == 0 else "pass")


@pytest.mark.parametrize(
    ("see", "where"), [(elsewhere, "elsewhere"), (certified_drift, "certified")]
)
@pytest.mark.parametrize("members", [1, 2])
def test_the_drift_of_one_or_two_members_has_the_floor_alone(see, where, members):
    """Two have one distance between them: both a_k are that one, and it has no SD."""
    alone = {"members": None, "references": 1.0, "left_out": ()}
    two = {"left_out": (5.0, 5.0)}
    fields = {"references": True} if members == 1 else {}
    more = alone if members == 1 else two
    j = see(like(0.8, **more), like(0.3, **more), members=members, **fields)
    for entry in (CKA, NEAR):
        row = only(j.headlines(), measure=entry.id)
        assert (row.headline, row.params["band"]) == (True, 0.0)
        assert row.margin == floor(where, entry.group)


def test_the_drift_of_agreement_has_the_floor_alone():
    """However many members: a share has no prior, and its scatter is that of the rows."""
    wild = tuple(float(k) for k in range(5))
    j = elsewhere(like(0.8, left_out=(1.0,) * 5), like(0.3, left_out=wild), members=5)
    row = only(j.headlines(), measure=AGREE.id)
    assert (row.margin, row.params["band"]) == (floor("elsewhere", "function"), 0.0)
    # On certified transformations function is the student's consistency with itself.
    stay = only(certified(judge(5), STAY, {"a": 0.7}).headlines(), measure=STAY.id)
    assert stay.margin == floor("certified", "function")


def test_constant_loss_cancels_elsewhere_and_shows_off_support():
    j = elsewhere(like(0.2, 1.0), like(0.1, 0.9))
    assert only(j.headlines(), measure="similarity.cka").harm == pytest.approx(0, abs=1e-12)
    j.see_likeness(CKA, At("off_support"), like(0.1, 1.1))
    row = only(j.headlines(), condition=OFF_SUPPORT)
    assert row.harm == pytest.approx(1.0)
    assert row.headline


@pytest.mark.parametrize("auc", [0.5, 0.59, math.nan])
def test_a_set_that_is_not_elsewhere_is_context_and_the_reasons_say_so(auc):
    j = elsewhere(like(1.0), like(1.0), auc)
    rows = j.headlines()
    assert not any(r.headline or r.required for r in rows)
    v = decide(rows, Policy())
    assert v.label == "inconclusive"
    assert any(
        ("No shift" in r) if auc == auc else ("could not be measured" in r) for r in v.reasons
    )


def test_plain_benchmark_rows_do_not_make_a_fallen_student_sound():
    """They once did: no drift on the benchmark itself, whatever the student lost."""
    j = elsewhere(like(0.2, 1.0), like(0.2, 1.0), auc=0.5)
    j.see_readings(SCORE, Clean(), [paired(0.9, 0.9)])
    j.see_readings(TWINS, Clean(), [paired(0.1, 0.1)])
    assert decide(j.headlines(), Policy()).label == "inconclusive"


def test_a_set_that_could_not_be_measured_is_judged_as_such():
    for here, there in ((Failure("error", "x"), like(1.0)), (like(1.0), Failure("error", "x"))):
        row = only(elsewhere(here, there).headlines(), measure="similarity.cka")
        assert (row.headline, row.required, row.status) == (True, True, "error")


def test_without_members_drift_the_difference_is_context():
    """A single teacher: how far its own copies would drift is unknown, unless references say."""
    j = elsewhere(like(0.8, None), like(0.3, None), members=1)
    assert not any(r.headline for r in j.headlines())
    assert "single teacher" in j.headlines()[0].reason
    j = elsewhere(
        like(0.8, None, references=1.0), like(0.3, None, references=0.9), members=1, references=True
    )
    row = only(j.headlines(), measure="similarity.cka")
    assert row.headline
    assert row.harm == pytest.approx(0.4)


# -- architectures and references ------------------------------------------------------------------


def test_the_band_is_void_for_another_architecture_and_context_beside_differences():
    j = judge(same=False)
    j.see_likeness(CKA, At("off_support"), like(0.2))
    wide, near = (only(j.headlines(), null=n) for n in ("band void", "pass only"))
    assert wide.headline
    assert near.headline
    # To be failed it takes the wide margin, to be passed that of the members' own architecture.
    assert (wide.margin, near.margin) == (
        floor("off support", CKA.group, own=False), floor("off support", CKA.group)
    )  # fmt: skip
    j = elsewhere(like(1.0), like(1.0), same=False)
    for entry in SIMILARITIES:
        j.see_likeness(entry, At("off_support"), like(0.2))
    rows = [r for r in j.headlines() if r.condition == OFF_SUPPORT]
    assert {(r.null, r.headline, r.required) for r in rows} == {
        ("band void", False, False), ("pass only", False, False)
    }  # fmt: skip
    # a set that is no shift compares nothing, so the void rows stay
    j = elsewhere(like(1.0), like(1.0), auc=0.5, same=False)
    j.see_likeness(CKA, At("off_support"), like(0.2))
    assert all(r.headline for r in j.headlines() if r.condition == OFF_SUPPORT)


def test_references_are_a_second_null():
    j = judge(references=True)
    j.see_likeness(CKA, At("off_support"), like(0.3, 1.0, references=0.25))
    band_row = only(j.headlines(), null="band")
    copies = only(j.headlines(), null="references")
    assert (band_row.harm, copies.harm) == (pytest.approx(0.7), pytest.approx(-0.05))
    assert copies.margin == floor("references", CKA.group)
    assert (band_row.headline, copies.headline) == (True, True)
    v = decide(j.headlines(), Policy())
    assert v.groups["global geometry"].status == "pass"


def test_beside_references_of_another_architecture_the_void_band_is_context():
    """Beside an honest null of the student's own kind it would only accuse the honest."""
    j = judge(same=False, references=True)
    j.see_likeness(CKA, At("off_support"), like(0.3, 1.0, references=0.25))
    void = only(j.headlines(), null="band void")
    copies = only(j.headlines(), null="references")
    assert (void.headline, void.required, copies.headline) == (False, False, True)
    v = decide(j.headlines(), Policy())
    assert v.groups["global geometry"].status == "pass"
    # References of a third architecture are no such null: the void band stays.
    j = judge(same=False, references=True, kindred=False)
    j.see_likeness(CKA, At("off_support"), like(0.3, 1.0, references=0.25))
    void, copies = (only(j.headlines(), null=n) for n in ("band void", "references"))
    assert (void.headline, copies.headline) == (True, False)
    assert void.margin == pytest.approx(
        max(floor("off support", CKA.group, own=False), band((1.0,) * 3, CKA.group))
    )


@pytest.mark.parametrize(
    ("see", "where"), [(elsewhere, "elsewhere"), (certified_drift, "certified")]
)
@pytest.mark.parametrize(
    ("members", "same", "kindred", "nulls"),
    [
        (3, True, None, {"drift": True}),
        (3, False, None, {"drift": False}),
        (3, True, True, {"drift": True, "references": True}),
        (3, True, False, {"drift": True}),
        # What an architecture does to drift cancels only against its own kind.
        (3, False, True, {"references": True}),
        (3, False, False, {"drift": False}),
        # The drift of a single teacher's copies is told by its references alone.
        (1, True, True, {"drift": True}),
        (1, False, True, {"drift": True}),
        (1, False, False, {"drift": False}),
    ],
)
def test_whose_drift_a_students_is_held_against(see, where, members, same, kindred, nulls):
    """By null: whether the lower floor of the student's own architecture holds."""
    shown = {"left_out": (1.0,) * members if members > 1 else ()}
    if members == 1:
        shown["members"] = None
    here = like(0.8, references=0.7 if kindred is not None else None, **shown)
    there = like(0.3, references=0.5 if kindred is not None else None, **shown)
    fields = {"members": members, "same": same, "references": kindred is not None}
    j = see(here, there, kindred=kindred is not False, **fields)
    width = band((0.0,) * 3, CKA.group) if members == 3 else 0.0
    rows = [r for r in j.headlines() if r.measure == CKA.id and r.headline]
    assert {r.null for r in rows} == nulls.keys()
    for row in rows:
        assert row.margin == pytest.approx(max(floor(where, CKA.group, nulls[row.null]), width))
        # The student drifts by .5, the members by nothing, the references by .2.
        told_by_references = row.null == "references" or members == 1
        assert row.harm == pytest.approx(0.5 - 0.2 if told_by_references else 0.5)


# -- a single teacher ------------------------------------------------------------------------------


def alone(cka: float, overlap: float, agreement: float, twins: float = 0.1):
    j = judge(members=1)
    off = At("off_support")
    for entry, value in zip(
        SIMILARITIES,
        (math.atanh(margins.CKA_RELIABILITY * cka), math.log(overlap), agreement),
        strict=True,
    ):
        j.see_likeness(entry, off, like(value, None, left_out=(0.0,)))
    j.see_readings(SCORE, Clean(), [paired(0.9, 0.9)])
    j.see_readings(TWINS, Clean(), [paired(twins, 0.1)])
    return j.headlines()


def test_a_clone_of_a_single_teacher_can_be_sound():
    rows = alone(0.999, 0.9, 0.99)
    row = only(rows, measure="similarity.cka")
    level = margins.LEVELS["global geometry"]
    assert (row.null, row.teacher, row.margin) == ("level", 1.0, pytest.approx(1 - level))
    assert row.harm == pytest.approx(0.001)
    # d CKA / d atanh(r CKA)
    r = margins.CKA_RELIABILITY
    assert row.se == pytest.approx(0.001 * (1 - (r * 0.999) ** 2) / r, rel=1e-6)
    v = decide(rows, Policy())
    assert (v.label, v.exit_code) == ("sound", Exit.PASS)


def test_a_stranger_to_a_single_teacher_is_undecided_and_not_failed():
    v = decide(alone(0.1, 0.05, 0.2), Policy())
    assert v.label == "inconclusive"
    assert not any(r.status == "fail" for r in v.rows)
    assert any("references" in s for s in v.settle)


@pytest.mark.parametrize("group", margins.LEVELS)
def test_one_level_below_blocks_sound(group):
    """Near-copies in everything else."""
    shown = {"global geometry": 0.999, "local geometry": 0.9, "function": 0.99}
    assert decide(alone(*shown.values()), Policy()).label == "sound"
    shown[group] = margins.LEVELS[group] - 0.05
    assert decide(alone(*shown.values()), Policy()).label == "inconclusive"


# -- certified by the teacher ----------------------------------------------------------------------


def certified(j: Judge, entry, values, kept=1.0, moved=False, se=0.001):
    for name, value in values.items():
        at = At("certified", name)
        j.certify(at, kept, moved)
        if entry in SIMILARITIES:
            j.see_likeness(entry, at, value)
        else:
            j.see_readings(
                entry, at, value if isinstance(value, Failure) else [paired(value, 0.95, se)]
            )
    return j


def test_the_largest_harm_speaks_with_the_largest_error():
    j = judge()
    j.see_likeness(CKA, Clean(), like(1.0, 1.0))
    seen = {"up": like(0.9, 1.0, se=0.05), "turn": like(0.6, 1.0), "blur": like(1.2, 1.0)}
    row = only(certified(j, CKA, seen).headlines(), condition=CERTIFIED)
    assert row.harm == pytest.approx(0.4)
    width = band((0.0,) * 3, CKA.group)
    assert row.margin == pytest.approx(max(floor("certified", CKA.group), width))
    assert (row.family, row.null) == (3, "drift")
    assert row.params == {
        "band": pytest.approx(width),
        "largest": "turn",
        "certified": ["up", "turn", "blur"],
    }
    # Rows are the same, so errors pair: two patterns of .05 beside two of .001
    assert row.se == pytest.approx(0.05 * math.sqrt(2), rel=0.1)
    assert row.ci_low < -0.4 < row.ci_high


@pytest.mark.parametrize("share", [0.2, 1.2])
def test_the_largest_lies_least_below_its_own_margin_where_members_scatter(share):
    """Under 'wild' the student loses most, and the members scatter more; 'turn' it loses alone."""
    j = judge()
    j.see_likeness(CKA, Clean(), like(1.0, left_out=(1.0, 1.0, 1.0)))
    apart = (1.0, 3.0, 5.0)
    width = {"wild": band((0.0, 2.0, 4.0), CKA.group), "turn": band((0.0,) * 3, CKA.group)}
    margin = {name: max(floor("certified", CKA.group), w) for name, w in width.items()}
    harm = {"wild": 0.5 * margin["wild"], "turn": share * margin["turn"]}
    assert harm["wild"] > harm["turn"] + 0.5
    # Not by harm / margin either: half a wide margin is further from it than all of a narrow one.
    assert margin["wild"] - harm["wild"] > margin["turn"]
    seen = {
        "blur": like(1.0),
        "wild": like(1.0 - harm["wild"], left_out=apart, se=0.05),
        "turn": like(1.0 - harm["turn"]),
    }
    row = only(certified(j, CKA, seen).headlines(), condition=CERTIFIED)
    assert row.params == {
        "band": pytest.approx(width["turn"]),
        "largest": "turn",
        "certified": ["blur", "wild", "turn"],
    }
    assert (row.harm, row.margin) == (pytest.approx(harm["turn"]), pytest.approx(margin["turn"]))
    assert (row.student, row.teacher) == (pytest.approx(-harm["turn"]), pytest.approx(0, abs=1e-12))
    # The error is still the largest of the family, and the family has three.
    assert row.se == pytest.approx(0.05 * math.sqrt(2), rel=0.1)
    assert row.ci_low < -harm["turn"] < row.ci_high
    assert row.family == 3


def test_where_the_largest_passes_all_of_its_family_would(rng):
    """A ratio of harm and margin passed one harm in five that lay exactly at its margin."""
    passed = 0
    for _ in range(200):
        seen, alone = [], []
        for k in range(3):
            se, width = rng.uniform(0.001, 0.1), rng.choice([0.0, 0.3, 1.0])
            margin = max(floor("certified", CKA.group), width)
            harm = margin * rng.uniform(-0.5, 1.1)
            delta = estimate(-harm, se)
            seen.append((str(k), Drift(delta, 0.0, -harm, width)))
            alone.append(pvalues.p_values(harm, margin, se, delta.dof, 1)[1])
        row = only(decide([certified_row(judge(), CKA, seen)], Policy()).rows, family=3)
        if row.status == "pass":
            passed += 1
            assert max(alone) <= margins.ALPHA
    assert 20 < passed < 180


def test_the_students_own_consistency_is_the_certified_headline_of_function():
    row = only(certified(judge(), STAY, {"a": 0.94, "b": 0.7}).headlines(), condition=CERTIFIED)
    assert (row.group, row.null, row.margin) == (
        "function",
        "paired",
        floor("certified", "function"),
    )
    assert row.harm == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("kept", "moved", "counts"),
    [
        (0.90, False, True),
        (0.89, False, False),
        (0.70, True, True),
        (0.69, True, False),
        (math.nan, False, False),
    ],
)
def test_what_the_teacher_does_not_certify_does_not_count(kept, moved, counts):
    j = certified(judge(), STAY, {"a": 0.2}, kept, moved)
    assert any(r.condition == CERTIFIED for r in j.headlines()) == counts


def test_a_failure_under_one_certified_transformation_is_judged():
    j = certified(judge(), STAY, {"a": 0.95, "b": Failure("error", "boom")})
    row = only(j.headlines(), condition=CERTIFIED)
    assert (row.status, row.headline, row.required) == ("error", True, True)
    j = certified(judge(), STAY, {"a": 0.95, "b": math.nan})
    row = only(j.headlines(), condition=CERTIFIED)
    assert (row.status, row.headline) == ("not_measurable", True)


def test_a_single_teacher_can_be_passed_but_not_failed_on_its_certified_sets():
    for value, status in ((0.2, "inconclusive"), (0.95, "pass")):
        j = certified(judge(members=1), STAY, {"a": value})
        row = only(decide(j.headlines(), Policy()).rows, condition=CERTIFIED)
        assert (row.null, row.status) == ("pass only", status)


# -- structure -------------------------------------------------------------------------------------


def test_structure_is_judged_only_where_the_teacher_shows_it():
    # Unrelated codes spread 1.
    least = margins.TEACHER_STRUCTURE["twins"]
    for teacher, judged in ((least - 0.01, True), (least + 0.01, False)):
        j = judge()
        j.see_readings(TWINS, Clean(), [paired(teacher + 0.31, teacher)])
        row = only(j.headlines(), measure=TWINS.id)
        assert (row.headline, row.required) == (judged, judged)
        assert judged or "no such structure" in row.reason
        if judged:
            assert row.harm == pytest.approx(0.31)
            assert row.margin == margins.STRUCTURE["twins"]


def test_only_the_last_hidden_layer_speaks_and_other_layers_stay_context():
    j = judge()
    seen = [paired(0.9, 0.1, layer="fc1", depth=0.0), paired(0.5, 0.1, layer="fc2", depth=1.0)]
    left = j.see_readings(SPREAD, At("invariance"), seen)
    row = only(j.headlines(), measure=SPREAD.id)
    assert (row.student_layer, row.harm) == ("fc2", pytest.approx(0.4))
    assert left == seen[:1]


def test_the_benchmark_is_all_rows_on_clean_data():
    j = judge()
    left = j.see_readings(SCORE, Clean(), [paired(0.9, 0.92), paired(0.1, 0.9, slice="site=a")])
    row = only(j.headlines(), group="benchmark")
    assert (row.harm, row.margin) == (pytest.approx(0.02), margins.BENCHMARK)
    assert len(left) == 1
    j.see_readings(SCORE, At("context"), [paired(0.1, 0.9)])
    assert len(j.headlines()) == 1


def test_a_structural_failure_is_a_judged_row():
    j = judge()
    j.see_readings(TWINS, Clean(), Failure("not_measurable", "no unit varies"))
    row = only(j.headlines(), measure=TWINS.id)
    assert (row.headline, row.required, row.status) == (True, True, "not_measurable")


def test_an_embeddings_benchmark_is_its_fidelity():
    j = judge(embedding=True)
    j.see_likeness(AGREE, Clean(), like(0.9, 0.95))
    row = only(j.headlines(), group="benchmark")
    assert (row.harm, row.teacher) == (pytest.approx(0.05), pytest.approx(0.95))
    j = judge(members=1, embedding=True)
    j.see_likeness(AGREE, Clean(), like(0.96, None))
    assert only(j.headlines(), group="benchmark").harm == pytest.approx(0.04)
    j = judge(embedding=True)
    j.see_likeness(AGREE, Clean(), Failure("error", "x"))
    assert only(j.headlines(), group="benchmark").status == "error"


def test_slice_columns_without_slices_do_not_block_beside_one_that_has_them():
    entry = measures["probe.slice_transfer"]
    nothing = Paired(
        Reading(Estimate(math.nan, np.zeros(0), 0), "x", slice="id", reason="too small"),
        None,
        math.nan,
        Estimate(math.nan, np.zeros(0), 0),
    )
    j = judge()
    j.see_readings(entry, Clean(), [paired(0.1, 0.0, slice="site"), nothing])
    assert {r.slice: r.headline for r in j.headlines()} == {"site": True, "id": False}
    j = judge()
    j.see_readings(entry, Clean(), [nothing])
    assert only(j.headlines(), slice="id").headline


def test_slice_transfer_is_judged_only_where_the_teachers_own_probes_transfer():
    entry = measures["probe.slice_transfer"]
    j = judge()
    most = margins.SLICE_TRANSFER
    seen = {"at": most, "beyond": most + 0.01}
    j.see_readings(entry, Clean(), [paired(t + 0.5, t, slice=name) for name, t in seen.items()])
    at, beyond = (only(j.headlines(), slice=name) for name in seen)
    assert (at.headline, at.required, at.reason) == (True, True, "")
    assert (beyond.headline, beyond.required) == (False, False)
    assert beyond.reason == (
        f"The teacher's own probes lose {most + 0.01:.2f} across beyond, "
        "so slice transfer is context there."
    )
    v = decide(j.headlines(), Policy())
    assert [r.status for r in v.rows] == ["fail", "context"]
    assert beyond.reason in v.reasons


# -- comparisons -----------------------------------------------------------------------------------


def test_the_likeness_of_a_student_is_to_the_mean_member(rng, seen, setting):
    x = rng.normal(size=(200, 5)).astype(np.float32)
    at = setting(x)
    models = {
        n: seen(x + s * rng.normal(size=x.shape), name=n)
        for n, s in (("m0", 0.3), ("m1", 0.4), ("m2", 0.5), ("s", 0.9), ("r", 0.6))
    }
    members = ["m0", "m1", "m2"]
    found = likeness.compute(CKA, models, members, ["s"], {"s": ["r"]}, at)["s"]

    def f(a, b):
        return CKA.compare(CKA.prepare(models[a], at), CKA.prepare(models[b], at)).value

    between = {(a, b): f(a, b) for a in members for b in members if a < b}
    assert found.student.value == pytest.approx(np.mean([f("s", m) for m in members]))
    assert found.members.value == pytest.approx(np.mean(list(between.values())))
    assert found.references.value == pytest.approx(np.mean([f("r", m) for m in members]))
    want = [np.mean([v for k, v in between.items() if m in k]) for m in members]
    assert found.left_out == pytest.approx(tuple(want))


def test_one_crash_stays_its_own(rng, seen, setting):
    x = rng.normal(size=(60, 5)).astype(np.float32)
    at = setting(x)
    models = {n: seen(x, name=n) for n in ("m0", "m1", "good", "dead")}
    models["dead"].sample["last"] = np.zeros(3)  # no tensor: a crash
    found = likeness.compute(CKA, models, ["m0", "m1"], ["good", "dead"], {}, at)
    assert isinstance(found["good"], Likeness)
    assert found["dead"].status == "error"
    models["m1"].sample["last"] *= 0
    found = likeness.compute(CKA, models, ["m0", "m1"], ["good"], {}, at)
    assert found["good"].status == "not_measurable"


def test_readings_are_paired_with_the_mean_member(rng):
    def reading(value, layer, depth, pattern):
        return Reading(estimate(value, pattern=pattern), "x", layer, depth)

    readings = {
        "m0": [reading(0.1, "a", 0.0, 1), reading(0.3, "b", 1.0, 2)],
        "m1": [reading(0.5, "a", 0.0, 3), reading(0.7, "b", 1.0, 4)],
        "s": [reading(0.9, "z", 1.0, 5)],
    }
    (p,) = compare.pair(readings, ["m0", "m1"], "s")
    assert (p.teacher, p.teacher_layer, p.delta.value) == (
        pytest.approx(0.5),
        "b",
        pytest.approx(0.4),
    )
    want = readings["s"][0].estimate.influence - 0.5 * sum(
        readings[m][1].estimate.influence for m in ("m0", "m1")
    )
    np.testing.assert_allclose(p.delta.influence, want, atol=1e-15)
    readings["m1"] = Failure("error", "x")
    assert compare.pair(readings, ["m0", "m1"], "s").status == "error"


@pytest.mark.parametrize(("entry", "sign"), [(AGREE, -1), (TWINS, 1)])
def test_harm_is_positive_where_it_is_worse(entry, sign):
    row = compare.row(entry, "clean", estimate(0.2), 0.5, 0.7, seed=0)
    assert row.harm == pytest.approx(sign * 0.2)
    assert row.direction == entry.direction
    low, high = row.ci_low, row.ci_high
    assert low < 0.2 < high
    assert (low + high) / 2 == pytest.approx(0.2)


def test_an_embedding_needs_no_twins():
    """Output and last hidden layer are one there: requiring twins would block every clone."""
    entry = measures["structure.twin_spread"]
    few = Reading(Estimate(math.nan, np.zeros(0), 700), "spread of twins", "output", reason="few")
    for embedding in (True, False):
        judge = Judge(
            members=2,
            same_architecture=True,
            references=False,
            embedding=embedding,
            layers=Layers("output", "output"),
            seed=0,
        )
        judge.see_readings(entry, Clean(), [Paired(few, "output", math.nan, few.estimate)])
        (row,) = judge.headlines()
        assert (row.headline, row.required) == (not embedding, not embedding)
        groups = decide([row], Policy()).groups
        assert ("twins" in groups) is not embedding
