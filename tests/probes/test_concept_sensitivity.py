"""TCAV against captum's, scikit-learn and scipy, and on concepts whose use is known."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from usage_models import hooks, linear, numbers, one, seeded

import ringtest
from ringtest import blocks, inference, margins, rerun
from ringtest.data import AuditData
from ringtest.measure import measures
from ringtest.probes.concept_vectors import GROUPS, SHUFFLES, learn, slopes, vectors, welch
from ringtest.probes.running import Site

TCAV = measures["usage.concept_sensitivity"]
BODY, LAST = "0", "input of 2"


def table(n: int = 800, width: int = 8) -> AuditData:
    """Three concepts that are independent: the target's, one that also counts, one that is idle."""
    x = numbers(n, width)
    y = (x[:, 0] + 0.7 * x[:, 1] > 0).long().numpy()
    concepts = {
        "counts": (x[:, 1] > 0).long().numpy(),
        "against": np.where(x[:, 1] > 0, "no", "yes"),
        "idle": (x[:, 2] > 0).long().numpy(),
        "noise": np.random.default_rng(0).integers(0, 2, n),
    }
    return AuditData(x, y, concepts=concepts)


def net(width: int = 8) -> nn.Module:
    """Reads the first two numbers; every number has a unit of its own."""
    head = torch.zeros(2, width)
    head[1, 0], head[1, 1] = 2.0, 1.4
    return nn.Sequential(
        linear(torch.eye(width)), nn.Tanh(), linear(torch.stack([-head[1], head[1]]))
    )


def found(data: AuditData, model: nn.Module, layer: str) -> dict[tuple[str, str], object]:
    read = TCAV.read(*one(model, data))
    return {(r.concept, r.slice): r for r in read if r.layer == layer}


# -- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "d"), [(80, 6), (40, 90)])
def test_vectors_are_those_of_ridge_on_standardised_features(m: int, d: int) -> None:
    x = (numbers(m, d) * torch.logspace(-1, 2, d) + 3).double()
    x[:, 1] = 4.0
    y = torch.stack([(x[:, 0] > 3).double(), (x[:, 2] > x[:, 2].median()).double()], 1)
    mine = vectors(x, y)
    scaler = StandardScaler().fit(x.numpy())
    fitted = Ridge(alpha=margins.PROBE_RIDGE * m).fit(scaler.transform(x.numpy()), y.numpy())
    wanted = fitted.coef_.T / scaler.scale_[:, None]
    wanted[1] = 0  # it does not vary
    np.testing.assert_allclose(mine.numpy(), wanted, atol=1e-8, rtol=1e-6)


def test_the_t_test_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    for a, b in [(10, 30), (4, 5), (10, 30)]:
        x, y = rng.normal(0.4, 2, a), rng.normal(0, 1, b)
        wanted = stats.ttest_ind(x, y, equal_var=False).pvalue
        assert welch(x, y) == pytest.approx(wanted, rel=1e-9)
    ones = np.ones(10)
    assert welch(ones, ones) == 1.0
    assert welch(ones, np.zeros(30)) == 0.0


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 5, 3), nn.ReLU(inplace=True)
        self.more, self.head = nn.Conv2d(5, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.more(self.relu(self.conv(x))).tanh().mean((2, 3)))


def test_slopes_are_the_gradients_by_hand() -> None:
    """Of all positions together, and what works in place afterwards changes none of it."""
    x, y = numbers(300, 1, 6, 6), torch.arange(300) % 3
    model = seeded(Conv)
    evidence, at = one(model, AuditData(x, y.numpy()))
    sites = [Site.of(evidence.model, name, at) for name in evidence.names]
    mine = slopes(evidence.model, sites, at, y)
    first = model.conv(x).detach().requires_grad_(True)
    more = model.more(first.relu())
    pooled = more.tanh().mean((2, 3))
    out = model.head(pooled).log_softmax(1)
    logit = (out - out.mean(1, keepdim=True)).gather(1, y[:, None]).sum()
    grads = torch.autograd.grad(logit, [first, more, pooled])
    wanted = {
        "conv": grads[0].sum((2, 3)),
        "more": grads[1].sum((2, 3)),
        "input of head": grads[2],
    }
    for name, gradient in wanted.items():
        np.testing.assert_allclose(mine[name], gradient.numpy(), atol=1e-6, rtol=1e-4)
    assert all(p.grad is None for p in model.parameters())
    assert hooks(model) == 0


def test_frozen_models_have_slopes_too() -> None:
    data = table(200)
    free, at = one(net(), data)
    frozen, _ = one(net().requires_grad_(False), data)
    y = torch.as_tensor(data.targets)
    one_, other = (
        slopes(e.model, [Site.of(e.model, BODY, at)], at, y)[BODY] for e in (free, frozen)
    )
    np.testing.assert_array_equal(one_, other)


