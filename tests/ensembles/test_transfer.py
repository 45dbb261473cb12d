"""Transferred, in part, not, or open: by the interval, against a control, and how often wrongly."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from ringtest.ensembles.transfer import Transfer, decide, transfer
from ringtest.ensembles.waterfall import Waterfall, waterfall
from ringtest.errors import DataError
from ringtest.estimate import row_mean


def way(items: int, share: float, seed: int = 0, gain: float = 0.2) -> Waterfall:
    """The ensemble repairs every fifth item of the member, the student that share of these."""
    rng = np.random.default_rng(7)
    member, helped = rng.random(items) < 0.6, rng.random(items) < 2.5 * gain
    luck = np.random.default_rng([seed, 1]).random(items)
    student = member | (helped & (luck < share))
    return waterfall(row_mean(member), row_mean(member | helped), row_mean(student))


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (0.51, 0.9, "transferred"),
        (0.51, 1.4, "transferred"),
        (0.5, 0.9, "partial"),
        (0.01, 0.3, "partial"),
        (0.2, 1.3, "partial"),
        (0.0, 0.49, "not"),
        (-2.0, -1.0, "not"),
        (0.0, 0.5, "open"),
        (-1.0, 3.0, "open"),
        (-math.inf, 0.3, "open"),
        (math.nan, math.nan, "open"),
    ],
)
def test_the_interval_decides(low: float, high: float, answer: str):
    assert decide(low, high) == answer


@pytest.mark.parametrize(
    ("share", "answer", "words"),
    [
        (0.9, "transferred", "most was transferred: "),
        (0.3, "partial", "at least a part was transferred: "),
        (0.0, "not", "less than half was transferred, if anything: 0 % "),
    ],
)
def test_planted_shares_are_told(share: float, answer: str, words: str):
    w = way(2_000, share)
    said = transfer(w)
    assert said.answer == answer
    assert said.words.startswith(words)
    (placed,) = w.placed
    number = (
        f"{100 * placed.share.value:.0f} % (95 % interval {100 * placed.low:.0f} to "
        f"{100 * placed.high:.0f} %)"
    )
    assert said.words.endswith(f"{number} of the gain of the ensemble")
    assert said.over_control is None


def test_few_items_leave_it_open_or_say_that_it_may_be_all():
    rng = np.random.default_rng(0)
    member, ensemble, student = (rng.random(60) < a for a in (0.4, 0.75, 0.55))
    w = waterfall(row_mean(member), row_mean(ensemble), row_mean(student))
    assert w.placed[0].low < 0 < 0.5 < w.placed[0].high
    assert transfer(w).answer == "open"
    assert transfer(w).words.startswith("too few items to tell: ")
    rng = np.random.default_rng(0)
    member, ensemble, student = (rng.random(300) < a for a in (0.5, 0.65, 0.6))
    w = waterfall(row_mean(member), row_mean(ensemble), row_mean(student))
    assert 0 < w.placed[0].low < 0.5 < 1 < w.placed[0].high
    assert transfer(w).answer == "partial"
    assert transfer(w).words.endswith("of the gain of the ensemble, and it may be all")


def test_without_a_gain_it_is_open():
    right = row_mean(np.arange(100) < 60)
    said = transfer(waterfall(right, right, right))
    assert said.answer == "open"
    assert said.words.startswith("no gain to transfer was measured: ensemble - mean member")
    worse = transfer(waterfall(right, row_mean(np.arange(100) < 30), right))
    assert worse.answer == "open"
    assert "a loss" in worse.words


def test_what_a_student_of_a_random_teacher_has_too_was_not_transferred():
    student = way(2_000, 0.8)
    above = transfer(student, way(2_000, 0.1, seed=1))
    assert above.answer == "transferred"
    assert above.over_control.low > 0.5
    assert re.search(r"; a student of a random teacher has 1\d %$", above.words)
    for control in (student, way(2_000, 0.8, seed=1), way(2_000, 0.95, seed=1)):
        said = transfer(student, control)
        assert said.answer == "not"
        assert said.words.startswith("less than half came from the teacher, if anything: 80 % (")
    # The paired difference, against the arithmetic of the two shares.
    control = way(2_000, 0.8, seed=1)
    shares = [w.placed[0].share.value for w in (student, control)]
    over = transfer(student, control).over_control
    assert over.share.value == pytest.approx(shares[0] - shares[1])
    assert over.low < over.share.value < over.high
    assert over.high - over.low < student.placed[0].high - student.placed[0].low + 0.1


def test_what_the_control_has_is_not_the_teachers():
    said = transfer(way(2_000, 0.95), way(2_000, 0.65, seed=1))
    assert 0 < said.over_control.low < 0.5
    assert said.answer == "partial"
    assert said.words.startswith("at least a part came from the teacher: 95 % (")


def test_words_say_of_a_control_no_more_than_is_known():
    """It gains nothing here, and the difference is too uncertain for more than a part."""
    rng = np.random.default_rng(35)
    right = [rng.random(900) < a for a in (0.50, 0.70, 0.68, 0.50)]
    member, ensemble, student, control = map(row_mean, right)
    ways = [waterfall(member, ensemble, s) for s in (student, control)]
    said = transfer(*ways)
    assert transfer(ways[0]).answer == "transferred"
    assert ways[1].placed[0].share.value < 0
    assert said.answer == "partial"
    assert said.words.startswith("at least a part came from the teacher: ")


def test_a_control_too_near_to_tell_leaves_it_open():
    items = np.arange(40)
    member, ensemble = row_mean(items < 10), row_mean(items < 30)
    student = waterfall(member, ensemble, ensemble)
    control = waterfall(member, ensemble, row_mean(items >= 12))
    assert transfer(student).answer == "transferred"
    said = transfer(student, control)
    assert said.over_control.low < 0 < 0.5 < said.over_control.high
    assert said.answer == "open"
    assert said.words.startswith("a student of a random teacher may gain as much: 100 % (")


def test_a_control_makes_no_answer_better():
    student = way(2_000, 0.0)
    said = transfer(student, way(2_000, 0.0, seed=1))
    assert said.answer == "not"
    assert said.words.startswith("less than half was transferred, if anything: ")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_wrong_answers_are_as_rare_as_the_interval_says(share: float):
    """300 draws of 400 items: the gain is 4 points, the student errs on other items."""
    rng, said = np.random.default_rng(int(10 * share)), []
    for _ in range(300):
        ease = rng.normal(size=400)
        member, ensemble = ease + rng.normal(size=400) > -0.74, ease + 0.6 * rng.normal(size=400)
        student = np.where(rng.random(400) < share, ensemble, ease + rng.normal(size=400))
        columns = [row_mean(x) for x in (member, ensemble > -0.74, student > -0.74)]
        said.append(transfer(waterfall(*columns, resamples=300)).answer)
    wrong = {0.0: ("transferred", "partial"), 0.5: ("transferred", "not"), 1.0: ("not",)}[share]
    allowed = 0.025 * (2 if share == 0.5 else 1)
    errors = sum(answer in wrong for answer in said)
    assert stats.binomtest(errors, 300, allowed, "greater").pvalue > 0.001, errors
    assert sum(answer != "open" for answer in said) > 0


BAD = {
    "step": (lambda: transfer(way(100, 1.0), of="slected"), "^of: 'slected' is no step"),
    "items": (lambda: transfer(way(200, 1.0), way(100, 1.0)), "^control: is on 100 items"),
    "ensemble": (
        lambda: transfer(way(200, 1.0), way(200, 1.0, gain=0.3)),
        "^control: has another ensemble",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str):
    call, message = BAD[case]
    with pytest.raises(DataError, match=message):
        call()


def test_the_answer_is_a_frozen_result():
    with pytest.raises(AttributeError):
        transfer(way(100, 1.0)).answer = "not"
    assert isinstance(transfer(way(100, 1.0)), Transfer)
