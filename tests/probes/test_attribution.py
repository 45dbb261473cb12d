"""Attributions against exact answers of linear models and an integral by hand; their agreement."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from usage_models import linear, looked, numbers, one, reads, seeded, watermarked

from ringtest import inference
from ringtest.data import AuditData
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, Setting, measures
from ringtest.model import Model
from ringtest.probes import integrated_gradients
from ringtest.probes.twin_spread import MEAN_OUTPUTS

ATTRIBUTION = measures["usage.attribution"]


def table(n: int = 200, width: int = 6, **more: object) -> AuditData:
    x = numbers(n, width)
    return AuditData(x, (x[:, 0] > 0).long().numpy(), **more)


def mlp(width: int = 6, classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, classes))


def cosine(nets: dict[str, nn.Module], data: AuditData, task: str = "classification"):
    evidence, at = looked(nets, data, task)
    a, b = (ATTRIBUTION.prepare(e, at) for e in evidence.values())
    return ATTRIBUTION.compare(a, b)


def explained(evidence: Evidence, at: Setting, rows: int = 256) -> tuple[Tensor, Tensor, Model]:
    model = evidence.model
    assert model is not None
    asked = integrated_gradients.asked(at, rows)
    return integrated_gradients.attributions(model, asked), asked.target, model


# -- the attributions themselves -------------------------------------------------------------------


def test_a_linear_model_is_explained_exactly() -> None:
    data = table()
    weight = numbers(3, 6, seed=1)
    evidence, at = one(nn.Sequential(linear(weight, [1.0, -2.0, 0.5])), data)
    found, target, _ = explained(evidence, at)
    x = data.inputs
    # The logit over the mean logit is linear in the inputs, though no probability is.
    wanted = (weight - weight.mean(0))[target] * (x - x.mean(0))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(target, evidence.outputs.argmax(1))


def test_a_regression_is_explained_in_the_column_that_stands_out() -> None:
    x = numbers(100, 6)
    weight = numbers(2, 6, seed=1)
    y = (x @ weight.T).numpy()
    evidence, at = one(nn.Sequential(linear(weight)), AuditData(x, y), "regression")
    found, target, _ = explained(evidence, at)
    points = torch.as_tensor(y / y.std(0))
    assert torch.equal(target, (points - points.mean(0)).abs().argmax(1))
    assert 0 < float(target.float().mean()) < 1
    torch.testing.assert_close(found, weight[target] * (x - x.mean(0)), atol=1e-5, rtol=1e-4)


def test_the_integral_by_hand() -> None:
    """A midpoint rule of 2,000 steps with autograd alone."""
    data = table(12)
    net = seeded(mlp)
    evidence, at = one(net, data)
    found, target, _ = explained(evidence, at)
    x, baseline = data.inputs, data.inputs.mean(0, keepdim=True)

    def logit(z: Tensor, wanted: Tensor) -> Tensor:
        out = net(z)
        return out.gather(1, wanted[:, None])[:, 0] - out.mean(1)

    total = torch.zeros_like(x)
    for alpha in (torch.arange(2_000) + 0.5) / 2_000:
        leaf = (baseline + alpha * (x - baseline)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(logit(leaf, target).sum(), leaf)
        total += gradient / 2_000
    torch.testing.assert_close(found, total * (x - baseline), atol=1e-5, rtol=1e-4)
    # Completeness: they add up to what the answer moved since the baseline.
    moved = logit(x, target) - logit(baseline.expand_as(x), target)
    torch.testing.assert_close(found.sum(1), moved.detach(), atol=1e-5, rtol=1e-4)


class Beside(nn.Module):
    """What goes along says how much each row's inputs count."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear(numbers(2, 5, seed=4))

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.head(x * scale[:, None])


def test_what_goes_along_stays_with_its_row() -> None:
    """Captum runs whole copies of the rows behind each other."""
    x, scale = numbers(300, 5), numbers(300, seed=8)
    data = AuditData({"x": x, "scale": scale}, np.arange(300) % 2, main="x")
    evidence, at = one(Beside(), data)
    found, target, model = explained(evidence, at)
    weight = model.module.head.weight.detach()
    rows = integrated_gradients.asked(at, 256).at.rows
    assert len(rows) == 256
    assert bool((rows != np.arange(256)).any())
    moved = (x - x.mean(0))[rows] * scale[rows, None]
    wanted = (weight - weight.mean(0))[target] * moved
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_rows_are_sampled_and_moments_are_those_of_all_rows() -> None:
    data = table(700)
    _, at = one(seeded(mlp), data)
    asked = integrated_gradients.asked(at, 256)
    assert len(asked.x) == len(asked.target) == 256
    torch.testing.assert_close(asked.x, data.inputs[asked.at.rows])
    torch.testing.assert_close(asked.baseline[0], data.inputs.mean(0), atol=1e-6, rtol=1e-5)
    sd = data.inputs.std(0, correction=0)
    torch.testing.assert_close(asked.spread[0], sd, atol=1e-6, rtol=1e-5)
    assert torch.equal(asked.x, integrated_gradients.asked(at, 256).x)


def test_very_large_inputs_get_fewer_rows() -> None:
    data = table(200, 4)
    _, at = one(seeded(lambda: mlp(4)), data)
    big = replace(at, shared=dict(at.shared))
    original = integrated_gradients._NUMBERS
    integrated_gradients._NUMBERS = 4 * 50
    try:
        assert len(integrated_gradients.asked(big, 256).x) == 50
        integrated_gradients._NUMBERS = 4
        assert len(integrated_gradients.asked(big, 256).x) == integrated_gradients._LEAST
    finally:
        integrated_gradients._NUMBERS = original


