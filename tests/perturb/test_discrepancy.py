"""Driving model and teacher apart: known answers, planted differences, and the honest null."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from linear_reach import moved_as_far_as_it_goes
from torch import Tensor, nn

from ringtest import AuditData, compare, evidence, tasks
from ringtest.errors import SubjectError
from ringtest.evidence import Wanted
from ringtest.measure import NotMeasurable
from ringtest.model import Model, evaluating
from ringtest.perturb.discrepancy import Betrayal, Discrepancy
from ringtest.shift.divergence import Betrayal as Betrayed
from ringtest.shift.divergence import Divergence
from ringtest.trial import prepare


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """Logits x @ w + b, exactly."""

    def __init__(self, weights: Tensor, bias: Tensor | float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weights + self.bias


class Bump(nn.Module):
    """A network, and besides a thin stretch of the first input in which it says class 0."""

    def __init__(self, inner: nn.Module, where: float) -> None:
        super().__init__()
        self.inner, self.where = inner, where

    def forward(self, x: Tensor) -> Tensor:
        bump = 12 * torch.exp(-0.5 * ((x[:, :1] - self.where) / 0.03).square())
        out: Tensor = self.inner(x) + bump * torch.tensor([1.0, -1.0, 0.0])
        return out


def net(seed: int, width: int = 3) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, 3))


def world(x: Tensor, members: list[nn.Module], student: nn.Module) -> tuple[AuditData, list[Model]]:
    with torch.no_grad():
        y = members[0](x).argmax(1).numpy()
    data = AuditData(x, y, bounds=(0.0, 1.0))
    task = tasks.make("classification", data)
    models = [prepare(f"m{i}", "member", m, task, data) for i, m in enumerate(members)]
    return data, [*models, prepare("s", "student", student, task, data)]


def attacked(condition: Discrepancy, data: AuditData, models: list[Model], of: int = -1) -> Tensor:
    condition.fit(models, data, rng())
    y = torch.as_tensor(data.targets)
    return condition.batch(models[of], data.inputs, y, rng(1))


def readings(entry: Any, condition: Any, setting: Any, data: AuditData, models: list[Model]) -> Any:
    """name -> value, as an audit reads them."""
    with evaluating(models):
        found = evidence.gather(
            *(condition, models, [], data, models[0].task),
            *(Wanted(outcomes=True, teacher=True), 0),
        ).evidence
    at = setting(data.inputs, data.targets, condition=condition, bounds=data.bounds)
    read = compare.read(entry, found, [m.name for m in models], at)
    return {
        k: r if isinstance(r, compare.Failure) else r[0].estimate.value for k, r in read.items()
    }


def test_against_a_teacher_without_opinion_a_linear_model_goes_as_far_as_it_can() -> None:
    x = 0.1 + 0.8 * torch.rand(300, 6, generator=rng())
    w = torch.randn(6, generator=rng(1))
    student = Linear(torch.stack([w, -w], 1), torch.tensor([-0.5, 0.5]) * w.sum())
    # Of next to no opinion: what has no gradient at all is refused.
    data, models = world(x, [Linear(1e-4 * torch.randn(6, 2, generator=rng(2)))], student)
    eps = 0.05
    found = attacked(Discrepancy(severity=eps), data, models)
    # KL(1/2 || sigmoid(s)) grows with |s|, and eps |w|_1 is what s can be moved by, twice as it is
    # the difference of two logits.
    with torch.no_grad():
        before, after = (torch.diff(student(v))[:, 0].abs() for v in (x, found))
    reach = 2 * eps * w.abs().sum()
    moved_as_far_as_it_goes(before, after, reach, 0.2)


def test_it_comes_near_the_best_point_of_a_grid() -> None:
    x = 0.2 + 0.6 * torch.rand(60, 2, generator=rng())
    data, models = world(x, [net(0, 2), net(1, 2)], net(2, 2))
    for m in models:
        assert m.module is not None
        with torch.no_grad():
            m.module[0].weight.mul_(6)
            m.module[2].weight.mul_(4)
    eps = 0.1
    steps = torch.linspace(-eps, eps, 41)
    offsets = torch.cartesian_prod(steps, steps)

    def apart(points: Tensor) -> Tensor:
        with torch.no_grad():
            p = torch.stack([m.module(points).softmax(-1) for m in models[:2]]).mean(0)  # type: ignore[misc]
            q = models[2].module(points).softmax(-1)  # type: ignore[misc]
        return (p * (p / q).log()).sum(-1)

    best = apart(x[:, None] + offsets).amax(1)
    found = apart(attacked(Discrepancy(severity=eps), data, models))
    assert (found <= best * 1.02 + 1e-5).all()
    assert (found > 0.95 * best).float().mean() > 0.8
    assert (apart(x) < 0.95 * best).float().mean() > 0.8, "to do nothing would be enough"


def test_a_student_that_differs_in_a_thin_stretch_near_the_data_is_found(setting: Any) -> None:
    x = torch.rand(120, 3, generator=rng()) * torch.tensor([0.2, 1.0, 1.0])  # the stretch is at .25
    members = [net(i) for i in range(3)]
    copied = net(0)
    data, models = world(x, members, Bump(copied, 0.25))
    with torch.no_grad():
        # Beside each other the members are alike: they were distilled from one another, say.
        for m in members:
            for own, first in zip(m.parameters(), copied.parameters(), strict=True):
                own.copy_(first + 0.1 * (own - first))
    clean, apart = (
        readings(Divergence(), c, setting, data, models)
        for c in (Discrepancy(severity=1e-6), Discrepancy(severity=0.1))
    )
    honest = np.mean([apart[f"m{i}"] for i in range(3)])
    assert apart["s"] > 50 * honest, "the stretch is not found"
    assert apart["s"] > 20 * clean["s"], "the trap is no longer set"
    assert apart["s"] > 1
    # One that is a member's copy is driven as far from the three as a member is from the other two.
    models[-1] = prepare("s", "student", copied, models[0].task, data)
    apart = readings(Divergence(), Discrepancy(severity=0.1), setting, data, models)
    assert 0.2 * honest < apart["s"] < 1.2 * honest


def test_sure_logits_do_not_hide_a_difference() -> None:
    """Where both are sure the KL has no gradient, however near another class lies."""
    x = 0.3 + 0.4 * torch.rand(200, 4, generator=rng())
    x[:, 1] += torch.where(x[:, 1] > 0.5, 0.05, -0.05)
    side = torch.tensor([[1.0, -1.0]])
    ways = torch.eye(4)[:, :2]
    # The teacher reads the first input, the student the second; the classes are the same.
    x[:, 0] = torch.where(x[:, 1] > 0.5, 0.9, 0.1)
    teacher, student = (Linear(2000 * ways[:, i : i + 1] * side, -1000 * side) for i in (0, 1))
    data, models = world(x, [teacher], student)
    can = (x[:, 1] - 0.5).abs() < 0.1
    assert 0.2 < can.float().mean() < 0.8

    def betrayed(condition: Discrepancy) -> Tensor:
        with torch.no_grad():
            return student(attacked(condition, data, models)).argmax(1) != teacher(x).argmax(1)

    # Random starts find some by luck.
    class OnlyKL(Discrepancy):
        def runs(self, goal: Any, outputs: Tensor) -> Any:
            yield goal.damage, goal.aims

    assert betrayed(OnlyKL(severity=0.1)).sum() < 0.7 * can.sum(), "the trap is no longer set"
    assert torch.equal(betrayed(Discrepancy(severity=0.1)), can)
    assert torch.equal(betrayed(Betrayal(severity=0.1)), can)


def test_only_points_where_the_teacher_keeps_its_word_count(setting: Any) -> None:
    x = torch.rand(400, 2, generator=rng())
    side = torch.tensor([[1.0, -1.0]])
    # Student and teacher are one, but for a bias: between their boundaries alone they differ.
    w = torch.tensor([[8.0], [0.0]]) * side
    teacher, student = Linear(w, -4.0 * side), Linear(w, -4.8 * side)
    data, models = world(x, [teacher], student)
    eps = 0.05
    first = x[:, 0]
    can = (first > 0.5) & (first < 0.6 + eps)
    share = readings(Betrayed(), Betrayal(severity=eps), setting, data, models)["s"]
    assert share == pytest.approx(float(can.float().mean()), abs=0.005)
    found = attacked(Betrayal(severity=eps), data, models)
    with torch.no_grad():
        assert torch.equal(teacher(found).argmax(1), teacher(x).argmax(1))


def test_a_lone_member_is_not_measurable_and_its_student_is(setting: Any) -> None:
    x = torch.rand(60, 3, generator=rng())
    data, models = world(x, [net(0)], net(1))
    with pytest.raises(NotMeasurable, match="only member"):
        attacked(Discrepancy(severity=0.1), data, models, of=0)
    read = readings(Divergence(), Discrepancy(severity=0.1), setting, data, models)
    assert read["m0"].status == "not_measurable"
    assert math.isfinite(read["s"])
    assert read["s"] > 0


def test_a_teacher_without_gradients_is_told_in_one_line() -> None:
    x = torch.rand(60, 3, generator=rng())
    data, models = world(x, [net(0), net(1)], net(2))
    models[0].gradients = models[1].gradients = False
    with pytest.raises(SubjectError, match="gives no gradients") as told:
        attacked(Discrepancy(severity=0.1), data, models)
    assert "\n" not in str(told.value)
