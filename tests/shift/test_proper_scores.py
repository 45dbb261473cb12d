"""Loss and Brier score, beside scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss, r2_score

from ringtest import inference, tasks
from ringtest.condition import Condition
from ringtest.measure import measures

LOSS, BRIER = measures["outputs.loss"], measures["outputs.brier"]


def one(entry, evidence, at):
    (found,) = entry.read(evidence, at)
    return found


@pytest.fixture
def guesses(rng):
    """(n, 4) log-probabilities, and classes that follow them."""
    logits = rng.normal(size=(300, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([rng.choice(4, p=row) for row in p])
    return np.log(p), y


def test_losses_of_classes_are_those_of_scikit_learn(rng, seen, setting, guesses):
    logs, y = guesses
    x = rng.normal(size=(300, 3)).astype(np.float32)
    at, made = setting(x, y), seen(x, logs)
    nats = one(LOSS, made, at)
    assert nats.estimate.value == pytest.approx(log_loss(y, np.exp(logs)))
    assert (nats.unit, nats.estimate.n) == ("nats", 300)
    each = -logs[np.arange(300), y]
    se = each.std(ddof=1) / np.sqrt(300)
    assert inference.standard_error(nats.estimate) == pytest.approx(se, rel=0.06)
    brier = one(BRIER, made, at).estimate.value
    assert brier == pytest.approx(((np.exp(logs) - np.eye(4)[y]) ** 2).sum(1).mean())


def test_of_two_classes_the_brier_score_is_twice_that_of_one(rng, seen, setting):
    p, y = rng.random(200), rng.integers(0, 2, size=200)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    made = seen(x, np.log(np.stack([1 - p, p], 1)))
    found = one(BRIER, made, setting(x, y)).estimate.value
    assert found == pytest.approx(2 * brier_score_loss(y, p))


def test_the_surest_models_have_the_extreme_scores(rng, seen, setting):
    x, y = rng.normal(size=(50, 3)).astype(np.float32), np.arange(50) % 2
    task = setting(x, y).task
    for classes, low, high in ((y, 0.0, 0.0), (1 - y, 2.0, 87.4)):
        logs = task.canonical(torch.eye(2)[torch.as_tensor(classes)], probabilities=True)
        assert one(BRIER, seen(x, logs), setting(x, y)).estimate.value == pytest.approx(low)
        assert one(LOSS, seen(x, logs), setting(x, y)).estimate.value == pytest.approx(
            high, abs=0.1
        )


def test_the_loss_of_values_is_what_r2_leaves(rng, seen, setting):
    x, y = rng.normal(size=(300, 3)).astype(np.float32), rng.normal(size=(300, 2)) * [1, 40]
    out = y + rng.normal(size=(300, 2)) * [0.5, 8]
    at = setting(x, y, task="regression")
    score = at.task.score(torch.as_tensor(out), torch.as_tensor(y)).numpy()
    found = one(LOSS, seen(x, out, score=score), at)
    assert found.estimate.value == pytest.approx(1 - r2_score(y, out))
    assert found.unit == "target variances"
    # With a metric of the user's in its place the sampled outputs are left to tell.
    at.task.metric = lambda outputs, targets: torch.zeros(len(outputs))
    again = one(LOSS, seen(x, out, score=np.zeros(300)), at)
    assert again.estimate.value == pytest.approx(found.estimate.value, rel=1e-5)


class Elsewhere(Condition):
    kind, keeps_rows = "test.elsewhere", False


class Relabelled(Condition):
    kind, keeps_targets = "test.relabelled", False


@pytest.mark.parametrize("name", [
    "outputs.loss", "outputs.brier", "outputs.calibration", "outputs.worst_group",
    "outputs.corruption_error", "outputs.fidelity",
])  # fmt: skip
def test_where_targets_do_not_hold_there_is_nothing_to_be_right_about(rng, setting, name):
    at = setting(rng.normal(size=(9, 2)).astype(np.float32), groups={"a": np.arange(9) % 2})
    entry = measures[name]
    assert entry.applies(at.condition, at.data, at.task)
    for condition in (Elsewhere(), Relabelled()):
        assert not entry.applies(condition, at.data, at.task)
    assert not entry.applies(at.condition, at.data, tasks.make("embedding", at.data))
    # These are part of the first section of the report; others only on request.
    assert entry.default is (name in ("outputs.calibration", "outputs.fidelity"))
    assert entry.group is None