def test_random_splits_are_as_uneven_as_the_real_one() -> None:
    x = numbers(400, 3).double()
    y = (numbers(400, seed=2) > 0.8).double()[:, None]
    group = torch.arange(400) % GROUPS
    made = learn(x, y, torch.arange(400) % 20, group, 0)
    assert made.apart.shape == (GROUPS, 3, 1)
    assert made.random.shape == (GROUPS * SHUFFLES, 3, 1)
    assert made.deleted.shape == (20, 3, 1)
    torch.testing.assert_close(made.whole, vectors(x, y))
    kept = torch.arange(400) % 20 != 4
    torch.testing.assert_close(made.deleted[4], vectors(x[kept], y[kept]))
    torch.testing.assert_close(made.apart[2], vectors(x[group == 2], y[group == 2]))
    # No random split is a real one, and none is another.
    assert len({tuple(v.flatten().tolist()) for v in (*made.random, *made.apart)}) == 40


# -- concepts whose use is known -------------------------------------------------------------------


@pytest.mark.parametrize("layer", [BODY, LAST])
def test_concepts_speak_for_a_class_against_it_or_not_at_all(layer: str) -> None:
    seen = found(table(), net(), layer)
    # Before the tanh, a few rows lie where only other units still have a slope.
    slack = 0.0 if layer == LAST else 0.05
    for concept, label, share in [
        ("target=1", 1, 1),
        ("target=0", 0, 1),
        ("counts=1", 1, 1),
        ("counts=1", 0, 0),
        ("against=yes", 1, 0),  # "yes" is where the number is small
        ("against=yes", 0, 1),
    ]:
        value = seen[concept, f"target={label}"].estimate.value
        assert value == pytest.approx(share, abs=slack), (concept, label)
    for label in (0, 1):
        for name in ("idle=1", "noise=1"):
            reading = seen[name, f"target={label}"]
            assert math.isnan(reading.estimate.value)
            assert "not told from random concepts (p = " in reading.reason


def test_concepts_without_a_meaning_are_seldom_told_from_random_ones() -> None:
    """One and the same set of random labels, ten times: its own directions must not vouch for it.

    Directions of overlapping rows agree with each other whatever the labels are.
    """
    data = table(600)
    told = []
    for seed in range(12):
        labels = np.random.default_rng(seed).integers(0, 2, 600)
        data = AuditData(data.inputs, data.targets, concepts={"noise": labels})
        evidence, at = one(net(), data)
        read = TCAV.read(evidence, replace(at, seed=seed))
        told += [math.isfinite(r.estimate.value) for r in read if r.concept == "noise=1"]
    assert np.mean(told) <= 0.1


def test_a_share_between_none_and_all_comes_with_its_jackknife() -> None:
    """A logit that rises with a number here and falls with it there."""

    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.more = linear(torch.eye(4)), linear(torch.eye(4))
            self.head = linear([[-1.0, 0, 0, 0], [1.0, 0, 0, 0]])

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            # With slope 1 above -1 and slope -1/2 below
            return self.head(self.more(torch.where(h > -1, h, -0.5 * h - 1.5)))

    x = numbers(800, 4)
    data = AuditData(
        x, (x[:, 1] > 0).long().numpy(), concepts={"large": (x[:, 0] > 0).long().numpy()}
    )
    evidence, at = one(Bent(), data, layers=["body"])
    read = {(r.concept, r.slice): r for r in TCAV.read(evidence, at) if r.layer == "body"}
    reading = read["large=1", "target=1"]
    some, _ = rerun.few(at, TCAV.rows)
    rows = x[some.rows][data.targets[some.rows] == 1]
    wanted = (rows[:, 0] > -1).double().mean()
    assert 0.7 < float(wanted) < 0.95
    assert reading.estimate.value == pytest.approx(float(wanted), abs=1e-9)
    assert reading.estimate.n == len(rows)
    group = blocks.folds(800, margins.JACKKNIFE_GROUPS)[some.rows][data.targets[some.rows] == 1]
    left = np.array([float((rows[group != g, 0] > -1).double().mean()) for g in range(20)])
    se = math.sqrt(19 / 20 * np.sum((left - left.mean()) ** 2))
    assert inference.standard_error(reading.estimate) == pytest.approx(se, rel=1e-9)