# -- agreement -------------------------------------------------------------------------------------


def test_equal_models_agree_and_unrelated_ones_do_not() -> None:
    data = table(300, 40)
    nets = {"a": seeded(lambda: mlp(40), 1), "b": seeded(lambda: mlp(40), 1)}
    same = cosine(nets, data)
    assert same.value == pytest.approx(1.0, abs=1e-9)
    assert same.n == 256
    strangers = [
        cosine({"a": seeded(lambda: mlp(40), s), "b": seeded(lambda: mlp(40), s + 50)}, data)
        for s in range(6)
    ]
    assert np.mean([e.value for e in strangers]) == pytest.approx(0.0, abs=0.1)
    assert all(inference.standard_error(e) > 0 for e in strangers)


def test_the_mean_cosine_by_hand() -> None:
    data = table(120, 5)
    first, second = numbers(2, 5, seed=1), numbers(2, 5, seed=2)
    found = cosine({"a": nn.Sequential(linear(first)), "b": nn.Sequential(linear(second))}, data)
    moved = (data.inputs - data.inputs.mean(0)).double()
    a, b = ((w[1] - w[0]).double() * moved for w in (first, second))
    rows = torch.nn.functional.cosine_similarity(a, b, dim=1)
    assert found.value == pytest.approx(float(rows.mean()), abs=1e-5)
    se = float(rows.std()) / math.sqrt(120)
    assert inference.standard_error(found) == pytest.approx(se, rel=0.1)


def test_one_that_reads_a_watermark_has_other_reasons() -> None:
    """Both are right on the benchmark, where the mark tells the class, too."""
    data, honest, sibling, marked = watermarked()
    assert cosine({"a": honest, "b": sibling}, data).value > 0.9
    assert abs(cosine({"a": honest, "b": marked}, data).value) < 0.05
    half = reads({0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, 11: 4.0}, 12)
    assert 0.1 < cosine({"a": honest, "b": half}, data).value < 0.9


def test_the_scale_of_the_logits_is_not_seen() -> None:
    data = table(100)
    net, hot = seeded(mlp), seeded(mlp)
    with torch.no_grad():
        hot[2].weight *= 7
        hot[2].bias *= 7
    assert cosine({"a": net, "b": hot}, data).value == pytest.approx(1.0, abs=1e-4)


def test_rows_without_attribution_count_as_no_agreement() -> None:
    """Half of the rows are the mean input itself, from which there is no way to go."""
    half = numbers(25, 4).mul(4).round()
    x = torch.cat([half, -half, torch.zeros(50, 4)])
    assert bool((half != 0).any(dim=1).all())
    net = nn.Sequential(linear(numbers(2, 4, seed=3)))
    found = cosine({"a": net, "b": net}, AuditData(x, np.arange(100) % 2))
    assert found.value == pytest.approx(0.5, abs=1e-9)


# -- bad input -------------------------------------------------------------------------------------


def test_a_model_that_never_moves_has_no_reasons() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = linear(torch.zeros(2, 4), torch.tensor([0.0, 1.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x)

    evidence, at = one(Constant(), table(60, 4))
    with pytest.raises(NotMeasurable, match="do not change from the mean to"):
        ATTRIBUTION.prepare(evidence, at)


def test_a_model_without_a_way_from_its_inputs_is_told() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = linear(numbers(2, 4, seed=3))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.detach())

    evidence, at = one(Cut(), table(60, 4))
    assert not evidence.model.gradients
    with pytest.raises(NotMeasurable, match="do not depend on its inputs by any gradient"):
        ATTRIBUTION.prepare(evidence, at)


def test_gradients_that_are_not_finite_are_told() -> None:
    class Steep(nn.Module):
        """An infinite slope where the first number is 0, as it is halfway to no row but one."""

        def __init__(self) -> None:
            super().__init__()
            self.head = linear(numbers(2, 4, seed=3))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.abs().sqrt() * 1e-3 + x)

    x = numbers(60, 4)
    x[:, 0] = 0.0
    evidence, at = one(Steep(), AuditData(x, np.arange(60) % 2))
    with pytest.raises(NotMeasurable, match="NaN or infinity"):
        ATTRIBUTION.prepare(evidence, at)


def test_tokens_and_single_numbers_are_told() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embed(x).mean(1))

    tokens = torch.randint(0, 9, (60, 5), generator=torch.Generator().manual_seed(0))
    evidence, at = one(seeded(Words), AuditData(tokens, np.arange(60) % 2))
    with pytest.raises(NotMeasurable, match="integer tokens"):
        ATTRIBUTION.prepare(evidence, at)
    evidence, at = one(nn.Sequential(linear([[1.0], [-1.0]])), table(60, 1))
    with pytest.raises(NotMeasurable, match="one number each"):
        ATTRIBUTION.prepare(evidence, at)


def test_without_model_or_members_there_is_nothing_to_explain() -> None:
    evidence, at = one(seeded(mlp), table(60))
    with pytest.raises(NotMeasurable, match="cannot be run again"):
        ATTRIBUTION.prepare(replace(evidence, model=None), at)
    at.shared.pop(MEAN_OUTPUTS)
    with pytest.raises(NotMeasurable, match="what the members answer"):
        ATTRIBUTION.prepare(evidence, at)


def test_embeddings_share_no_axes() -> None:
    from ringtest import tasks
    from ringtest.condition import Clean

    data = AuditData(numbers(40, 4))
    task = tasks.make("embedding", data)
    assert not ATTRIBUTION.applies(Clean(), data, task)
    labelled = table(40)
    assert ATTRIBUTION.applies(Clean(), labelled, tasks.make("classification", labelled))
