"""Accuracy by budget: limits by simulation, who is out of reach, and the Pareto front."""

import math

import numpy as np
import pytest
from scipy import stats

from ringtest.ensembles.budget import (
    Limit,
    Spend,
    coverage_limit,
    curve,
    gap,
    majority_limit,
    pareto,
)
from ringtest.ensembles.candidates import candidates
from ringtest.ensembles.ceiling import doublings
from ringtest.ensembles.measured import bounds
from ringtest.errors import DataError
from ringtest.estimate import row_mean


def sampled(chances, n: int, rng):
    """Answers drawn from (items, answers) chances; answer 0 is right."""
    edges = chances.cumsum(axis=1)
    said = (rng.random((chances.shape[0], n, 1)) > edges[:, None, :]).sum(axis=2)
    return candidates(said == 0, said)


def items_of(share: float, items: int, rng, lead: float = 0.5, lag: float = 0.2):
    """Chances of 3 answers: in ``share`` of the items the right one leads, else a wrong one."""
    leads = rng.random(items) < share
    right = np.where(leads, lead, lag)
    other = np.where(leads, (1 - lead) / 2, 1 - lag - 0.1)
    return np.column_stack([right, other, 1 - right - other]), float(leads.mean())


def test_the_limit_of_the_majority_is_where_the_simulated_vote_ends():
    rng = np.random.default_rng(0)
    chances, truth = items_of(0.6, 800, rng)
    limit = majority_limit(sampled(chances, 200, rng))
    votes = rng.multinomial(20_001, chances)
    simulated = (votes.argmax(axis=1) == 0).mean()
    assert simulated == truth
    assert limit.value.value == pytest.approx(truth, abs=0.01)
    assert limit.low < truth < limit.high


def test_ties_of_the_limit_are_split():
    c = candidates([[1, 1, 0, 0], [1, 0, 0, 1]], [["a", "a", "b", "b"], ["a", "b", "c", "a"]])
    assert majority_limit(c).value.value == 0.75


@pytest.mark.parametrize("n", [3, 8, 40])
def test_the_interval_of_the_limit_holds_it_though_few_samples_mislead(n: int):
    """Right answers lead by little: the plug-in value is far off, the interval is not."""
    rng = np.random.default_rng(n)
    hits, off = 0, 0.0
    for _ in range(40):
        chances, truth = items_of(0.9, 150, rng, lead=0.4, lag=0.3)
        limit = majority_limit(sampled(chances, n, rng))
        hits += limit.low <= 0.9 <= limit.high
        off += abs(limit.value.value - truth) / 40
    assert hits >= 38
    assert off > 0.1


def test_coverage_beyond_the_samples():
    """20 items never solved in 10 samples: each may be right up to 1 - .05^(1/10)."""
    right = np.zeros((100, 10), dtype=bool)
    right[:80, :5] = True
    known = coverage_limit(candidates(right))
    assert known.never == 20
    assert known.solved.value == 0.8
    assert stats.binom.cdf(0, 10, known.rate) == pytest.approx(0.05)
    assert coverage_limit(candidates(np.zeros((1, 1000)))).rate == pytest.approx(3 / 1000, rel=0.01)
    at_40, end = known.at(40)
    truth = 0.8 * (1 - 0.5**40) + 0.2 * (1 - (1 - known.rate) ** 40)
    assert at_40.value == pytest.approx(truth)
    assert end > at_40.value
    assert known.at(math.inf)[0].value == 1


@pytest.mark.parametrize(("items", "n", "p", "k"), [(500, 10, 0.2, 20), (200, 4, 0.3, 16)])
def test_the_upper_estimate_of_coverage_is_one(items: int, n: int, p: float, k: int):
    """With each item's own share of right samples it lay below the truth every time."""
    rng = np.random.default_rng(0)
    truth = 1 - (1 - p) ** k
    for _ in range(20):
        known = coverage_limit(candidates(rng.random((items, n)) < p))
        value, end = known.at(k)
        assert truth < value.value <= end <= 1
    some = candidates(np.arange(10)[None, :] < np.array([[0], [3], [10]]))
    most = [1 - 0.05**0.1, stats.binomtest(3, 10).proportion_ci(0.9).high, 1.0]
    assert coverage_limit(some).at(1)[0].value == pytest.approx(np.mean(most))


