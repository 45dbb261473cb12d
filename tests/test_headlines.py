"""The judged rows, on synthetic similarities and readings whose right answer is known by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ringtest import compare, margins
from ringtest.compare import Failure, Layers, Likeness, Paired
from ringtest.condition import Clean, Condition
from ringtest.errors import Exit
from ringtest.estimate import Estimate
from ringtest.headlines import Judge
from ringtest.largest import CERTIFIED
from ringtest.measure import Reading, measures
from ringtest.nulls import OFF_SUPPORT
from ringtest.policy import Policy
from ringtest.verdict import decide

CKA, NEAR, AGREE = (
    measures[m] for m in ("similarity.cka", "similarity.neighbours", "outputs.agreement")
)
SCORE, TWINS, STAY, SPREAD = (
    measures[m]
    for m in (
        "outputs.score",
        "structure.twin_spread",
        "outputs.consistency",
        "structure.invariance_spread",
    )
)
SIMILARITIES = (CKA, NEAR, AGREE)


class At(Condition):
    """A condition of any role, which is never applied here."""

    kind = "test"

    def __init__(self, role: str, name: str = "a") -> None:
        super().__init__(name)
        self.role, self.kind = role, f"shift.{role}"


def estimate(value: float, se: float = 0.001, units: int = 400, pattern: int = 0) -> Estimate:
    """An estimate whose standard error is ``se``; patterns are uncorrelated."""
    sign = np.random.default_rng(pattern).choice([-1.0, 1.0], size=units)
    sign -= sign.mean()
    return Estimate(value, se * sign / np.sqrt(np.sum(sign**2)), units)


def like(student, members=1.0, *, left_out=(1.0, 1.0, 1.0), references=None, chance=0.0, se=0.001):
    return Likeness(
        estimate(student, se, pattern=1),
        None if members is None else estimate(members, se, pattern=2),
        None if references is None else estimate(references, se, pattern=3),
        left_out,
        chance,
        None,
    )


def judge(members=3, same=True, references=False, embedding=False) -> Judge:
    return Judge(members, same, references, embedding, Layers("t", "s"), 0)


def paired(student, teacher, se=0.001, statistic="x", **more) -> Paired:
    e = estimate(student, se)
    return Paired(Reading(e, statistic, **more), None, teacher, replace(e, value=student - teacher))


def only(rows, **fields):
    found = [r for r in rows if all(getattr(r, k) == v for k, v in fields.items())]
    assert len(found) == 1, found
    return found[0]


# -- the member test -------------------------------------------------------------------------------


def band_margin(a, s0, floor):
    """Design section 5, by hand."""
    m = len(a)
    kappa = (m - 1) / (m - 2) * math.sqrt(1 + 1 / m)
    nu = 8 + m - 1
    v = (8 * s0**2 + (m - 1) * (kappa * np.std(a, ddof=1)) ** 2) / nu
    return max(floor, stats.t.ppf(0.95, nu) * math.sqrt(v))


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
    s0 = {CKA: 0.06, NEAR: 0.03}[entry]
    floor = {CKA: 0.15, NEAR: 0.12}[entry]
    # The SD is over members of what is averaged over conditions.
    assert row.margin == pytest.approx(band_margin(np.add(first, second) / 2, s0, floor))
    assert row.harm == pytest.approx(0.4)
    assert (row.null, row.group, row.headline) == ("band", entry.group, True)


def test_two_members_and_agreement_have_the_floor_alone():
    for members, entry in ((2, CKA), (2, NEAR), (5, AGREE)):
        j = judge(members)
        wild = tuple(float(k) for k in range(members))
        j.see_likeness(entry, At("off_support"), like(0.6, left_out=wild))
        row = only(j.headlines(), condition=OFF_SUPPORT)
        assert row.margin == margins.OFF_SUPPORT[entry.group]


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
    assert (row.null, row.margin, row.headline) == ("drift", 0.12, True)
    assert {r.group: r.margin for r in j.headlines()} == margins.UNLABELLED


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
    row = only(j.headlines(), condition=OFF_SUPPORT)
    assert (row.null, row.headline) == ("band void", True)
    j = elsewhere(like(1.0), like(1.0), same=False)
    for entry in SIMILARITIES:
        j.see_likeness(entry, At("off_support"), like(0.2))
    rows = [r for r in j.headlines() if r.condition == OFF_SUPPORT]
    assert {(r.null, r.headline, r.required) for r in rows} == {("band void", False, False)}
    # a set that is no shift compares nothing, so the void rows stay
    j = elsewhere(like(1.0), like(1.0), auc=0.5, same=False)
    j.see_likeness(CKA, At("off_support"), like(0.2))
    assert only(j.headlines(), condition=OFF_SUPPORT).headline


def test_references_are_a_second_null():
    j = judge(same=False, references=True)
    j.see_likeness(CKA, At("off_support"), like(0.5, 1.0, references=0.45))
    band = only(j.headlines(), null="band")
    copies = only(j.headlines(), null="references")
    assert (band.harm, copies.harm) == (pytest.approx(0.5), pytest.approx(-0.05))
    assert copies.margin == margins.REFERENCES["global geometry"]
    v = decide(j.headlines(), Policy())
    assert v.groups["global geometry"].status == "pass"


# -- a single teacher ------------------------------------------------------------------------------


def alone(cka: float, overlap: float, agreement: float, twins: float = 0.1):
    j = judge(members=1)
    off = At("off_support")
    for entry, value in zip(
        SIMILARITIES, (math.atanh(cka), math.log(overlap), agreement), strict=True
    ):
        j.see_likeness(entry, off, like(value, None, left_out=(0.0,)))
    j.see_readings(SCORE, Clean(), [paired(0.9, 0.9)])
    j.see_readings(TWINS, Clean(), [paired(twins, 0.1)])
    return j.headlines()


def test_a_clone_of_a_single_teacher_can_be_sound():
    rows = alone(0.999, 0.9, 0.99)
    row = only(rows, measure="similarity.cka")
    assert (row.null, row.teacher, row.margin) == ("level", 1.0, pytest.approx(0.05))
    assert row.harm == pytest.approx(0.001)
    assert row.se == pytest.approx(0.001 * (1 - 0.999**2), rel=1e-6)
    v = decide(rows, Policy())
    assert (v.label, v.exit_code) == ("sound", Exit.PASS)


def test_a_stranger_to_a_single_teacher_is_undecided_and_not_failed():
    v = decide(alone(0.1, 0.05, 0.2), Policy())
    assert v.label == "inconclusive"
    assert not any(r.status == "fail" for r in v.rows)
    assert any("references" in s for s in v.settle)


@pytest.mark.parametrize(
    ("cka", "overlap", "agreement"), [(0.9, 0.9, 0.99), (0.999, 0.4, 0.99), (0.999, 0.9, 0.9)]
)
def test_one_level_below_blocks_sound(cka, overlap, agreement):
    assert decide(alone(cka, overlap, agreement), Policy()).label == "inconclusive"


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
    assert (row.family, row.margin, row.null) == (3, 0.15, "drift")
    assert row.params == {"largest": "turn", "certified": ["up", "turn", "blur"]}
    # Rows are the same, so errors pair: two patterns of .05 beside two of .001
    assert row.se == pytest.approx(0.05 * math.sqrt(2), rel=0.1)
    assert row.ci_low < -0.4 < row.ci_high


def test_the_students_own_consistency_is_the_certified_headline_of_function():
    row = only(certified(judge(), STAY, {"a": 0.94, "b": 0.7}).headlines(), condition=CERTIFIED)
    assert (row.group, row.null, row.margin) == (
        "function",
        "paired",
        margins.CERTIFIED["function"],
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
    for teacher, judged in ((0.59, True), (0.61, False)):
        j = judge()
        j.see_readings(TWINS, Clean(), [paired(0.9, teacher)])
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


# -- comparisons -----------------------------------------------------------------------------------


def test_the_likeness_of_a_student_is_to_the_mean_member(rng, seen, setting):
    x = rng.normal(size=(200, 5)).astype(np.float32)
    at = setting(x)
    models = {
        n: seen(x + s * rng.normal(size=x.shape), name=n)
        for n, s in (("m0", 0.3), ("m1", 0.4), ("m2", 0.5), ("s", 0.9), ("r", 0.6))
    }
    members = ["m0", "m1", "m2"]
    found = compare.likeness(CKA, models, members, ["s"], {"s": ["r"]}, at)["s"]

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
    found = compare.likeness(CKA, models, ["m0", "m1"], ["good", "dead"], {}, at)
    assert isinstance(found["good"], Likeness)
    assert found["dead"].status == "error"
    models["m1"].sample["last"] *= 0
    found = compare.likeness(CKA, models, ["m0", "m1"], ["good"], {}, at)
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
