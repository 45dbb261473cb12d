"""Policies: what cannot be meant is refused where it is made, and whatever is made can decide."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringtest import checked
from ringtest.errors import ConfigError, ReportError
from ringtest.integrity import digest
from ringtest.measurement import Measurement
from ringtest.policy import LEAST_ALPHA, Baseline, Gate, Policy, Shipped, Waiver
from ringtest.report import Report
from ringtest.verdict import decide

WAIVER = Waiver("W", "accepted", "2026-12-31", group="twins")
SHIPPED = Shipped("m", "clean", None, None, "paired", "twins", 0.0, 0.1, 20.0, 1)
HUGE = 10**5000

WRONG = {
    "alpha": [0, 1, 0.5, -0.1, 1e-17, 1e-300, math.nan, math.inf, True, "0.05", None, HUGE],
    "min_n": [1, 0, -1, 2.0, True, "100", None, 10**13, HUGE, math.nan],
    "min_groups": [0, -1, True, 3.0],
    "version": [0, True, "1"],
    "overrides": [
        None, [], {"a": 0}, {"a": -1.0}, {"a": math.inf}, {"a": math.nan}, {"a": True},
        {"a": "1"}, {"": 1.0}, {3: 1.0}, {"a": HUGE},
    ],
    "gates": [None, "m.*", [{"measure": "m"}], Gate("m", 0.1)],
    "require": ["function", [1], None],
    "inconclusive": ["exit4", None, [], 3],
    "waivers": [[{"id": "W"}], "W", None],
    "today": ["0000", "soon", "2026-6-1", "2026-02-31", 3, None],
    "baseline": [{"label": "sound"}, "shipped"],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_no_policy_can_mean_is_refused(name):
    for value in WRONG[name]:
        with pytest.raises(ConfigError) as caught:
            Policy(**{name: value})
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200


def test_the_ends_of_what_can_be_meant():
    policy = Policy(alpha=LEAST_ALPHA, min_n=2, min_groups=1, overrides={"a": 1e-300})
    assert policy.alpha == LEAST_ALPHA
    assert Policy(alpha=0.49, min_n=checked.MOST).min_n == checked.MOST


@pytest.mark.parametrize(
    "values",
    [("", 0.1), ("m", math.nan), ("m", math.inf), ("m", True), ("m", "0.1"), ("m", 0.1, ""),
     ("m", 0.1, "clean", 3), ("m", 0.1, None, None, ""), (3, 0.1), ("m", HUGE)],
)  # fmt: skip
def test_a_gate_asks_for_a_number_somewhere(values):
    with pytest.raises(ConfigError, match="gate"):
        Gate(*values)


def test_dates_have_one_form_and_are_compared_in_it():
    """As text 20260101 is later than any day of 2026 written with dashes."""
    for written in ("20260101", "2026-W01-4", "2026-01-01"):
        waiver = replace(WAIVER, expires=written)
        assert waiver.expires == "2026-01-01"
        assert not waiver.expired("2026-01-01")
        assert waiver.expired("2026-01-02")
    assert Policy(today="20260102").today == "2026-01-02"


def test_two_waivers_of_one_name_are_refused():
    """The use of one would hide that nothing needs the other."""
    other = replace(WAIVER, group="function")
    with pytest.raises(ConfigError, match="waiver 'W': stands twice"):
        Policy(waivers=(WAIVER, other), today="2026-01-01")


@pytest.mark.parametrize(
    "change", [{"harm": math.nan}, {"se": None}, {"df": "x"}, {"family": 0}, {"family": True},
               {"measure": ""}, {"harm": HUGE}],
)  # fmt: skip
def test_a_baseline_has_numbers(change):
    with pytest.raises(ConfigError, match="baseline"):
        replace(SHIPPED, **change)


def test_a_policy_does_not_change_with_what_it_was_made_of():
    given_ = {"m.*": 0.1}
    policy = Policy(overrides=given_)
    given_["m.*"] = 9.0
    assert policy.overrides == {"m.*": 0.1}


def row(group: str, harm: float) -> Measurement:
    return Measurement(
        "m." + group, "probes", "clean", teacher=1.0, student=1.0 - harm, delta=-harm, harm=harm,
        se=0.01, df=500.0, ci_low=-1.0, ci_high=1.0, ci_level=0.95, margin=0.1, n=500,
        headline=True, required=True, null="paired", group=group,
    )  # fmt: skip


ROWS = [row(g, h) for g, h in (("benchmark", 0.0), ("function", 0.5), ("twins", 0.1))]
NUMBER = st.one_of(st.floats(), st.integers(), st.sampled_from([1e-6, 1e300, 1e-320, HUGE, True]))
NAME = st.one_of(st.text(max_size=4), st.sampled_from(["m.*", "*", "[", "[z-a]*", "m.twins"]))


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "alpha": NUMBER,
            "min_n": NUMBER,
            "min_groups": NUMBER,
            "overrides": st.dictionaries(NAME, NUMBER, max_size=2),
            "inconclusive": st.sampled_from(["exit3", "fail", "warn", "pass"]),
            "require": st.lists(NAME, max_size=2),
        },
    ),
    st.lists(st.tuples(NAME, NUMBER), max_size=2),
    st.lists(st.tuples(NAME, NAME), max_size=2),
    NUMBER,
)
def test_whatever_can_be_made_decides(values, gates, waivers, harm):
    try:
        base = Baseline("v1", "sound", (replace(SHIPPED, measure="m.twins", harm=harm),))
        policy = Policy(
            **values,
            gates=[Gate(*g) for g in gates],
            waivers=[Waiver(i, "s", "2026-12-31", measure=m) for i, m in waivers],
            today="2026-01-01",
            baseline=base,
        )
    except ConfigError:
        return
    verdict = decide(ROWS, policy, student="s")
    assert verdict.outcome in ("pass", "warn", "inconclusive", "fail", "error")
    kept = policy if policy.waivers else replace(policy, today="")
    assert Policy.from_dict(policy.as_dict()) == kept


STORED = {
    "alpha": 1.0,
    "min_n": 1,
    "overrides": [],
    "gates": {},
    "waivers": {},
    "require": "function",
    "today": "0000",
    "version": True,
    "baseline": {"source": "v1", "label": "sound", "rows": [{"measure": "m"}]},
}


@pytest.mark.parametrize("name", STORED)
def test_a_stored_policy_that_cannot_be_meant_is_a_report_error(name):
    report = Report.build(
        ROWS, Policy(), "full", student="s", task="classification",
        subjects={"teacher": {"name": "t", "members": []}, "student": {}, "references": []},
        data={}, not_measured=[], config={}, environment={}, timing={},
    )  # fmt: skip
    data = {**report.data, "policy": {**report.data["policy"], name: STORED[name]}}
    data["integrity"] = {"sha256": digest(data)}
    with pytest.raises(ReportError, match="policy"):
        Report(data)
