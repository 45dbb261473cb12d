"""The pages: complete, self-contained, safe, small and the same in every run."""

import re
from collections import Counter
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest

from ringtest import reasons, reports
from ringtest.files import folder_name
from ringtest.report import ReportSet
from ringtest.reports import view

VOID = {"meta", "link", "br", "img", "input", "hr"}
SECTIONS = (
    "reasons",
    "groups",
    "layers",
    "conditions",
    "unmeasured",
    "rows",
    "subjects",
    "data",
    "again",
)


class Page(HTMLParser):
    """Tags with attributes, the text outside of styles, and whether tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.balanced = True
        self.feed(text)
        self.close()
        self.balanced &= not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.balanced &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def values(page: Page, name: str) -> list[str]:
    return [attrs[name] or "" for _, attrs in page.tags if name in attrs]


@pytest.fixture(scope="module")
def everything(page):
    """All pages and fragments that speak of a report."""
    drawn: dict[str, list[str]] = {}

    def draw(report) -> list[str]:
        found = ReportSet({report.student: report})
        key = report.data["integrity"]["sha256"]
        if key not in drawn:
            drawn[key] = [
                page(report),
                reports.html_fragment(report),
                reports.html_set(found),
                reports.html_set_fragment(found),
            ]
        return drawn[key]

    return draw


def test_says_label_sentence_reasons_and_next_steps(report, page):
    text = " ".join(Page(page(report)).text.split())
    assert report.verdict.label in text
    for line in (reasons.sentence(report.verdict), *report.verdict.reasons, *report.verdict.settle):
        assert view.clean(line) in text


def test_every_status_is_written_out(report, page):
    text = Page(page(report)).text
    for group in report.verdict.groups.values():
        assert view.STATUS[group.status].word in text
    for row in report.verdict.rows:
        if row.headline:
            assert view.STATUS[row.status].word in text


def test_every_look_differs_by_word():
    for looks in (view.STATUS, view.LABEL):
        assert len({look.word for look in looks.values()}) == len(looks)


def test_sections_in_order(fakes, page):
    found = [i for i in values(Page(page(fakes.fractured())), "id") if i in SECTIONS]
    assert found == list(SECTIONS)


def test_well_formed_with_unique_ids(report, everything):
    for text in everything(report):
        page = Page(text)
        assert page.balanced
        repeated = [i for i, k in Counter(values(page, "id")).items() if k > 1]
        assert not repeated


def test_references_inside_the_page_exist(report, page):
    text = page(report)
    ids = set(values(Page(text), "id"))
    used = re.findall(r"url\(#([^)]+)\)", text) + re.findall(r'href="#([^"]+)"', text)
    assert set(used) <= ids


def test_nothing_is_loaded_from_outside(report, everything):
    for text in everything(report):
        page = Page(text)
        assert not {"script", "link", "img", "iframe", "object", "image"} & {
            t for t, _ in page.tags
        }
        assert not values(page, "src")
        assert "@import" not in text
        assert re.search(r"https?:", text) is None
        assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)\)", text))
        links = [a["href"] for t, a in page.tags if t == "a"]
        assert all(link == f"{folder_name(report.student)}/report.html" for link in links)


def test_fragments_together_in_a_notebook_share_no_id(fakes):
    parts = [reports.html_fragment(fakes.fractured()), reports.html_fragment(fakes.sound())]
    parts.append(reports.html_set_fragment(fakes.report_set()))
    ids = [i for part in parts for i in values(Page(part), "id")]
    assert len(ids) == len(set(ids))


def test_fragment_styles_touch_nothing_else(fakes):
    sheet = re.search(r"<style>(.*?)</style>", reports.html_fragment(fakes.sound()), re.DOTALL)
    assert sheet is not None
    assert len(re.findall("<style", reports.html_fragment(fakes.sound()))) == 1
    rules = re.sub(r"@media[^{]*\{", "", sheet.group(1))
    for selector in re.findall(r"([^{}]+)\{", rules):
        assert all(".ringtest" in part for part in selector.split(","))


def test_names_are_escaped(fakes, everything):
    report = fakes.odd_names()
    for text in everything(report):
        assert "<script" not in text
        assert "\x1b" not in text
        assert "alert" in text


def test_names_are_drawn_as_they_are(fakes, page):
    text = Page(page(fakes.odd_names())).text
    assert "$\\frac{$" in text  # and not read as mathematics
    assert "слой.層" in text


def test_size(report, page):
    assert len(page(report).encode()) < 2_000_000


def test_size_with_many_rows(fakes, page):
    report = fakes.many_rows()
    assert len(report.rows) == 5_000
    assert len(page(report).encode()) < 600_000
    assert "more rows of this measure are in report.json" in page(report)


def test_usual_size(fakes, page):
    assert len(page(fakes.fractured()).encode()) < 250_000


def test_same_bytes_again(fakes):
    assert reports.html(fakes.fractured()) == reports.html(fakes.fractured())
    assert reports.html_set(fakes.report_set()) == reports.html_set(fakes.report_set())


def test_settings_of_the_user_do_not_matter(fakes, page):
    with mpl.rc_context({"font.size": 30, "text.usetex": True, "svg.fonttype": "path"}):
        assert reports.html(fakes.sound()) == page(fakes.sound())
        assert mpl.rcParams["font.size"] == 30
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    reports.html(fakes.sound())
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_timing_is_not_shown(fakes, page):
    assert page(fakes.sound()) == reports.html(fakes.report(
        fakes.sound().rows, "careful", timing={"seconds": 7}
    ))  # fmt: skip


def test_figures_can_be_heard(report, page):
    drawings = [a for t, a in Page(page(report)).tags if t == "svg"]
    assert drawings
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 20


def test_figures_keep_text_and_follow_the_page(fakes, page):
    text = page(fakes.fractured())
    assert "<text" in text
    assert "var(--rt-fail)" in text
    drawing = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"(?:fill|stroke):(#\w+)", drawing)) <= {"#000000"}
    assert "font-family" not in drawing


def test_dark_and_print(fakes, page):
    text = page(fakes.sound())
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "DARK" not in text
    assert "LIGHT" not in text


def test_what_was_not_measured(fakes, page):
    text = Page(page(fakes.outputs_only())).text
    assert text.count("the student shows no layers") == 3
    section = page(fakes.inconclusive()).split('id="unmeasured"')[1].split("</section>")[0]
    assert "a layer has no variance left" in section
    assert "needs gradients" in section


def test_groups_without_rows_say_why(fakes, page):
    assert "required, but nothing measured it" in Page(page(fakes.bare())).text
    assert "3 band-void rows of other groups" in Page(page(fakes.band_void())).text


def test_user_gates(fakes, page):
    text = Page(page(fakes.fractured())).text
    assert "Your own gates" in text
    assert "matches no row" in text


def test_set_compares_all_students(fakes):
    students = fakes.report_set()
    page = Page(reports.html_set(students))
    text = " ".join(page.text.split())
    links = [a["href"] for t, a in page.tags if t == "a"]
    assert links == [f"{folder_name(name)}/report.html" for name in students]
    for name, report in students.items():
        assert view.clean(name) in text
        assert report.verdict.label in text
        assert view.clean(reasons.worst_finding(report.verdict)) in text
    assert "do not compare" in text


def test_set_of_alike_students_compares_strengths(fakes):
    alike = ReportSet({"a": fakes.fractured("a"), "b": fakes.fractured("b")})
    assert "do not compare" not in reports.html_set(alike)


def test_nothing_turns_the_direction_of_the_text(fakes):
    """U+202E and its like make a reader see other words than stand there."""
    turned = "\u202eevil\u2066"
    rows = fakes.fractured().rows
    for r in rows:
        r.reason = r.unit = turned
        r.student_layer = r.teacher_layer = turned
        if r.condition == fakes.WEB:
            r.condition = f"shift.unlabelled.{turned}"
    report = fakes.report(rows, turned, task=turned, config={turned: [turned], "command": turned},
                          environment={"seed": turned, "packages": {turned: turned}})  # fmt: skip
    students = ReportSet({turned: report, "b": fakes.sound()})
    texts = (reports.html(report), report._repr_html_(), reports.html_set(students),
             students._repr_html_(), reports.render(students, "markdown"))  # fmt: skip
    for text in texts:
        assert "evil" in text
        assert "\u202e" not in text
        assert "\u2066" not in text


@pytest.mark.parametrize("name", ["html", "json"])
def test_render(fakes, page, name):
    assert name in reports.formats()
    text = reports.render(fakes.sound(), name)
    assert "sound" in text
    if name == "html":
        assert text == page(fakes.sound())


def test_rows_without_values_are_drawn_or_left_out(fakes):
    """Everything NaN, no margin, one row, values that do not differ: no warning, no error."""
    nan = float("nan")
    rows = [fakes.benchmark(0.0), *fakes.headlines(0.0), *fakes.context(0.0)]
    for row in rows[1:]:
        if row.measure in ("similarity.cka", "probe.decodability"):
            row.teacher = row.student = row.delta = row.harm = row.se = nan
            row.ci_low = row.ci_high = nan
        if row.measure == "outputs.agreement":
            row.margin = 0.0
    assert "no margin" in reports.html(fakes.report(rows))
