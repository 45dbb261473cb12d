"""What a terminal shows, and that all renderers say the same."""

import io
import json
import re
import subprocess
import sys

import pytest
from rich.console import Console

from ringtest import reasons, reports
from ringtest.errors import ReportError
from ringtest.reports import view

PROBE = """
import sys
import ringtest.reports as reports
heavy = {"seaborn", "matplotlib", "jinja2", "torch", "captum", "pandas", "rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
reports.formats()
import ringtest.reports.console
heavy -= {"rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def shown(report, width=120, encoding="utf-8", show=reports.terminal) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with stream:
        show(report, Console(file=stream, width=width))
        stream.flush()
        return stream.buffer.getvalue().decode(encoding)


def test_import_is_light():
    path = [p for p in sys.path if p]
    code = f"import sys; sys.path[:0] = {path!r}{PROBE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_exported_functions_are_not_hidden_by_modules(fakes):
    reports.html(fakes.bare())
    reports.schema()
    reports.render(fakes.bare(), "json")
    assert all(callable(getattr(reports, name)) for name in reports.__all__)


def test_all_say_the_same_label(report, page):
    label = report.verdict.label
    badge = re.search(r"rt-badge rt-big[^>]*>(?:<span[^>]*>.</span>)([\w-]+)<", page(report))
    assert badge is not None
    assert badge.group(1) == label
    assert shown(report).split()[1] == label
    assert json.loads(reports.render(report, "json"))["verdict"]["label"] == label


@pytest.mark.parametrize("width", [50, 80, 120])
def test_fits_the_width(report, width):
    assert all(len(line) <= width for line in shown(report, width).splitlines())


def test_says_what_the_verdict_says(report):
    text = " ".join(shown(report, 400).split())
    assert view.clean(reasons.sentence(report.verdict)) in text
    assert report.verdict.scope in text
    for name, group in report.verdict.groups.items():
        assert view.clean(name) in text
        assert view.STATUS[group.status].word in text
    for line in report.verdict.settle:
        assert view.clean(line) in text


def test_names_are_no_markup(fakes):
    text = shown(fakes.odd_names(), 200)
    assert "[red]$x$[/red]" in text
    assert "\x1b" not in text


def test_plain_ascii_terminal(fakes):
    text = shown(fakes.fractured(), encoding="ascii")
    assert text.isascii()
    assert "x fractured" in text
    assert shown(fakes.report_set(), encoding="ascii", show=reports.terminal_set).isascii()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_set(fakes, width):
    students = fakes.report_set()
    text = shown(students, width, show=reports.terminal_set)
    assert all(len(line) <= width for line in text.splitlines())
    for report in students.values():
        assert report.verdict.label in text


def test_unknown_format(fakes):
    with pytest.raises(ReportError, match="did you mean html"):
        reports.render(fakes.bare(), "htm")
