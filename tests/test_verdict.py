"""The verdict: total, monotone, and never sound by omission."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringtest import margins, pvalues, reasons
from ringtest.decision import OFF_SUPPORT
from ringtest.errors import Exit
from ringtest.measurement import Measurement
from ringtest.policy import Gate, Policy, Waiver
from ringtest.verdict import decide

POLICY = Policy()
LABELS = {"sound", "fractured", "below-benchmark", "inconclusive"}
OFF = "shift.off_support"


def row(
    group="global geometry", harm=0.0, se=0.01, margin=0.1, condition=OFF, **more
) -> Measurement:
    """A judged row; harm is in the row's own unit."""
    fields = {
        "measure": more.pop("measure", f"m.{group}"),
        "area": "probes",
        "condition": condition,
        "teacher": 1.0,
        "student": 1.0 - harm,
        "delta": -harm,
        "harm": harm,
        "se": se,
        "df": 500.0,
        "margin": margin,
        "n": 500,
        "group": group,
        "headline": True,
        "required": True,
        "null": "paired",
        **more,
    }
    return Measurement(**fields)


def benchmark(harm=0.0, **more):
    return row("benchmark", harm, margin=margins.BENCHMARK, condition="clean", **more)


FOUR = ("global geometry", "local geometry", "function", "twins")


def good(**more) -> list[Measurement]:
    return [benchmark(), *(row(g, **more) for g in FOUR)]


def harms(**by_group) -> list[Measurement]:
    """All groups at harm 0 but those named (spaces as underscores)."""
    named = {k.replace("_", " "): v for k, v in by_group.items()}
    return [benchmark(), *(row(g, named.get(g, 0.0)) for g in FOUR)]


# -- the labels ------------------------------------------------------------------------------------


def test_sound():
    v = decide(good(), POLICY)
    assert (v.label, v.matched, v.exit_code, v.strength) == ("sound", True, Exit.PASS, 0.0)
    assert {g.status for g in v.groups.values()} == {"pass"}


def test_two_failing_groups_are_fractured_and_one_is_not():
    one, two = decide(harms(function=0.5), POLICY), decide(harms(function=0.5, twins=0.4), POLICY)
    assert (one.label, one.exit_code) == ("inconclusive", Exit.INCONCLUSIVE)
    assert (two.label, two.exit_code) == ("fractured", Exit.FAIL)
    assert any("two must fail" in r for r in one.reasons)


def test_a_group_far_beyond_its_margin_and_one_beyond_half_of_its_own_count_as_two():
    """Margins are .1 and errors small: .07 lies within the margin, and beyond half of it."""
    wide = {"se": 0.015}  # neither passes nor fails
    first, second = row("function", 0.3), row("twins", 0.09, **wide)
    rest = [benchmark(), row("global geometry"), row("local geometry")]
    v = decide([*rest, first, second], POLICY)
    assert [v.groups[g].status for g in ("function", "twins")] == ["fail", "inconclusive"]
    assert (v.label, v.together, v.exit_code) == ("fractured", ("function", "twins"), Exit.FAIL)
    said = "Function lies beyond 2 times its margin and twins beyond 0.5 of its own"
    assert f"{said}: together they are as far out as two." in v.reasons
    assert v.checks[0].message.endswith(f"inside: {said[0].lower()}{said[1:]}.")
    # One as far out with no second, a second without one far out, and one that passes:
    for rows in (
        [first, row("twins", 0.05, **wide)],
        [row("function", 0.19), second],
        [first, row("twins", 0.07, se=0.005)],
    ):
        other = decide([*rest, *rows], POLICY)
        assert (other.label, other.together) == ("inconclusive", ())
    # Twice its margin and half of it must each be left behind with confidence.
    unsure = decide([*rest, row("function", 0.25, se=0.04), second], POLICY)
    assert (unsure.groups["function"].status, unsure.label) == ("fail", "inconclusive")
    assert decide([*rest, first, second], replace(POLICY, version=2)).label == "inconclusive"


def test_no_multiple_of_a_margin_of_zero_is_wider():
    rest = [benchmark(), row("global geometry"), row("local geometry")]
    v = decide([*rest, row("function", 0.03, margin=0.0), row("twins", 0.09, se=0.015)], POLICY)
    assert (v.groups["function"].status, v.label) == ("fail", "inconclusive")