def test_the_share_is_that_of_captum(tmp_path) -> None:
    """Its TCAV with a classifier that learns the same directions."""
    from captum.concept import TCAV as Theirs
    from captum.concept import Classifier, Concept

    data = table(400, 6)
    model = seeded(
        lambda: nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5), nn.Linear(5, 2))
    )
    with torch.no_grad():
        model[0].weight *= 4  # far enough into the tanh that the slopes turn
    evidence, at = one(model, data)
    y = torch.as_tensor(data.targets)
    site = Site.of(evidence.model, "0", at)
    slope = slopes(evidence.model, [site], at, y)["0"]
    idle = torch.as_tensor(data.concepts["idle"])

    class Own(Classifier):
        def __init__(self) -> None:
            self.found = torch.empty(0)

        def train_and_eval(self, dataloader, **kwargs):
            x, labels = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
            direction = vectors(x.double(), (labels == 0).double()[:, None])[:, 0]
            self.found = torch.stack([direction, -direction]).float()
            return {}

        def weights(self):
            return self.found

        def classes(self):
            return [0, 1]

    def concept(number: int, value: int) -> Concept:
        rows = data.inputs[idle == value]
        return Concept(number, f"idle {value}", [rows])

    class Logits(nn.Module):
        """What we explain: logits over their mean."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            out = self.inner(x)
            return out - out.mean(1, keepdim=True)

    pair = [concept(0, 1), concept(1, 0)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Theirs(Logits(), ["inner.0"], classifier=Own(), save_path=str(tmp_path))
        shares = []
        for label in (0, 1):
            scores = theirs.interpret(data.inputs[y == label], [pair], target=label)
            (by_layer,) = scores.values()
            wanted = float(by_layer["inner.0"]["sign_count"][0])
            direction = vectors(evidence.sample["0"].double(), idle.double()[:, None])[:, 0]
            mine = float((slope[(y == label).numpy()] @ direction.numpy() > 0).mean())
            assert mine == pytest.approx(wanted, abs=1e-6)
            shares.append(mine)
        assert any(0.0 < share < 1.0 for share in shares)


def test_many_classes_are_asked_about_their_own_logits() -> None:
    x = numbers(900, 6)
    y = x[:, :3].argmax(1).numpy()
    model = nn.Sequential(linear(torch.eye(6)), nn.Tanh(), linear(3 * torch.eye(6)[:3]))
    data = AuditData(x, y, concepts={"third": np.digitize(x[:, 2], [-0.5, 0.5])})
    seen = found(data, model, LAST)
    own = {k: r for k, r in seen.items() if k[0].startswith("target")}
    assert set(own) == {(f"target={k}", f"target={k}") for k in range(3)}
    assert all(r.estimate.value == 1.0 for r in own.values())
    assert {k for k in seen if k not in own} == {
        (f"third={v}", f"target={k}") for v in range(3) for k in range(3)
    }
    assert seen["third=2", "target=2"].estimate.value == 1.0
    assert seen["third=0", "target=2"].estimate.value == 0.0


# -- bad input -------------------------------------------------------------------------------------


def test_values_one_sided_concepts_and_small_data_are_told() -> None:
    data = table(200)
    rare = np.zeros(200, dtype=int)
    rare[:7] = 1
    concepts = {"level": data.inputs[:, 1].numpy(), "same": np.ones(200, dtype=int), "rare": rare}
    data = AuditData(data.inputs, data.targets, concepts=concepts)
    read = TCAV.read(*one(net(), data))
    # One reading for one obstacle, whatever the layers and classes.
    others = [r for r in read if not r.concept.startswith("target")]
    assert [r.concept for r in others] == ["level", "same", "rare=1"]
    assert all(math.isnan(r.estimate.value) and r.layer is None for r in others)
    reasons = {r.concept: r.reason for r in others}
    assert "holds values" in reasons["level"]
    assert "one value only" in reasons["same"]
    assert "not both met and missed" in reasons["rare=1"]
    tiny = table(9)
    read = TCAV.read(*one(net(), tiny))
    assert all(math.isnan(r.estimate.value) and r.reason for r in read)
    assert len({r.reason for r in read}) == len(read) > 0


@pytest.mark.usefixtures("asked_alone")
def test_an_obstacle_in_the_data_is_one_row_of_the_report() -> None:
    data = table(300)
    data = AuditData(data.inputs, data.targets, concepts={"level": data.inputs[:, 1].numpy()})
    report = ringtest.audit(net(), net(), data, progress=False, cells=[(TCAV.id, "clean")])
    rows = [r for r in report.rows if r.measure == TCAV.id and r.concept == "level"]
    assert [(r.status, r.student_layer) for r in rows] == [("not_measurable", None)]
    assert "holds values" in rows[0].reason


@pytest.mark.parametrize("bad", [math.nan, math.inf, "constant"])
def test_a_damaged_layer_says_so(bad: float | str) -> None:
    evidence, at = one(net(), table(400))
    damaged = evidence.sample[LAST].clone()
    if bad == "constant":
        damaged[:] = 2.0
    else:
        damaged[3, 1] = bad
    evidence.sample[LAST] = damaged
    read = TCAV.read(evidence, at)
    assert all(math.isnan(r.estimate.value) and LAST in r.reason for r in read if r.layer == LAST)
    assert any(math.isfinite(r.estimate.value) for r in read if r.layer != LAST)


def test_a_layer_that_no_answer_depends_on_is_told() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.aside, self.head = linear(torch.eye(8)), linear(numbers(2, 8, seed=2))

        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            return self.head(x)

    evidence, at = one(Aside(), table(200))
    assert "aside" in evidence.names
    read = TCAV.read(evidence, at)
    assert {r.reason for r in read if r.layer == "aside"} == {
        "net: no answer depends on layer aside"
    }
    assert any(math.isfinite(r.estimate.value) for r in read if r.layer != "aside")


def test_a_dead_head_tells_nothing_apart() -> None:
    dead = nn.Sequential(linear(torch.eye(8)), linear(torch.zeros(2, 8), torch.tensor([0.0, 1.0])))
    read = TCAV.read(*one(dead, table(300)))
    assert all(math.isnan(r.estimate.value) and r.reason for r in read)
