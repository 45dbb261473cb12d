"""The attack against exact answers and against the ways in which robustness is faked."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ringtest import tasks
from ringtest.data import AuditData
from ringtest.errors import DataError, SubjectError
from ringtest.model import Ensemble
from ringtest.perturb import losses
from ringtest.perturb.pgd import PGD
from ringtest.trial import prepare


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(function: Callable[[Tensor], Tensor]) -> Any:
    return SimpleNamespace(logits=lambda x, _rows=None: function(x), gradients=True)


def attack(function: Any, data: AuditData, eps: float, only: str | None = None) -> Tensor:
    condition = PGD(severity=eps)
    if only is not None:
        condition.losses = {only: losses.LOSSES[only]}  # type: ignore[misc]
    condition.fit([], data, rng())
    y = torch.as_tensor(data.targets)
    return condition.batch(model(function), data.inputs, y, rng(1))


def accuracy(function: Any, x: Tensor, y: Any) -> float:
    with torch.no_grad():
        return float((function(x).argmax(1) == torch.as_tensor(y)).float().mean())


def _train(temperature: float, rate: float, steps: int) -> tuple[nn.Module, AuditData]:
    raw = load_digits()
    x = torch.tensor(raw.data / 16, dtype=torch.float32)
    y = torch.tensor(raw.target)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimiser = torch.optim.Adam(net.parameters(), lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[:1200]) / temperature, y[:1200]).backward()
            optimiser.step()
        optimiser.zero_grad()
    return net, AuditData(x[1200:1500], y[1200:1500].numpy(), bounds=(0.0, 1.0))


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, AuditData]:
    return _train(1.0, 0.01, 150)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_linear_model_falls_exactly_as_far_as_it_can(classes: int) -> None:
    g = rng()
    weights = torch.randn(8, classes, generator=g, dtype=torch.float32)
    x = torch.randn(400, 8, generator=g)
    y = (x @ weights + torch.randn(400, classes, generator=g)).argmax(1)
    data = AuditData(x, y.numpy(), bounds=(-10.0, 10.0))
    eps = 0.02
    found = attack(lambda z: z @ weights, data, eps)
    # The best perturbation is 20 eps sign(w_j - w_y), so the margin over class j falls by 20 eps
    # |w_j - w_y|_1, and the model breaks where some margin falls below 0.
    logits = x @ weights
    gap = logits.gather(1, y[:, None]) - logits
    reach = 20 * eps * (weights[:, y].T[:, :, None] - weights[None]).abs().sum(1)
    broken = ((gap < reach) & (torch.arange(classes) != y[:, None])).any(1)
    wrong = (found @ weights).argmax(1) != y
    assert not (wrong & ~broken).any()
    assert (wrong == broken).float().mean() > (0.99 if classes == 2 else 0.97)


def test_eps_and_bounds_are_kept(trained: tuple[nn.Module, AuditData]) -> None:
    net, data = trained
    found = attack(net, data, 0.1)
    assert (found - data.inputs).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert accuracy(net, found, data.targets) < accuracy(net, data.inputs, data.targets) - 0.3


def test_without_bounds_eps_is_in_standard_deviations() -> None:
    g = rng()
    x = torch.randn(300, 3, generator=g) * torch.tensor([1.0, 100.0, 0.0]) + 7
    y = (x[:, 0] > 7).long()
    data = AuditData(x, y.numpy())
    moved = attack(lambda z: torch.stack([7 - z[:, 0], z[:, 0] - 7], 1) + 0 * z[:, 1:], data, 0.1)
    moved = (moved - x).abs().amax(0) / torch.tensor([1.0, 100.0, 1.0])
    assert 0.09 < moved[0] < 0.11
    assert 0.09 < moved[1] < 0.11
    assert moved[2] == 0


@pytest.mark.parametrize("fake", ["logits x100", "trained at T=50"])
def test_temperature_does_not_fake_robustness(
    fake: str, trained: tuple[nn.Module, AuditData]
) -> None:
    net, data = trained if fake == "logits x100" else _train(50.0, 0.03, 400)
    factor = 100.0 if fake == "logits x100" else 1.0

    def hot(x: Tensor) -> Tensor:
        out: Tensor = net(x) * factor
        return out

    seen = {o: accuracy(hot, attack(hot, data, 0.05, o), data.targets) for o in ("ce", "dlr", None)}
    assert seen["ce"] > seen["dlr"] + 0.1, "the trap is no longer set"
    assert seen[None] <= seen["dlr"] + 0.01
    if fake == "logits x100":
        cool = accuracy(net, attack(net, data, 0.05), data.targets)
        assert seen[None] == pytest.approx(cool, abs=0.02)


def test_worst_case_is_never_milder_than_the_clean_point() -> None:
    # Far from the data the margin grows again: the last iterate is worse than the best.
    def wave(x: Tensor) -> Tensor:
        z = torch.cos(40 * x[:, 0]) + 1.5
        return torch.stack([z, torch.zeros_like(z), torch.zeros_like(z) - 1], 1)

    x = torch.rand(200, 2, generator=rng())
    y = torch.zeros(200, dtype=torch.long)
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    found = attack(wave, data, 0.1)
    before, after = losses.margin(wave(x), y), losses.margin(wave(found), y)
    assert (after <= before).all()
    # The valley (.5) lies within a half period of .0785 of every x but at the bounds.
    assert (after < 0.75).float().mean() > 0.9


def test_zero_gradients_leave_the_better_of_clean_and_start() -> None:
    def stairs(x: Tensor) -> Tensor:
        return (x * 20).round() @ torch.tensor([[1.0, -1.0, 0.5], [-1.0, 1.0, -0.5]])

    x = torch.rand(300, 2, generator=rng())
    y = stairs(x).argmax(1)
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    found = attack(stairs, data, 0.1)
    assert found.isfinite().all()
    assert (losses.margin(stairs(found), y) <= losses.margin(stairs(x), y)).all()
    assert 0.5 < accuracy(stairs, found, y) < 1


def test_the_model_is_left_as_it_was(trained: tuple[nn.Module, AuditData]) -> None:
    net, data = trained
    state = torch.get_rng_state()
    with torch.inference_mode():
        inside = attack(net, data, 0.03)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(inside, attack(net, data, 0.03))


def test_wrong_examples_stay_and_order_does_not_matter(
    trained: tuple[nn.Module, AuditData],
) -> None:
    net, data = trained
    targets = data.targets.copy()
    targets[:50] = (targets[:50] + 1) % 10
    found = attack(net, AuditData(data.inputs, targets, bounds=data.bounds), 0.05)
    assert torch.equal(found[:50], data.inputs[:50])
    plain = attack(net, data, 0.05)
    same = (found[50:] - plain[50:]).abs().amax(1) < 1e-5
    assert same.float().mean() > 0.97


def test_infinite_logits_do_not_become_nan() -> None:
    def hard(x: Tensor) -> Tensor:
        return (x @ torch.tensor([[300.0, -300, 0], [-300, 300, 0]])).softmax(1).log()

    x = torch.rand(100, 2, generator=rng())
    data = AuditData(x, (x[:, 1] > x[:, 0]).long().numpy(), bounds=(0.0, 1.0))
    assert attack(hard, data, 0.1).isfinite().all()


def test_dlr_is_blind_to_shift_and_scale() -> None:
    z = torch.randn(50, 6, generator=rng(), dtype=torch.float64)
    y = torch.randint(6, (50,), generator=rng())
    torch.testing.assert_close(losses.dlr(100 * z + 7, y), losses.dlr(z, y))
    ranked = z.sort(1).values
    wrong_by = losses.dlr(z, z.argmax(1))
    torch.testing.assert_close(
        wrong_by, -(ranked[:, -1] - ranked[:, -2]) / (ranked[:, -1] - ranked[:, -3])
    )
    assert losses.dlr(torch.zeros(2, 4), torch.tensor([0, 1])).isfinite().all()


def test_where_it_does_not_apply() -> None:
    x = torch.rand(9, 3, generator=rng())
    assert len(list(PGD.defaults(AuditData(x, np.arange(9))))) == 2
    for targets in (None, np.arange(9) / 2, np.zeros((9, 1), dtype=int)):
        assert not list(PGD.defaults(AuditData(x, targets)))
    assert not list(PGD.defaults(AuditData(torch.ones(9, 3, dtype=torch.long), np.arange(9))))


def test_errors_are_one_line() -> None:
    x = torch.rand(9, 3, generator=rng())
    data = AuditData(x, x.argmax(1).numpy())
    condition = PGD(severity=0.1)
    condition.fit([], data, rng())
    with pytest.raises(DataError, match="targets: are missing"):
        condition.batch(model(lambda x: x), data.inputs, None, rng())
    blind = SimpleNamespace(logits=lambda x: x, gradients=False)
    with pytest.raises(SubjectError, match="gives no gradients"):
        condition.batch(blind, data.inputs, torch.zeros(9).long(), rng())  # type: ignore[arg-type]
    with pytest.raises(SubjectError, match="do not depend"):
        attack(lambda x: x.detach(), data, 0.1)


def test_on_prepared_models_and_through_the_mean_of_an_ensemble(
    trained: tuple[nn.Module, AuditData],
) -> None:
    net, data = trained
    task = tasks.make("classification", data)
    other = _train(1.0, 0.02, 100)[0]
    members = [prepare(f"m{i}", "member", m, task, data) for i, m in enumerate((net, other))]
    y = torch.as_tensor(data.targets)
    condition = PGD(severity=0.1)
    condition.fit([], data, rng())
    both: Any = Ensemble(members)
    on_both, on_one, twice = (
        condition.batch(m, data.inputs, y, rng(1)) for m in (both, members[0], members[0])
    )
    assert torch.equal(on_one, twice)
    seen = {
        name: accuracy(both.logits, x, y)
        for name, x in {"clean": data.inputs, "both": on_both, "one": on_one}.items()
    }
    assert seen["both"] < seen["one"] < seen["clean"]
