"""Pictures of the waterfall and of curves over samples: what is drawn stands where its value is."""

import itertools
import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ringtest.reports import steps
from ringtest.reports.figures import samples, svg, waterfall

FOUR = {"mean member": 0.61, "ensemble": 0.7, "selected": 0.66, "oracle": 0.93}
CASES = {
    "three": ({"mean member": 0.952, "ensemble": 0.971, "oracle": 0.993}, 0.963, 0.006),
    "four": (FOUR, 0.75, 0.02),
    "tiny gains": ({"mean member": 0.95, "ensemble": 0.9502, "oracle": 0.9503}, 0.9501, 0.0001),
    "no gain": ({"mean member": 0.95, "ensemble": 0.95, "oracle": 0.95}, 0.95, 0.0),
    "no student": (FOUR, math.nan, 0.02),
    "near nothing": ({"mean member": 0.002, "ensemble": 0.01, "oracle": 0.2}, 0.0, 0.004),
    "student below": (FOUR, 0.2, 0.02),
    "student above": (FOUR, 0.98, 0.01),
}


@pytest.fixture
def drawn(monkeypatch):
    """Draw, and give back the figure in place of its SVG."""
    monkeypatch.setattr(svg, "to_svg", lambda figure, *_: figure)
    return lambda draw, *given: draw(*given, "id")


def found(ensembles, levels, student, half):
    (one,) = steps.waterfalls(ensembles.waterfall(levels, student, half=half))
    return one


@pytest.mark.parametrize("case", CASES)
def test_bars_lines_and_whiskers_stand_at_their_values(ensembles, drawn, case):
    levels, student, half = CASES[case]
    figure = drawn(waterfall.waterfall, found(ensembles, levels, student, half))
    (axes,) = figure.axes
    values = list(levels.values())
    bars = [c for c in axes.containers if hasattr(c, "patches")]
    for bar, before, value in zip(bars, values[:-1], values[1:], strict=True):
        (patch,) = bar.patches
        assert patch.get_y() == pytest.approx(before)
        assert patch.get_y() + patch.get_height() == pytest.approx(value)
        assert (svg.COLOURS["fail"] in _hex(patch)) == (value < before)
    solid = [line for line in axes.lines if line.get_linewidth() == 2.4]
    assert [line.get_ydata()[0] for line in solid] == values
    # axvline and axhline alone reach from 0 to 1 across.
    across = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    assert [line.get_ydata()[0] for line in across] == ([student] if math.isfinite(student) else [])
    ends = [tuple(p[:, 1]) for c in axes.collections for p in c.get_segments()]
    everybody = [*values, *([student] if math.isfinite(student) else [])]
    for value, (low, high) in zip(everybody, ends, strict=True):
        assert (low, high) == pytest.approx((value - half, value + half))


def _hex(patch) -> str:
    from matplotlib.colors import to_hex

    return to_hex(patch.get_facecolor())


@pytest.mark.parametrize("case", CASES)
def test_no_text_covers_another_or_leaves_the_picture(ensembles, drawn, case):
    figure = drawn(waterfall.waterfall, found(ensembles, *CASES[case]))
    _apart(figure)


def _apart(figure) -> None:
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)  # puts the labels of axes in their places
    texts = [t for axes in figure.axes for t in (*axes.texts, axes.title, axes.xaxis.label,
             *axes.get_xticklabels(), *axes.get_yticklabels()) if t.get_text()]  # fmt: skip
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= height + 1, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (one, other)


def test_an_axis_that_does_not_begin_at_0_says_so(ensembles, drawn):
    def said(case):
        figure = drawn(waterfall.waterfall, found(ensembles, *CASES[case]))
        (axes,) = figure.axes
        return axes.get_ylim()[0], " ".join(t.get_text() for t in axes.texts)

    low, text = said("three")
    assert low > 0.9
    assert f"begins at {100 * low:.1f} %, not at 0" in text
    low, text = said("near nothing")
    assert low == 0
    assert "begins" not in text


