"""Fidelity on both sides of the teacher's truth, and agreement under a shift beside that before."""

import numpy as np
import pytest

from ringtest import inference
from ringtest.beside import Beside
from ringtest.condition import Condition
from ringtest.measure import NotMeasurable, measures

FIDELITY = measures["outputs.fidelity"]
CHANGE, AGREE = measures["outputs.agreement_change"], measures["outputs.agreement"]
RIGHT, WRONG = (f"share where the teacher is {side}" for side in ("right", "wrong"))


class Moved(Condition):
    kind = "test.moved"


class Elsewhere(Condition):
    kind, keeps_rows = "test.elsewhere", False


def read(seen, setting, targets, teacher, mine, **more):
    x = np.zeros((len(targets), 1), dtype=np.float32)
    beside = Beside(np.zeros(len(targets)), (teacher == targets) * 1.0, teacher)
    at = setting(x, targets, **more)
    return {r.statistic: r for r in FIDELITY.read(seen(x, predictions=mine, beside=beside), at)}


def test_both_sides_by_hand(seen, setting):
    targets = np.arange(200) % 2
    teacher = targets.copy()
    teacher[:40] ^= 1
    mine = targets.copy()
    mine[:10] ^= 1  # ten of the teacher's mistakes
    mine[100:116] ^= 1  # and sixteen of its own
    found = read(seen, setting, targets, teacher, mine)
    assert found[WRONG].estimate.value == pytest.approx(10 / 40)
    assert found[RIGHT].estimate.value == pytest.approx(144 / 160)
    assert found[WRONG].estimate.n == found[WRONG].params["rows"] == 40
    assert {e.estimate.units for e in found.values()} == {200}
    # As if the 40 rows were all there are, but that their number varies.
    se = inference.standard_error(found[WRONG].estimate)
    assert se == pytest.approx(np.sqrt(0.25 * 0.75 / 40), rel=0.08)


def test_learning_from_targets_alone_is_no_fidelity(rng, seen, setting):
    """Equal accuracy: a copy follows the teacher's mistakes, a stranger those of a chance."""
    targets = rng.integers(0, 5, size=4_000)
    teacher = np.where(rng.random(4_000) < 0.2, (targets + 1) % 5, targets)
    stranger = np.where(rng.random(4_000) < 0.2, (targets + 1) % 5, targets)
    copy = read(seen, setting, targets, teacher, teacher)
    found = read(seen, setting, targets, teacher, stranger)
    assert copy[RIGHT].estimate.value == copy[WRONG].estimate.value == 1.0
    assert found[RIGHT].estimate.value == pytest.approx(0.8, abs=0.03)
    assert found[WRONG].estimate.value == pytest.approx(0.2, abs=0.05)


def test_a_side_of_few_rows_is_not_told(seen, setting):
    targets = np.arange(100) % 2
    teacher = targets.copy()
    teacher[:19] ^= 1
    found = read(seen, setting, targets, teacher, teacher)
    assert found[WRONG].reason == "the teacher is wrong on 19 rows, under 20"
    assert np.isnan(found[WRONG].estimate.value)
    assert found[RIGHT].estimate.value == 1.0


def test_a_single_member_has_nobody_beside_it(seen, setting):
    x = np.zeros((30, 1), dtype=np.float32)
    with pytest.raises(NotMeasurable, match="no other member"):
        FIDELITY.read(seen(x, predictions=np.zeros(30, int)), setting(x))


# -- agreement under a shift beside that before ----------------------------------------------------


def changed(at, *models):
    return CHANGE.compare(*(CHANGE.prepare(m, at) for m in models))


def test_the_change_of_classes_is_paired(rng, seen, setting):
    x = rng.normal(size=(600, 3)).astype(np.float32)
    p, flips = rng.integers(0, 3, size=600), rng.random((2, 600))
    before = [seen(x, predictions=v) for v in (p, np.where(flips[0] < 0.1, (p + 1) % 3, p))]
    # Where they were of two minds before they mostly are now.
    q = np.where((flips[0] < 0.1) | (flips[1] < 0.1), (p + 1) % 3, p)
    now = [seen(x, predictions=v, clean=c) for v, c in zip((p, q), before, strict=True)]
    e = changed(setting(x, p, condition=Moved()), *now)
    rows = (p == q) * 1.0 - (flips[0] >= 0.1)
    assert e.value == pytest.approx(rows.mean())
    assert inference.standard_error(e) == pytest.approx(rows.std(ddof=1) / np.sqrt(600), rel=0.06)


@pytest.mark.parametrize("task", ["regression", "embedding"])
def test_values_and_embeddings_change_by_agreements_own_rule(rng, seen, setting, task):
    x, y = rng.normal(size=(300, 3)).astype(np.float32), rng.normal(size=(300, 4))
    here = setting(x, y if task == "regression" else None, task=task)
    there = setting(x, y if task == "regression" else None, task=task, condition=Moved())
    before = [seen(x, y + 0.3 * rng.normal(size=y.shape)) for _ in range(2)]
    now = [seen(x, y + rng.normal(size=y.shape), clean=b) for b in before]

    def agree(at, models):
        return AGREE.compare(*(AGREE.prepare(m, at) for m in models)).value

    e = changed(there, *now)
    assert e.value == pytest.approx(agree(there, now) - agree(here, before))
    assert e.value < -0.1
    assert 0 < inference.standard_error(e) < 0.1
    assert changed(there, now[0], now[0]).value == pytest.approx(0.0, abs=1e-9)


def test_of_other_rows_the_errors_add(rng, seen, setting):
    x = rng.normal(size=(500, 3)).astype(np.float32)
    before = [seen(x, predictions=v) for v in rng.integers(0, 2, size=(2, 500))]
    now = [
        seen(x[:300], predictions=v, clean=c)
        for v, c in zip(rng.integers(0, 2, size=(2, 300)), before, strict=True)
    ]
    e = changed(setting(x, condition=Elsewhere()), *now)
    assert e.units == 800
    se = inference.standard_error(e)
    assert se == pytest.approx(np.sqrt(0.25 / 300 + 0.25 / 500), rel=0.06)


def test_without_clean_rows_nothing_has_changed(rng, seen, setting):
    x = rng.normal(size=(30, 3)).astype(np.float32)
    with pytest.raises(NotMeasurable, match="clean rows"):
        CHANGE.prepare(seen(x, predictions=np.zeros(30, int)), setting(x, condition=Moved()))