def test_beside_a_failed_void_band_the_row_that_can_only_pass_is_neither_failed_nor_undecided():
    v = decide(void(function=0.9), POLICY)
    wide, near = (r for r in v.rows if r.group == "function")
    assert (wide.status, near.status) == ("fail", "inconclusive")
    assert sum(r.startswith("Function") for r in v.reasons) == 1
    assert not any("more rows" in s or "rows a set" in s for s in v.settle)


def test_two_sets_of_one_group_are_no_two_groups():
    rows = [row("function", 0.5), row("function", 0.09, se=0.015, condition="shift.unlabelled.a")]
    v = decide([*harms()[:3], row("twins"), *rows], POLICY)
    assert (v.label, v.together) == ("inconclusive", ())


def test_void_bands_are_one_group_for_the_uneven_rule_too():
    void = {"condition": OFF, "null": "band void"}
    rows = [row("global geometry", 0.5, **void), row("local geometry", 0.09, se=0.015, **void)]
    v = decide([benchmark(), row("function"), row("twins"), *rows], POLICY)
    assert (v.label, v.together) == ("inconclusive", ())
    more = [benchmark(), row("function"), row("twins", 0.09, se=0.015), *rows]
    assert decide(more, POLICY).together == (OFF_SUPPORT, "twins")


def test_a_waived_row_counts_for_nothing_in_the_uneven_rule():
    rows = [*harms(function=0.3)[:4], row("twins", 0.09, se=0.015)]
    waiver = Waiver("A-1", "no matter. A. Owner", "2999-12-31", group="twins")
    v = decide(rows, replace(POLICY, waivers=(waiver,), today="2026-01-01"))
    assert (v.label, v.outcome_label) == ("fractured", "inconclusive")


def test_below_the_benchmark_comes_first():
    rows = [benchmark(0.2), *harms(function=0.5, twins=0.4)[1:]]
    v = decide(rows, POLICY)
    assert (v.label, v.matched, v.exit_code) == ("below-benchmark", False, Exit.FAIL)


@pytest.mark.parametrize("bench", [[], [benchmark(0.03)], [benchmark(math.nan)], [benchmark(n=99)]])
def test_nothing_is_sound_unless_the_benchmark_is_shown_to_be_matched(bench):
    v = decide([*bench, *good()[1:]], POLICY)
    assert v.label == "inconclusive"
    assert not v.matched


def test_two_benchmark_rows_must_both_pass():
    assert not decide([benchmark(), benchmark(0.03, measure="x"), *good()[1:]], POLICY).matched


@pytest.mark.parametrize("group", FOUR)
def test_a_required_group_that_is_missing_blocks_sound(group):
    rows = [r for r in good() if r.group != group]
    v = decide([*rows, row("invariance"), row("slice transfer")], POLICY)
    assert v.label == "inconclusive"
    assert v.groups[group].status == "not_measurable"
    assert any(f"{group.capitalize()} was required" in r for r in v.reasons)


@pytest.mark.parametrize(
    "damage",
    [
        {"harm": math.nan},
        {"se": math.nan},
        {"df": math.nan},
        {"margin": math.nan},
        {"harm": -math.inf},
        {"teacher": math.nan},
        {"student": math.inf},
        {"n": 0},
        {"n": margins.MIN_N - 1},
        {"se": -1.0},
        {"status": "error", "harm": math.nan},
        {"family": 0},
    ],
)
@pytest.mark.parametrize("group", [*FOUR, "benchmark"])
def test_a_damaged_row_never_passes_and_blocks_sound(group, damage):
    rows = [replace(r, **damage) if r.group == group else r for r in good()]
    v = decide(rows, POLICY)
    assert v.label == "inconclusive"
    hurt = next(r for r in v.rows if r.group == group)
    assert hurt.status in ("error", "not_measurable")


