"""The strongest transformation that a teacher bears, against what a linear model says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quick import only_under
from torch import Tensor, nn

import ringtest
from ringtest import plan, tasks
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.measure import NotMeasurable
from ringtest.shift.strongest import Strongest
from ringtest.trial import prepare


class Threshold(nn.Module):
    """Class 1 where a column lies above a threshold."""

    def __init__(self, column: int = 0, at: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 2)
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.hidden.weight.zero_()
            self.hidden.weight[:, column] = torch.tensor([1.0, -1.0])
            self.hidden.bias.copy_(torch.tensor([-at, at]))
            self.head.weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.hidden(x))
        return out


X = torch.randn(256, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0, 2.0])
Y = (X[:, 0] > 0).long().numpy()


def fitted(name: str, *members: nn.Module, x: Tensor = X, y: np.ndarray = Y) -> Strongest:  # type: ignore[type-arg]
    data = AuditData(x, y)
    task = tasks.make("classification", data)
    models = [
        prepare(f"teacher[{i}]", "member", m.eval(), task, data) for i, m in enumerate(members)
    ]
    condition = Strongest(name)
    condition.fit(models, data, torch.Generator().manual_seed(1))
    return condition


@pytest.mark.parametrize(
    "members", [(Threshold(),), (Threshold(at=0.3), Threshold(1))], ids=["one", "two"]
)
def test_it_is_as_strong_as_the_members_bear_and_no_stronger(
    members: tuple[nn.Module, ...],
) -> None:
    found = fitted("shift_up", *members)

    def kept(strength: float) -> float:
        """By numpy, from what the members are."""
        shares = []
        for m in members:
            column = int(m.state_dict()["hidden.weight"][0].argmax())
            z = X[:, column].double().numpy() + m.state_dict()["hidden.bias"].numpy()[0]
            moved = z + strength * float(X[:, column].double().std(correction=0))
            shares.append(((z > 0) == (moved > 0)).mean())
        return float(np.mean(shares))

    grid = np.linspace(0, 1, 2001)
    limit = grid[np.argmax([kept(s) < 0.92 for s in grid])]
    assert limit * (1 - 1 / 8) <= found.strength <= limit
    for strength, value in found.kept.items():
        assert value == pytest.approx(kept(strength), abs=0.003)


def test_what_the_members_bear_to_the_end_is_the_largest_and_what_they_bear_never_is_a_reason() -> (
    None
):
    assert fitted("scale_down", Threshold()).strength == 1.6  # a threshold at the mean, all but
    x = X.clone()
    x[:, 0] = x[:, 0].sign() * 1e-3
    x[0, 0] = 100.0  # a deviation of 5, so that the weakest step crosses the threshold everywhere
    with pytest.raises(NotMeasurable, match=r"the teacher keeps 0\.[45]\d at the weakest, 0\.0938"):
        fitted("shift_up", Threshold(), x=x)


def test_an_audit_reads_consistency_there_and_tells_the_strength() -> None:
    data = AuditData(X, Y)
    with only_under("shift.strongest"):
        report = ringtest.audit(
            [Threshold(), Threshold(at=0.01), Threshold(at=-0.01)],
            Threshold(at=0.05),
            data,
        )
    frame = report.frame()
    mine = frame[frame["condition"] == "shift.strongest.shift_up"]
    strength = mine[mine["measure"] == "shift.strongest_strength"].iloc[0]
    assert strength["teacher"] == strength["student"] > 0
    assert strength["unit"] == "standard deviations"
    consistency = mine[mine["measure"] == "outputs.consistency"].iloc[0]
    assert consistency["teacher"] == pytest.approx(0.93, abs=0.02)
    assert consistency["status"] == "context"
    assert not mine["headline"].any()


def test_names_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"shift.strongest.shift_pu.*did you mean.*shift_up"):
        fitted("shift_pu", Threshold())
    data = AuditData(X, Y)
    for bad in (Strongest("nothing"), Strongest("noise", 2.0)):
        with pytest.raises(ConfigError, match=r"no transformation|is what is searched for"):
            plan.make(data, tasks.make("classification", data), [], (), [bad])
    assert {c.id for c in Strongest.defaults(data)} >= {"shift.strongest.noise"}


def test_a_member_that_breaks_does_not_bear_it_and_the_audit_goes_on() -> None:
    class Strict(Threshold):
        def forward(self, x: Tensor) -> Tensor:
            if float(x[:, 0].max()) > float(X[:, 0].max()) + 0.5:
                raise ValueError("out of range")
            return super().forward(x)

    # Half a deviation is borne by its answers at a threshold far below, and breaks it beyond.
    found = fitted("shift_up", Strict(at=-2.5))
    assert 0.4 < found.strength < 0.51
    assert any(np.isnan(v) for v in found.kept.values())
    data = AuditData(X, (X[:, 0] > -2.5).long().numpy())
    with only_under("shift.strongest"):
        report = ringtest.audit([Strict(at=-2.5), Strict(at=-2.4)], Strict(at=-2.5), data)
    rows = [r for r in report.rows if r.measure == "shift.strongest_strength"]
    assert None in {v for r in rows for v in r.params.get("kept", {}).values()}
