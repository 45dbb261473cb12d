"""The first part of the report: it says what the rows say, and how to ask what nobody asked."""

import math
import re

import pytest

# Registered by conftest.py.
from reports_seen import part, printed, words

from ringtest import reports
from ringtest.gates.gating import judge
from ringtest.report import ReportSet
from ringtest.reports import answers, distilled, distilled_page, families, tables

NAN = math.nan


@pytest.fixture(scope="module")
def whole(fakes, page):
    """A report with every kind of row, and its section of the page."""
    report = fakes.ensemble()
    return report, part(page(report))


def test_there_is_no_section_without_rows_on_an_ensemble(fakes, page, ensembles):
    assert distilled.section(fakes.fractured().rows) is None
    assert distilled.section(ensembles.fidelity()) is None
    assert 'id="distilled"' not in page(fakes.fractured())
    assert "distil?" not in printed(reports.terminal, fakes.fractured())


def test_it_is_the_first_section(whole, page):
    report, _ = whole
    assert re.findall(r'<h2 id="([^"]+)"', page(report))[0] == "distilled"


def test_the_headline_sums_up_predictions_selection_and_structure(whole):
    report, html = whole
    headline = (
        "2.3 effective votes of 3 (2.1 to 2.5); the student has 61 % (41 to 85 %) of the "
        "ensemble's gain; what sampling gains is aggregation and selection; structure fractured; "
        "no budget closes the gap."
    )
    assert distilled.section(report.rows, report.verdict).headline == headline
    for shown in (html, report._repr_html_(), printed(reports.terminal, report, width=400)):
        assert headline in words(shown)


def test_five_questions_with_a_word_and_a_sentence_each(whole):
    report, html = whole
    section = distilled.section(report.rows, report.verdict)
    assert [q.key for q in section.questions] == list(answers.TITLE)
    assert [q.look.word for q in section.questions] == ["in part"] * 3 + ["fractured", "no"]
    seen, terminal = words(html), " ".join(printed(reports.terminal, report, width=400).split())
    for question in section.questions:
        assert question.sentence
        for text in (question.title, question.look.word, question.sentence):
            assert text in seen
            assert text in terminal
        assert f'<span aria-hidden="true">{question.look.mark}</span>' in html


def test_what_nobody_asked_says_how_to_ask_it(ensembles):
    section = distilled.section(ensembles.waterfall(student=NAN))
    assert [q.look for q in section.questions] == [answers.NOT_ASKED] * 5
    html = reports.ensemble_html(ensembles.waterfall(student=NAN), {})
    terminal = printed(reports.terminal_ensemble, ensembles.waterfall(student=NAN), {}, width=400)
    for key, how in answers.HOW.items():
        assert how in words(html), key
        assert how in " ".join(terminal.split()), key


@pytest.mark.parametrize(
    ("key", "build"),
    [
        ("distil", lambda e, code: e.diversity(answer=code)),
        ("predictions", lambda e, code: e.waterfall(answer=code)[:1]),
        ("selection", lambda e, code: e.samples()),
        ("budget", lambda e, code: e.samples()),
    ],
)
def test_every_answer_has_a_look_of_its_own(ensembles, key, build):
    looks = answers.LOOK[key]
    assert len({look.word for look in looks.values()}) == len(looks)
    for code, look in looks.items():
        rows = build(ensembles, code)
        deciding = {"selection": "gain by selection", "budget": "limit of the majority"}.get(key)
        for row in rows:
            if row.statistic == deciding or (key == "predictions" and row.params.get("answer")):
                row.params["answer"] = code
        if key == "predictions":
            rows[0].statistic = "ensemble"
        asked = {q.key: q for q in distilled.section(rows).questions}
        assert asked[key].look is look


def test_numbers_of_the_page_are_those_of_the_rows(whole):
    report, html = whole
    seen = words(html)
    shown = [r for r in report.rows if r.measure == "ensemble.diversity" or r.params.get("control")]
    assert len(shown) == 20
    for row in shown:
        for value in (row.teacher, row.student):
            said = f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
            assert said in seen
        low, high = row.params["teacher_interval"]
        if abs(high) < 1:
            assert f"[{low:.3f}, {high:.3f}]".replace("-", "−") in seen
        low, high = row.ci_low, row.ci_high
        if min(abs(low), abs(high)) < 0.0005:
            continue  # told as 0
        assert f"[{low:.3f}, {high:.3f}]".replace("-", "−") in seen
    for row in report.rows:
        if row.measure == "ensemble.waterfall":
            low, high = row.params["teacher_interval"]
            assert f"{100 * row.teacher:.1f} %" in seen
            assert f"{100 * low:.1f} to {100 * high:.1f} %" in seen
        if "rise" in row.params:
            assert f"+{100 * row.params['rise']:.1f} points" in seen
            assert f"{100 * row.params['share']:.0f} %" in seen


def test_a_table_line_holds_the_values_of_its_row(whole):
    report, _ = whole
    section = distilled.section(report.rows, report.verdict)
    table = tables.fidelity(section)
    assert [name for name, _ in table.groups] == [
        "Benchmark inputs", "Where the members disagree, eps 0.1"
    ]  # fmt: skip
    line = next(x for x in table.groups[1][1] if "wrong" in x.label)
    row = next(
        r for r in report.rows if r.condition == "attack.disagreement" and "wrong" in r.statistic
    )
    assert [cell.value for cell in line.cells] == [
        f"{row.teacher:.3f}", f"{row.student:.3f}", f"−{-row.delta:.3f}",
        f"{row.params['control']:.3f}", f"+{row.params['over_control'][0]:.3f}",
    ]  # fmt: skip
    assert line.cells[4].interval == "[0.060, 0.100]"


