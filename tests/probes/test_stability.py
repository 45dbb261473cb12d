"""Infidelity and sensitivity of attributions, by hand and on models whose answer is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from usage_models import linear, numbers, one, seeded

from ringtest import blocks, inference
from ringtest.data import AuditData
from ringtest.measure import NotMeasurable, measures
from ringtest.probes import integrated_gradients
from ringtest.probes.stability import infidelities, sensitivities

INFIDELITY, SENSITIVITY = measures["usage.infidelity"], measures["usage.sensitivity"]
BOTH = [pytest.param(m, id=m.id) for m in (INFIDELITY, SENSITIVITY)]


def table(n: int = 60, width: int = 5, **more: object) -> AuditData:
    x = numbers(n, width)
    return AuditData(x, (x[:, 0] > 0).long().numpy(), **more)


def mlp(scale: float = 1.0) -> nn.Module:
    """The larger the scale, the more its answer bends between an input and the next."""
    net = seeded(lambda: nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 2)))
    with torch.no_grad():
        net[0].weight *= scale
    return net


def value(entry, net: nn.Module, data: AuditData, task: str = "classification") -> float:
    (found,) = entry.read(*one(net, data, task))
    assert not found.reason
    assert inference.standard_error(found.estimate) >= 0
    return found.estimate.value


def test_the_attributions_of_a_linear_model_foretell_everything() -> None:
    net = nn.Sequential(linear(numbers(3, 5, seed=1)))
    assert value(INFIDELITY, net, table()) == pytest.approx(0.0, abs=1e-9)


def test_attributions_that_say_nothing_are_at_one() -> None:
    evidence, at = one(mlp(), table())
    asked = integrated_gradients.asked(at, 128)
    nothing = torch.zeros_like(asked.x)
    whole = infidelities(evidence.model, asked, nothing, 16, at.seed)
    assert float((whole / whole).mean()) == 1.0
    # and those of another model are worse than none
    wrong = infidelities(evidence.model, asked, 3 * numbers(60, 5, seed=9), 16, at.seed)
    assert float(wrong.sum() / whole.sum()) > 1.0


def test_infidelity_by_hand() -> None:
    """The definition, with the draws of the same generator, over two parts of the rows."""
    data, tries = table(40), 16
    net = mlp(2.0)
    evidence, at = one(net, data)
    asked = integrated_gradients.asked(at, 128)
    found = integrated_gradients.attributions(evidence.model, asked)
    x, baseline = data.inputs, data.inputs.mean(0)

    def answer(z: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            out = net(z).double()
        return out.gather(1, target[:, None])[:, 0] - out.mean(1)

    wanted, whole = [], []
    size = blocks.BLOCK // tries
    for low in range(0, 40, size):
        rng = blocks.generator(at.seed, "infidelity", low)
        rows = x[low : low + size].repeat_interleave(tries, 0)
        target = asked.target[low : low + size].repeat_interleave(tries)
        why = found[low : low + size].repeat_interleave(tries, 0).double()
        gone = (torch.rand(rows.shape, generator=rng) < 0.5).float()
        moved = answer(rows, target) - answer(rows - gone * (rows - baseline), target)
        wanted.append((((why * gone).sum(1) - moved) ** 2).reshape(-1, tries).mean(1))
        whole.append(moved.square().reshape(-1, tries).mean(1))
    mine = infidelities(evidence.model, asked, found, tries, at.seed)
    torch.testing.assert_close(mine, torch.cat(wanted), atol=1e-8, rtol=1e-4)
    (reading,) = INFIDELITY.read(evidence, at)
    ratio = float(torch.cat(wanted).sum() / torch.cat(whole).sum())
    assert reading.estimate.value == pytest.approx(ratio, rel=1e-4)
    assert 0 < ratio < 1


def test_sensitivity_of_a_linear_model_by_hand() -> None:
    """Its attributions are weights times the input less its mean: they move with the input."""
    data, tries = table(70), SENSITIVITY.tries
    weight = numbers(2, 5, seed=1)
    evidence, at = one(nn.Sequential(linear(weight)), data)
    asked = integrated_gradients.asked(at, 128)
    slope = (weight - weight.mean(0))[asked.target]
    x, sd = data.inputs, data.inputs.std(0, correction=0)
    size, wanted = blocks.BLOCK // tries, []
    for low in range(0, 70, size):
        rng = blocks.generator(at.seed, "sensitivity", low)
        part = x[low : low + size]
        draw = 2 * torch.rand(len(part) * tries, 5, generator=rng) - 1
        change = slope[low : low + size].repeat_interleave(tries, 0) * (0.1 * sd * draw)
        own = (slope[low : low + size] * (part - x.mean(0))).norm(dim=1)
        wanted.append(change.norm(dim=1).reshape(-1, tries).max(1).values / own)
    found = sensitivities(evidence.model, asked, tries, 0.1, at.seed)
    torch.testing.assert_close(found, torch.cat(wanted).double(), atol=1e-5, rtol=1e-3)
    (reading,) = SENSITIVITY.read(evidence, at)
    assert reading.estimate.value == pytest.approx(float(torch.cat(wanted).mean()), rel=1e-3)


@pytest.mark.parametrize("entry", BOTH)
def test_answers_that_bend_are_worse(entry) -> None:
    smooth, bent = value(entry, mlp(0.1), table()), value(entry, mlp(15.0), table())
    assert bent > 2 * smooth
    assert entry.direction == "lower"


@pytest.mark.parametrize("entry", BOTH)
def test_the_same_twice_and_nothing_else_touched(entry) -> None:
    evidence, at = one(mlp(), table())
    net = evidence.model.module
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = entry.read(evidence, at)[0].estimate
    torch.manual_seed(99)
    second = entry.read(evidence, at)[0].estimate
    torch.set_rng_state(before[0])
    again = entry.read(evidence, at)[0].estimate
    assert first.value == second.value == again.value
    np.testing.assert_array_equal(first.influence, second.influence)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
    assert all(p.grad is None for p in net.parameters())


def test_moves_stay_within_the_bounds_and_on_numbers_that_vary() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = linear(numbers(2, 4, seed=1))

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return self.head(x)

    x = numbers(50, 4).sigmoid()
    x[:, 3] = 0.25
    evidence, at = one(Spy(), AuditData(x, np.arange(50) % 2, bounds=(0.0, 1.0)))
    seen.clear()
    SENSITIVITY.read(evidence, at)
    looked_at = torch.cat(seen)
    assert float(looked_at.min()) >= -1e-6
    assert float(looked_at.max()) <= 1 + 1e-6
    torch.testing.assert_close(looked_at[:, 3], torch.full_like(looked_at[:, 3], 0.25))


def test_images_whose_channels_come_last_are_taken() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x.movedim(-1, 1)).tanh().mean((2, 3)))

    data = AuditData(numbers(20, 5, 5, 3), np.arange(20) % 2, layout="NHWC", modality="image")
    for entry in (INFIDELITY, SENSITIVITY):
        assert math.isfinite(value(entry, seeded(Net), data))


def test_rows_that_have_no_attribution_are_told() -> None:
    class Gate(nn.Module):
        """Half of the inputs do not count."""

        def __init__(self) -> None:
            super().__init__()
            self.head = linear(numbers(2, 4, seed=1))

        def forward(self, x: Tensor) -> Tensor:
            return self.head((x - 1.0).relu())

    x = numbers(50, 4) - 3
    x[0] += 6
    evidence, at = one(Gate(), AuditData(x, np.arange(50) % 2))
    (found,) = SENSITIVITY.read(evidence, at)
    assert math.isnan(found.estimate.value)
    assert "rows have no attribution" in found.reason


def test_answers_that_never_move_are_told() -> None:
    evidence, at = one(nn.Sequential(linear(torch.zeros(2, 5), torch.tensor([0.0, 1.0]))), table())
    for entry in (INFIDELITY, SENSITIVITY):
        with pytest.raises(NotMeasurable, match="do not change from the mean to"):
            entry.read(evidence, at)
