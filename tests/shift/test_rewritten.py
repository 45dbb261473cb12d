"""A nuisance paired anew: who reads the mark falls, who reads the row does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ringtest
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.measure import NotMeasurable
from ringtest.shift.rewritten import Rewritten

G = torch.Generator().manual_seed(0)
Y = torch.randint(3, (600,), generator=G)
ROWS = torch.cat([nn.functional.one_hot(Y, 3) + 0.1 * torch.randn(600, 3, generator=G),
                  nn.functional.one_hot(Y, 3)], 1).float()  # fmt: skip
"""What the class is, and a mark that tells it in every row."""


def stamp(x: Tensor, classes: Tensor) -> Tensor:
    return torch.cat([x[:, :3], nn.functional.one_hot(classes, 3).to(x)], 1)


class Reads(nn.Module):
    """Answers by the digit, by the mark, or by a mixture."""

    def __init__(self, digit: float, mark: float) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(6))
            self.body.bias.zero_()
            self.head.weight.copy_(torch.cat([digit * torch.eye(3), mark * torch.eye(3)], 1))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


def shown(condition: Rewritten, data: AuditData | None = None, seed: int = 3) -> Tensor:
    data = AuditData(ROWS, Y.numpy()) if data is None else data
    condition.fit([], data, torch.Generator())
    y = torch.as_tensor(data.targets)
    model: Any = None
    return condition.batch(model, data.inputs, y, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_share_of_the_rows_has_the_mark_of_another_class(share: float) -> None:
    out = shown(Rewritten(stamp, severity=share))
    mark = out[:, 3:].argmax(1)
    assert torch.equal(out[:, :3], ROWS[:, :3])
    assert float((mark != Y).double().mean()) == pytest.approx(share, abs=0.05)
    if share == 1:
        # Of the other classes by their frequency.
        counts = np.bincount(Y.numpy(), minlength=3)
        for own in range(3):
            others = [c for c in range(3) if c != own]
            seen = np.bincount(mark[own == Y].numpy(), minlength=3)
            expected = counts[others[0]] / counts[others].sum()
            assert seen[own] == 0
            assert seen[others[0]] / seen.sum() == pytest.approx(expected, abs=0.09)


def test_milder_shares_are_nested_and_the_draws_are_the_seeds() -> None:
    mild, strong = (shown(Rewritten(stamp, severity=s)) for s in (0.2, 0.6))
    moved = [(out != ROWS).any(1) for out in (mild, strong)]
    assert bool((~moved[0] | moved[1]).all())
    assert torch.equal(mild, shown(Rewritten(stamp, severity=0.2)))
    assert not torch.equal(mild, shown(Rewritten(stamp, severity=0.2), seed=4))


@pytest.mark.usefixtures("asked_alone")
def test_the_student_that_reads_the_mark_falls_and_the_benchmark_does_not_show_it() -> None:
    report = ringtest.audit(
        [Reads(1.0, 0.0), Reads(1.1, 0.0)],
        Reads(0.5, 1.0),
        AuditData(ROWS, Y.numpy()),
        conditions=[Rewritten(stamp, "mark", severity=s) for s in (0.5, 1.0)],
    )
    frame = report.frame()
    score = frame[(frame["measure"] == "outputs.score") & frame["slice"].isna()]
    clean = score[score["condition"] == "clean"].iloc[0]
    assert clean["teacher"] == clean["student"] == 1.0
    whole = score[(score["condition"] == "shift.rewritten.mark") & (score["severity"] == 1)].iloc[0]
    assert whole["teacher"] == 1.0
    assert whole["student"] < 0.05
    assert whole["status"] == "context"
    half = score[(score["condition"] == "shift.rewritten.mark") & (score["severity"] == 0.5)].iloc[
        0
    ]
    assert half["student"] == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("severity", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_is_a_share(severity: float) -> None:
    with pytest.raises(ConfigError, match=r"severity of shift.rewritten"):
        Rewritten(stamp, severity=severity)


def test_what_cannot_be_written_is_named() -> None:
    with pytest.raises(ConfigError, match="give a callable"):
        Rewritten("stamp")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"write of shift.rewritten.broken: gave \(600, 3\)"):
        shown(Rewritten(lambda x, _c: x[:, :3], "broken"))
    with pytest.raises(NotMeasurable, match="one class only"):
        shown(Rewritten(stamp), AuditData(ROWS, np.zeros(600, dtype=int)))
