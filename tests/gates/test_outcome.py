"""What a gate makes of a verdict: waivers, required groups, what is undecided, what was shipped."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringtest import margins
from ringtest.decision import SEVERITY
from ringtest.errors import ConfigError, Exit
from ringtest.measurement import Measurement
from ringtest.policy import Baseline, Gate, Policy, Shipped, Waiver
from ringtest.verdict import decide

FOUR = ("global geometry", "local geometry", "function", "twins")
TODAY = "2026-06-15"


def row(group="function", harm=0.0, condition="shift.off_support", **more) -> Measurement:
    values = {"se": 0.01, "df": 500.0, "margin": 0.1, "n": 500, "null": "paired", **more}
    values.setdefault("measure", f"m.{group}")
    return Measurement(
        area="probes", condition=condition, teacher=1.0, student=1.0 - harm, delta=-harm,
        harm=harm, group=group, headline=True, required=True, **values,
    )  # fmt: skip


def rows(**harms) -> list[Measurement]:
    """Benchmark and four groups at harm 0 but those named (spaces as underscores)."""
    named = {k.replace("_", " "): v for k, v in harms.items()}
    bench = row("benchmark", named.get("benchmark", 0.0), "clean", margin=margins.BENCHMARK)
    return [bench, *(row(g, named.get(g, 0.0)) for g in FOUR)]


def waiver(name="W", expires="2026-12-31", **match) -> Waiver:
    return Waiver(name, "known and accepted by the owner", expires, **match)


def with_waivers(*waivers: Waiver, **more) -> Policy:
    return Policy(waivers=waivers, today=TODAY, **more)


def check(verdict, kind, name=None):
    """The one check of a kind."""
    (found,) = [c for c in verdict.checks if c.kind == kind and name in (None, c.name)]
    return found


# -- what is undecided -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "outcome", "code"),
    [("exit3", "inconclusive", 3), ("fail", "fail", 1), ("warn", "warn", 0), ("pass", "pass", 0)],
)
def test_what_is_undecided_becomes_what_the_policy_says(mode, outcome, code):
    undecided = decide(rows(function=0.1), Policy(inconclusive=mode))
    assert (undecided.label, undecided.outcome, undecided.exit_code) == (
        "inconclusive",
        outcome,
        code,
    )
    # It says nothing about what is decided.
    for harms, want in (({}, "pass"), ({"function": 1, "twins": 1}, "fail")):
        assert decide(rows(**harms), Policy(inconclusive=mode)).outcome == want
    gate = decide(rows(), Policy(inconclusive=mode, gates=(Gate("m.twins", 0.0),)))
    assert gate.outcome == outcome


CODE = {"exit3": 3, "fail": 1, "warn": 3, "pass": 3}
UNMEASURED = {
    "error": lambda r: replace(r, harm=math.nan, status="error", reason="RuntimeError: boom"),
    "not measurable": lambda r: replace(r, student=math.nan, status="not_measurable"),
    "too few rows": lambda r: replace(r, n=99),
    "gone": lambda r: None,
}


@pytest.mark.parametrize("mode", CODE)
@pytest.mark.parametrize("group", ["benchmark", "twins"])
@pytest.mark.parametrize("how", UNMEASURED)
def test_what_was_not_measured_is_never_softened(mode, group, how):
    """`pass` is for what lies too near its margin, not for what crashed or was never looked at."""
    found = [UNMEASURED[how](r) if r.group == group else r for r in rows(function=0.1)]
    v = decide([r for r in found if r is not None], Policy(inconclusive=mode))
    assert (v.label, v.exit_code) == ("inconclusive", CODE[mode])
    assert check(v, "verdict").status == ("fail" if mode == "fail" else "inconclusive")
    if mode in ("warn", "pass"):
        assert "but not what could not be measured" in check(v, "verdict").message
        # What was measured is softened all the same.
        seen = {c.group: c.status for c in v.checks if c.kind in ("row", "group")}
        assert seen["function"] == {"warn": "warn", "pass": "note"}[mode]
        assert seen.get(group, "inconclusive") == "inconclusive"


def test_another_null_or_a_waiver_answers_for_what_was_not_measured():
    lost = [replace(r, harm=math.nan) if r.group == "twins" else r for r in rows(function=0.1)]
    extra = next(r for r in rows() if r.group == "twins")
    assert decide([*lost, replace(extra, null="references")], Policy()).label == "inconclusive"
    for found, policy in (
        ([*lost, replace(extra, null="references")], Policy(inconclusive="pass")),
        (lost, with_waivers(waiver(group="twins"), inconclusive="pass")),
        ([r for r in lost if r.group != "twins"],
         with_waivers(waiver(group="twins"), inconclusive="pass")),
    ):  # fmt: skip
        assert decide(found, policy).exit_code == Exit.PASS


@pytest.mark.parametrize("mode", CODE)
@pytest.mark.parametrize(
    "damage", [{"harm": math.nan}, {"n": 99}, {"status": "error"}, {"status": "not_measurable"}]
)
def test_a_gate_on_rows_without_a_number_is_never_softened(mode, damage):
    """Also where the row has numbers, but says of itself that it has failed."""
    own = replace(row(measure="my.own", condition="clean"), headline=False, status="context")
    policy = Policy(inconclusive=mode, gates=(Gate("my.own", 0.5),))
    assert decide([*rows(), own], policy).exit_code == Exit.PASS
    v = decide([*rows(), replace(own, **damage)], policy)
    assert (v.label, v.exit_code) == ("sound", CODE[mode])


def test_a_gate_of_a_glob_chooses_its_rows_measure_by_measure():
    """The headline of one measure hid the rows of all others."""
    own = [
        replace(row(measure="m.own", condition=c, harm=h), headline=False, group=None)
        for c, h in (("clean", 0.5), ("noise.input", 0.9))
    ]
    found = [*rows(), *own]
    gate = Gate("m.*", 0.1)
    assert [found[i] for i in gate.matches(found)] == [*rows(), own[0]]
    assert decide(found, Policy(gates=(gate,))).exit_code == Exit.FAIL


def test_a_verdict_without_checks_passes_nothing():
    assert replace(decide(rows(), Policy()), checks=()).exit_code == Exit.ERROR


# -- required groups -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["exit3", "fail", "warn", "pass"])
@pytest.mark.parametrize("harm", [0.1, 0.9, math.nan])
def test_a_required_group_fails_unless_it_passes_whatever_is_undecided(mode, harm):
    policy = Policy(require=("function",), inconclusive=mode)
    v = decide(rows(function=harm), policy)
    assert check(v, "require").status == "fail"
    assert v.exit_code == Exit.FAIL
    assert check(decide(rows(), policy), "require").status == "pass"


def test_a_required_group_that_is_not_there_fails():
    v = decide(rows(), Policy(require=("slice transfer",)))
    assert (v.label, v.exit_code) == ("sound", Exit.FAIL)
    assert "not judged" in check(v, "require").message
    assert decide(rows(), Policy(require=("benchmark",))).exit_code == Exit.PASS
    assert decide(rows(benchmark=0.03), Policy(require=("benchmark",))).exit_code == Exit.FAIL


# -- margins by glob -------------------------------------------------------------------------------


def test_margins_by_glob_the_id_first_then_the_longest():
    policy = Policy(overrides={"m.*": 0.5, "m.f*": 0.7, "m.twins": 0.9, "*": 0.2})
    found = {r.group: r.margin for r in decide(rows(), policy).rows}
    assert found == {
        "benchmark": 0.5,
        "global geometry": 0.5,
        "local geometry": 0.5,
        "function": 0.7,
        "twins": 0.9,
    }


def test_a_margin_that_is_that_of_no_judged_row_is_an_error():
    v = decide(rows(), Policy(overrides={"m.twinz": 0.01}))
    assert (v.label, v.exit_code) == ("sound", Exit.ERROR)
    assert check(v, "margin").name == "m.twinz"


def test_a_margin_that_lets_more_through_is_noted():
    """It passes a fractured student, and nothing else would tell."""
    found = rows(function=0.5, twins=0.5)
    v = decide(found, Policy(overrides={"*": 0.9}))
    assert (v.label, v.exit_code) == ("sound", Exit.PASS)
    note = check(v, "margin", "*")
    assert note.status == "note"
    assert "is 0.90 instead of 0.03 to 0.10: more is tolerated on 5 of 5 judged" in note.message
    tighter = decide(rows(), Policy(overrides={"m.twins": 0.1, "m.function": 0.05}))
    assert not [c for c in tighter.checks if c.kind == "margin"]


# -- waivers ---------------------------------------------------------------------------------------


def test_a_waiver_changes_the_outcome_and_never_the_evidence():
    found = rows(function=0.5, twins=0.4)
    v = decide(found, with_waivers(waiver(group="function"), waiver("T", measure="m.twins")))
    assert (v.label, v.outcome_label, v.exit_code) == ("fractured", "sound", Exit.PASS)
    plain = decide(found, Policy())
    assert [r.status for r in v.rows] == [r.status for r in plain.rows]
    assert (v.groups, v.strength, v.reasons) == (plain.groups, plain.strength, plain.reasons)
    assert check(v, "verdict").status == "waived"
    assert "Waived by W, T: counts as sound" in check(v, "verdict").message


def test_one_of_two_failures_waived_leaves_the_other_undecided():
    v = decide(rows(function=0.5, twins=0.4), with_waivers(waiver(group="function")))
    assert (v.label, v.outcome_label, v.exit_code) == ("fractured", "inconclusive", 3)


def test_a_waiver_on_the_benchmark():
    v = decide(rows(benchmark=0.5), with_waivers(waiver(group="benchmark")))
    assert (v.label, v.outcome_label, v.matched, v.exit_code) == (
        "below-benchmark",
        "sound",
        False,
        0,
    )


@pytest.mark.parametrize(
    "match",
    [
        {"measure": "m.other"},
        {"condition": "clean"},
        {"slice": "site=*"},
        {"group": "twins"},
        {"student": "other"},
        {"measure": "m.function", "condition": "clean"},
    ],
)
def test_an_unmatched_waiver_fails(match):
    v = decide(rows(function=0.1), with_waivers(waiver(**match)), student="mine")
    assert (v.outcome_label, v.exit_code) == ("inconclusive", Exit.FAIL)
    assert "Matches nothing" in check(v, "waiver").message


def test_a_waiver_that_nothing_needs_fails():
    v = decide(rows(), with_waivers(waiver(group="function")))
    assert (v.label, v.exit_code) == ("sound", Exit.FAIL)


def test_a_waiver_of_a_student_needs_that_student():
    policy = with_waivers(waiver(student="mine*"))
    assert decide(rows(function=0.1), policy, student="mine-2").exit_code == Exit.PASS
    assert decide(rows(function=0.1), policy, student="yours").exit_code == Exit.FAIL
    assert decide(rows(function=0.1), policy).exit_code == Exit.FAIL


def test_a_waiver_holds_through_its_last_day_and_not_longer():
    for today, code in (("2026-12-31", 0), ("2027-01-01", 1)):
        policy = Policy(waivers=(waiver(group="function"),), today=today)
        v = decide(rows(function=0.1), policy)
        assert v.exit_code == code
        assert ("Expired" in check(v, "waiver").message) == bool(code)
        assert v.outcome_label == ("inconclusive" if code else "sound")


def test_a_waiver_frees_no_other_row_from_holm():
    """With one hypothesis less, p = .03 would become a failure: an excuse must not do that."""
    harm = 0.1 + 0.01 * 1.885
    found = rows(function=harm, twins=0.1)
    assert decide(found, Policy()).rows[3].p_fail == pytest.approx(0.03, abs=1e-3)
    v = decide(found, with_waivers(waiver(group="twins")))
    assert v.outcome_label == "inconclusive"
    assert not any(c.status == "fail" for c in v.checks)


def test_a_required_group_that_nothing_measured_can_be_waived_as_a_whole():
    missing = [r for r in [*rows(), row("invariance")] if r.group != "twins"]
    assert decide(missing, Policy()).label == "inconclusive"
    v = decide(missing, with_waivers(waiver(group="twins")))
    assert (v.label, v.outcome_label, v.exit_code) == ("inconclusive", "sound", 0)
    # It is not judged, so it helps nobody over the least number of judged groups.
    v = decide(missing, with_waivers(waiver(group="twins"), min_groups=5))
    assert v.outcome_label == "inconclusive"
    # One that speaks of a measure speaks of rows, and there are none.
    v = decide(missing, with_waivers(waiver(group="twins", measure="*")))
    assert v.exit_code == Exit.FAIL
    v = decide(missing, with_waivers(waiver(group="twins"), require=("twins",)))
    assert check(v, "require").status == "waived"
    v = decide(rows(), with_waivers(waiver(group="slice *"), require=("slice transfer",)))
    assert v.exit_code == Exit.PASS


def test_gates_can_be_waived_by_their_rows():
    gate = Gate("m.*", 0.05)
    found = rows(function=0.08, twins=0.08)
    assert decide(found, Policy(gates=(gate,), min_n=2)).exit_code == Exit.FAIL
    v = decide(found, with_waivers(waiver(measure="m.t*"), gates=(gate,)))
    assert check(v, "gate").status == "fail"  # the other row still fails
    v = decide(found, with_waivers(waiver(measure="m.[tf]*"), gates=(gate,)))
    assert check(v, "gate").status == "waived"


def test_a_gate_that_matches_nothing_cannot_be_waived():
    v = decide(rows(), with_waivers(waiver(measure="no*"), gates=(Gate("no.such", 1.0),)))
    assert v.exit_code == Exit.ERROR


def test_two_waivers_of_one_row_are_both_needed():
    v = decide(
        rows(function=0.1), with_waivers(waiver("a", group="f*"), waiver("b", measure="m.*"))
    )
    assert v.exit_code == Exit.PASS


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"id": ""},
        {"statement": ""},
        {"expires": "soon", "group": "x"},
        {"expires": "2026-6-1", "group": "x"},
        {"expires": None, "group": "x"},
        {"expires": 20261231, "group": "x"},
        {"id": 3, "group": "x"},
        {"statement": "\u200b \u202e", "group": "x"},
        {"group": 3},
        *({"measure": glob} for glob in ("*", "?*", "[!z]*", "*.*", " ", "[", "[]]*")),
        {"measure": "*", "condition": "*", "student": "?"},
    ],
)
def test_a_waiver_without_its_parts_is_refused(bad):
    values = {"id": "W", "statement": "s", "expires": "2026-12-31", **bad}
    with pytest.raises(ConfigError, match="waiver"):
        Waiver(**values)


def test_waivers_need_a_day():
    with pytest.raises(ConfigError, match="today"):
        Policy(waivers=(waiver(group="x"),))
    with pytest.raises(ConfigError, match="inconclusive"):
        Policy(inconclusive="exit4")


# -- what was shipped ------------------------------------------------------------------------------


def shipped(label="sound", harms=None, source="v1", **more) -> Baseline:
    """The headlines of rows(), with some harms."""
    return Baseline(
        source,
        label,
        tuple(
            Shipped(r.measure, r.condition, r.slice, r.concept, r.null, r.group,
                    (harms or {}).get(r.group, 0.0), more.get("se", 0.01), 500.0, 1)
            for r in rows()
        ),
    )  # fmt: skip


def compared(verdict, group="function"):
    return check(verdict, "baseline", f"m.{group} on shift.off_support").status


@pytest.mark.parametrize(
    ("now", "before", "status"),
    [
        (0.0, 0.0, "pass"),
        (0.05, 0.0, "pass"),  # worse, but by less than the margin
        (0.05, -0.05, "inconclusive"),  # worse by the margin
        (0.05, -0.2, "fail"),
        (0.05, 0.9, "pass"),
    ],
)
def test_worse_by_more_than_the_margin_fails(now, before, status):
    v = decide(rows(function=now), Policy(baseline=shipped(harms={"function": before})))
    assert v.label == "sound"
    assert compared(v) == status
    assert v.exit_code == {"pass": 0, "inconclusive": 3, "fail": 1}[status]


def test_both_standard_errors_count():
    """Alone, each would show it: z = 2 against .1; together not: z = 2 / sqrt(2)."""
    for se, status in ((0.0, "fail"), (0.05, "inconclusive")):
        found = [replace(r, se=0.05) if r.group == "function" else r for r in rows(function=0.0)]
        v = decide(found, Policy(baseline=shipped(harms={"function": -0.24}, se=se)))
        assert compared(v) == status


def test_failures_are_corrected_for_their_number():
    """p = .03 in one of five comparisons."""
    harm = 0.1 + math.hypot(0.01, 0.01) * 1.885
    v = decide(rows(), Policy(baseline=shipped(harms={"function": -harm})))
    assert compared(v) == "inconclusive"
    alone = shipped(harms={"function": -harm})
    alone = replace(alone, rows=tuple(r for r in alone.rows if r.group == "function"))
    assert compared(decide(rows(), Policy(baseline=alone))) == "fail"


@pytest.mark.parametrize("mode", ["exit3", "fail", "warn", "pass"])
@pytest.mark.parametrize("how", ["gone", "other null", "no number", "context", "too few"])
def test_a_shipped_headline_that_cannot_be_judged_now_is_never_a_pass(mode, how):
    change = {
        "gone": lambda r: None,
        "other null": lambda r: replace(r, null="band void"),
        "no number": lambda r: replace(r, harm=math.nan),
        "context": lambda r: replace(r, headline=False),
        "too few": lambda r: replace(r, n=5),
    }[how]
    found = [change(r) if r.group == "function" else r for r in rows()]
    policy = Policy(baseline=shipped(), inconclusive=mode)
    v = decide([r for r in found if r is not None], policy)
    assert compared(v) == "fail"
    assert v.exit_code == Exit.FAIL


def test_the_same_student_is_never_worse_than_itself():
    """With few rows its standard error is large: not worse could never be shown."""
    wide = [replace(r, se=0.08) if r.group == "function" else r for r in rows()]
    shown = tuple(
        Shipped(r.measure, r.condition, r.slice, r.concept, r.null, r.group, r.harm, r.se, r.df, 1)
        for r in wide
    )
    for same, status in ((True, "pass"), (False, "inconclusive")):
        base = Baseline("v1", "inconclusive", shown, same)
        assert compared(decide(wide, Policy(baseline=base))) == status
    # Equal weights are not enough: whatever differs is tested.
    base = Baseline("v1", "inconclusive", shown, True)
    for change in ({"harm": 0.001}, {"se": 0.081}, {"df": 499.0}, {"family": 2}):
        other = [replace(r, **change) if r.group == "function" else r for r in wide]
        assert compared(decide(other, Policy(baseline=base))) == "inconclusive"
    assert Policy.from_dict(Policy(baseline=base).as_dict()) == Policy(baseline=base)


def one(harm=0.0, **more) -> Shipped:
    """The shipped headline of the function group, alone."""
    (found,) = [r for r in shipped().rows if r.group == "function"]
    return replace(found, harm=harm, **more)


def test_the_smaller_degrees_of_freedom_count():
    """t = 1.7: p = .048 with 500 degrees of freedom, .16 with 1."""
    harm = 0.1 + math.hypot(0.01, 0.01) * 1.8
    for mine, theirs, status in ((500.0, 500.0, "fail"), (500.0, 1.0, "inconclusive"),
                                 (1.0, 500.0, "inconclusive")):  # fmt: skip
        found = [replace(r, df=mine) for r in rows()]
        base = Baseline("v1", "inconclusive", (one(-harm, df=theirs),))
        assert compared(decide(found, Policy(baseline=base))) == status


def test_the_larger_family_counts():
    """p = .036 of one, too much for the largest of two."""
    harm = 0.1 + math.hypot(0.01, 0.01) * 1.8
    for mine, theirs, status in ((1, 1, "fail"), (1, 2, "inconclusive"), (2, 1, "inconclusive")):
        found = [replace(r, family=mine) for r in rows()]
        base = Baseline("v1", "inconclusive", (one(-harm, family=theirs),))
        assert compared(decide(found, Policy(baseline=base))) == status


def test_rows_of_one_place_are_compared_in_their_order():
    """Each with its own: the first must not stand for all of them."""
    two = [*rows(), row("function", harm=0.5)]
    base = Baseline("v1", "inconclusive", (one(), one()))
    found = decide(two, Policy(baseline=base)).checks
    assert [c.status for c in found if c.kind == "baseline" and c.measure] == ["pass", "fail"]
    three = Baseline("v1", "inconclusive", (one(), one(0.5), one()))
    found = decide(two, Policy(baseline=three)).checks
    assert [c.status for c in found if c.kind == "baseline" and c.measure] == [
        "pass",
        "pass",
        "fail",
    ]


def test_a_baseline_of_an_unknown_label_is_read_at_its_strictest():
    base = replace(shipped(), label="splendid")
    assert check(decide(rows(), Policy(baseline=base)), "baseline", "label").status == "pass"
    v = decide(rows(function=0.1), Policy(baseline=base))
    assert check(v, "baseline", "label").status == "fail"


def test_what_the_baseline_does_not_have_is_judged_by_itself():
    v = decide([*rows(), row("invariance", 0.0)], Policy(baseline=shipped()))
    assert v.exit_code == Exit.PASS


@pytest.mark.parametrize(
    ("before", "harms", "status"),
    [
        ("sound", {}, "pass"),
        ("sound", {"function": 0.1}, "fail"),
        ("inconclusive", {"function": 0.1}, "pass"),
        ("inconclusive", {"function": 0.5, "twins": 0.5}, "fail"),
        ("fractured", {"function": 0.5, "twins": 0.5}, "pass"),
        ("fractured", {"benchmark": 0.5}, "pass"),
        ("below-benchmark", {"function": 0.5, "twins": 0.5}, "pass"),
    ],
)
def test_the_label_may_not_get_worse(before, harms, status):
    v = decide(rows(**harms), Policy(baseline=shipped(before, harms)))
    assert check(v, "baseline", "label").status == status


def test_a_waiver_answers_for_a_comparison_too():
    policy = with_waivers(waiver(group="function"), baseline=shipped())
    v = decide(rows(function=0.5), policy)
    assert (v.label, v.outcome_label) == ("inconclusive", "sound")
    assert compared(v) == "waived"
    assert v.exit_code == Exit.PASS
    missing = [r for r in [*rows(), row("invariance")] if r.group != "function"]
    assert compared(decide(missing, policy)) == "waived"


# -- any policy ------------------------------------------------------------------------------------

NAMES = ("W", "X")


@st.composite
def policies(draw) -> Policy:
    glob = st.sampled_from([None, "*", "m.*", "m.function", "no.such"])
    waivers = tuple(
        Waiver(
            name,
            "s",
            draw(st.sampled_from(["2026-12-31", "2025-01-01"])),
            measure=draw(glob),
            group=draw(st.sampled_from(["*n*", "function", "twins"])),
        )
        for name in draw(st.sampled_from([(), NAMES[:1], NAMES]))
    )
    harms = {g: draw(st.sampled_from([-0.3, 0.0, 0.4])) for g in FOUR}
    return Policy(
        overrides=draw(st.sampled_from([{}, {"m.*": 0.3}, {"no.such": 1.0}])),
        gates=draw(st.sampled_from([(), (Gate("m.*", 0.1),), (Gate("no.such", 0.1),)])),
        require=draw(st.sampled_from([(), ("function",), ("invariance", "twins")])),
        inconclusive=draw(st.sampled_from(["exit3", "fail", "warn", "pass"])),
        waivers=waivers,
        today=TODAY if waivers else "",
        baseline=draw(st.sampled_from([None, shipped("sound", harms), shipped("inconclusive")])),
    )


@st.composite
def any_rows(draw) -> list[Measurement]:
    harm = st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.9, math.nan])
    found = rows(**{g.replace(" ", "_"): draw(harm) for g in (*FOUR, "benchmark")})
    return [r for r in found if draw(st.integers(0, 9))]


@settings(max_examples=200)
@given(any_rows(), policies())
def test_the_outcome_is_the_worst_check_and_the_evidence_is_that_of_the_rows(found, policy):
    v = decide(found, policy)
    plain = decide(found, Policy(overrides=policy.overrides))
    assert (v.label, v.groups, v.strength) == (plain.label, plain.groups, plain.strength)
    worst = max(v.checks, key=lambda c: SEVERITY[c.status]).status
    assert v.outcome == {"waived": "pass", "note": "pass"}.get(worst, worst)
    if v.exit_code == Exit.PASS:
        assert v.outcome_label == "sound" or (
            v.outcome_label == "inconclusive" and policy.inconclusive in ("warn", "pass")
        )
        assert all(w.expires >= TODAY for w in policy.waivers)
        assert not policy.overrides.get("no.such")
    # Rows count through the label: never for more than it.
    (label,) = [c for c in v.checks if c.kind == "verdict"]
    ceiling = max(SEVERITY[label.status], SEVERITY["note"])
    assert all(SEVERITY[c.status] <= ceiling for c in v.checks if c.kind in ("row", "group"))
    assert Policy.from_dict(policy.as_dict()) == policy


@settings(max_examples=100)
@given(any_rows(), policies())
def test_without_waivers_nothing_is_waived_and_fewer_never_pass_more(found, policy):
    bare = decide(found, replace(policy, waivers=(), today=""))
    assert not any(c.status == "waived" for c in bare.checks)
    strict = decide(found, replace(policy, waivers=(), today="", inconclusive="fail"))
    if strict.exit_code == Exit.PASS:
        assert bare.exit_code == Exit.PASS


def test_new_fields_are_left_out_where_they_say_nothing():
    """Policies of stored reports keep their hash; old readers refuse what they do not know."""
    assert set(Policy().as_dict()) == {
        "alpha",
        "min_n",
        "min_groups",
        "overrides",
        "gates",
        "version",
    }
    # Of the first version of the margins; every version has its own.
    assert Policy(version=1).hash == "c3a564b073653e4b"
    full = with_waivers(
        waiver(group="x"), require=("twins",), inconclusive="warn", baseline=shipped()
    )
    assert {"waivers", "today", "require", "inconclusive", "baseline"} <= set(full.as_dict())
    assert Policy.from_dict(full.as_dict()) == full
    others = [replace(full, today="2026-06-16"), replace(full, require=()), Policy()]
    assert len({p.hash for p in [full, *others]}) == 4
