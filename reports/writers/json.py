"""The content itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ringtest.gates.gating import Gated

DECIDED: Final = False


def render(gated: Gated) -> str:
    """What ``report.json`` holds; of a set, by student."""
    data: dict[str, Any] = {name: report.data for name, report in gated.reports.items()}
    content = data if gated.is_set else next(iter(data.values()))
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
