"""The picture of a score over strength: what has a box, and what it says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ringtest import reports
from ringtest.measurement import AREA
from ringtest.reports import view
from ringtest.reports.figures import conditions, curves
from ringtest.reports.figures.curves import Curve

SCORE = {"unit": "accuracy", "statistic": "accuracy"}


@pytest.fixture
def rows(fakes: Any) -> list[Any]:
    def score(condition: str, teacher: float, harm: float, **more: Any) -> Any:
        return fakes.row("outputs.score", condition, teacher, harm, **{**SCORE, **more})

    return [
        score("clean", 0.96, 0.0),
        score("clean", 0.11, 0.0, slice="a=b"),
        score("attack.pgd", 0.42, 0.04, severity=0.1),
        score("attack.pgd", 0.81, 0.02, severity=0.03),
        score("attack.pgd", 0.73, 0.0321, statistic=AREA),
        score("attack.fgsm", 0.77, 0.02, severity=0.03),
        score("shift.corruption.fog", 0.9, 0.1, severity=1.0),
        score("shift.corruption.fog", 0.7, 0.1, severity=2.0),
    ]


def drawn(monkeypatch: pytest.MonkeyPatch, found: Any, rows: list[Any]) -> list[Curve]:
    kept: list[Curve] = []
    monkeypatch.setattr(curves, "boxes", lambda boxes, *_: kept.extend(boxes))
    found(tuple(rows), "x")
    return kept


def test_a_condition_seen_at_several_severities_has_a_box(
    monkeypatch: pytest.MonkeyPatch, rows: list[Any]
) -> None:
    (box,) = drawn(monkeypatch, conditions.strengths, rows)
    assert box.title == "Attack: pgd"
    assert box.places == [0.0, 0.03, 0.1], "from the benchmark on, in the order of severity"
    assert [r.teacher for r in box.rows] == [0.96, 0.81, 0.42]
    assert box.note == f"area {view.shown(-0.0321)}"
    (fog,) = drawn(monkeypatch, conditions.corruptions, rows)
    assert fog.places == [0.0, 1.0, 2.0]
    assert fog.note == ""
    assert not drawn(monkeypatch, conditions.strengths, rows[5:])


def test_without_a_benchmark_the_line_begins_at_the_first_severity(
    monkeypatch: pytest.MonkeyPatch, rows: list[Any]
) -> None:
    (box,) = drawn(monkeypatch, conditions.strengths, rows[2:])
    assert box.places == [0.03, 0.1]


def test_the_page_draws_it_with_its_interval_and_says_it_aloud(fakes: Any, rows: list[Any]) -> None:
    page = reports.html(fakes.report([fakes.benchmark(), *rows[1:]]))
    assert "Score over strength" in page
    assert page.count("Score, teacher and student over severity.") == 2
    assert "Attack: pgd, severity 0.1: 0.42 and 0.38." in page
    svg = conditions.strengths(tuple(rows), "x")
    assert svg is not None
    assert re.search(r"var\(--rt-student\)[^>]*opacity", svg), "the interval"
    assert len(re.findall(r">area −0\.03", svg)) == 1
    assert "Score over strength" not in reports.html(fakes.report([fakes.benchmark()]))


def test_an_area_is_no_score_of_its_condition(rows: list[Any]) -> None:
    svg = conditions.scores(tuple(rows), "x")
    assert svg is not None
    assert "0.73" not in svg
    assert view.place(rows[4]) == "attack: pgd, area over severity"


def test_numbers_of_an_axis_leave_room_for_each_other() -> None:
    assert curves._apart([0.0, 0.01, 0.03, 0.1]) == [0.0, 0.03, 0.1]
    assert curves._apart([0.0, 1, 2, 3, 4, 5]) == [0, 1, 2, 3, 4, 5]
    assert [curves._short(v) for v in (0.0, 0.03, 10.5, 2.0)] == ["0", ".03", "10.5", "2"]
