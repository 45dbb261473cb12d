"""Erasure of what is used and of what only can be decoded, against LEACE computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from torch import nn
from usage_models import linear, numbers, one, reads, seeded

from ringtest import blocks, inference, rerun
from ringtest.data import AuditData
from ringtest.estimate import t_quantile
from ringtest.measure import NotMeasurable, measures
from ringtest.probes import interventions
from ringtest.probes.erasure import Span, noise
from ringtest.probes.interventions import span_of
from ringtest.probes.running import Site
from ringtest.probes.usage_erasure import moved

ERASURE = measures["usage.erasure"]
LAST = "input of 2"


def rows(n: int = 400, width: int = 24, **more: object) -> AuditData:
    """The target is the sign of the first number, the concept ``idle`` that of the second."""
    x = numbers(n, width)
    target = (x[:, 0] > 0).long().numpy()
    idle = (x[:, 1] > 0).long().numpy()
    return AuditData(x, target, concepts={"idle": idle}, **more)


def last(found: list) -> dict:
    return {r.concept: r for r in found if r.layer == LAST}


def leace(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Rows after LEACE, by the formula of Belrose et al. 2023, theorem 4.3."""
    centred, z = x - x.mean(0), z - z.mean(0)
    whiten = np.linalg.pinv(scipy.linalg.sqrtm(centred.T @ centred / len(x)).real)
    cross = whiten @ (centred.T @ z / len(x))
    projection = cross @ np.linalg.pinv(cross)
    return x - (np.linalg.pinv(whiten) @ projection @ whiten @ centred.T).T


def test_what_the_head_uses_moves_the_outputs_and_what_it_ignores_does_not() -> None:
    data = rows()
    found = last(ERASURE.read(*one(reads({0: 6.0}, 24), data)))
    assert found["target"].estimate.value > 0.25
    assert inference.standard_error(found["target"].estimate) < 0.05
    # Less than a random subspace, which holds a little of everything.
    assert -0.05 < found["idle"].estimate.value <= 0.005
    # The idle concept is there to be decoded, as well as the other.
    evidence, at = one(reads({0: 6.0}, 24), data)
    (decoded,) = (
        r
        for r in measures["probe.decodability"].read(evidence, at)
        if (r.layer, r.concept) == (LAST, "idle")
    )
    assert decoded.estimate.value > 0.9
    # The other way round: now it is the head's.
    swapped = last(ERASURE.read(*one(reads({1: 6.0}, 24), data)))
    assert swapped["idle"].estimate.value > 0.25
    assert -0.05 < swapped["target"].estimate.value <= 0.005


@pytest.mark.parametrize("concept", ["target", "idle"])
def test_the_movement_is_that_of_leace_by_hand(concept: str) -> None:
    data = rows(200, 8)
    net = reads({0: 2.0, 1: 1.0, 5: -1.0}, 8)
    evidence, at = one(net, data)
    hidden = evidence.sample[LAST].double().numpy()
    codes = data.targets if concept == "target" else data.concepts["idle"]
    z = np.eye(2)[codes]
    seed = blocks.generator(at.seed, ERASURE.id, concept)
    columns = [noise(200, 1, seed).numpy() for _ in range(ERASURE.draws)]
    weight = net[2].weight.detach().double().numpy()

    def answers(h: np.ndarray) -> np.ndarray:
        return scipy.special.softmax(h @ weight.T, axis=1)

    plain = answers(hidden)
    real, *random = (
        np.abs(answers(leace(hidden, columns_)) - plain).sum(1) / 2 for columns_ in [z, *columns]
    )
    (found,) = (r for r in ERASURE.read(evidence, at) if (r.layer, r.concept) == (LAST, concept))
    rows_ = real - np.mean(random, 0)
    assert found.estimate.value == pytest.approx(rows_.mean(), abs=1e-6)
    assert found.estimate.n == 200
    drawn = np.var(np.mean(random, 1), ddof=1) * (1 + 1 / ERASURE.draws)
    se = inference.standard_error(found.estimate)
    assert se == pytest.approx(math.sqrt(rows_.var(ddof=1) / 200 + drawn), rel=0.1)


def test_values_that_are_the_whole_answer_take_all_its_variance() -> None:
    """A head that is the concept: without it the answer is constant, its movement the variance."""
    x = numbers(300, 10)
    y = (3 * x[:, 0]).numpy()
    net = nn.Sequential(linear(torch.eye(10)), linear(3 * torch.eye(10)[:1]))
    evidence, at = one(net, AuditData(x, y), "regression")
    name = evidence.names[-1]
    span = Span.of(evidence.sample[name])
    own = span.erase(torch.as_tensor(y)[:, None])
    (real,) = moved(Site.of(evidence.model, name, at), [own], at)
    assert float(real.mean()) == pytest.approx(1.0, abs=1e-5)
    found = next(r for r in ERASURE.read(evidence, at) if r.layer == name)
    assert found.statistic == "movement / variance over random"
    # A random one of ten directions holds a tenth of it.
    assert 0.6 < found.estimate.value < 1.0


