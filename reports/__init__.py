"""Renderers of a finished report; none of them computes anything.

``html`` and ``html_set`` give whole pages, the ``_fragment`` functions what a notebook shows,
``terminal``, ``terminal_set`` and ``terminal_gate`` print to a rich console, ``schema`` is the JSON
Schema of ``report.json`` and ``render`` writes any format of the folder ``writers`` as text.
``ensemble_html`` and ``terminal_ensemble`` show rows on an ensemble that nobody audited.

Everything is imported when it is called: ``ringtest gate`` draws nothing and must start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from ringtest.gates.gating import Gated
    from ringtest.measurement import Measurement
    from ringtest.report import Report, ReportSet

__all__ = [
    "ensemble_html",
    "formats",
    "html",
    "html_fragment",
    "html_set",
    "html_set_fragment",
    "render",
    "schema",
    "terminal",
    "terminal_ensemble",
    "terminal_gate",
    "terminal_set",
]

# No module of this folder may carry one of these names: importing it would hide the function.


def html(report: Report) -> str:
    """One self-contained page of at most 2 MB; the same bytes for the same report."""
    from ringtest.reports import page

    return page.page(report)


def html_fragment(report: Report) -> str:
    """Verdict, reasons and groups with scoped styles, for a notebook cell."""
    from ringtest.reports import page

    return page.fragment(report)


def html_set(reports: ReportSet) -> str:
    """One page that compares students; it links to ``NAME/report.html`` beside it."""
    from ringtest.reports import page

    return page.set_page(reports)


def html_set_fragment(reports: ReportSet) -> str:
    """The comparison of students with scoped styles and no links, for a notebook cell."""
    from ringtest.reports import page

    return page.set_fragment(reports)


def ensemble_html(rows: Sequence[Measurement], about: Mapping[str, Any]) -> str:
    """The page of `ringtest ensemble`: is it worth distilling?

    Args:
        rows: on the ensemble, as `ringtest.measurement` defines them.
        about: facts for the head of the page in their order, such as members, items, task, seed
            and versions: name -> a word, a number, a list or a mapping of words.
    """
    from ringtest.reports import page

    return page.ensemble_page(rows, about)


def terminal(report: Report, console: Console) -> None:
    """Print one report to a rich console."""
    from ringtest.reports import console as printer

    printer.show(report, console)


def terminal_set(reports: ReportSet, console: Console) -> None:
    """Print the comparison of students to a rich console."""
    from ringtest.reports import console as printer

    printer.show_set(reports, console)


def terminal_ensemble(
    rows: Sequence[Measurement], about: Mapping[str, Any], console: Console
) -> None:
    """Print what `ringtest ensemble` found to a rich console; ``about`` as for the page."""
    from ringtest.reports import console_distilled as printer

    printer.show(rows, about, console)


def terminal_gate(gated: Gated, console: Console) -> None:
    """Print what a gate decided on one report or a set; the last line is the outcome."""
    from ringtest.reports import console as printer

    printer.show_gate(gated, console)


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``report.json``."""
    from ringtest.reports import contract

    return contract.schema()


def formats() -> tuple[str, ...]:
    """Names that :func:`render` knows: the modules of the folder ``writers``."""
    from ringtest.reports import writers

    return writers.names()


def render(report: Report | ReportSet | Gated, form: str) -> str:
    """A report, or what a gate decided on it, as text in one of :func:`formats`.

    A report is decided by its own policy. ``html`` and ``json`` are formats of reports alone: they
    know of no other policy. Raises ReportError for an unknown format.
    """
    from ringtest.gates.gating import Gated, judge
    from ringtest.reports import writers

    decided = isinstance(report, Gated)
    write = writers.load(form, decided)
    return write(report if isinstance(report, Gated) else judge(report))
