"""Which invariances break where noise moves the outputs of all models equally far."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from quick import only_under
from torch import Tensor, nn

import ringtest
from ringtest.data import AuditData

MEASURE = "representation.invariance"


class Absolute(nn.Module):
    """|x| by construction, or by two ReLU units for each input; then what reads it."""

    def __init__(self, by_weights: bool) -> None:
        super().__init__()
        self.by_weights = by_weights
        self.split = nn.Linear(3, 6, bias=False)
        self.hidden, self.relu, self.head = nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)
        with torch.no_grad():
            self.split.weight.copy_(torch.cat([torch.eye(3), -torch.eye(3)]))
            g = torch.Generator().manual_seed(0)
            for p in (*self.hidden.parameters(), *self.head.parameters()):
                p.copy_(torch.randn(p.shape, generator=g))

    def forward(self, x: Tensor) -> Tensor:
        size = x.abs()
        if self.by_weights:
            both = torch.relu(self.split(x))
            size = both[:, :3] + both[:, 3:]
        hidden: Tensor = self.head(self.relu(self.hidden(size)))
        return hidden


def rows(**more: Any) -> AuditData:
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    y = Absolute(False)(x).argmax(1).numpy()
    return AuditData(x, y, **more)


def read(condition: str, **more: Any) -> dict[str, Any]:
    models = Absolute(False), Absolute(True)
    with only_under("shift.invariance"):
        report = ringtest.audit(*models, rows(**more), cells=[(MEASURE, condition)], progress=False)
    found = [
        r
        for r in report.verdict.rows
        if r.measure == MEASURE and r.condition == condition.split("@")[0]
    ]
    return {r.concept: r for r in found}


def test_what_weights_hold_breaks_and_what_is_built_in_does_not() -> None:
    turned = {"sign": lambda x: -x}
    row = read("noise.weight_matched@0.05", invariances=turned)["sign"]
    assert row.teacher == pytest.approx(0, abs=1e-6)
    assert row.student > 0.1
    assert row.harm > 0.1
    assert row.ci_low > 0
    assert row.status == "context"


def test_ablation_leaves_an_invariance_of_the_layer_before() -> None:
    row = read("ablate.units@0.5", invariances={"sign": lambda x: -x, "none": lambda x: x + 1})
    assert row["sign"].student == pytest.approx(0, abs=1e-5)
    assert row["none"].student > 0.3
    assert np.isfinite(row["none"].se)


def test_without_invariances_it_says_nothing() -> None:
    assert read("noise.weight_matched@0.05") == {}


def test_a_bad_callable_is_told_in_one_line() -> None:
    calls = iter(range(1000))

    def late(x: Tensor) -> Tensor:
        # Good when the data are checked, bad when it counts.
        return x if next(calls) < 3 and len(x) < 100 else x[:, :2]

    with pytest.raises(ringtest.RingtestError, match=r"invariances\['late'\]") as caught:
        read("noise.weight@0.3", invariances={"late": late})
    assert "\n" not in str(caught.value)