def test_stored_status_and_p_values_are_not_believed():
    rows = [replace(r, status="pass", p_pass=0.0, p_fail=1.0) for r in harms(function=1, twins=1)]
    assert decide(rows, POLICY).label == "fractured"
    rows = [replace(r, headline=False, status="pass") for r in good()]
    assert decide(rows, POLICY).label == "inconclusive"
    assert {r.status for r in decide(rows, POLICY).rows} == {"context"}


def test_nothing_at_all():
    v = decide([], POLICY)
    assert (v.label, v.strength, v.matched) == ("inconclusive", None, False)
    assert set(v.groups) == set(margins.ALWAYS_REQUIRED)


def test_outputs_alone_are_never_sound():
    v = decide(good(), POLICY, "outputs-only")
    assert v.label == "inconclusive"
    assert any("outputs alone" in r for r in v.reasons)
    only = [benchmark(), row("function")]
    assert decide(only, POLICY, "outputs-only").label == "inconclusive"
    assert set(decide(only, POLICY, "outputs-only").groups) == {"function"}
    assert decide(good(), POLICY, "no-gradient").label == "sound"


def test_fewer_than_three_judged_groups_are_never_sound():
    strict = Policy(min_groups=5)
    assert decide(good(), strict).label == "inconclusive"
    assert decide([*good(), row("invariance")], strict).label == "sound"


def test_a_structural_group_that_the_teacher_lacks_is_excused_and_others_are_not():
    """Three groups are left; a geometry group cannot be excused by a context row."""
    reason = "The teacher itself shows no such structure."

    def context(r):
        return replace(r, headline=False, required=False, reason=reason)

    rows = [context(r) if r.group == "twins" else r for r in good()]
    v = decide(rows, POLICY)
    assert v.label == "sound"
    assert "twins" not in v.groups
    assert reason in v.reasons
    rows = [context(r) if r.group == "function" else r for r in [*good(), row("invariance")]]
    assert decide(rows, POLICY).label == "inconclusive"


def test_a_twins_row_that_could_not_be_measured_is_no_excuse():
    rows = [
        replace(r, headline=False, required=False, reason="crashed", status="error")
        if r.group == "twins"
        else r
        for r in good()
    ]
    assert decide(rows, POLICY).label == "inconclusive"


# -- rows of one group -----------------------------------------------------------------------------


def test_a_group_passes_only_if_every_set_passes_and_fails_if_one_fails():
    other = row("function", 0.1, condition="shift.unlabelled.phone")
    v = decide([*good(), other], POLICY)
    assert v.groups["function"].status == "inconclusive"
    other = replace(other, harm=0.6)
    assert decide([*good(), other], POLICY).groups["function"].status == "fail"


def test_columns_invariances_and_concepts_are_units_of_their_own():
    """Two invariances under one group are two units: one passing does not stand for the other."""
    for name in ("slice", "concept", "condition", "measure"):
        rows = [row("invariance", 0.0, **{name: "a"}), row("invariance", 0.9, **{name: "b"})]
        assert decide([*good(), *rows], POLICY).groups["invariance"].status == "fail"


def two_nulls(band: float, references: float) -> list[Measurement]:
    rest = [r for r in good() if r.group != "global geometry"]
    return [
        *rest,
        row(harm=band, null="band", measure="similarity.cka"),
        row(harm=references, null="references", measure="similarity.cka"),
    ]


@pytest.mark.parametrize(
    ("band", "references", "status"),
    [
        (0.9, 0.9, "fail"),
        (0.9, 0.0, "pass"),
        (0.0, 0.9, "pass"),
        (0.9, 0.1, "inconclusive"),
        (0.1, 0.9, "inconclusive"),
        (math.nan, 0.9, "not_measurable"),
        (math.nan, 0.0, "pass"),
    ],
)
def test_two_nulls_fail_together_and_pass_alone(band, references, status):
    v = decide(two_nulls(band, references), POLICY)
    assert v.groups["global geometry"].status == status
    if status in ("fail", "inconclusive"):
        want = min(band, references) / 0.1
        assert v.groups["global geometry"].ratio == pytest.approx(want)


@pytest.mark.parametrize("null", ["level", "pass only"])
def test_levels_pass_and_never_fail(null):
    far = decide([benchmark(), *(row(g, 5.0, null=null) for g in FOUR)], POLICY)
    assert far.label == "inconclusive"
    assert {g.status for g in far.groups.values()} == {"inconclusive"}
    assert far.strength is None
    near = decide([benchmark(), *(row(g, 0.0, null=null) for g in FOUR)], POLICY)
    assert (near.label, near.strength) == ("sound", None)