def test_a_curve_has_each_rule():
    rng = np.random.default_rng(1)
    c = sampled(items_of(0.7, 200, rng)[0], 9, rng)
    scored = candidates(c.correct, c.codes, c.correct.astype(float))
    for rule in ("coverage", "majority", "verifier"):
        spends = curve(scored, rule, "teacher", cost=2.0, fixed=3.0)
        assert [s.k for s in spends] == list(doublings(9))
        assert [s.cost for s in spends] == [3 + 2 * k for k in doublings(9)]
        assert spends[0].accuracy.value == pytest.approx(c.correct.mean())
        assert all(s.low < s.accuracy.value < s.high for s in spends)
    by_oracle = [s.accuracy.value for s in curve(scored, "verifier", "teacher")]
    coverage = [s.accuracy.value for s in curve(scored, "coverage", "teacher")]
    np.testing.assert_allclose(by_oracle, coverage)


def test_an_interval_at_the_edge_is_no_point():
    low, high = bounds(row_mean(np.zeros(50)))
    assert low == 0
    assert high == pytest.approx(stats.beta.ppf(0.975, 1, 50))
    low, high = bounds(row_mean(np.ones(50)))
    assert low == pytest.approx(stats.beta.ppf(0.025, 50, 1))
    assert high == 1
    assert all(math.isnan(end) for end in bounds(row_mean(np.array([0.5]))))


# -- the gap --------------------------------------------------------------------------------------


def both(student: float, teacher: float, lead: float = 0.5, lag: float = 0.2, n: int = 40):
    """Shares of items on which each leads; the teacher's right answer has .6 there, else .2."""
    rng = np.random.default_rng(7)
    of_student = sampled(items_of(student, 400, rng, lead, lag)[0], n, rng)
    of_teacher = sampled(items_of(teacher, 400, rng, 0.6)[0], n, rng)
    return gap(
        curve(of_student, "majority", "student", (1, 3, 9)),
        majority_limit(of_student),
        curve(of_teacher, "majority", "teacher", (1, 3, 9)),
    )


def test_a_student_that_leads_on_fewer_items_never_gets_there():
    found = both(student=0.1, teacher=0.9, lead=0.6, lag=0.1)
    assert found.label == "no budget closes the gap"
    assert found.out_of_reach == (1, 3, 9)
    assert found.reached_with is None


def test_a_student_between_the_teachers_budgets():
    """One sample of the teacher's is .58 right, a vote of nine .88; the student's limit is .6."""
    found = both(student=0.6, teacher=0.95, lead=0.8, lag=0.1)
    assert found.label == "open"
    assert found.out_of_reach == (9,)


def test_a_vote_of_the_student_that_beats_one_sample_of_the_teacher():
    found = both(student=0.75, teacher=0.95, lead=0.7, lag=0.1)
    assert found.label == "reached"
    assert found.reached_with == 9
    # Of nine samples the teacher makes .88, and the student's limit is .75
    assert found.out_of_reach == (9,)


def test_a_limit_that_the_samples_cannot_tell_is_open():
    """Right leads by little on all items: after 5 samples the plug-in limit is low, and wrong."""
    found = both(student=1.0, teacher=0.9, n=9, lead=0.36, lag=0.3)
    assert found.label == "open"
    assert found.out_of_reach == ()


def test_a_limit_above_in_part_of_its_interval_is_open():
    zeros, items = row_mean(np.zeros(10)), row_mean(np.r_[np.ones(2), np.zeros(8)])
    limit = Limit(zeros, zeros, *bounds(zeros))
    teacher = Spend("teacher", 1, 1.0, items, *bounds(items))
    student = Spend("student", 1, 1.0, zeros, *bounds(zeros))
    # None of ten right: up to .31 at 95 %, above the teacher's .2
    assert gap([student], limit, [teacher]).label == "open"


