"""Average and worst of an attack's runs, against what can be computed without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringtest import tasks
from ringtest.data import AuditData
from ringtest.evidence import Evidence
from ringtest.measure import Setting, measures
from ringtest.perturb.fgsm import FGSM
from ringtest.perturb.pgd import PGD, PGDL1, PGDL2
from ringtest.trial import prepare


def read(net: nn.Module, x: Tensor, y: Tensor, attack: Any) -> dict[str, float]:
    data = AuditData(x, y.numpy(), bounds=(-10.0, 10.0))
    task = tasks.make("classification", data)
    model = prepare("model", "student", net.eval(), task, data)
    attack.fit([model], data, torch.Generator())
    evidence = Evidence("model", (), torch.empty(0, 0), {}, None, None, model=model)
    at = Setting(data, task, attack, np.arange(len(x)), None, 0)
    entry: Any = measures["attack.single_runs"]
    assert entry.applies(attack, data, task)
    return {r.statistic: r.estimate.value for r in entry.read(evidence, at)}


@pytest.mark.parametrize(
    ("attack", "dual"),
    [(PGD(severity=0.02), 1), (PGDL2(severity=0.04), 2), (PGDL1(severity=0.05), torch.inf)],
    ids=lambda v: getattr(v, "kind", str(v)),
)
def test_every_run_on_a_linear_model_breaks_what_the_dual_norm_says(
    attack: Any, dual: float
) -> None:
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(256, 6, generator=g), torch.randn(6, generator=g)
    y = (x @ w > 0).long()
    net = nn.Linear(6, 2)
    with torch.no_grad():
        net.weight.copy_(torch.stack([-w, w]))
        net.bias.zero_()
    reach = attack.severity * 20 * torch.linalg.vector_norm(w, dual)
    expected = float(((x @ w).abs() > reach).double().mean())
    assert 0.2 < expected < 0.9
    found = read(net, x, y, attack)
    assert found["average run"] == pytest.approx(expected, abs=0.01)
    assert found["worst run of each row"] == pytest.approx(expected, abs=0.01)


class Craters(nn.Module):
    """Right on the whole, and wrong around one side of each row that a run may start from."""

    def forward(self, x: Tensor) -> Tensor:
        # Two ways lead up; only one of them leads over the edge.
        t = x[:, 0]
        height = torch.where(t > 0, t, -0.5 * t)
        return torch.stack([0.7 - height, torch.zeros_like(t)], 1)


def test_runs_that_depend_on_luck_are_worse_at_the_worst_than_on_average() -> None:
    x, y = torch.zeros(200, 1), torch.zeros(200, dtype=torch.long)
    found = read(Craters(), x, y, PGD(severity=0.05))  # reaches 1 either way: half fall short
    assert found["average run"] == pytest.approx(0.5, abs=0.06)
    # Six runs, each with a chance of a half.
    assert found["worst run of each row"] == pytest.approx(0.5**6, abs=0.04)


def test_without_a_random_start_there_is_one_run_a_loss() -> None:
    x, y = torch.zeros(10, 1), torch.zeros(10, dtype=torch.long)
    found = read(Craters(), x + 0.1, y, FGSM(severity=0.05))
    assert found["average run"] == found["worst run of each row"] == 0
