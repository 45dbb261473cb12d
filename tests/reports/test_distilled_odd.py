"""The first part of the report of rows that lack something, or hold what others wrote."""

import math

import pytest

# Registered by conftest.py.
from reports_seen import part, printed, words

from ringtest import reports
from ringtest.report import ReportSet
from ringtest.reports import answers, distilled, steps, tables

NAN = math.nan


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", "\x1b[31m", "\u202e", "[red]x"])
def test_words_of_others_are_text(ensembles, nasty):
    rows = [*ensembles.audited(), *ensembles.samples()]
    for row in rows:
        row.reason = nasty
        for key in ("words", "sentence", "answer", "share_reason"):
            if key in row.params:
                row.params[key] = nasty
    rows += [
        ensembles.ensemble_row(measure, nasty, nasty, 0.5, 0.4)
        for measure in ("ensemble.diversity", "ensemble.waterfall", f"ensemble.{nasty}")
        for _ in range(2)
    ]
    html = reports.ensemble_html(rows, {nasty: [nasty, {nasty: nasty}]})
    terminal = printed(reports.terminal_ensemble, rows, {nasty: nasty}, width=300)
    assert "<script" not in html
    for shown in (html, terminal):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "[red]x" in terminal or nasty != "[red]x"


@pytest.mark.parametrize("odd", [None, "much", [1], [1, None], [NAN, 1.0], {"a": 1}, True])
def test_params_of_another_form_are_no_numbers(ensembles, odd):
    rows = [*ensembles.audited(), *ensembles.samples()]
    for row in rows:
        row.params = dict.fromkeys(row.params, odd)
    section = distilled.section(rows)
    assert not math.isfinite(section.waterfalls[0].steps[1].share)
    assert steps.several(rows[0], "teacher_interval", 2) == pytest.approx((NAN, NAN), nan_ok=True)
    if isinstance(odd, str):
        assert words(part(reports.ensemble_html(rows, {})))


def test_what_could_not_be_measured_says_why(fakes, ensembles):
    why = "ensemble - mean member is +0.1 points, 95% interval -0.4 to +0.6, which holds 0"
    rows = ensembles.waterfall()
    for row in rows[1:]:
        for key in ("share", "share_interval"):
            del row.params[key]
        row.params["share_reason"] = why
    rows[1].params |= {"answer": "open", "words": "whether it was transferred is open"}
    votes = ensembles.diversity()
    votes[0].teacher = votes[0].student = NAN
    votes[0].reason, votes[0].params = "a member is always right", {"members": 3}
    report = fakes.report([fakes.benchmark(), *rows, *votes], "b")
    for shown in (reports.html(report), printed(reports.terminal, report, width=500)):
        seen = words(shown)
        assert why[1:] in seen
        assert "A member is always right." in seen
        assert "share of the ensemble's gain is not measurable" in seen
    both = reports.html_set(ReportSet({"b": report}))
    assert why[1:] in words(both)
    assert "not measurable" in words(both)


def test_texts_alone_have_a_headline(ensembles):
    told = {"answer": "one", "words": "one opinion held 3 times", "members": 3}
    rows = [ensembles.ensemble_row("ensemble.texts", "answers", "votes", 1.02, **told)]
    said = distilled.section(rows).headline
    assert said == "One opinion held 3 times: 1.0 effective votes of 3 (1.0 to 1.0)."
    assert distilled.teacher_words(rows) == said


def test_a_selection_that_nobody_measured_is_not_in_the_headline(ensembles):
    told = {"answer": "aggregation", "words": "The vote of 8 gains +9.0 points."}
    gain = ensembles.ensemble_row("ensemble.selection", "candidates", "gain by selection", NAN)
    gain.params, gain.reason = told, "no scores of a verifier were recorded"
    gain.status = "not_measurable"
    section = distilled.section([gain])
    assert section.headline == "Nothing of it could be measured."
    asked = next(q for q in section.questions if q.key == "selection")
    assert asked.look is answers.NOT_MEASURABLE
    assert asked.sentence == f"No scores of a verifier were recorded. {told['words']}"
    single = ensembles.ensemble_row("ensemble.selection", "candidates", "pass@k", 0.5, severity=1.0)
    assert "None of the questions" in distilled.section([gain, single]).headline


def test_an_unknown_answer_is_none(ensembles):
    rows = ensembles.diversity(answer="splendid")
    asked = distilled.section(rows).questions[0]
    assert asked.look is answers.NOT_MEASURABLE


def test_other_scores_than_shares_are_no_percentages(ensembles):
    rows = ensembles.waterfall()
    for row in rows:
        row.unit = "R^2"
        row.params.pop("sentence", None)  # the fake's is about accuracy
    html = words(part(reports.ensemble_html(rows, {})))
    assert "R²" in html
    assert " 95.2 %" not in html
    assert "0.95" in html
    assert "the ensemble is" not in html  # a student is placed
    assert "61 %" in html  # a share of a gain is one whatever the score


@pytest.mark.parametrize("width", [40, 80, 140])
def test_terminals_of_any_width_and_alphabet(fakes, ensembles, width):
    rows = [*ensembles.audited(), *ensembles.samples()]
    text = printed(reports.terminal_ensemble, rows, {"members": 3}, width=width)
    assert all(len(line) <= width for line in text.splitlines())
    plain = printed(reports.terminal_ensemble, rows, {}, width=width, encoding="ascii")
    assert plain.isascii()
    assert "?" not in plain.replace("distil?", "").replace("distilling?", "").replace(
        "transferred?", ""
    ).replace("selection?", "").replace("kept?", "").replace("gap?", "")
    both = printed(reports.terminal_set, ReportSet({"a": fakes.ensemble()}), width=max(60, width))
    assert all(len(line) <= max(60, width) for line in both.splitlines())


def test_columns_of_what_is_not_there_are_left_out(ensembles):
    rows = [*ensembles.diversity(student=False), *ensembles.fidelity()]
    for row in rows:
        row.params.pop("control", None)
    section = distilled.section(rows)
    assert tables.diversity(section).head == ("", "Members")
    assert tables.fidelity(section).head == ("", "Member", "Student", "Difference")
