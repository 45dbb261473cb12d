"""Attacks made on one model and shown to others: a copy falls with it, a stranger does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringtest import AuditData, evidence, tasks
from ringtest.condition import Condition, conditions
from ringtest.evidence import Evidence, Wanted
from ringtest.measure import NotMeasurable
from ringtest.model import Model, evaluating
from ringtest.perturb.noise import InputNoise
from ringtest.perturb.pgd import PGD
from ringtest.perturb.transfer import FromMember, FromReference, FromTeacher, Transfer
from ringtest.trial import prepare

N, EPS = 300, 0.1
KINDS = [FromTeacher, FromMember, FromReference]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(columns: slice, scale: float = 1.0) -> nn.Module:
    """Two classes by the mean of some of the columns."""
    layer = nn.Linear(8, 2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, columns] = scale * torch.tensor([[1.0], [-1.0]])
        layer.bias.copy_(-layer.weight.sum(1) / 2)
    return layer


HERE, THERE = slice(0, 4), slice(4, 8)


def world(**nets: nn.Module) -> tuple[AuditData, list[Model]]:
    """Rows whose class both halves of the columns tell; models by role and number."""
    x = torch.rand(N, 8, generator=rng())
    y = (x[:, HERE].mean(1) <= 0.5).long()
    agree = (x[:, THERE].mean(1) <= 0.5) == (y == 1)
    x[:, THERE] = torch.where(agree[:, None], x[:, THERE], 1 - x[:, THERE])
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    task = tasks.make("classification", data)
    roles: Any = {"m": "member", "r": "reference", "s": "student"}
    return data, [prepare(name, roles[name[0]], net, task, data) for name, net in nets.items()]


def gather(condition: Condition, data: AuditData, models: list[Model]) -> dict[str, Evidence]:
    wanted = Wanted(outcomes=True, teacher=True)
    with evaluating(models):
        return evidence.gather(condition, models, [], data, models[0].task, wanted, 0).evidence


def accuracy(found: dict[str, Evidence], name: str) -> float:
    score = found[name].score
    assert score is not None
    return float(score.mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_falls_as_under_its_own_attack_and_a_stranger_as_under_noise(
    kind: type[Transfer],
) -> None:
    honest = {"m0": linear(HERE), "m1": linear(HERE, 2.0), "r0": linear(HERE)}
    data, models = world(**honest, s0=linear(HERE, 3.0), s1=linear(THERE))
    own, carried = (gather(c(severity=EPS), data, models) for c in (PGD, kind))
    assert accuracy(own, "s0") < 0.5
    assert accuracy(carried, "s0") == pytest.approx(accuracy(own, "s0"), abs=0.02)
    assert accuracy(carried, "m0") == pytest.approx(accuracy(own, "m0"), abs=0.02)
    # The stranger's own attack does harm, the other's none.
    assert accuracy(own, "s1") < 0.5
    noise = gather(InputNoise(severity=EPS), data, models)
    assert accuracy(carried, "s1") == pytest.approx(accuracy(noise, "s1"), abs=0.05)
    assert accuracy(carried, "s1") > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_source_itself_it_is_the_white_box_attack(kind: type[Transfer]) -> None:
    data, models = world(m0=linear(HERE), r0=linear(HERE), s0=linear(THERE))
    source = models[1] if kind is FromReference else models[0]
    y = torch.as_tensor(data.targets)
    made = []
    for condition, model in ((PGD(severity=EPS), source), (kind(severity=EPS), models[2])):
        condition.fit(models, data, rng())
        made.append(condition.batch(model, data.inputs, y, rng(1)))
    torch.testing.assert_close(*made)
    assert (made[1] - data.inputs).abs().max() <= EPS + 1e-6


def test_no_model_is_shown_what_was_made_on_itself() -> None:
    """Members are alike in nothing: each would fall under its own attack, and does not."""
    data, models = world(m0=linear(HERE), m1=linear(THERE), s0=linear(HERE), s1=linear(THERE))
    own, carried = (gather(c(severity=EPS), data, models) for c in (PGD, FromMember))
    for name in ("m0", "m1"):
        assert accuracy(own, name) < 0.5
        assert accuracy(carried, name) > 0.9
    # What is made on the first member reaches the student that is its copy.
    assert accuracy(carried, "s0") < 0.5
    assert accuracy(carried, "s1") > 0.9
    shared = gather(FromTeacher(severity=EPS), data, models)
    assert max(accuracy(shared, n) for n in ("m0", "m1")) < 0.9


def test_what_is_made_on_the_student_is_tried_on_the_teacher() -> None:
    data, models = world(m0=linear(HERE), m1=linear(HERE), s0=linear(HERE, 3.0), s1=linear(THERE))
    found = gather(PGD(severity=EPS), data, models)
    besides = {name: e.beside for name, e in found.items()}
    scores = {name: float(np.mean(b.score)) for name, b in besides.items() if b is not None}
    assert scores["s0"] == pytest.approx(accuracy(found, "s0"), abs=0.02)
    assert scores["m0"] == pytest.approx(accuracy(found, "m0"), abs=0.02)
    assert scores["s1"] > 0.9


def test_where_there_is_nothing_to_make_it_on_it_is_not_measurable() -> None:
    data, models = world(m0=linear(HERE), s0=linear(HERE))
    found = gather(FromReference(severity=EPS), data, models)
    assert {e.failure for e in found.values()} == {"not_measurable"}
    assert "no references" in found["s0"].failed
    found = gather(FromMember(severity=EPS), data, models)
    assert found["m0"].failure == "not_measurable"
    assert not found["s0"].failed
    models[0].gradients = False
    for kind in (FromTeacher, FromMember):
        condition = kind(severity=EPS)
        condition.fit(models, data, rng())
        with pytest.raises(NotMeasurable, match="gives no gradients"):
            condition.batch(models[1], data.inputs, torch.as_tensor(data.targets), rng())


def test_a_student_without_gradients_can_be_shown_them() -> None:
    data, models = world(m0=linear(HERE), m1=linear(HERE), s0=linear(HERE))
    models[2].gradients = False
    for kind in (FromTeacher, FromMember):
        assert not kind.gradients
        assert accuracy(gather(kind(severity=EPS), data, models), "s0") < 0.5


def test_they_run_only_where_they_are_asked_for() -> None:
    data, _ = world(m0=linear(HERE))
    kinds = [k for k in conditions if issubclass(k.make, Transfer)]
    assert len(kinds) == 3
    for kind in kinds:
        assert not list(kind.make.defaults(data))
        assert [c.key for c in kind.make.asked(data, 0.07)] == [f"{kind.id}@0.07"]
        assert len(list(kind.make.asked(data))) == 2
