"""Driving the insides of two models apart: copies cannot be, a hidden second part can."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ringtest
from ringtest.data import AuditData

KIND, MEASURE = "attack.discrepancy_inside", "representation.parted"

pytestmark = pytest.mark.usefixtures("asked_alone")


class Coded(nn.Module):
    """Inputs (b, 4) in [0, 1]; the last hidden layer is ``code`` of them, the head reads a sum."""

    def __init__(self, code: Any) -> None:
        super().__init__()
        self.code, self.show, self.head = code, nn.Identity(), nn.Linear(4, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
            self.head.bias.copy_(torch.tensor([2.0, -2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.show(self.code(x)))


def steep(x: Tensor) -> Tensor:
    """The inputs themselves on the grid of .25, far away half way between."""
    return x + 2.0 * torch.sin(4 * torch.pi * x) * torch.tensor([1.0, -1.0, 1.0, -1.0])


def turned(x: Tensor) -> Tensor:
    """The same in other coordinates."""
    return x.flip(1) * torch.tensor([3.0, -1.0, 2.0, 0.5])


def rows() -> AuditData:
    grid = torch.randint(0, 3, (300, 4), generator=torch.Generator().manual_seed(0)) / 4 + 0.25
    return AuditData(grid, (grid.sum(1) > 2).long().numpy(), bounds=(0.0, 1.0))


def audited(teacher: Any, student: nn.Module, eps: float = 0.1) -> dict[str, Any]:
    report = ringtest.audit(
        teacher, student, rows(), cells=[(MEASURE, f"{KIND}@{eps}")], progress=False
    )
    return {r.statistic: r for r in report.verdict.rows if r.measure == MEASURE}


def test_a_code_in_other_coordinates_does_not_come_apart_and_a_steep_one_does() -> None:
    members = [Coded(nn.Identity()), Coded(nn.Identity())]
    found = audited(members, Coded(turned))
    assert found["led apart"].student < 0.01
    assert found["led apart"].teacher < 0.01
    found = audited(members, Coded(steep))
    assert found["clean rows"].student < 0.01
    assert found["led apart"].student > 0.3
    assert found["led apart"].harm > 0.3 > found["led apart"].teacher
    assert found["led apart"].ci_low > 0.2


def test_more_room_drives_further_and_models_stay_as_they_were() -> None:
    members, student = [Coded(nn.Identity()), Coded(turned)], Coded(steep)
    before = [p.clone() for m in (*members, student) for p in m.parameters()]
    little, much = (audited(members, student, eps)["led apart"].student for eps in (0.002, 0.1))
    assert little < much
    after = [p for m in (*members, student) for p in m.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(m._forward_hooks for net in (*members, student) for m in net.modules())


def test_a_single_teacher_has_nobody_to_be_driven_from() -> None:
    (row,) = audited(Coded(nn.Identity()), Coded(steep)).values()
    assert row.status == "not_measurable"
    assert "only member" in row.reason


def test_a_code_in_which_nothing_varies_is_no_good_number() -> None:
    members = [Coded(nn.Identity()), Coded(nn.Identity())]
    dead = Coded(lambda x: torch.ones_like(x) + 0 * x)
    (row,) = audited(members, dead).values()
    assert row.status in ("not_measurable", "error")
    assert np.isnan(row.student)


@pytest.mark.parametrize("eps", [0.05])
def test_eps_and_bounds_are_kept(eps: float) -> None:
    from ringtest.condition import conditions
    from ringtest.tasks import make
    from ringtest.trial import prepare

    data = rows()
    task = make("classification", data)
    models = [
        prepare(n, r, Coded(c), task, data)  # type: ignore[arg-type]
        for n, r, c in (("m0", "member", nn.Identity()), ("s", "student", steep))
    ]
    kind = next(k for k in conditions if k.id == KIND)
    attack = kind.make(severity=eps)
    attack.fit(models, data, torch.Generator().manual_seed(0))
    attack.subject(models[1])
    x = data.inputs[:100]
    for m in models:
        m.at(data.rows, slice(0, 100))
    found = attack.batch(models[1], x, None, torch.Generator().manual_seed(1))
    assert float((found - x).abs().max()) <= eps * (1 + 1e-5)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert not torch.equal(found, x)
