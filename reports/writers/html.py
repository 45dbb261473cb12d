"""The page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringtest.reports import page

if TYPE_CHECKING:
    from ringtest.report import Report


def render(report: Report) -> str:
    """One self-contained page."""
    return page.page(report)