def test_a_student_like_its_teacher_is_open_or_reached_not_out_of_reach():
    assert both(student=0.9, teacher=0.9).out_of_reach == ()


@pytest.mark.parametrize("n", [3, 9, 25])
def test_no_false_claim_that_no_budget_closes_the_gap(n: int):
    """Student's limit and teacher are both .9; the student's right answers lead by .4 to .3."""
    rng = np.random.default_rng(n)
    claims, plain = 0, 0
    for _ in range(30):
        student = sampled(items_of(0.9, 200, rng, lead=0.4, lag=0.3)[0], n, rng)
        teacher = candidates(rng.random((200, 1)) < 0.9)
        limit, at = majority_limit(student), curve(teacher, "coverage", "teacher")
        claims += gap(curve(student, "coverage", "student"), limit, at).out_of_reach != ()
        plain += bounds(limit.value)[1] < at[0].accuracy.value
    assert claims <= 2
    # What the plug-in value's own interval would have claimed
    assert plain > 25


def spend(cost: float, accuracy: float, name: str = "m") -> Spend:
    e = row_mean(np.array([accuracy, accuracy]))
    return Spend(name, 1, cost, e, 0, 1)


def test_a_vote_that_falls_is_judged_by_its_best_budget():
    """One sample of the student beats the teacher; with more its vote tends to be wrong."""
    rng = np.random.default_rng(0)
    sure = np.repeat((np.arange(400) < 120)[:, None], 4, 1)
    for share, label in ((0.4, "reached"), (0.3, "open"), (0.2, "no budget closes the gap")):
        falling = rng.random((400, 256)) < share
        mine, theirs = candidates(falling, ~falling), candidates(sure, ~sure)
        ours, limit = curve(mine, "majority", "s"), majority_limit(mine)
        assert limit.high < 0.3
        found = gap(ours, limit, curve(theirs, "majority", "t"))
        assert found.label == label
        assert found.out_of_reach == ((1, 2, 4) if share == 0.2 else ())


def test_the_pareto_front_by_comparing_all_pairs():
    rng = np.random.default_rng(3)
    spends = [
        spend(float(a), float(b))
        for a, b in zip(rng.integers(1, 9, 60), rng.random(60), strict=True)
    ]
    front = pareto(spends)
    best = [
        s
        for s in spends
        if not any(
            o.cost <= s.cost
            and o.accuracy.value >= s.accuracy.value
            and (o.cost < s.cost or o.accuracy.value > s.accuracy.value)
            for o in spends
        )
    ]
    assert list(front) == sorted(best, key=lambda s: s.cost)
    twins = pareto([spend(1, 0.5, "first"), spend(1, 0.5, "second"), spend(2, 0.5)])
    assert [s.name for s in twins] == ["first"]
    rounded = pareto([spend(1, 0.5, "one"), spend(2, 0.5 + 1e-16 * 4, "two")])
    assert [s.name for s in rounded] == ["one"]


C = candidates([[1, 0], [0, 0]], [["a", "b"], ["a", "b"]])
BAD = {
    "k above n": (lambda: curve(C, "coverage", "t", (1, 3)), "k=3 .* n=2"),
    "no ks": (lambda: curve(C, "coverage", "t", ()), "^ks: is empty"),
    "cost": (lambda: curve(C, "coverage", "t", cost=-1), "^cost: -1"),
    "fixed": (lambda: curve(C, "coverage", "t", fixed=math.inf), "^fixed: inf"),
    "rule": (lambda: curve(C, "best", "t"), "^rule: 'best'"),
    "budget": (lambda: coverage_limit(C).at(math.nan), "^k: nan"),
    "nothing": (lambda: gap([], majority_limit(C), []), "^curve: is empty"),
    "NaN": (lambda: pareto([spend(1, math.nan)]), "^accuracy: NaN"),
    "other items": (
        lambda: gap([spend(1, 0.5)] * 2, majority_limit(candidates([[1]], [["a"]])), [spend(1, 1)]),
        "^curve: is on other items",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str):
    call, message = BAD[case]
    with pytest.raises(DataError, match=message):
        call()