def void(**by_group) -> list[Measurement]:
    named = {k.replace("_", " "): v for k, v in by_group.items()}
    return [
        benchmark(),
        row("twins", named.pop("twins", 0.0)),
        *(
            # Two rows stand for a void band: beyond the wide margin lies a failure, within the
            # narrow one a pass.
            row(g, named.get(g, 0.0), margin=margin, null=null)
            for g in margins.BAND_GROUPS
            for null, margin in (("band void", 0.1), ("pass only", 0.05))
        ),
    ]


def test_between_the_margins_of_a_void_band_a_group_is_undecided():
    """Fallen students lie there as honest ones do: neither a failure nor a pass."""
    v = decide(void(function=0.07), POLICY)
    assert (v.groups["function"].status, v.label) == ("inconclusive", "inconclusive")
    assert [r.status for r in v.rows if r.group == "function"] == ["pass", "inconclusive"]
    assert sum("Function is undecided" in r for r in v.reasons) == 1
    # Until version 3 the wide margin could be passed.
    assert decide(void(function=0.07), replace(POLICY, version=2)).label == "sound"
    # The wide row alone passes nobody.
    rows = [r for r in void() if r.null != "pass only"]
    assert decide(rows, POLICY).label == "inconclusive"


def test_failures_off_a_void_band_count_once_and_passes_singly():
    v = decide(void(global_geometry=0.9, local_geometry=0.9, function=0.9), POLICY)
    assert v.label == "inconclusive"
    assert v.groups[OFF_SUPPORT].status == "fail"
    assert {v.groups[g].status for g in margins.BAND_GROUPS} == {"inconclusive"}
    v = decide(void(global_geometry=0.9, function=0.9, twins=0.9), POLICY)
    assert v.label == "fractured"
    assert v.strength == pytest.approx(9 / 10)
    assert v.groups[OFF_SUPPORT].ratio == pytest.approx(9)
    assert any("failures count together as one group" in r for r in v.reasons)
    v = decide(void(), POLICY)
    assert v.label == "sound"
    assert v.groups["function"].status == "pass"


def test_reasons_say_what_a_void_band_means_for_this_student():
    """Judged by wide margins, context, or replaced by references of the student's own kind."""
    rows = void(function=0.9)
    elsewhere = [row(g, null="drift", condition="shift.unlabelled.a") for g in margins.BAND_GROUPS]
    context = [
        replace(r, headline=False, required=False) if r.null in ("band void", "pass only") else r
        for r in rows
    ]
    told = {}
    for name, found in {
        "judged": rows,
        "context": [*context, *elsewhere],
        "references": [*context, *(replace(r, null="references") for r in elsewhere)],
        "members": harms(function=0.9),
    }.items():
        v = decide(found, POLICY)
        told[name] = [r for r in v.reasons if "another architecture" in r]
        if name == "judged":
            assert any("Give references" in s for s in v.settle)
    assert "a wide margin to fail" in told["judged"][0]
    assert "constant structural loss was not tested" in told["context"][0]
    assert [len(r) for r in told.values()] == [1, 1, 0, 0]


def test_holm_runs_over_groups_and_sets_but_not_over_the_benchmark():
    """p = .04 in each of four groups: alone each would fail, together none does."""
    harm = 0.1 + 0.01 * 1.7539  # one-sided p of .04 at 500 degrees of freedom
    v = decide([benchmark(), *(row(g, harm) for g in FOUR)], POLICY)
    assert v.rows[1].p_fail == pytest.approx(0.04, abs=1e-3)
    assert {g.status for g in v.groups.values()} == {"inconclusive"}
    v = decide([benchmark(0.03 + 0.01 * 1.7539), *good()[1:]], POLICY)
    assert v.label == "below-benchmark"


