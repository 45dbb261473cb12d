"""The gate's decision for machines: outcome, exit code and every check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringtest.gates.gating import Gated


def render(gated: Gated) -> str:
    """What :meth:`ringtest.gates.gating.Gated.as_dict` gives, as JSON."""
    return json.dumps(gated.as_dict(), indent=1, allow_nan=False) + "\n"
