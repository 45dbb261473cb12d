"""The page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ringtest.report import ReportSet
from ringtest.reports import page

if TYPE_CHECKING:
    from ringtest.gates.gating import Gated

DECIDED: Final = False


def render(gated: Gated) -> str:
    """One self-contained page: of the student, or of all in comparison."""
    if gated.is_set:
        return page.set_page(ReportSet(gated.reports))
    (report,) = gated.reports.values()
    return page.page(report)