def test_rows_are_shown_once_and_none_is_lost(whole, page, fakes, ensembles):
    report, _ = whole
    text = page(report)
    assert families.of("ensemble.anything") is None
    assert 'id="others"' not in text
    assert 'id="shifts"' not in text  # fidelity has its place
    alone = page(fakes.report([fakes.benchmark(), *ensembles.fidelity()], "alone"))
    assert 'id="shifts"' in alone
    table = words(text.split("context rows, which are not judged")[1].split("</section>")[0])
    for row in report.rows:
        if row.measure.startswith("ensemble.") and row.measure != "ensemble.texts":
            assert row.statistic in table
    assert "likeness of the members' texts" in table


def test_page_before_distilling(ensembles):
    about = {"members": 5, "items": 12345, "task": "classification", "seed": 0,
             "versions": {"ringtest": "0.1.0", "numpy": "2.3"}}  # fmt: skip
    rows = [*ensembles.diversity(False), *ensembles.waterfall(student=NAN)]
    html = reports.ensemble_html(rows, about)
    seen = words(html)
    assert "<title>Is it worth distilling?" in html
    for fact in ("Members 5", "Items 12,345", "Versions ringtest 0.1.0, numpy 2.3"):
        assert fact in seen
    assert "the ensemble is +1.9 points (+1.3 to +2.5) over its mean member" in seen
    assert "Student" not in words(html.split("<figure")[1].split("</figure>")[0])
    assert html == reports.ensemble_html(rows, about)
    assert len(html.encode()) < 150_000
    assert "Nothing was measured" in words(reports.ensemble_html([], about))
    assert "Nothing was measured" in printed(reports.terminal_ensemble, [], about)


def test_a_set_says_the_teacher_once_and_places_every_student(fakes, ensembles):
    students = {}
    for name, level in (("near", 0.9633), ("far", 0.9536)):
        rows = [*ensembles.diversity(), *ensembles.waterfall(student=level), *ensembles.fidelity()]
        students[name] = fakes.report([fakes.benchmark(), *fakes.headlines(0.3), *rows], name)
    students["none"] = fakes.sound()
    found = ReportSet(students)
    html, terminal = reports.html_set(found), printed(reports.terminal_set, found)
    for shown in (html, terminal):
        seen = words(shown)
        assert seen.count("2.3 effective votes of 3") == 1
        assert "61 %" in seen
        assert "10 %" in seen
    lines = re.findall(r'<tr><th scope="row".*?</tr>', part(html), re.DOTALL)
    assert [words(line).split()[0] for line in lines] == ["near", "far"]
    assert "0.976" in words(lines[0])
    assert terminal.index("effective votes") < terminal.index("students of one teacher")


def test_a_gate_does_not_ask_what_was_distilled(whole):
    report, _ = whole
    assert "What did you distil?" in printed(reports.terminal, report)
    assert "distil?" not in printed(reports.terminal_gate, judge(report))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"answer": "one", "teacher_interval": [1.0, 1.2]}, "one opinion held 3 times: 2.3 "),
        (
            {"answer": "many", "teacher_interval": [2.9, 3.6]},
            "2.3 effective votes of 3 (2.9 to over",
        ),
        ({"teacher_interval": None}, "2.3 effective votes of 3."),
        ({"members": None}, "2.3 effective votes (2.1 to 2.5)"),
    ],
)
def test_votes_in_the_headline(ensembles, given, said):
    rows = ensembles.diversity(student=False)
    rows[0].params |= given
    assert said.lower() in distilled.section(rows).headline.lower()


def test_a_student_below_the_mean_member_has_none_of_the_gain(ensembles):
    headline = distilled.section(ensembles.waterfall(student=0.94)).headline
    assert headline == "The student has none of the ensemble's gain: −61 % (−81 to −37 %)."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("open", "How much of the ensemble's gain the student has is undecided"),
        ("not", "The student has less than half of the ensemble's gain"),
    ],
)
def test_what_an_interval_leaves_open_is_not_said(ensembles, answer, said):
    rows = ensembles.waterfall(student=0.94)
    row = next(r for r in rows if r.statistic == "ensemble")
    row.params |= {"answer": answer, "share": 0.2, "share_interval": [-0.8, 1.15]}
    assert distilled.section(rows).headline == f"{said}: 20 % (−80 to 115 %)."


def test_texts_speak_beside_members_and_alone(ensembles):
    text_rows = [r for r in ensembles.samples() if r.measure == "ensemble.texts"]
    alone = distilled.section(text_rows).questions[0]
    assert alone.look.word == "no"
    both = distilled.section([*ensembles.diversity(), *text_rows]).questions[0]
    assert both.look.word == "in part"
    assert f"By what they wrote: {alone.sentence}" in both.sentence
    assert "By what" not in alone.sentence


def test_pictures_have_ids_of_their_own(ensembles):
    sections = distilled.section([*ensembles.audited(), *ensembles.samples()])
    drawn = distilled_page.shown(sections, "p")
    pictures = [*(way.svg for way in drawn.waterfalls), drawn.samples]
    ids = [re.findall(r'id="([^"]+)"', picture) for picture in pictures]
    assert len(pictures) == 2
    assert not set(ids[0]) & set(ids[1])
