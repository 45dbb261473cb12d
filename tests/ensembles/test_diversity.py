"""Diversity of members: golden values, other implementations, planted ensembles, bad input."""

import itertools
import pickle
import re

import numpy as np
import pytest
from oracles import oracle
from scipy import stats
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

from ringtest import inference
from ringtest.ensembles import diversity, pairwise, table
from ringtest.ensembles.diversity import Members, of
from ringtest.ensembles.effective import effective
from ringtest.estimate import from_deletions


def one_hot(classes, width=3):
    return np.eye(width)[[int(c) for c in classes]]


def drawn(rng, members=4, items=150, classes=3, likeness=2.0):
    """Dirichlet members around a common one, and targets that follow it."""
    common = rng.dirichlet(np.full(classes, 0.7), size=items)
    alpha = 0.3 + likeness * common
    p = rng.gamma(np.broadcast_to(alpha, (members, items, classes))) + 1e-9
    y = np.array([rng.choice(classes, p=row) for row in common])
    return p / p.sum(2, keepdims=True), y


def votes_of(rng, members, items, accuracy=0.7, shared=0.0):
    """Two-class members whose being right has correlation shared**2 in pairs; targets of 0."""
    common = rng.random(items) < accuracy
    own = rng.random((members, items)) < accuracy
    right = np.where(rng.random((members, items)) < shared, common, own)
    return np.stack([0.2 + 0.6 * right, 0.8 - 0.6 * right], 2), np.zeros(items, dtype=int)


def test_golden_values_of_right_and_wrong():
    y = [int(c) for c in "01201201"]
    found = of([one_hot("01201012"), one_hot("01210011")], y)
    golden = {
        "q": 0.5,
        "disagreement": 0.375,
        "error_disagreement": 0.375,
        "double_fault": 0.25,
        "rho": 0.258199,
        "error_consistency": 0.25,  # (.625 - .5) / (1 - .5)
    }
    for name, value in golden.items():
        assert found.pairs[name].mean.value == pytest.approx(value, abs=5e-7), name
        assert found.pairs[name].pair(1, 0).value == found.pairs[name].values[0, 1]
    assert found.effective.votes.value == pytest.approx(2 / 1.2581989)
    assert found.member_accuracy.value == pytest.approx(9 / 16)


def test_golden_value_of_capa():
    a = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.6, 0.3, 0.1]]
    b = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]
    found = of([a, b], [0, 1, 2, 0])
    assert found.pairs["capa"].mean.value == pytest.approx(0.0669880, abs=5e-8)


def test_pairs_agree_with_other_implementations(rng):
    p, y = drawn(rng)
    found = of(p, y)
    answers = p.argmax(2)
    lmsim, deslib = oracle("lmsim.metrics"), oracle("deslib.util.diversity")
    theirs = {
        "q": deslib.Q_statistic,
        "error_disagreement": deslib.disagreement_measure,
        "double_fault": deslib.double_fault,
        "rho": deslib.correlation_coefficient,
    }
    for a, b in zip(*np.triu_indices(len(p), 1), strict=True):

        def ours(name, a=a, b=b):
            return found.pairs[name].pair(a, b).value

        for name, function in theirs.items():
            assert ours(name) == pytest.approx(function(y, answers[a], answers[b])), name
        assert ours("error_consistency") == pytest.approx(lmsim.EC().compute_k(p[a], p[b], y))
        assert ours("capa") == pytest.approx(lmsim.CAPA().compute_k(p[a], p[b], y))
        hard = [one_hot(answers[m]) for m in (a, b)]
        assert ours("capa_discrete") == pytest.approx(lmsim.CAPA(prob=False).compute_k(*hard, y))
        right = answers[[a, b]] == y
        assert ours("error_consistency") == pytest.approx(cohen_kappa_score(*right))
        assert ours("rho") == pytest.approx(matthews_corrcoef(*right))
        assert ours("disagreement") == pytest.approx(np.mean(answers[a] != answers[b]))
    for name, pairs in found.pairs.items():
        off = pairs.values[~np.eye(len(p), dtype=bool)]
        assert pairs.mean.value == pytest.approx(off.mean()), name


def numbers(found):
    """Every estimate of a result, by name."""
    out = {name: pairs.mean for name, pairs in found.pairs.items()}
    out |= {f"{name} of one pair": pairs.pair(0, 2) for name, pairs in found.pairs.items()}
    out |= {f"loss {k}": v for k, v in vars(found.log_loss).items()}
    for name in ("vendi", "mutual_information", "entropy", "member_accuracy", "accuracy", "gain"):
        out[name] = getattr(found, name)
    out["votes"] = found.effective.votes
    return out


@pytest.mark.parametrize("copies", [False, True])
def test_influences_are_those_of_deleting_items(rng, copies):
    p, y = drawn(rng, items=100)
    if copies:  # a similarity matrix without full rank
        p[1] = p[0]
    whole = numbers(of(p, y))
    items = np.arange(len(y))
    without = [numbers(of(p[:, items != i], y[items != i])) for i in items]
    for name, statistic in whole.items():
        deleted = np.array([w[name].value for w in without])
        brute = from_deletions(statistic.value, deleted, len(y)).influence
        # The delta method is the jackknife's limit: they differ by the order of 1/n.
        np.testing.assert_allclose(
            statistic.estimate.influence, brute, atol=0.05 * np.abs(brute).max(), err_msg=name
        )


