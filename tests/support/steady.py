"""A member that has one answer to everything, and so bears whatever a condition searches for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

STEADY: Any = SimpleNamespace(
    name="teacher[0]",
    role="member",
    stored=None,
    task=SimpleNamespace(name="classification"),
    at=lambda _rows, _part: None,
    outputs=lambda x: torch.zeros(len(x), 3),
)
