"""What tests of corruptions share: rough images, what becomes of them, what to hold it against."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ringtest.data import AuditData

NO_MODEL: Any = None


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(condition: Any, x: Tensor, seed: int = 1) -> Tensor:
    condition.fit([], AuditData(x, bounds=(0, 1)), rng())
    out: Tensor = condition.batch(NO_MODEL, x, None, rng(seed))
    return out


def rough(*shape: int) -> Tensor:
    return torch.rand(shape, generator=rng(5))


def each(x: Tensor, function: Any) -> Tensor:
    """A function of a (h, w) array in double precision, for each channel of each row."""
    planes = x.double().numpy().reshape(-1, *x.shape[2:])
    return torch.tensor(np.stack([function(p) for p in planes])).reshape(x.shape).float()


def near(a: Tensor, b: Tensor, tolerance: float = 2e-6) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)
