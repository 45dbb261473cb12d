"""pass@k, votes, best-of-k and the split of the gain, against enumeration of all subsets."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from ringtest.ensembles.candidates import candidates
from ringtest.ensembles.measured import spread
from ringtest.ensembles.selection import best_of, gains, mean_single, oracle, pass_at_k
from ringtest.ensembles.votes import majority, weighted
from ringtest.errors import DataError
from ringtest.inference import interval, standard_error

ITEMS, N = 12, 7


def drawn(seed: int = 0, items: int = ITEMS, n: int = N, answers: int = 4):
    """Answers 0..; 0 and, in odd items, 1 are right; few score levels, so that many tie."""
    rng = np.random.default_rng(seed)
    said = rng.integers(0, answers, (items, n))
    right = (said == 0) | ((said == 1) & (np.arange(items) % 2 == 1)[:, None])
    return said, right, rng.integers(0, 4, (items, n)) / 4


def over_subsets(k: int, one) -> float:
    """Mean over items and all subsets of size k of what ``one(item, subset)`` gives."""
    subsets = list(combinations(range(N), k))
    return float(np.mean([[one(i, list(s)) for s in subsets] for i in range(ITEMS)]))


def vote_of(said, right, weights) -> float:
    totals: dict = {}
    for answer, weight in zip(said, weights, strict=True):
        totals[answer] = totals.get(answer, 0.0) + weight
    best = max(totals.values())
    top = [a for a, t in totals.items() if abs(t - best) < 1e-9]
    return float(np.mean([bool(right[list(said).index(a)]) for a in top]))


@pytest.mark.parametrize("k", range(1, N + 1))
def test_every_rule_is_its_mean_over_all_subsets(k: int):
    said, right, scores = drawn()
    c = candidates(right, said, scores)
    ones = np.ones(k)

    def picked(i, s):
        top = scores[i, s] == scores[i, s].max()
        return right[i, s][top].mean()

    assert pass_at_k(c, k).value == pytest.approx(over_subsets(k, lambda i, s: right[i, s].any()))
    assert best_of(c, k).value == pytest.approx(over_subsets(k, picked), abs=1e-12)
    vote = majority(c, k)
    assert vote.how == "exact"
    assert vote.estimate.value == pytest.approx(
        over_subsets(k, lambda i, s: vote_of(said[i, s], right[i, s], ones)), abs=1e-12
    )
    by_score = weighted(c, k)
    assert by_score.how == "exact"
    assert by_score.estimate.value == pytest.approx(
        over_subsets(k, lambda i, s: vote_of(said[i, s], right[i, s], scores[i, s])), abs=1e-12
    )


def test_golden_pass_at_k():
    c = candidates([[True] * 3 + [False] * 7])
    assert pass_at_k(c, 4).value == pytest.approx(0.833333, abs=5e-7)


@pytest.mark.parametrize(("n", "right", "k"), [(10_000, 1, 1), (10_000, 3, 5_000), (3_000, 7, 400)])
def test_pass_at_k_at_large_n(n: int, right: int, k: int):
    truth = 1 - math.comb(n - right, k) / math.comb(n, k)
    c = candidates(np.arange(n)[None, :] < right)
    assert pass_at_k(c, k).value == pytest.approx(truth, rel=1e-11)


def test_majority_of_three_at_p_point_six():
    """The expectation over items of binary answers right with .6: .6^3 + 3 .6^2 .4 = .648."""
    n = 50
    chance = stats.binom.pmf(np.arange(n + 1), n, 0.6)
    right = np.arange(n)[None, :] < np.arange(n + 1)[:, None]
    vote = majority(candidates(right, right), 3)
    assert vote.how == "exact"
    assert chance @ vote.per_item == pytest.approx(0.648, abs=1e-12)


@pytest.mark.parametrize(("n", "k"), [(40, 9), (200, 30), (1_100, 5)])
def test_expected_majority_with_many_samples_against_hypergeometric_draws(n: int, k: int):
    counts = np.array([0.35, 0.3, 0.2, 0.15]) * n
    counts = counts.astype(int)
    counts[0] += n - counts.sum()
    said = np.repeat(np.arange(4), counts)[None, :]
    vote = majority(candidates(said == 0, said), k)
    assert vote.how == "exact"
    draws = np.random.default_rng(0).multivariate_hypergeometric(counts, k, size=200_000)
    top = draws == draws.max(axis=1, keepdims=True)
    won = top[:, 0] / top.sum(axis=1)
    assert vote.estimate.value == pytest.approx(won.mean(), abs=4 * won.std() / math.sqrt(200_000))


def test_drawn_subsets_agree_with_the_exact_vote_and_say_so(monkeypatch):
    said, right, scores = drawn(3, items=400, n=20)
    c = candidates(right, said, scores)
    exact = majority(c, 8)
    monkeypatch.setattr("ringtest.ensembles.votes._WORK", 0)
    by_draws = majority(c, 8, draws=300)
    assert (exact.how, by_draws.how) == ("exact", "draws")
    assert by_draws.estimate.value == pytest.approx(exact.estimate.value, abs=0.005)
    assert np.abs(by_draws.per_item - exact.per_item).max() < 0.15
    again = majority(c, 8, draws=300)
    np.testing.assert_array_equal(again.per_item, by_draws.per_item)


def test_equal_weights_are_a_majority_and_sums_that_round_apart_still_tie():
    said, right, _ = drawn()
    c = candidates(right, said, np.full(said.shape, 0.3))
    np.testing.assert_allclose(weighted(c).per_item, majority(c).per_item)
    tie = candidates([[1, 1, 0]], [["a", "a", "b"]], [[0.1, 0.2, 0.3]])
    assert weighted(tie).estimate.value == 0.5
    nothing = candidates([[1, 1, 0]], [["a", "a", "b"]], [[0, 0, 0]])
    assert weighted(nothing).estimate.value == 0.5


# -- planted verifiers ----------------------------------------------------------------------------


def planted(kind: str, items: int = 600, n: int = 8):
    """Scattered wrong answers; each item is right with a chance of its own."""
    rng = np.random.default_rng(5)
    right = rng.random((items, n)) < rng.beta(1, 2, (items, 1))
    said = np.where(right, 0, rng.integers(1, 30, (items, n)))
    scores = {
        "oracle": right.astype(float),
        "random": rng.random((items, n)),
        "constant": np.zeros((items, n)),
        "votes": (said[:, :, None] == said[:, None, :]).sum(axis=2).astype(float),
    }[kind]
    return candidates(right, said, scores)


def test_an_oracle_verifier_has_the_gain():
    found = gains(planted("oracle"))
    assert "selection" in found.source
    assert found.selected.value == found.oracle.value
    assert found.missed.value == 0
    assert found.recovery.estimate.value == pytest.approx(1)
    assert found.beyond_vote.value == pytest.approx(found.oracle.value - found.majority.value)


@pytest.mark.parametrize(("kind", "source"), [("random", "aggregation"), ("votes", "aggregation")])
def test_a_verifier_that_guesses_or_repeats_the_vote_selects_nothing(kind: str, source: str):
    found = gains(planted(kind))
    assert found.source == source
    if kind == "random":
        assert abs(found.selection.value) < 3 * standard_error(found.selection)
        assert abs(found.recovery.estimate.value) < 0.1


def test_recovery_of_few_items_with_a_choice_is_no_certainty():
    """Of 60 items five have a right and a wrong sample: 5 of 5 recovered may be one of two."""
    right = np.ones((60, 4), dtype=bool)
    right[:5, 1:] = False
    found = gains(candidates(right, scores=right.astype(float))).recovery.estimate
    low, high = spread(found)
    assert found.value == pytest.approx(1)
    assert low == pytest.approx(1 - 2 * (1 - 0.025 ** (1 / 5)))
    assert high == pytest.approx(1)


def test_a_constant_verifier_is_a_random_pick_exactly():
    found = gains(planted("constant"))
    assert found.selection.value == pytest.approx(0, abs=1e-12)
    assert found.recovery.estimate.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("k", [None, 1, 3])
def test_the_parts_sum_to_one(k):
    found = gains(planted("random"), k)
    total = found.mean + found.selection + found.missed + found.unreachable
    assert total.value == pytest.approx(1)
    np.testing.assert_allclose(total.influence, 0, atol=1e-15)
    both = found.aggregation + found.beyond_vote
    np.testing.assert_allclose(both.influence, found.selection.influence, atol=1e-15)


@pytest.mark.parametrize("right", [True, False])
def test_all_or_none_right(right: bool):
    grid = np.full((20, 4), right)
    found = gains(candidates(grid, grid, np.random.default_rng(0).random((20, 4))))
    assert found.mean.value == found.majority.value == found.selected.value == float(right)
    assert majority(candidates(grid, grid), 2).estimate.value == float(right)
    assert found.source == "neither"
    assert math.isnan(found.recovery.estimate.value)
    assert "spans 0" in found.recovery.reason


@pytest.mark.parametrize(("items", "source"), [(2, "neither"), (50, "selection")])
def test_the_same_gain_of_every_item_is_certain_only_of_many(items: int, source: str):
    """Nothing varies: the standard error is 0 though there are two items."""
    right = np.tile([True, False], (items, 1))
    assert gains(candidates(right, scores=right.astype(float))).source == source


def test_one_sample_has_no_gain():
    said, right, scores = drawn(n=1)
    found = gains(candidates(right, said, scores))
    assert found.mean.value == found.majority.value == found.oracle.value == right.mean()
    assert not found.recovery.measured


def test_without_answers_or_scores_the_rest_goes_on():
    _, right, scores = drawn(items=200)
    found = gains(candidates(right, scores=scores))
    assert math.isnan(found.aggregation.value)
    assert math.isnan(found.beyond_vote.value)
    assert math.isfinite(found.selection.value)
    bare = gains(candidates(right))
    assert math.isnan(bare.selection.value)
    assert "not measured" in bare.recovery.reason
    assert bare.oracle.value == right.any(axis=1).mean()


def test_intervals_cover():
    """Unbiased under resampled items and samples: 95 % intervals hold the truth about as often."""
    rng = np.random.default_rng(11)
    p = rng.beta(1, 2, 200_000)
    truth = {"pass@1": p.mean(), "pass@4": (1 - (1 - p) ** 4).mean()}
    hits = dict.fromkeys(truth, 0)
    for _ in range(300):
        chance = rng.choice(p, 80)[:, None]
        c = candidates(rng.random((80, 6)) < chance)
        for name, estimate in (("pass@1", mean_single(c)), ("pass@4", pass_at_k(c, 4))):
            low, high = interval(estimate.value, standard_error(estimate), estimate.dof, 0.95)
            hits[name] += low <= truth[name] <= high
    for name, hit in hits.items():
        assert stats.binomtest(hit, 300, 0.95).pvalue > 0.001, (name, hit)


# -- bad input ------------------------------------------------------------------------------------

RIGHT = np.array([[1, 0, 1], [0, 0, 1]], dtype=bool)
SCORES = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, math.nan]])
BAD = {
    "k above n": (lambda: pass_at_k(candidates(RIGHT), 4), r"^k: k=4 .* n=3"),
    "k above n in a vote": (lambda: majority(candidates(RIGHT, RIGHT), 9), r"k=9 .* n=3"),
    "k of 0": (lambda: pass_at_k(candidates(RIGHT), 0), r"^k: 0 is not"),
    "k in part": (lambda: pass_at_k(candidates(RIGHT), 1.5), r"^k: 1.5 is not"),
    "NaN in scores": (lambda: candidates(RIGHT, scores=SCORES), r"^scores: NaN in item 1"),
    "shapes": (lambda: candidates(RIGHT, scores=SCORES[:, :2]), r"^scores: shape \(2, 2\)"),
    "shape of answers": (lambda: candidates(RIGHT, [["a"] * 3]), r"^answers: shape \(1, 3\)"),
    "ragged answers": (
        lambda: candidates(RIGHT, [["a"] * 3, ["a"]]),
        r"^answers: item 1 has 1 samples, item 0 has 3; .* cut every item to its first 1$",
    ),
    "ragged": (lambda: candidates([[1, 0], [1, 0], [1]]), r"^correct: item 2 has 1 samples"),
    "ragged scores": (
        lambda: candidates(RIGHT, scores=[[0.1] * 3, [0.1] * 4]),
        r"^scores: item 1 has 4 samples, item 0 has 3; .* first 3$",
    ),
    "an item without samples": (lambda: candidates([[1, 0], []]), r"^correct: item 1 has no sam"),
    "an item that is no list": (lambda: candidates([[1, 0], 1]), r"^correct: item 1 has no list"),
    "answers of one letter each": (lambda: candidates(RIGHT, ["abc", "abd"]), r"^answers: shape"),
    "answers that are none": (lambda: candidates(RIGHT, 3), r"^answers: .*not iterable"),
    "a deeper table": (lambda: candidates([[[1], [0, 1]], [[1], [0]]]), r"^correct: is no table"),
    "no items": (lambda: candidates(np.zeros((0, 3))), r"^correct: has the shape \(0, 3\)"),
    "one axis": (lambda: candidates([1, 0]), r"^correct: has the shape \(2,\)"),
    "not right or wrong": (lambda: candidates([[0.5, 1]]), r"^correct: has values other"),
    "words": (lambda: candidates([["yes", "no"]]), r"^correct: has values other"),
    "both right and wrong": (lambda: candidates(RIGHT, [["a"] * 3] * 2), r"item 0 has an answer"),
    "lists": (lambda: candidates(RIGHT, [[[1], [2], [3]]] * 2), r"^answers: .*unhashable"),
    "NaN answers": (lambda: candidates(RIGHT, SCORES), r"^answers: NaN"),
    "NaN among objects": (lambda: candidates(RIGHT, [["a", "b", math.nan]] * 2), r"answers: NaN"),
    "no answers": (lambda: majority(candidates(RIGHT)), r"^answers: none"),
    "no scores": (lambda: best_of(candidates(RIGHT)), r"^scores: none"),
    "negative weights": (
        lambda: weighted(candidates(RIGHT, RIGHT, np.full((2, 3), -1.0))),
        r"^scores: item 0 has a score below 0",
    ),
    "infinite weights": (
        lambda: weighted(candidates(RIGHT, RIGHT, np.full((2, 3), math.inf))),
        r"^scores: item 0",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_names_the_field(case: str):
    call, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_answers_may_be_anything_hashable():
    right = [[True, True, False]]
    for said in ([["4", "4", None]], [[(1, 2), (1, 2), (3,)]], [[1.5, 1.5, 2.0]]):
        assert majority(candidates(right, said)).estimate.value == 1
    assert oracle(candidates(right)).value == 1
