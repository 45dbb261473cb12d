"""Members' texts: planted likeness, n-grams by hand, the null, and answers that are none."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from ringtest.ensembles import effective, texts, vendi
from ringtest.ensembles.texts import ngrams, pairs, prompt_null, scores
from ringtest.ensembles.texts.answers import checked, plain
from ringtest.errors import ConfigError, DataError
from ringtest.estimate import Estimate
from ringtest.inference import interval, standard_error

Answers = list[list[list[str]]]


def spoken(
    members: int,
    prompts: int,
    samples: int,
    pool: Callable[[int, int], np.ndarray],
    length: int = 20,
    seed: int = 0,
) -> Answers:
    """Answers of words drawn from the pool of a member and prompt."""
    rng = np.random.default_rng(seed)
    return [
        [[" ".join(rng.choice(pool(m, p), length)) for _ in range(samples)] for p in range(prompts)]
        for m in range(members)
    ]


@cache
def own_words(key: int, count: int = 30) -> np.ndarray:
    """Words that no other key has a 3-gram of: written in 26 letters of its own."""
    rng = np.random.default_rng(key)
    letters = [chr(0x4E00 + 26 * key + i) for i in range(26)]
    return np.array(["".join(rng.choice(letters, 6)) for _ in range(count)])


def by_prompt(m: int, p: int) -> np.ndarray:
    return own_words(p)


def by_member_and_prompt(m: int, p: int) -> np.ndarray:
    return own_words(100 * m + p)


def bounds(estimate: Any) -> tuple[float, float]:
    return interval(estimate.value, standard_error(estimate), estimate.dof, 0.95)


# -- planted likeness -----------------------------------------------------------------------------


def test_clones_that_always_say_the_same_are_one_member() -> None:
    one = [[f"{word} it is, without a doubt"] * 4 for word in own_words(0, 20)]
    found = texts.diversity([copy.deepcopy(one) for _ in range(5)])
    assert found.effective.value == pytest.approx(1, abs=1e-5)
    assert found.correlation.value == pytest.approx(1, abs=1e-5)
    for both in (found.above, found.identical, found.copied, found.similarity):
        assert both.within.value == pytest.approx(1, abs=1e-6)
        assert both.between.value == pytest.approx(1, abs=1e-6)
    assert found.vendi.between.value == pytest.approx(1, abs=1e-4)
    assert texts.words(found).startswith("One opinion held 5 times: ")
    # 20 prompts that say the same leave 1 - .05^(1/20) = 14 % unseen.
    assert "(86 to 100 %)" in texts.words(found)


def test_members_that_draw_from_one_distribution_are_one_member() -> None:
    found = texts.diversity(spoken(4, 20, 4, by_prompt))
    low, high = bounds(found.correlation)
    assert low < 1 < high
    assert high - low < 0.1
    assert found.effective.value == pytest.approx(1, abs=0.05)
    # What members add to sampling again is nothing, though samples differ.
    assert found.vendi.within.value > 1.5
    gain = found.vendi.between - found.vendi.within
    assert abs(gain.value) < 3 * standard_error(gain)


def test_members_of_disjoint_vocabularies_are_all_there() -> None:
    found = texts.diversity(spoken(4, 12, 5, by_member_and_prompt))
    assert found.effective.value == pytest.approx(4, abs=0.15)
    assert found.vendi.between.value == pytest.approx(4, abs=0.05)
    assert found.identical.between.value == found.copied.between.value == 0
    assert found.above.within.value == pytest.approx(1)
    assert "4 real votes" in texts.words(found)


def test_a_style_in_common_is_no_opinion_in_common_and_one_apart_no_diversity() -> None:
    # All begin alike whatever the prompt: the null takes it out.
    alike = [
        [[f"Certainly! As I was asked, {t}" for t in p] for p in of]
        for of in spoken(3, 10, 3, by_member_and_prompt)
    ]
    found = texts.diversity(alike)
    assert found.similarity.between.value > 0.01
    assert found.correlation.value == pytest.approx(0, abs=0.03)
    # Each member has its own way to begin, and says the same as the others.
    styled = [
        [[" ".join([*own_words(200 + m)[:10], t]) for t in p] for p in of]
        for m, of in enumerate(spoken(3, 10, 3, by_prompt))
    ]
    found = texts.diversity(styled)
    assert found.similarity.between.value < 0.8 * found.similarity.within.value
    assert found.correlation.value == pytest.approx(1, abs=0.05)


def test_half_of_the_words_in_common_is_half_a_correlation() -> None:
    def half(m: int, p: int) -> np.ndarray:
        return np.concatenate([own_words(p), own_words(100 + 100 * m + p)])

    found = texts.diversity(spoken(4, 16, 4, half, length=40))
    # Mean vectors share half their words, all of one length: the cosine of the means is 1/2.
    assert found.correlation.value == pytest.approx(0.5, abs=0.03)
    assert found.effective.value == pytest.approx(4 / (1 + 3 * 0.5), abs=0.1)
    low, high = scores.votes_interval(found.correlation, 4, 0.95)
    assert low < found.effective.value < high
    assert texts.words(found).startswith("1.6 effective votes of 4 (95 % interval 1.")


# -- similarities, by other means -----------------------------------------------------------------


def reference(given: list[str]) -> np.ndarray:
    """Cosines of exact counts, by scikit-learn."""
    counts = CountVectorizer(analyzer="char", ngram_range=(3, 5))
    return cosine_similarity(counts.fit_transform([f" {text} " for text in given]))


def test_cosine_of_n_grams_by_hand() -> None:
    # " abc ": abc and 2 more 3-grams, 2 4-grams, 1 5-gram; " abd " has " ab" alone in common.
    a, b = ngrams.ngrams(["abc", "abd"])
    assert (a @ b.T).toarray()[0, 0] == pytest.approx(1 / 6, abs=1e-6)
    assert reference(["abc", "abd"])[0, 1] == pytest.approx(1 / 6, abs=1e-12)


@pytest.mark.parametrize(
    "given",
    [
        ["the cat sat", "the cat sat on the mat", "a dog", "The Cat Sat", "7", "7", "8"],
        ["naïve café", "Ÿ œuvre", "日本語のテキスト", "日本語", "🙂🙂🙂", "🙂", "Ελληνικά"],
    ],
)
def test_cosines_are_those_of_counted_n_grams(given: list[str]) -> None:
    rows = ngrams.Embedding()([plain(text) for text in given])
    assert np.abs((rows @ rows.T).toarray() - reference(given)).max() < 0.06
    # Without collisions they are exact: so few n-grams have few.
    off = np.abs((rows @ rows.T).toarray() - reference(given)) > 1e-6
    assert off.mean() < 0.1


def test_kernel_and_shares_are_means_over_pairs() -> None:
    rng = np.random.default_rng(0)
    counts = [3, 1, 4]
    rows = rng.normal(size=(8, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    code = np.repeat(range(3), counts)
    gram = rows.astype(float) @ rows.T.astype(float)
    kernel = pairs.kernel(rows, counts)
    at = np.array([0.4, -0.2, 0.1])
    shares = pairs.above(rows, counts, pairs.Kinds(at, at))
    within, between = [], []
    for m, other in itertools.combinations_with_replacement(range(3), 2):
        of = [
            gram[i, j]
            for i, j in itertools.permutations(range(8), 2)
            if (code[i], code[j]) == (m, other)
        ]
        if m == other == 1:
            assert math.isnan(kernel[m, m])
            continue
        assert kernel[m, other] == pytest.approx(np.mean(of), abs=1e-6)
        exceeded = [np.mean(np.array(of) > t) for t in at]
        (within if m == other else between).append(exceeded)
    assert shares.within == pytest.approx(np.mean(within, axis=0))
    assert shares.between == pytest.approx(np.mean(between, axis=0))


def test_shares_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = [[t for of in spoken(3, 1, 7, by_prompt) for t in of[0]]]
    rows, at = ngrams.Embedding()(said), pairs.Kinds(np.array([0.2, 0.3]), np.array([0.25, 0.1]))
    whole = pairs.above(rows, [7, 7, 7], at)
    monkeypatch.setattr(pairs, "_BLOCK", 4)
    parts = pairs.above(rows, [7, 7, 7], at)
    assert parts.within == pytest.approx(whole.within)
    assert parts.between == pytest.approx(whole.between)
    assert 0 < whole.between[0] < whole.between[1] <= 1


def test_runs_of_words_by_hand() -> None:
    nine, ten = "a b c d e f g h i", "b c d e f g h i j k"
    rows = ngrams.runs([nine, ten, "a b", "a b", ""])
    product = (rows @ rows.T).toarray()
    # 2 runs and 3 runs with one in common; texts of fewer words are one run.
    assert product[0, 1] == pytest.approx(1 / math.sqrt(2 * 3))
    assert product[2, 3] == pytest.approx(1)
    assert product[0, 2] == product[2, 4] == 0


def test_equal_texts_are_counted_after_white_space() -> None:
    given = [
        [["yes it  is", "no"], ["x", "x"], ["a\0", "q"]],
        [["yes\nit is ", "maybe"], ["X", "y"], ["a", "r"]],
    ]
    found = texts.diversity(given)
    assert found.identical.between.value == pytest.approx((1 / 4 + 0 + 0) / 3)
    assert found.identical.within.value == pytest.approx((0 + 1 / 2 + 0) / 3)


def test_vendi_scores_of_texts_are_those_of_their_mean_kernels() -> None:
    found = texts.diversity(ragged())
    one = np.full((4, 4), found.similarity.within.value) + 0.0
    for kernel, got in ((found.kernel + 0.0, found.vendi.between), (one, found.vendi.within)):
        np.fill_diagonal(kernel, 1.0)
        assert got.value == pytest.approx(vendi.score(kernel), rel=1e-9)
    kernels = np.random.default_rng(0).uniform(0.2, 0.6, (12, 4, 4))
    kernels = (kernels + kernels.transpose(0, 2, 1)) / 2
    got = scores.vendi_scores(kernels)
    for p in range(12):
        without = scores.vendi_scores(np.delete(kernels, p, axis=0))
        for a, b in ((got.within, without.within), (got.between, without.between)):
            # Jackknife and delta method differ by the order of 1/n.
            assert a.influence[p] == pytest.approx(
                -(b.value - a.value) * math.sqrt(11 / 12), abs=1e-3
            )


def test_a_mean_within_that_no_texts_can_have_is_a_number_all_the_same() -> None:
    # Of two samples that differ by chance more than any two of many would
    kernels = np.full((5, 4, 4), -0.4) * np.eye(4) + 0.3 * (1 - np.eye(4))
    got = scores.vendi_scores(kernels)
    assert got.within.value == pytest.approx(3)  # the even part is below 0, three others alike
    assert math.isfinite(got.between.value)


def test_effective_number_moves_as_its_derivative_says() -> None:
    rho = Estimate(0.3, np.array([0.02, -0.01, -0.01]), 3)
    step = 1e-6
    slope = (effective.votes(0.3 + step, 5) - effective.votes(0.3 - step, 5)) / (2 * step)
    got = scores.votes(rho, 5)
    assert got.value == pytest.approx(5 / 2.2)
    assert got.influence == pytest.approx(slope * rho.influence, rel=1e-6)
    assert scores.votes(Estimate(-0.1, rho.influence, 3), 5).value == 5


# -- the null -------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantile", [0.8, 0.95])
def test_share_above_is_nominal_where_the_prompt_does_not_matter(quantile: float) -> None:
    rng = np.random.default_rng(0)
    places = {word: rng.normal(size=8) for key in range(2) for word in own_words(key)}

    def embed(given: list[str]) -> np.ndarray:
        return np.array([sum(places[word] for word in text.split()) for text in given])

    found, inside = [], 0
    for seed in range(12):
        # Each member has words of its own, the same for every prompt: prompts are exchangeable.
        drawn = spoken(3, 16, 4, lambda m, p: own_words(m % 2), length=6, seed=seed)
        got = texts.diversity(drawn, embed, quantile=quantile, seed=seed).above
        for share in (got.within, got.between):
            found.append(share.value)
            low, high = bounds(share)
            inside += low <= 1 - quantile <= high
    error = np.std(found, ddof=1) / math.sqrt(len(found) / 2)
    assert abs(np.mean(found) - (1 - quantile)) < 3 * error
    assert error < 0.012
    assert inside >= 20  # of 24: 95 % intervals


def test_the_correlation_of_members_that_ignore_the_prompt_is_not_measurable() -> None:
    found = texts.diversity(spoken(3, 16, 4, lambda m, p: own_words(m), length=6))
    assert math.isnan(found.correlation.value)
    assert math.isnan(found.effective.value)
    assert "no more alike" in found.reasons["correlation"]
    assert texts.words(found).startswith("Not measurable whether members share an opinion: ")


def test_one_answer_to_everything_has_nothing_above_it() -> None:
    found = texts.diversity([[["I cannot help with that"] * 2] * 4] * 3)
    assert math.isnan(found.above.between.value)
    assert math.isnan(found.above.within.value)
    assert {"correlation", "above.within", "above.between"} <= set(found.reasons)
    assert found.identical.between.value == 1


def test_threshold_and_expectation_are_those_of_all_pairs_of_prompts() -> None:
    given = checked(spoken(2, 5, 2, lambda m, p: own_words(p % 2), length=4))
    null = prompt_null.shuffled(given, ngrams.Embedding(), seed=0)
    assert null.between is not None
    rows = {
        (m, p): ngrams.ngrams(given[m][p]).toarray().astype(float)
        for m in range(2)
        for p in range(5)
    }
    for without in (None, 3):
        kept = [p for p in range(5) if p != without]
        for kind, of in ((null.within, (0, 0)), (null.between, (0, 1))):
            same = of[0] == of[1]
            members = [(0, 0), (1, 1)] if same else [(0, 1), (1, 0)]
            values = np.concatenate(
                [
                    (rows[m, p] @ rows[o, q].T).ravel()
                    for m, o in members
                    for p, q in itertools.combinations(kept, 2)
                ]
            )
            assert kind.expected(without) == pytest.approx(values.mean(), abs=1e-6)
            at = kind.threshold(0.9, without)
            assert (values > at).mean() <= 0.1 + 1e-9
            assert (values >= at - 2e-6).mean() > 0.1 - 1e-9


def test_what_equals_a_threshold_does_not_lie_above_it() -> None:
    values = np.array([0.1, 0.2, 0.2, 0.3])
    at = np.array([0.25, 0.2, 0.05])
    assert list(pairs.exceeding(values, np.array([1.0, 2, 3, 4]), at)) == [4, 4, 10]
    # Nor does what equals it but for the rounding of float32.
    tied = np.float32([0.9, 0.9, 0.9, 0.1])
    kind = prompt_null.Kind(tied, np.ones(4), np.zeros(4, np.int64), np.array([[0, 1]]))
    assert np.nextafter(np.float32(0.9), np.float32(1)) < kind.threshold(0.5) < 0.9 + 1e-5


def test_members_weigh_the_same_in_the_null() -> None:
    given = checked(spoken(2, 4, 2, lambda m, p: own_words(m), length=4))
    given[0] = [p[:1] for p in given[0]]
    rows = [[ngrams.ngrams(p).toarray() for p in of] for of in given]
    each = [
        np.mean([(of[p] @ of[q].T).mean() for p, q in itertools.combinations(range(4), 2)])
        for of in rows
    ]
    null = prompt_null.shuffled(given, ngrams.Embedding(), seed=0)
    assert abs(each[0] - each[1]) > 0.02
    assert null.within.expected() == pytest.approx(np.mean(each), abs=1e-6)


def test_influences_are_those_of_the_prompts() -> None:
    given = spoken(3, 8, 3, lambda m, p: own_words(p % 3 + 10 * (m == 2)), length=8)
    found = texts.diversity(given)
    rows = [reference([t for of in given for t in of[p]]) for p in range(8)]
    apart = np.repeat(range(3), 3)[:, None] != np.repeat(range(3), 3)
    values = np.array([gram[apart].mean() for gram in rows])
    got = found.similarity.between
    assert got.value == pytest.approx(values.mean(), abs=0.005)
    expected = (values - values.mean()) / 8 * math.sqrt(8 / 7)
    assert got.influence == pytest.approx(expected, abs=0.002)
    for estimate in (found.correlation, found.effective, found.vendi.between):
        assert estimate.units == 8
    # Without prompt p the share is that of the others above a threshold of the others.
    at = prompt_null.shuffled(checked(given), ngrams.Embedding(), 0).thresholds(0.95, 8).between
    embedded = [ngrams.ngrams([t for of in given for t in of[p]]) for p in range(8)]
    grams = [(r @ r.T).toarray() for r in embedded]
    without = np.array(
        [
            np.mean([(grams[q][apart] > at[p + 1]).mean() for q in range(8) if q != p])
            for p in range(8)
        ]
    )
    assert np.unique(at).size > 3
    expected = -(without - without.mean()) * math.sqrt(7 / 8)
    assert found.above.between.influence == pytest.approx(expected, abs=1e-6)
    both = found.similarity.within - found.similarity.between
    assert both.units == 8


# -- what changes nothing -------------------------------------------------------------------------


def ragged(seed: int = 3) -> Answers:
    rng = np.random.default_rng(seed)
    given = spoken(4, 7, 6, lambda m, p: own_words(p + 20 * (m == 1)), length=9, seed=seed)
    return [[p[: int(rng.integers(2, 7))] for p in of] for of in given]


def test_the_order_of_members_changes_nothing() -> None:
    given, order = ragged(), [2, 0, 3, 1]
    a, b = texts.diversity(given), texts.diversity([given[m] for m in order])
    assert b.kernel == pytest.approx(a.kernel[np.ix_(order, order)], abs=1e-6)
    for name in ("correlation", "effective"):
        x, y = getattr(a, name), getattr(b, name)
        assert y.value == pytest.approx(x.value, abs=1e-5)
        assert y.influence == pytest.approx(x.influence, abs=1e-5)
    for name in ("similarity", "expected", "above", "identical", "copied", "vendi"):
        for kind in ("within", "between"):
            x, y = getattr(getattr(a, name), kind), getattr(getattr(b, name), kind)
            assert y.value == pytest.approx(x.value, abs=1e-5)
            assert y.influence == pytest.approx(x.influence, abs=1e-5)


def test_members_weigh_the_same_whatever_their_samples() -> None:
    given = spoken(3, 6, 4, by_prompt)
    # The same answers once more: within and between they weigh the same among themselves.
    doubled = [given[0], given[1], [p + p for p in given[2]]]
    a, b = texts.diversity(given), texts.diversity(doubled)
    assert b.similarity.between.value == pytest.approx(a.similarity.between.value, abs=1e-6)
    assert b.copied.between.value == pytest.approx(a.copied.between.value, abs=1e-6)


def test_the_answers_are_left_as_they_were() -> None:
    given = ragged()
    before = copy.deepcopy(given)
    texts.diversity(given)
    assert given == before


# -- an embedder of the user's --------------------------------------------------------------------


def lengths(given: list[str]) -> np.ndarray:
    """Three features of a text."""
    return np.array([[len(t), t.count("a") + 1.0, -3.0] for t in given])


def test_embed_is_used_and_sees_no_empty_string() -> None:
    given = [[["aa", ""], ["b", "cc"], ["dddd", "a"]], [["aa", ""], ["bbb", "c"], ["", "a"]]]
    seen: list[str] = []

    def embed(said: list[str]) -> np.ndarray:
        seen.extend(said)
        return 1e200 * lengths(said)  # whose squares are infinite

    found = texts.diversity(given, embed)
    assert "" not in seen
    assert found.empty == 3
    gram = cosine_similarity(lengths(["b", "cc", "bbb", "c"]))
    assert found.kernel.shape == (2, 2)
    rows = ngrams.Embedding(embed)(["b", "cc", "bbb", "c"])
    assert rows @ rows.T == pytest.approx(gram, abs=1e-6)


@pytest.mark.parametrize(
    ("embed", "message"),
    [
        (lambda t: np.ones(len(t)), r"embed: gave shape \(1,\) for 1 texts, not \(1, d\)"),
        (lambda t: np.ones((len(t) + 1, 3)), r"gave shape \(2, 3\) for 1 texts"),
        (lambda t: np.ones((len(t), 0)), r"gave shape \(1, 0\)"),
        (lambda t: np.ones((len(t), len(t) + 1)), r"gave shape \(\d, \d\) for \d texts, not"),
        (lambda t: np.full((len(t), 3), np.nan), "gave NaN or infinite values for 'one'"),
        (lambda t: np.full((len(t), 3), np.inf), "gave NaN or infinite values for 'one'"),
        (lambda t: np.zeros((len(t), 3)), "gave a vector of zeros for 'one'"),
        (lambda t: [["x"]] * len(t), "gave something that is no array of numbers"),
        (lambda t: [[1.0], [1.0, 2.0]], "gave something that is no array of numbers"),
        (lambda t: None, r"embed: gave "),
    ],
)
def test_vectors_that_are_none_are_refused(embed: Any, message: str) -> None:
    given = [[["one", "two"], ["three", "four"], ["five", "six"]]] * 2
    with pytest.raises(DataError, match=message) as caught:
        texts.diversity(given, embed)
    assert caught.value.field == "embed"
    assert "\n" not in str(caught.value)


# -- answers that are few or none -----------------------------------------------------------------


def test_empty_answers_are_like_each_other_alone() -> None:
    found = texts.diversity(
        [[["", "  "], ["a", ""], ["b", "c"]], [["\n", ""], ["a", "a"], ["", "d"]]]
    )
    assert found.empty == 6
    rows = ngrams.Embedding()(["", "a", ""])
    assert (rows @ rows.T).toarray() == pytest.approx(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]]))


@pytest.mark.parametrize("embed", [None, lengths])
def test_nothing_but_empty_answers_is_no_opinion(embed: Any) -> None:
    found = texts.diversity([[["", ""]] * 4] * 3, embed)
    assert found.empty == 24
    assert math.isnan(found.effective.value)
    assert math.isnan(found.above.between.value)


def test_one_sample_each_leaves_what_is_between() -> None:
    found = texts.diversity([[p[:1] for p in of] for of in spoken(3, 12, 1, by_prompt)])
    assert "one sample" in found.reasons["within"]
    for missing in (found.similarity.within, found.above.within, found.vendi.within):
        assert math.isnan(missing.value)
    assert math.isnan(found.effective.value)
    assert found.above.between.value == pytest.approx(1)
    assert 1 < found.vendi.between.value < 3
    assert "one sample" in texts.words(found)


@pytest.mark.parametrize("prompts", [1, 2])
def test_without_other_prompts_there_is_no_null(prompts: int) -> None:
    found = texts.diversity(spoken(3, prompts, 3, by_prompt))
    assert f"{prompts} of at least 3 prompts" in found.reasons["prompts"]
    for missing in (found.effective, found.above.between, found.expected.within):
        assert math.isnan(missing.value)
    assert np.isnan(found.threshold).all()
    assert found.similarity.within.value > 0.2
    assert math.isnan(standard_error(found.similarity.within)) == (prompts == 1)
    assert math.isnan(standard_error(found.vendi.between)) == (prompts == 1)
    assert texts.words(found).startswith("Not measurable")


def test_one_member_repeats_itself_and_nobody_else() -> None:
    found = texts.diversity(spoken(1, 8, 4, by_prompt))
    assert found.above.within.value == pytest.approx(1)
    assert "one member" in found.reasons["between"]
    for missing in (found.similarity.between, found.above.between, found.effective):
        assert math.isnan(missing.value)
    assert "one member" in texts.words(found)


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ([[["a"], ["b"]], [["a"]]], "answers[1]", "has 1 prompts where answers[0] has 2"),
        ([[["a"], []]], "answers[0][1]", "has no samples"),
        ([[]], "answers[0]", "has no prompts"),
        ([], "answers", "has no members"),
        ([[["a", None]]], "answers[0][0][1]", "is NoneType, not a string"),
        ([[["a"], ["b", 3]]], "answers[0][1][1]", "is int, not a string"),
        ([[["a", b"b"]]], "answers[0][0][1]", "is bytes, not a string"),
        ([[["a"]], [["a", math.nan]]], "answers[1][0][1]", "is float, not a string"),
        ([["a", "b"]], "answers[0][0]", "is str, not a list of samples"),
        (["ab"], "answers[0]", "is str, not a list of prompts"),
        ("ab", "answers", "is str, not a list of members"),
        (None, "answers", "is NoneType, not a list of members"),
        ({"a": [["b"]]}, "answers", "is dict, not a list of members"),
        ([[["a"]], 3], "answers[1]", "is int, not a list of prompts"),
    ],
)
def test_what_is_no_set_of_answers_is_refused_at_its_place(
    given: Any, field: str, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        texts.diversity(given)
    assert caught.value.field == field
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("quantile", [0.0, 1.0, -1.0, math.nan, 95.0])
def test_a_quantile_lies_between_0_and_1(quantile: float) -> None:
    with pytest.raises(ConfigError, match="quantile"):
        texts.diversity(spoken(2, 3, 2, by_prompt), quantile=quantile)


def test_arrays_and_any_characters_are_texts() -> None:
    given = np.array(spoken(2, 4, 3, by_prompt))
    assert texts.diversity(given).effective.units == 4  # type: ignore[arg-type]
    odd = [["\ud800 half a pair", "e\u0301"], ["é", "\u200b"], ["🙂", "\0"]]
    found = texts.diversity([odd, copy.deepcopy(odd)])
    assert found.empty == 0
    assert plain("e\u0301") == "é"