def test_a_family_is_corrected_as_a_maximum():
    harm = 0.1 + 0.01 * 2.9
    v = decide([*good()[:-1], row("twins", harm)], POLICY)
    assert v.groups["twins"].status == "fail"
    v = decide([*good()[:-1], row("twins", harm, family=20)], POLICY)
    assert v.groups["twins"].status == "inconclusive"


# -- strength --------------------------------------------------------------------------------------


def test_strength_is_the_geometric_mean_of_the_two_largest_ratios():
    v = decide(harms(function=0.4, twins=0.1, local_geometry=0.05), POLICY)
    assert v.strength == pytest.approx(2 / 3)
    assert v.groups["function"].ratio == pytest.approx(4)
    assert decide([benchmark(), row("twins", 0.3)], POLICY).strength is None
    assert decide(harms(function=-3), POLICY).strength == 0
    assert decide(good(), POLICY).margins_version == margins.VERSION


@given(st.lists(st.floats(-1, 5), min_size=2, max_size=4))
def test_strength_by_its_definition(values):
    rows = [row(g, h * 0.1) for g, h in zip(FOUR, values, strict=False)]
    first, second = sorted((max(0.0, h) for h in values), reverse=True)[:2]
    r = math.sqrt(first * second)
    assert decide(rows, POLICY).strength == pytest.approx(r / (1 + r), abs=1e-12)
    # Until version 3 of the margins it was the second alone.
    old = decide(rows, replace(POLICY, version=2)).strength
    assert old == pytest.approx(second / (1 + second), abs=1e-12)


def test_the_largest_set_speaks_for_its_group():
    rows = [*harms(twins=0.1), row("function", 0.4, condition="shift.unlabelled.a")]
    v = decide(rows, POLICY)
    assert v.groups["function"].ratio == pytest.approx(4)
    assert v.strength == pytest.approx(2 / 3)


# -- any rows at all -------------------------------------------------------------------------------

number = st.one_of(
    st.floats(-1, 1), st.sampled_from([0.0, 0.1, math.nan, math.inf, -math.inf, 1e300])
)


@st.composite
def some_rows(draw, healthy: bool = False):
    def one():
        group = draw(st.sampled_from([*margins.GROUPS, "benchmark"]))
        harm = draw(st.floats(-0.5, 0.5) if healthy else number)
        r = row(
            group,
            harm,
            se=draw(st.floats(0, 0.2) if healthy else number),
            margin=draw(st.floats(0.01, 0.3) if healthy else number),
            condition=draw(st.sampled_from(["clean", OFF, "shift.unlabelled.a"])),
            null=draw(
                st.sampled_from(["paired", "band", "band void", "references", "level", "drift"])
            ),
            family=draw(st.sampled_from([1, 1, 7])),
            n=draw(st.sampled_from([500, 500, 500, 99, 0])),
            status=draw(st.sampled_from(["context", "pass", "error", "not_measurable"])),
            headline=draw(st.sampled_from([True, True, True, False])),
            required=draw(st.booleans()),
            reason=draw(st.sampled_from(["", "why"])),
        )
        return r if healthy else replace(r, df=draw(st.sampled_from([500.0, 19.0, math.nan, 0.0])))

    return [one() for _ in range(draw(st.integers(0, 10)))]


@settings(max_examples=150)
@given(some_rows(), st.sampled_from(["full", "no-gradient", "outputs-only"]))
def test_every_case_has_exactly_one_label_and_nothing_damaged_is_sound(rows, scope):
    v = decide(rows, POLICY, scope)
    assert v.label in LABELS
    assert v.exit_code == {"sound": 0, "inconclusive": 3}.get(v.label, 1)
    assert v.strength is None or 0 <= v.strength <= 1
    assert len(v.rows) == len(rows)
    assert reasons.sentence(v)
    assert reasons.worst_finding(v)
    assert all(isinstance(s, str) and s for s in (*v.reasons, *v.settle))
    for before, after in zip(rows, v.rows, strict=True):
        if after.status in ("pass", "fail"):
            assert before.headline
            assert before.n >= margins.MIN_N
            assert all(map(math.isfinite, (before.harm, before.se, before.df, before.margin)))
        if after.status == "pass":
            assert after.harm <= after.margin
        if after.status == "fail":
            assert after.harm >= after.margin
            assert after.null != "level"
    if v.label == "sound":
        judged = [r for r in v.rows if r.headline]
        assert scope != "outputs-only"
        assert sum(g.status == "pass" for g in v.groups.values()) >= 3
        assert all(g.status == "pass" for n, g in v.groups.items() if n != OFF_SUPPORT)
        assert any(r.group == "benchmark" for r in judged)
        assert set(margins.BAND_GROUPS) <= set(v.groups)
        for r in judged:
            twin = [
                o
                for o in judged
                if (o.group, o.measure, o.condition) == (r.group, r.measure, r.condition)
            ]
            assert any(o.status == "pass" for o in twin)
    if v.label == "fractured":
        assert sum(g.status == "fail" for g in v.groups.values()) >= 2