@pytest.mark.slow
def test_standard_errors_are_those_of_resampling(rng):
    p, y = drawn(rng, members=3, items=300)
    whole = numbers(of(p, y))
    draws = [rng.integers(0, len(y), len(y)) for _ in range(400)]
    again = [numbers(of(p[:, rows], y[rows])) for rows in draws]
    for name, statistic in whole.items():
        brute = np.std([a[name].value for a in again], ddof=1)
        # 400 resamples know a standard error to 3.5 %.
        assert inference.standard_error(statistic.estimate) == pytest.approx(brute, rel=0.12), name


def alone(p, y):
    """The effective votes without all the rest."""
    seen = table.summarise(p, y.astype(np.int32), 0)
    return effective(pairwise.of_errors(seen)["rho"], seen.correct.mean(1))


def test_intervals_of_votes_hold_the_truth(rng):
    members, shared, held = 5, 0.6, 0
    truth = members / (1 + (members - 1) * shared**2)
    for _ in range(120):
        low, high = alone(*votes_of(rng, members, 300, shared=shared)).interval()
        held += low <= truth <= high
    # 95 % of 120 by three binomial standard errors below.
    assert 107 <= held <= 119


def test_errors_too_few_to_be_seen_together_are_no_real_votes(rng):
    """Right 19 times in 20 and 1.5 votes: of 50 items none may be wrong for both by chance."""
    members, shared, found = 2, 0.6, []
    truth = members / (1 + (members - 1) * shared**2)
    while len(found) < 60:
        one = alone(*votes_of(rng, members, 50, accuracy=0.95, shared=shared))
        if one.votes.measured:
            found.append(one.verdict())
    # Resampling the items alone holds the truth 41 times, and says "2 real votes" about 15 times.
    assert sum(v.low <= truth <= v.high for v in found) >= 52
    assert sum(v.answer == "many" for v in found) <= 1


def test_items_of_one_unit_count_once(rng):
    p, y = drawn(rng, items=80)
    single = numbers(of(p, y))
    units = np.repeat(np.arange(80), 3)
    thrice = numbers(of(np.repeat(p, 3, axis=1), np.repeat(y, 3), units=units))
    for name, statistic in thrice.items():
        np.testing.assert_allclose(
            statistic.estimate.influence, single[name].estimate.influence, atol=1e-12, err_msg=name
        )


def test_blocks_of_any_size_give_the_same(rng, monkeypatch):
    p, y = drawn(rng)
    whole = numbers(of(p, y))
    cuts = [0, 1, 1, 40, 149, 150]
    pairs = list(itertools.pairwise(cuts))
    first, second = Members(), Members()
    for low, high in pairs[:3]:
        first.add(list(p[:, low:high]), y[low:high])
    for low, high in pairs[3:]:
        second.add(p[:, low:high], y[low:high])
    first.merge(second)
    first.merge(Members())
    first = pickle.loads(pickle.dumps(first))
    monkeypatch.setattr("ringtest.ensembles.table._CHUNK", 100)
    for result in (
        pickle.loads(pickle.dumps(first.result())),
        of((p[:, a:b], y[a:b]) for a, b in pairs),
        of(p, y),
    ):
        for name, statistic in numbers(result).items():
            assert statistic.value == pytest.approx(whole[name].value, rel=1e-12), name
            np.testing.assert_allclose(
                statistic.estimate.influence, whole[name].estimate.influence, atol=1e-13
            )


def test_mutual_information_is_that_of_scipy(rng):
    p, _ = drawn(rng)
    p[0, 0], p[1, 0] = [1, 0, 0], [0, 1, 0]  # 0 log 0 is 0
    found = of(p)
    inside, outside = stats.entropy(p, axis=2).mean(0), stats.entropy(p.mean(0), axis=1)
    assert found.entropy.value == pytest.approx(inside.mean())
    assert found.mutual_information.value == pytest.approx((outside - inside).mean())
    # Members that are sure of different things: all of log M is information.
    sure = of(np.stack([np.tile(row, (5, 1)) for row in np.eye(3)]))
    assert sure.mutual_information.value == pytest.approx(np.log(3))


