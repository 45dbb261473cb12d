"""The waterfall: one paired bootstrap, shares with intervals, and what is not measurable."""

import math
import time

import numpy as np
import pytest
from scipy import stats

from ringtest.ensembles.waterfall import Waterfall, sentence, waterfall
from ringtest.errors import DataError
from ringtest.estimate import NOTHING, row_mean


def line(items: int, seed: int = 0, gain: float = 0.3, half: float = 0.5):
    """Per item outcomes: the ensemble repairs items of the member, the student ``half`` of them."""
    rng = np.random.default_rng(seed)
    member = (rng.random((items, 5)) < rng.beta(2, 2, (items, 1))).mean(axis=1)
    helped = rng.random(items) < gain
    ensemble = np.where(helped, 1.0, member)
    student = np.where(helped & (rng.random(items) < half), 1.0, member)
    selected = np.where(rng.random(items) < 0.5, 1.0, ensemble)
    return member, ensemble, student, selected, np.maximum(selected, rng.random(items) < 0.5)


def built(*args, **kwargs) -> Waterfall:
    member, ensemble, student, selected, oracle = (row_mean(x) for x in line(*args))
    return waterfall(member, ensemble, student, selected, oracle, **kwargs)


def test_steps_and_shares_are_those_of_the_values():
    values = line(500)
    w = built(500)
    assert [s.name for s in w.steps] == ["mean member", "ensemble", "selected", "oracle"]
    member, ensemble, student, selected, oracle = (v.mean() for v in values)
    rises = [s.rise.value for s in w.steps]
    np.testing.assert_allclose(
        rises, [member, ensemble - member, selected - ensemble, oracle - selected]
    )
    assert w.student.rise.value == pytest.approx(student - member)
    shares = [p.share.estimate.value for p in w.placed]
    tops = np.array([ensemble, selected, oracle]) - member
    np.testing.assert_allclose(shares, (student - member) / tops)


def test_intervals_are_scipys_paired_bootstrap():
    member, ensemble, student, *_ = line(800)
    w = waterfall(row_mean(member), row_mean(ensemble), row_mean(student))
    rng = np.random.default_rng(1)
    rise = stats.bootstrap(
        (ensemble - member,), np.mean, n_resamples=2_999, rng=rng, method="basic"
    ).confidence_interval
    np.testing.assert_allclose((w.steps[1].rise_low, w.steps[1].rise_high), rise, atol=0.003)

    def share(m, e, s, axis):
        return (s.mean(axis) - m.mean(axis)) / (e.mean(axis) - m.mean(axis))

    truth = stats.bootstrap(
        (member, ensemble, student),
        share,
        paired=True,
        n_resamples=2_999,
        rng=rng,
        method="percentile",
    ).confidence_interval
    np.testing.assert_allclose((w.placed[0].low, w.placed[0].high), truth, atol=0.01)


def test_intervals_of_the_share_cover_the_planted_half():
    placed = [built(150, seed, resamples=500).placed[0] for seed in range(150)]
    hits = sum(p.low <= 0.5 <= p.high for p in placed)
    assert stats.binomtest(hits, 150, 0.95).pvalue > 0.001, hits


def test_a_gain_that_spans_0_has_no_share():
    rng = np.random.default_rng(0)
    member = (rng.random(200) < 0.6).astype(float)
    ensemble = (rng.random(200) < 0.6).astype(float)
    w = waterfall(row_mean(member), row_mean(ensemble), row_mean(ensemble), None, None)
    (placed,) = w.placed
    assert math.isnan(placed.share.estimate.value)
    assert math.isnan(placed.low)
    assert "ensemble - mean member" in placed.share.reason
    assert "holds 0" in placed.share.reason
    assert "not measurable: ensemble - mean member" in sentence(w)


def test_a_loss_has_no_share():
    items = np.arange(400)
    w = waterfall(row_mean(items < 300), row_mean(items < 200), row_mean(items < 250))
    assert w.steps[1].rise_high < 0
    assert "a loss, of which there is no share" in w.placed[0].share.reason
    assert math.isnan(w.placed[0].low)