@settings(max_examples=60)
@given(some_rows(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows, random):
    v = decide(rows, POLICY)
    order = list(range(len(rows)))
    random.shuffle(order)
    w = decide([rows[i] for i in order], POLICY)
    assert (v.label, v.strength, v.matched) == (w.label, w.strength, w.matched)
    assert [v.rows[i].status for i in order] == [r.status for r in w.rows]
    assert {n: (g.status, g.required, g.ratio) for n, g in v.groups.items()} == {
        n: (g.status, g.required, g.ratio) for n, g in w.groups.items()
    }


GRADE = {"pass": 0, "not_measurable": 1, "inconclusive": 1, "fail": 2}


@settings(max_examples=150)
@given(some_rows(healthy=True), st.data())
def test_more_harm_never_makes_anything_better(rows, data):
    if not rows:
        return
    before = decide(rows, POLICY)
    i = data.draw(st.integers(0, len(rows) - 1))
    more = data.draw(st.floats(0, 1))
    worse = [replace(r, harm=r.harm + more) if k == i else r for k, r in enumerate(rows)]
    after = decide(worse, POLICY)
    for a, b in zip(before.rows, after.rows, strict=True):
        if {a.status, b.status} <= set(GRADE):
            assert GRADE[b.status] >= GRADE[a.status]
    for name, g in before.groups.items():
        assert GRADE[after.groups[name].status] >= GRADE[g.status]
        if g.ratio is not None:
            assert after.groups[name].ratio >= g.ratio - 1e-12
    rank = {"sound": 0, "inconclusive": 1, "fractured": 2, "below-benchmark": 3}
    assert rank[after.label] >= rank[before.label]
    if before.strength is not None:
        assert after.strength >= before.strength - 1e-12


@settings(max_examples=60)
@given(some_rows(healthy=True), st.data())
def test_losing_a_row_never_makes_sound(rows, data):
    rows = [*rows, benchmark()]
    if decide(rows, POLICY).label == "sound":
        return
    i = data.draw(st.integers(0, len(rows) - 1))
    lost = [
        replace(r, harm=math.nan, delta=math.nan, status="error") if k == i else r
        for k, r in enumerate(rows)
    ]
    assert decide(lost, POLICY).label != "sound"


@given(st.permutations([0.0, 0.05, 0.3, 2.0]))
def test_all_four_groups_in_any_mixture(values):
    v = decide([benchmark(), *(row(g, h) for g, h in zip(FOUR, values, strict=True))], POLICY)
    assert v.label == "fractured"


# -- policies and gates ----------------------------------------------------------------------------


def test_overrides_replace_a_margin_and_gates_stand_beside_the_verdict():
    rows = harms(function=0.3, twins=0.3)
    loose = Policy(overrides={"m.function": 0.5, "m.twins": 0.5})
    v = decide(rows, loose)
    assert v.label == "sound"
    assert next(r for r in v.rows if r.group == "twins").margin == 0.5
    gates = (Gate("m.function", 0.1), Gate("m.twins", 0.9), Gate("m.fun*", 0.5), Gate("no.*", 1.0))
    v = decide(rows, replace(loose, gates=gates))
    assert [s for _, s in v.gates] == ["fail", "pass", "pass", "no_match"]
    assert (v.label, v.exit_code) == ("sound", Exit.ERROR)
    v = decide(rows, replace(loose, gates=gates[:3]))
    assert v.exit_code == Exit.FAIL


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        ({"harm": math.nan}, "inconclusive"),
        ({"se": math.inf}, "inconclusive"),
        ({"df": math.nan}, "inconclusive"),
        ({"n": 3}, "inconclusive"),
        ({"harm": 0.1}, "inconclusive"),
        ({"status": "error", "harm": math.nan}, "inconclusive"),
        ({}, "pass"),
        ({"harm": 0.5}, "fail"),
    ],
)
def test_a_gate_needs_a_number_to_pass(damage, status):
    rows = [*good()[:-1], row("twins", **damage)]
    v = decide(rows, Policy(gates=(Gate("m.twins", 0.1),)))
    assert v.gates[0][1] == status
    assert v.exit_code != Exit.PASS or status == "pass"