def test_copies_of_one_model_are_one_opinion(rng):
    p, y = drawn(rng, items=400)
    found = of(np.repeat(p[:1], 5, axis=0), y)
    assert found.effective.votes.value == pytest.approx(1.0)
    low, high = found.effective.interval()
    assert low == pytest.approx(1.0)
    # 400 items without a difference leave at most .75 % of them, by the rule of three.
    accuracy = np.mean(p[0].argmax(1) == y)
    rho = 1 - (1 - 0.05 ** (1 / 400)) / (2 * accuracy * (1 - accuracy))
    assert high == pytest.approx(5 / (1 + 4 * rho))
    assert found.words().startswith("one opinion held 5 times: 1.0 effective votes of 5")
    assert "nothing to distil" in found.words()
    for number in (found.mutual_information, found.log_loss.diversity, found.log_loss.jensen_gap):
        assert number.value == pytest.approx(0.0, abs=1e-14)
    assert found.vendi.value == pytest.approx(1.0)
    assert found.gain.value == 0.0
    for name in ("q", "rho", "error_consistency", "capa_discrete"):
        assert found.pairs[name].mean.value == pytest.approx(1.0), name


def test_independent_members_are_as_many_votes(rng):
    found = of(*votes_of(rng, 5, 20_000))
    low, high = found.effective.interval()
    assert low <= 5 <= high
    assert found.words().startswith("5 real votes: 5.0 effective votes of 5")
    # A majority of 5 that are right 7 times in 10.
    assert found.accuracy.value == pytest.approx(stats.binom.sf(2, 5, 0.7), abs=0.01)
    assert found.gain.value == pytest.approx(found.accuracy.value - found.member_accuracy.value)


@pytest.mark.parametrize(
    ("items", "shared", "words"),
    [
        # 5 / (1 + 4 * .36) = 2.05 and 5 / (1 + 4 * .09) = 3.68
        (5_000, 0.6, r"^2\.\d effective votes of 5 \(95 % interval [12]\.\d to 2\.\d\)$"),
        (30, 0.3, r"^[2-5]\.\d effective votes of 5 \(95 % interval [1-4]\.\d to over 5\)$"),
    ],
)
def test_words_follow_the_interval(items, shared, words):
    found = of(*votes_of(np.random.default_rng(3), 5, items, shared=shared))
    assert re.search(words, found.words()), found.words()
    few = of([one_hot("01201012"), one_hot("01210011")], [int(c) for c in "01201201"])
    assert few.words().startswith("one opinion or 2 votes, too few items to tell: 1.6 effective")


@pytest.mark.parametrize("accuracies", [(1.0, 0.5), (0.0, 0.5), (1.0, 1.0), (0.0, 0.0)])
def test_a_member_always_right_or_wrong_has_no_correlation(accuracies):
    right = np.stack([np.arange(8) < 8 * a for a in accuracies])
    p = np.stack([one_hot(~r * 1, 2) for r in right])
    found = of(p, np.zeros(8, dtype=int))
    for name in ("q", "rho", "error_consistency", "capa", "capa_discrete"):
        mean = found.pairs[name].mean
        assert np.isnan(mean.value), name
        assert mean.estimate.units == 0
        assert mean.reason, name
        assert found.pairs[name].pair(0, 1).reason == mean.reason
    assert np.isnan(found.effective.votes.value)
    assert found.words().startswith("votes not measurable: member 0")
    assert np.isfinite(found.pairs["double_fault"].mean.value)


def test_one_pair_without_a_value_leaves_the_others(rng):
    p, y = drawn(rng, members=3)
    p[2] = 0.02 + 0.94 * one_hot(y)
    rho = of(p, y).pairs["rho"]
    assert rho.mean.reason == "member 2 is right on every item, so nothing can go with it"
    assert np.isfinite(rho.pair(0, 1).value)
    assert not rho.pair(0, 1).reason


def test_errors_that_offset_each_other_have_no_number():
    p = np.stack([one_hot("0101", 2), one_hot("1010", 2)])
    found = of(p, [0, 0, 0, 0])
    assert found.pairs["rho"].mean.value == -1.0
    assert "offset each other exactly" in found.words()


def test_without_targets_the_rest_is_told(rng):
    p, y = drawn(rng)
    bare, whole = of(p), of(p, y)
    assert set(bare.pairs) == {"disagreement"}
    assert bare.words() == "votes not measurable: there are no targets"
    assert bare.gain.reason == "there are no targets"
    for get in (lambda d: d.vendi, lambda d: d.log_loss.diversity, lambda d: d.mutual_information):
        assert get(bare).value == get(whole).value


def test_one_item_has_values_and_no_interval():
    found = of([[[0.6, 0.4]], [[0.3, 0.7]]], [0])
    assert found.pairs["disagreement"].mean.value == 1.0
    assert np.isnan(inference.standard_error(found.mutual_information.estimate))


def test_one_unit_has_votes_and_no_interval(rng):
    p, y = drawn(rng)
    found = of(p, y, units=np.zeros(len(y), dtype=int))
    assert np.isfinite(found.effective.votes.value)
    assert np.isnan(found.effective.interval()).all()
    assert found.words() == "votes not measurable: the number of independent items is 1"


def test_half_precision_is_close_enough(rng):
    p, y = drawn(rng)
    half, whole = numbers(of(p.astype(np.float16), y)), numbers(of(p, y))
    assert half["loss diversity"].value == pytest.approx(whole["loss diversity"].value, rel=0.02)
    assert diversity.of(p.astype(np.float32), y).gain.value == whole["gain"].value
