"""Input noise in units of what it disturbs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ringtest.data import AuditData
from ringtest.perturb.noise import InputNoise

NO_MODEL: Any = None


@pytest.mark.parametrize("severity", [0.1, 0.3])
def test_units(severity: float) -> None:
    x = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([1.0, 50.0, 0.0]) + 5
    condition = InputNoise(severity=severity)
    condition.fit([], AuditData(x), torch.Generator())
    moved = condition.batch(NO_MODEL, x, None, torch.Generator().manual_seed(1)) - x
    ratio = moved.std(0)[:2] / x.std(0)[:2]
    torch.testing.assert_close(ratio, torch.full((2,), severity), rtol=0.05, atol=0)
    assert (moved[:, 2] == 0).all()