def test_gates_speak_of_conditions_and_slices():
    context = {"headline": False}
    rows = [
        *good(),
        row(None, 0.5, condition="noise.input", measure="outputs.score", **context),
        row(None, 0.0, condition="clean", measure="outputs.score", **context),
        row(None, 0.5, condition="clean", measure="outputs.score", slice="site=b", **context),
        row("slice transfer", 0.0, condition="clean", measure="probe.slice_transfer", slice="site"),
    ]

    def ask(*gate):
        return decide(rows, Policy(gates=(Gate(*gate),))).gates[0][1]

    assert ask("outputs.score", 0.1) == "pass"
    assert ask("outputs.score", 0.1, "noise.*") == "fail"
    assert ask("outputs.score", 0.1, "clean", "site=*") == "fail"
    assert ask("outputs.score", 0.1, "attack.*") == "no_match"
    # the headline of a measure whose rows are per column, without naming the column
    assert ask("probe.slice_transfer", 0.1) == "pass"


def test_a_gate_can_speak_of_one_statistic_of_several():
    """A censored median must not hide a mean that is known, nor shares be held to an eps."""
    of = {"headline": False, "condition": "clean", "measure": "attack.minimal"}
    rows = [
        *good(),
        row(None, 0.0, statistic="mean up to 0.3", **of),
        row(None, math.nan, statistic="median", **of),
        row(None, 0.5, statistic="accuracy at eps 0.1", **of),
    ]

    def ask(statistic):
        gate = Gate("attack.minimal", 0.1, statistic=statistic)
        (check,) = (c for c in decide(rows, Policy(gates=(gate,))).checks if c.kind == "gate")
        return check.status, check.name

    assert ask("mean*") == ("pass", "attack.minimal mean*")
    assert ask("median")[0] == "inconclusive"
    assert ask("acc*")[0] == ask(None)[0] == "fail"
    assert ask("mode")[0] == "error"


def test_a_gate_without_a_statistic_is_stored_as_ever():
    """Else every stored policy with a gate would have another hash."""
    plain, one = (Policy(gates=(Gate("m", 0.1, statistic=s),)) for s in (None, "mean*"))
    assert plain.as_dict()["gates"] == [
        {"measure": "m", "margin": 0.1, "condition": None, "slice": None}
    ]
    assert Policy.from_dict(one.as_dict()) == one
    assert one.hash != plain.hash


def test_a_policy_survives_json_and_its_hash_tells_policies_apart():
    p = Policy(overrides={"a": 0.2}, gates=(Gate("x", 0.1, "clean", "a=b"),))
    assert Policy.from_dict(p.as_dict()) == p
    others = [
        Policy(),
        replace(p, alpha=0.01),
        replace(p, gates=()),
        replace(p, version=margins.VERSION + 1),
    ]
    assert len({q.hash for q in [p, *others]}) == 5
    with pytest.raises(TypeError):
        Policy.from_dict({**p.as_dict(), "beta": 1})


ROWS = {
    "sound": good(),
    "fractured": harms(function=0.5, twins=0.4),
    "inconclusive": harms(function=0.1),
    "below-benchmark": [benchmark(0.2), *good()[1:]],
}
GATES = {"pass": 0.4, "fail": -0.1, "inconclusive": 0.0, "no_match": 0.1}