def test_a_student_that_never_parted_from_a_step_has_an_interval():
    """Right where the ensemble is, on all items seen: resampling these alone would say 100 %."""
    for items in (40, 4_000):
        member = row_mean(np.arange(items) < items // 2)
        ensemble = row_mean(np.arange(items) < 0.8 * items)
        for student, share in ((ensemble, 1.0), (member, 0.0)):
            (placed,) = waterfall(member, ensemble, student).placed
            # Clopper and Pearson's bound of a share never seen, over the gain.
            reach = stats.binomtest(0, items).proportion_ci().high / 0.3
            assert placed.share.value == pytest.approx(share)
            assert (placed.low, placed.high) == pytest.approx((share - reach, share + reach))


def test_the_interval_of_a_share_holds_where_the_gain_is_barely_above_0():
    """Half of the 3 points' gain on 300 items: of those draws that have a share, most hold it."""
    rng, held = np.random.default_rng(0), []
    for _ in range(300):
        ease, noise = rng.normal(size=300), rng.normal(size=(3, 300))
        member, ensemble = ease + noise[0] > -0.74, ease + 0.85 * noise[0] > -0.74
        student = np.where(rng.random(300) < 0.5, ensemble, ease + noise[1] > -0.74)
        steps = (row_mean(x) for x in (member, ensemble, student))
        placed = waterfall(*steps, resamples=300).placed[0]
        if placed.share.measured:
            held.append(placed.low <= 0.5 <= placed.high)
    assert 30 < len(held) < 270
    assert np.mean(held) > 0.9, np.mean(held)


def test_clones_have_nothing_to_transfer():
    same = row_mean(np.random.default_rng(0).random(100))
    w = waterfall(same, same, same)
    assert not w.placed[0].share.measured
    assert w.steps[1].rise.value == 0
    assert w.steps[1].rise_low < 0 < w.steps[1].rise_high


def test_the_sentence_says_every_step():
    """Ten of a hundred: hand-made, so that the words can be read off."""
    items = np.arange(400)
    member, ensemble, student = (row_mean(items < 4 * a) for a in (50, 70, 60))
    said = sentence(waterfall(member, ensemble, student, oracle=row_mean(items < 360)))
    assert said.startswith(
        "Of 400 items the mean member has 50.0 % right, the ensemble 70.0 % (+20.0"
    )
    assert "the oracle 90.0 % (+20.0 points" in said
    assert "The student has 60.0 %, +10.0 points" in said
    assert "That is 50 % (" in said
    assert "of the gain of the ensemble." in said
    assert "That is 25 % (" in said
    assert "selected" not in said


def test_intervals_of_a_share_cover_where_few_items_differ():
    """About six of 200 items, or two of 60: a student that is nearly the mean member."""
    for items, half in ((200, 0.1), (60, 0.1)):
        placed = [built(items, seed, 0.3, half, resamples=300).placed[0] for seed in range(60)]
        assert sum(p.low <= half <= p.high for p in placed) >= 51


def test_same_seed_same_intervals():
    ends = [[(s.low, s.high, s.rise_low) for s in built(200).steps] for _ in range(2)]
    assert ends[0] == ends[1]
    assert built(200).steps[1].low != built(200, seed=1).steps[1].low


@pytest.mark.slow
def test_two_thousand_resamples_of_fifty_thousand_items():
    """Under 5 s on two cores; here with room for a busy machine."""
    start = time.perf_counter()
    w = built(50_000)
    assert time.perf_counter() - start < 20
    assert w.placed[0].low < 0.5 < w.placed[0].high


GOOD = row_mean(np.array([0.0, 1.0, 1.0]))
BAD = {
    "nothing": (lambda: waterfall(GOOD, NOTHING, GOOD), "^ensemble: was not measured"),
    "other items": (lambda: waterfall(GOOD, GOOD, row_mean(np.ones(4))), "^student: is on 4 items"),
    "one item": (lambda: waterfall(*[row_mean(np.ones(1))] * 3), "^items: 1"),
    "resamples": (lambda: waterfall(GOOD, GOOD, GOOD, resamples=1), "^resamples: 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str):
    call, message = BAD[case]
    with pytest.raises(DataError, match=message):
        call()


def test_of_few_clusters_the_interval_of_a_share_is_wide_enough():
    """Four clusters of 20 items and a true share of one half: a percentile interval holds it 80 %
    of the time, and makes ``transferred`` of a tenth."""
    units, held, above = np.repeat(np.arange(4), 20), [], 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        each = rng.normal(0.1, 0.04, 4)[units] + rng.normal(0, 0.15, 80)
        mine = 0.5 * each + rng.normal(0, 0.03, 4)[units] + rng.normal(0, 0.15, 80)
        columns = [row_mean(x, units) for x in (0 * each, each, mine)]
        (placed,) = waterfall(*columns, resamples=200).placed
        if placed.share.measured:
            held.append(placed.low <= 0.5 <= placed.high)
            above += placed.low > 0.5
    assert len(held) > 60
    assert stats.binomtest(sum(held), len(held), 0.95, "less").pvalue > 0.01, np.mean(held)
    assert above <= 0.06 * len(held)


def test_the_sentence_tells_items_from_the_clusters_that_they_come_in():
    units = np.repeat(np.arange(30), 10)
    right = [row_mean(np.arange(300) % 10 < a, units) for a in (5, 7)]
    assert sentence(waterfall(*right)).startswith("Of 300 items in 30 clusters the mean member has")
