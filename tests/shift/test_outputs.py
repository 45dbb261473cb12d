"""Measures of outputs: benchmark score, agreement, consistency; and whether a set is elsewhere."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ringtest import inference, margins
from ringtest.estimate import Estimate
from ringtest.measure import NotMeasurable, measures
from ringtest.shift.unlabelled import Unlabelled

SCORE, AGREE = measures["outputs.score"], measures["outputs.agreement"]
STAY, ELSEWHERE = measures["outputs.consistency"], measures["shift.domain_auc"]


def agree(at, a, b) -> Estimate:
    return AGREE.compare(AGREE.prepare(a, at), AGREE.prepare(b, at))


# -- score ---------------------------------------------------------------------------------------


def test_the_benchmark_is_a_mean_over_rows_and_slices_have_their_own(rng, seen, setting):
    x = rng.normal(size=(130, 3)).astype(np.float32)
    where = np.array(["a"] * 100 + ["b"] * 30)
    at = setting(x, groups={"site": where, "id": np.arange(130)})
    score = rng.integers(0, 2, size=130).astype(float)
    found = SCORE.read(seen(x, score=score), at)
    got = {r.slice: r.estimate.value for r in found}
    assert got == {
        None: pytest.approx(score.mean()),
        "site=a": pytest.approx(score[:100].mean()),
        "site=b": pytest.approx(score[100:].mean()),
    }


# -- agreement -----------------------------------------------------------------------------------


def test_classes_agree_where_predictions_are_equal(rng, seen, setting):
    x = rng.normal(size=(400, 3)).astype(np.float32)
    at = setting(x, rng.integers(0, 3, size=400))
    p = rng.integers(0, 3, size=400)
    q = np.where(rng.random(400) < 0.25, (p + 1) % 3, p)
    a, b = seen(x, predictions=p), seen(x, predictions=q)
    e = agree(at, a, b)
    assert e.value == np.mean(p == q)
    assert inference.standard_error(e) == pytest.approx(
        math.sqrt(e.value * (1 - e.value) / 399), rel=0.06
    )
    assert agree(at, a, a).value == 1
    made = [AGREE.prepare(m, at) for m in (a, b)]
    want = sum(np.mean(p == k) * np.mean(q == k) for k in range(3))
    assert AGREE.chance(made) == pytest.approx(want)
    assert AGREE.chance(made[:1]) == 0


def ratio(a: np.ndarray, b: np.ndarray) -> float:
    spread = 0.5 * (a.var(0).sum() + b.var(0).sum())
    return 1 - float(((a - b) ** 2).sum(1).mean() / spread)


@pytest.mark.parametrize("noise", [0.2, 1.0])
@pytest.mark.parametrize("clustered", [False, True])
def test_the_influence_of_the_regression_ratio_is_that_of_a_real_bootstrap(
    rng, seen, setting, noise, clustered
):
    n = 600
    cluster = np.repeat(np.arange(n // 4), 4) if clustered else np.arange(n)
    base = rng.normal(size=(n, 2)) + rng.normal(size=(n // 4, 2)).repeat(4, axis=0)
    a = base * [1, 3]
    b = a + noise * rng.normal(size=(n // 4, 2)).repeat(4, axis=0) * (1 + np.abs(base))
    x = rng.normal(size=(n, 3)).astype(np.float32)
    at = setting(x, a, task="regression", cluster=cluster if clustered else None)
    e = agree(at, seen(x, a), seen(x, b))
    # Columns count in units of their targets' SD.
    a, b = a / at.task.scale.numpy(), b / at.task.scale.numpy()
    assert e.value == pytest.approx(ratio(a, b), abs=1e-6)
    groups = [np.flatnonzero(cluster == c) for c in range(cluster.max() + 1)]
    draws = []
    for _ in range(1500):
        rows = np.concatenate([groups[i] for i in rng.integers(0, len(groups), size=len(groups))])
        draws.append(ratio(a[rows], b[rows]))
    assert inference.standard_error(e) == pytest.approx(np.std(draws), rel=0.08)


def test_regression_agreement_of_copies_strangers_and_constants(rng, seen, setting):
    x = rng.normal(size=(3000, 3)).astype(np.float32)
    a, b = rng.normal(size=(2, 3000, 1))
    at = setting(x, a[:, 0], task="regression")
    assert agree(at, seen(x, a), seen(x, a)).value == 1
    made = [AGREE.prepare(seen(x, v), at) for v in (a, b)]
    assert AGREE.chance(made) == -1
    assert AGREE.compare(*made).value == pytest.approx(-1, abs=0.12)
    dead = seen(x, np.ones((3000, 1)))
    with pytest.raises(NotMeasurable):
        agree(at, dead, dead)


def test_embedding_fidelity_is_blind_to_rotation_scale_and_width(rng, seen, setting):
    x = rng.normal(size=(300, 3)).astype(np.float32)
    at = setting(x, task="embedding")
    e = rng.normal(size=(300, 8))
    q = np.linalg.qr(rng.normal(size=(12, 8)))[0]
    same = agree(at, seen(x, e), seen(x, 9 * e @ q.T))
    assert same.value == pytest.approx(1, abs=1e-9)
    near = agree(at, seen(x, e), seen(x, e + rng.normal(size=e.shape)))
    assert 0.3 < near.value < 0.9


@pytest.mark.parametrize("width", [4, 64, 1024])
@pytest.mark.parametrize("n", [150, 400])
def test_unrelated_embeddings_have_no_fidelity_however_wide(rng, seen, setting, width, n):
    """A row among the anchors is like itself in any embedding: that must not count.

    In a wide embedding all else is nearly orthogonal, and it alone would give .8 to strangers.
    """
    x = rng.normal(size=(n, 3)).astype(np.float32)
    at = setting(x, task="embedding")
    e = agree(at, *(seen(x, rng.normal(size=(n, width))) for _ in range(2)))
    assert abs(e.value) < 0.05


# -- consistency ---------------------------------------------------------------------------------


def test_consistency_of_classes_and_values(rng, seen, setting):
    x = rng.normal(size=(500, 3)).astype(np.float32)
    p = rng.integers(0, 3, size=500)
    q = np.where(np.arange(500) < 100, (p + 1) % 3, p)
    at = setting(x, p)
    (r,) = STAY.read(seen(x, predictions=q, clean=seen(x, predictions=p)), at)
    assert r.estimate.value == 0.8
    at = setting(x, rng.normal(size=500), task="regression")
    before = rng.normal(size=(500, 1)) * 7 + 3
    clean = seen(x, before)
    (same,) = STAY.read(seen(x, before, clean=clean), at)
    (shuffled,) = STAY.read(seen(x, before[rng.permutation(500)], clean=clean), at)
    assert same.estimate.value == 1
    assert shuffled.estimate.value == pytest.approx(0, abs=0.12)
    dead = seen(x, np.ones((500, 1)))
    with pytest.raises(NotMeasurable):
        STAY.read(seen(x, np.ones((500, 1)), clean=dead), at)


# -- elsewhere -----------------------------------------------------------------------------------


def auc(seen, setting, here, there) -> float:
    at = setting(here, condition=Unlabelled("there"), unlabelled={"there": torch.as_tensor(there)})
    at = replace(at, rows=np.arange(len(there)))
    (r,) = ELSEWHERE.read(seen(there, clean=seen(here)), at)
    assert math.isnan(inference.standard_error(r.estimate))
    return r.estimate.value


def test_a_set_from_the_benchmark_itself_is_not_elsewhere(rng, seen, setting):
    here = rng.normal(size=(500, 8)).astype(np.float32)
    found = [
        auc(seen, setting, here, rng.normal(size=(m, 8)).astype(np.float32))
        for m in (300, 500, 900)
    ]
    assert all(abs(a - 0.5) < 0.07 for a in found)
    # the very rows: what is held out is in the training rows under the other answer
    assert auc(seen, setting, here, here.copy()) < margins.ELSEWHERE_AUC


def test_a_set_from_elsewhere_is(rng, seen, setting):
    here = rng.normal(size=(400, 8)).astype(np.float32)
    assert auc(seen, setting, here, here[:200] + 0.6) > 0.75
    assert auc(seen, setting, here + 1e4, here[:200] + 1e4 + 3) > 0.95


def test_wide_layers_do_not_invent_a_shift(rng, seen, setting):
    here, there = (rng.normal(size=(150, 700)).astype(np.float32) for _ in range(2))
    assert abs(auc(seen, setting, here, there) - 0.5) < 0.1


def test_rows_repeated_in_a_set_do_not_make_it_elsewhere(rng, seen, setting):
    """Copies of a row lie in training and held-out folds alike, so a probe could know them."""
    here = rng.normal(size=(300, 200)).astype(np.float32)
    there = np.tile(rng.normal(size=(30, 200)), (10, 1)).astype(np.float32)
    assert auc(seen, setting, here, there) < margins.ELSEWHERE_AUC


def test_a_handful_of_rows_says_nothing(rng, seen, setting):
    here = rng.normal(size=(100, 4)).astype(np.float32)
    with pytest.raises(NotMeasurable, match="different rows"):
        auc(seen, setting, here, np.tile(here[:3] + 9, (40, 1)))