@pytest.mark.parametrize("label", ROWS)
@pytest.mark.parametrize("status", GATES)
def test_the_exit_code_is_the_worse_of_label_and_gates(label, status):
    """The printed verdict and the exit code are one decision."""
    name = "no.such" if status == "no_match" else "m.local geometry"
    v = decide(ROWS[label], Policy(gates=(Gate(name, GATES[status]),)))
    assert v.label == v.outcome_label == label
    assert v.gates[0][1] == status
    codes = {"sound": 0, "inconclusive": 3, "pass": 0, "fail": 1, "no_match": 2}
    both = {codes.get(label, 1), codes[status]}
    assert v.exit_code == next(code for code in (2, 1, 3, 0) if code in both)


# -- error rates -----------------------------------------------------------------------------------


def test_the_rules_hold_their_level_when_every_harm_sits_on_its_margin(rng):
    """Six groups, true harm = margin: fractured in well under alpha, sound hardly ever."""
    labels = []
    for _ in range(400):
        draws = 0.1 + 0.02 * rng.standard_t(60, size=6)
        rows = [
            benchmark(),
            *(row(g, h, se=0.02, df=60.0) for g, h in zip(margins.GROUPS, draws, strict=True)),
        ]
        labels.append(decide(rows, POLICY).label)
    assert labels.count("fractured") <= 0.02 * 400
    assert labels.count("sound") <= 0.02 * 400


def test_the_maximum_of_a_family_holds_its_level(rng):
    """All true harms on the margin: the largest of m, with the largest error, fails at most alpha.

    And passes at most alpha even where the others are harmless and one alone sits on its margin.
    """
    m, n, margin = 8, 2000, 0.1
    for correlation in (0.0, 0.8):
        common = rng.normal(size=(n, 1))
        noise = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * rng.normal(
            size=(n, m)
        )
        se = 0.02 * (1 + np_linspace(m))
        largest = (margin + noise * se).max(1)
        p = [pvalues.p_values(h, margin, float(se.max()), 200, m)[0] for h in largest]
        assert sum(v <= 0.05 for v in p) / n <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)
        harmless = noise * se
        harmless[:, 0] += margin
        harmless[:, 1:] -= margin
        p = [pvalues.p_values(h, margin, float(se.max()), 200, m)[1] for h in harmless.max(1)]
        assert sum(v <= 0.05 for v in p) / n <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)


def np_linspace(m):
    import numpy as np

    return np.linspace(0, 1, m)


# -- words -----------------------------------------------------------------------------------------


def test_reasons_name_measure_condition_layers_values_and_interval():
    rows = harms(function=0.5, twins=0.4)
    rows[3] = replace(
        rows[3],
        teacher_layer="fc2",
        student_layer="head.0",
        ci_low=-0.6,
        ci_high=-0.4,
        unit="share",
    )
    v = decide(rows, POLICY)
    (said,) = [r for r in v.reasons if r.startswith("Function fails")]
    for part in (
        "m.function",
        OFF,
        "layer head.0 against fc2",
        "student 0.50",
        "teacher 1.00",
        "harm 0.50 [0.40, 0.60] share",
        "margin 0.10",
        "n = 500",
    ):
        assert part in said
    assert "function and twins fail" in reasons.sentence(v)
    assert reasons.worst_finding(v).startswith("function on off support")


def test_without_elsewhere_a_sound_verdict_says_how_far_it_reaches():
    v = decide(good(), POLICY)
    assert "off support only" in reasons.sentence(v)
    assert any("unlabelled" in s for s in v.settle)
    v = decide([*good(), row("function", condition="shift.unlabelled.web")], POLICY)
    assert "off support only" not in reasons.sentence(v)


def test_settle_names_the_rows_that_would_settle_it():
    v = decide(harms(function=0.09), POLICY)
    want = pvalues.needed_n(0.09, 0.1, 0.01, 500, 0.05)
    assert any(f"About {want:,} rows" in s for s in v.settle)
    small = [replace(r, n=40) if r.group == "twins" else r for r in good()]
    assert any("at least 100 rows" in s for s in decide(small, POLICY).settle)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (0.0, "0.00"),
        (1.234, "1.23"),
        (123.4, "123"),
        (0.0012, "0.001"),
        (1e-6, "0.00"),
    ],
)
def test_numbers_for_people(value, text):
    assert reasons.number(value) == text
