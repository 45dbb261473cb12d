"""More effort than usual, asked for by keyword: named, checked, and part of a cell's key."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringtest import road
from ringtest.cells.keys import Keys
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.perturb.fgsm import FGSM
from ringtest.perturb.pgd import PGD
from ringtest.perturb.square import Square
from ringtest.plan import cell_name


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_is_part_of_the_name() -> None:
    attack = PGD(severity=0.1, steps=50, restarts=5)
    assert (attack.steps, attack.restarts, attack.eps) == (50, 5, 0.1)
    assert attack.key == "attack.pgd.restarts=5,steps=50@0.1"
    assert PGD("strong", 0.1, steps=50).key == "attack.pgd.strong@0.1"
    assert PGD(severity=0.1).key == "attack.pgd@0.1"
    assert Square(queries=50).queries == 50
    # The class stays as it was.
    assert (PGD.steps, PGD.restarts, PGD(severity=0.1).steps) == (20, 1, 20)


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (PGD, {"queries": 5}, "give steps or restarts"),
        (FGSM, {"steps": 5}, "give nothing else"),
        (PGD, {"steps": 0}, "whole number from 1"),
        (PGD, {"steps": True}, "whole number from 1"),
        (Square, {"queries": 2.5}, "whole number from 1"),
    ],
)
def test_what_is_no_effort_is_told_in_one_line(make: Any, options: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        make(severity=0.1, **options)
    assert "\n" not in str(caught.value)
    assert next(iter(options)) in str(caught.value)


def traps(x: Tensor) -> Tensor:
    """Errors lie in one narrow valley among many that lead nowhere."""
    z = 1.5 + torch.cos(60 * x[:, 0]) - 2 * torch.exp(-(((x[:, 0] - 0.5) / 0.05) ** 2))
    return torch.stack([z, torch.zeros_like(z), torch.zeros_like(z) - 1], 1)


def test_of_all_restarts_the_worst_counts_for_each_row() -> None:
    x = torch.linspace(0.2, 0.8, 200)[:, None].repeat(1, 2)
    y = torch.zeros(200, dtype=torch.long)
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    model: Any = SimpleNamespace(logits=lambda z, _=None: traps(z), gradients=True)
    assert (traps(x).argmax(1) == 0).float().mean() > 0.8

    def broken(restarts: int) -> Tensor:
        attack = PGD(severity=0.3, restarts=restarts)
        attack.fit([], data, rng())
        return traps(attack.batch(model, x, y, rng(1))).argmax(1) != 0

    once, often = broken(1), broken(8)
    assert not (once & ~often).any()
    assert often.float().mean() > once.float().mean() + 0.1


def test_a_cell_of_another_effort_has_another_key() -> None:
    x = torch.rand(60, 4, generator=rng())
    data = AuditData(x, np.arange(60) % 2, bounds=(0, 1))
    nets = [nn.Linear(4, 2) for _ in range(2)]
    case = road.prepare(*nets, data)
    stage = next(s for s in case.plan.stages if s.condition.key == "attack.pgd@0.1")

    def key(condition: Condition) -> str:
        plan = replace(case.plan, stages=(replace(stage, condition=condition),))
        name = cell_name(stage.measures[0].id, condition)
        found = Keys(replace(case, plan=plan))[name]
        assert found is not None
        return found

    usual = key(PGD(severity=0.1))
    assert key(PGD(severity=0.1)) == usual
    # Even where the name says nothing of it.
    strong = key(PGD("strong", 0.1, steps=50))
    assert len({usual, strong, key(PGD("strong", 0.1, steps=51)), key(PGD("strong", 0.1))}) == 4
    assert key(PGD(severity=0.1, restarts=2)) != usual
