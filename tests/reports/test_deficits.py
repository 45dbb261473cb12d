"""The map of the student's deficit: order, numbers, what is bold, and when there is none."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ringtest import reports
from ringtest.measurement import AREA
from ringtest.reports.figures import deficits

SCORE = {"unit": "accuracy", "statistic": "accuracy"}


def score(fakes: Any, condition: str, harm: float, **more: Any) -> Any:
    return fakes.row("outputs.score", condition, 0.9, harm, **{**SCORE, **more})


@pytest.fixture
def rows(fakes: Any) -> list[Any]:
    def sure(condition: str, harm: float, severity: float) -> Any:
        """``harm`` with an interval of about .02 on either side."""
        return score(fakes, condition, harm, severity=severity, se=0.01)

    return [
        score(fakes, "clean", 0.0),
        sure("shift.corruption.fog", 0.011, 1.0),
        sure("shift.corruption.fog", 0.013, 2.0),
        sure("shift.corruption.jpeg_compression", 0.131, 1.0),
        sure("shift.corruption.jpeg_compression", 0.262, 5.0),
        sure("shift.corruption.snow", -0.21, 1.0),
        score(fakes, "shift.corruption.fog", 0.3, statistic=AREA),
        score(fakes, "shift.corruption.fog", 0.4, severity=1.0, slice="a=b"),
        score(fakes, "attack.pgd", 0.5, severity=0.1),
    ]


def texts(svg: str) -> list[str]:
    return [t.strip() for t in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_kinds_stand_worst_first_with_the_benchmark_before_them(rows: list[Any]) -> None:
    svg = deficits.deficits(tuple(rows), "x")
    assert svg is not None
    said = texts(svg)
    kinds = [t for t in said if t in ("Fog", "Jpeg compression", "Snow")]
    assert kinds == ["Jpeg compression", "Fog", "Snow"]
    assert [t for t in said if t in ("clean", "1", "2", "5")][:4] == ["clean", "1", "2", "5"]
    assert said[said.index("Snow") + 1 :][:12] == (
        ["0.00", "0.13", "0.26", "0.00", "0.01", "0.01", "0.00", "−0.21", *["–"] * 4]
    ), "line by line, what was not read behind"
    assert "0.40" not in said, "neither areas nor slices are cells"


def test_what_lies_surely_off_zero_is_bold_on_either_side(rows: list[Any]) -> None:
    svg = deficits.deficits(tuple(rows), "x")
    assert svg is not None
    bold = re.findall(r"<text[^>]*(?:bold|700)[^>]*>([^<]*)</text>", svg)
    assert sorted(re.sub(r"\D", "", b) for b in bold) == sorted(["013", "026", "021"])


def test_one_kind_or_one_severity_is_no_map(rows: list[Any]) -> None:
    assert deficits.deficits(tuple(rows[:3]), "x") is None
    assert deficits.deficits((rows[1], rows[3]), "x") is None


def test_the_page_shows_it(fakes: Any) -> None:
    page = reports.html(fakes.EVERY["sound"]())
    assert "Deficit under corruption" in page


def places(svg: str) -> list[float]:
    return [float(x) for x in re.findall(r'<text[^>]* x="([-0-9.]+)"', svg)]


@pytest.mark.parametrize(
    ("kinds", "severities"),
    [(["a", "b"], range(1, 21)), (["w" * 150 + "1", "w" * 150 + "2"], [1, 2])],
)
def test_what_is_wide_stays_on_the_page(fakes: Any, kinds: list[str], severities: Any) -> None:
    rows = [
        score(fakes, f"shift.corruption.{k}", 0.1, severity=float(s))
        for k in kinds
        for s in severities
    ]
    svg = deficits.deficits(tuple(rows), "x")
    assert svg is not None
    assert max(places(svg)) < 860


def test_without_a_number_on_the_benchmark_no_other_cell_is_bold_for_it(
    fakes: Any, rows: list[Any]
) -> None:
    rows[0] = score(fakes, "clean", float("nan"))
    svg = deficits.deficits(tuple(rows), "x")
    assert svg is not None
    assert "clean" not in texts(svg)
    bold = re.findall(r"<text[^>]*(?:bold|700)[^>]*>([^<]*)</text>", svg)
    assert sorted(re.sub(r"\D", "", b) for b in bold) == sorted(["013", "026", "021"])