def test_embeddings_are_measured_as_directions() -> None:
    x = numbers(300, 12)
    concept = (x[:, 0] > 0).long().numpy()
    # The embedding is mostly its first number.
    net = nn.Sequential(linear(torch.eye(12)), linear(torch.diag(torch.tensor([9.0] + [1.0] * 11))))
    data = AuditData(x, None, concepts={"first": concept, "other": (x[:, 1] > 0).long().numpy()})
    evidence, at = one(net, data, "embedding")
    found = {r.concept: r.estimate.value for r in ERASURE.read(evidence, at) if r.layer == "output"}
    assert found["first"] > 0.2
    assert abs(found["other"]) < 0.2 < found["first"] - found["other"]


@pytest.fixture
def undecoded(monkeypatch) -> None:
    """Concepts need not be there to be decoded."""
    monkeypatch.setattr(interventions, "unheld", lambda *_: "")


def test_random_labels_are_used_like_random_subspaces(undecoded) -> None:
    data = rows(600, 12)
    made = []
    for seed in range(8):
        noise_ = np.random.default_rng(seed).integers(0, 2, 600)
        data = AuditData(data.inputs, data.targets, concepts={"noise": noise_})
        evidence, at = one(reads({0: 3.0, 1: 3.0, 2: -2.0}, 12), data)
        made.append(last(ERASURE.read(evidence, replace(at, seed=seed)))["noise"].estimate.value)
    assert np.mean(made) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("entry", [ERASURE, measures["usage.interchange"]], ids=lambda e: e.id)
def test_intervals_of_random_labels_hold_their_true_value(entry, undecoded) -> None:
    """Which subspaces were drawn counts: rows alone were sure of a use in most of these."""
    x, rng = numbers(300, 20), np.random.default_rng(0)
    labels = {f"r{i}": rng.integers(0, 2, 300) for i in range(24)}
    data = AuditData(x, (x[:, 0] > 0).long().numpy(), concepts=labels)
    found = last(entry.read(*one(reads({0: 2.0, 1: 1.0, 2: -1.0}, 20), data)))
    made = [found[name].estimate for name in labels]
    scores = np.array([abs(e.value) / inference.standard_error(e) for e in made])
    held = [t_quantile(0.95, e.dof) for e in made]
    assert (scores > held).sum() <= 4  # of 24; 1.2 are expected
    without = np.array(
        [abs(e.value) / np.sqrt((e.influence[: -entry.draws] ** 2).sum()) for e in made]
    )
    assert (without > 2).sum() >= 8


def test_a_concept_that_the_layer_lost_has_no_number() -> None:
    """However it moves the outputs: there is nothing of it to be used."""
    data = rows(300, 8)
    labels = np.random.default_rng(0).integers(0, 2, 300)
    data = AuditData(data.inputs, data.targets, concepts={"noise": labels})
    found = ERASURE.read(*one(reads({0: 2.0}, 8), data))
    for r in found:
        assert math.isnan(r.estimate.value) == (r.concept == "noise")
        if r.concept == "noise":
            assert r.reason.startswith(f"net: layer {r.layer}: noise cannot be decoded from the")


def test_what_two_models_share_of_a_draw_falls_out_of_their_difference() -> None:
    data = rows(300, 8)
    first, second, third = (
        last(ERASURE.read(*one(net, data)))["target"].estimate
        for net in (reads({0: 2.0}, 8), reads({0: 2.0}, 8), reads({0: 2.0, 3: 3.0, 5: -2.0}, 8))
    )
    assert inference.standard_error(first - second) == 0
    apart = first - third
    assert (apart.influence[-ERASURE.draws :] ** 2).sum() > 0
    # Fewer draws than rows: the interval is that of a t with fewer degrees of freedom.
    assert ERASURE.draws - 1 <= apart.dof < 299


def test_every_layer_of_a_convolution_is_run() -> None:
    """Channels are edited at every pixel."""
    x = numbers(200, 1, 6, 6)
    target = (x.mean((1, 2, 3)) > 0).long().numpy()

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
        )

    evidence, at = one(seeded(make), AuditData(x, target))
    found = ERASURE.read(evidence, at)
    assert {r.layer for r in found} == set(evidence.names)
    assert all(math.isfinite(r.estimate.value) for r in found), [r.reason for r in found]
    assert [r.depth for r in found] == [evidence.depth(n) for n in evidence.names]