def test_labels_say_numbers_and_the_share(ensembles, drawn):
    figure = drawn(waterfall.waterfall, found(ensembles, *CASES["four"]))
    text = [t.get_text() for t in figure.axes[0].texts]
    for said in ("61.0 %", "70.0 %", "66.0 %", "93.0 %", "75.0 %", "▲ +9.0 points",
                 "▼ −4.0 points", "156 % of the gain"):  # fmt: skip
        assert said in text
    rows = ensembles.waterfall(FOUR, 0.75)
    for row in rows:
        row.params.pop("share", None)
        row.params["share_reason"] = "holds 0"
    (one,) = steps.waterfalls(rows)
    text = [t.get_text() for t in drawn(waterfall.waterfall, one).axes[0].texts]
    assert "not measurable" in text


def test_it_can_be_heard(ensembles):
    text = waterfall.waterfall(found(ensembles, *CASES["four"]), "id")
    assert 'role="img"' in text
    heard = text.split('aria-label="')[1].split('"')[0]
    for said in ("mean member 61.0 % (59.0 to 63.0 %)", "selected 66.0 %", "student 75.0 %"):
        assert said in heard


def test_steps_stand_in_their_order_whatever_that_of_the_rows(ensembles):
    rows = ensembles.waterfall(FOUR)
    (one,) = steps.waterfalls(reversed(rows))
    assert [step.name for step in one.steps] == list(FOUR)
    assert one.steps[2].rise == pytest.approx(-0.04)


def test_one_level_is_no_waterfall(ensembles):
    assert steps.waterfalls(ensembles.waterfall()[:1]) == []


def test_curves_follow_the_rows(ensembles, drawn):
    rows = ensembles.samples()
    figure = drawn(samples.curves, rows)
    coverage, majority, best = figure.axes
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        assert axes.get_ylim() == coverage.get_ylim()
    for axes, statistic, who in (
        (coverage, "pass@k", ("teacher", "student")),
        (majority, "accuracy of the majority", ("teacher", "student")),
        (best, "best of n", ("teacher",)),
    ):
        mine = [r for r in rows if r.statistic == statistic]
        curves = [line for line in axes.lines if len(line.get_xdata()) == len(mine)]
        assert len(curves) == len(who)
        for line, side in zip(curves, who, strict=True):
            assert list(line.get_xdata()) == [r.severity for r in mine]
            assert list(line.get_ydata()) == [getattr(r, side) for r in mine]
        band = axes.collections[0].get_datalim(axes.transData)
        assert band.y0 == pytest.approx(min(r.params["teacher_interval"][0] for r in mine))
    limits = [line.get_ydata()[0] for line in majority.lines if len(line.get_xdata()) == 2]
    assert limits == [0.583, 0.465]
    _apart(figure)


def test_a_limit_that_may_be_anything_is_not_drawn(ensembles):
    rows = ensembles.samples()
    (limit,) = [r for r in rows if r.statistic == "limit of the majority"]
    limit.params["student_interval"] = [0.0, 1.0]
    panel = next(p for p in samples.rising(rows) if p.limit is not None)
    assert samples.tends_to(panel, "teacher") == limit.teacher
    assert math.isnan(samples.tends_to(panel, "student"))


def test_no_curves_without_several_budgets(ensembles):
    rows = [r for r in ensembles.samples() if r.severity in (None, 1)]
    assert samples.curves(rows, "id") is None


def test_budgets_of_the_student_alone_are_drawn(ensembles, drawn):
    rows = [r for r in ensembles.samples() if r.statistic == "pass@k"]
    for row in rows[4:]:
        row.teacher = math.nan
        row.params.pop("teacher_interval")
    (axes,) = drawn(samples.curves, rows).axes
    assert axes.lines[1].get_xdata()[-1] == rows[-1].severity
    assert math.isnan(axes.lines[0].get_ydata()[-1])
