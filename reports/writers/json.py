"""The content itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringtest.report import Report


def render(report: Report) -> str:
    """What ``report.json`` holds."""
    return json.dumps(report.data, indent=1, allow_nan=False) + "\n"