# -- what cannot be measured -----------------------------------------------------------------------


def test_a_concept_with_one_value_is_told() -> None:
    data = rows(100, 6)
    data = AuditData(data.inputs, data.targets, concepts={"same": np.ones(100, dtype=int)})
    found = last(ERASURE.read(*one(reads({0: 1.0}, 6), data)))
    assert math.isnan(found["same"].estimate.value)
    assert "one value only" in found["same"].reason
    assert math.isfinite(found["target"].estimate.value)


def test_a_concept_as_wide_as_the_layer_is_told() -> None:
    x = numbers(200, 2)
    data = AuditData(x, torch.cat([x, -x.sum(1, keepdim=True)], 1).argmax(1).numpy())
    net = nn.Sequential(linear(torch.eye(2)), linear(torch.ones(3, 2)))
    (found, *_) = ERASURE.read(*one(net, data))
    assert math.isnan(found.estimate.value)
    assert "target takes 2 of 2 directions of the layer" in found.reason


def test_a_concept_that_takes_most_of_a_layer_has_no_fair_comparison() -> None:
    """Ten classes in ten units: the answer runs through them, and through any nine directions."""
    x = numbers(600, 10)
    y = x.argmax(1).numpy()
    net = nn.Sequential(linear(torch.eye(10)), linear(5 * torch.eye(10)))
    half = (x[:, 0] > 0).long().numpy()
    data = AuditData(x, y, concepts={"half": half})
    for entry in (ERASURE, measures["usage.interchange"]):
        for r in entry.read(*one(net, data)):
            assert math.isnan(r.estimate.value) == (r.concept == "target")
            assert ("target takes 9 of 10 directions" in r.reason) == (r.concept == "target")


@pytest.mark.parametrize("bad", [math.nan, math.inf, "constant"])
def test_a_damaged_layer_says_so_and_leaves_the_others_alone(bad: float | str) -> None:
    evidence, at = one(reads({0: 1.0}, 6), rows(120, 6))
    damaged = evidence.sample[LAST].clone()
    if bad == "constant":
        damaged[:] = 1.5
    else:
        damaged[7, 2] = bad
    evidence.sample[LAST] = damaged
    found = ERASURE.read(evidence, at)
    assert all(math.isnan(r.estimate.value) for r in found if r.layer == LAST)
    assert all(LAST in r.reason for r in found if r.layer == LAST)
    assert all(math.isfinite(r.estimate.value) for r in found if r.layer != LAST)


def test_a_model_that_breaks_when_it_is_edited_gives_no_number() -> None:
    class Fragile(nn.Module):
        """Answers NaN where the first hidden number is small, as it never is on the data."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = linear(torch.eye(4)), linear([[1.0, 0, 0, 0], [0, 1, 0, 0]])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x).log())

    x = numbers(120, 4).abs() + 0.01
    data = AuditData(x, (x[:, 0] > 1).long().numpy())
    found = ERASURE.read(*one(Fragile(), data, layers=["body"]))
    broken = [r for r in found if r.layer == "body"]
    assert broken
    assert all(math.isnan(r.estimate.value) for r in broken)
    assert all("NaN or infinity when it is run again" in r.reason for r in broken)


def test_directions_that_only_rounding_has_are_none() -> None:
    """Nine units that eight numbers feed; a weak direction is one all the same."""
    x = numbers(300, 8) * torch.logspace(0, -4, 8)
    wide = x @ numbers(8, 9, seed=1)
    assert Span.of(wide).live == 9
    assert span_of(wide).live == 8
    exact = Span.of(x.double() @ numbers(8, 8, seed=2).double())
    assert exact.live == span_of(x @ numbers(8, 8, seed=2)).live == 8


def test_no_model_no_number() -> None:
    evidence, at = one(reads({0: 1.0}, 6), rows(100, 6))
    with pytest.raises(NotMeasurable, match="cannot be run again"):
        ERASURE.read(replace(evidence, model=None), at)


def test_outputs_that_do_not_vary_have_no_unit() -> None:
    x = numbers(100, 5)
    net = nn.Sequential(linear(torch.eye(5)), linear(torch.zeros(1, 5), 2.0))
    found = ERASURE.read(*one(net, AuditData(x, x[:, 0].numpy()), "regression"))
    assert all(math.isnan(r.estimate.value) for r in found)
    assert all("do not vary" in r.reason for r in found)


def test_large_data_are_learnt_on_all_rows_and_run_on_some() -> None:
    data = rows(1_500, 6)
    evidence, at = one(reads({0: 2.0}, 6), data)
    some, chosen = rerun.few(at, ERASURE.rows)
    assert len(some.rows) == len(chosen) == 512
    found = last(ERASURE.read(evidence, at))
    assert found["target"].estimate.n == 512
