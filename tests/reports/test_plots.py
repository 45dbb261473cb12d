"""The plots of a notebook: what is drawn is what the rows say, and nothing is drawn empty."""

import math
import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from ringtest import margins
from ringtest.errors import ConfigError, RingtestError
from ringtest.report import ReportSet
from ringtest.reports import plots, view
from ringtest.reports.plots import band, common, groups

# Names in other alphabets: the drawing font lacks them.
pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
KINDS = ("layers", "conditions", "groups", "band")
LACKS = {
    "bare": {"layers", "conditions", "band"},
    "outputs_only": {"layers", "band"},
    "single_teacher": {"layers", "band"},
}
"""Fakes that lack what a kind draws; all others hold it."""


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    """No figure is shown, and none stays open."""
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("a plot was shown"))
    plt.close("all")  # what tests of another file left open
    yield
    plt.close("all")


def marks(ax) -> dict[str, np.ndarray]:
    """Positions (n, 2) of the scattered marks, by their label."""
    found = {str(c.get_label()): np.asarray(c.get_offsets()) for c in ax.collections}
    return {label: at for label, at in found.items() if at.ndim == 2 and label[0] != "_"}


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


def drawn(ax) -> None:
    """Lay the figure out and draw it, as a notebook does."""
    ax.figure.canvas.draw()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["sound", "fractured", "below", "inconclusive", "single_teacher", "band_void", "outputs_only",
     "odd_names", "many_rows", "bare"],
)  # fmt: skip
def test_every_report_is_drawn_or_refused_in_one_line(fakes, name, kind) -> None:
    report = fakes.EVERY[name]()
    if kind in LACKS.get(name, ()):
        with pytest.raises(ConfigError, match=f"plot '{kind}': .* holds n.*; ") as caught:
            report.plot(kind)
        assert "\n" not in str(caught.value)
        assert plt.get_fignums() == []
        return
    ax = report.plot(kind)
    drawn(ax)
    assert view.LABEL[report.verdict.label].word in ax.get_title("left")
    assert "better" in ax.get_xlabel() + ax.get_ylabel() or "nearer" in ax.get_xlabel()
    assert len(ax.lines) + len(ax.collections) > 0
    assert len(plt.get_fignums()) == 1


def test_every_kind_has_a_fake_that_lacks_nothing(fakes) -> None:
    assert set(plots.KINDS) == set(KINDS)
    assert set(fakes.EVERY) - set(LACKS) >= {"sound", "fractured", "odd_names"}


def test_unknown_kinds_and_measures_name_the_closest(fakes) -> None:
    report = fakes.sound()
    with pytest.raises(RingtestError, match="'bands' is no kind of plot; did you mean band"):
        report.plot("bands")
    with pytest.raises(RingtestError, match=r"does not draw 'similarity.ckaa' here; did you mean"):
        report.plot("band", measure="similarity.ckaa")
    with pytest.raises(RingtestError, match=r"holds no rows for 'outputs.consistency'"):
        report.plot("conditions", measure="outputs.consistency")
    with pytest.raises(RingtestError, match="leave measure out"):
        report.plot("groups", measure="similarity.cka")
    with pytest.raises(RingtestError, match="is no kind of plot"):
        fakes.report_set().plot("forest")


def test_a_given_axes_is_drawn_on_and_nothing_else_changes(fakes) -> None:
    before = dict(mpl.rcParams)
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    assert fakes.fractured().plot("groups", right) is right
    drawn(right)
    assert plt.get_fignums() == [figure.number]
    assert not left.collections
    assert dict(mpl.rcParams) == before
    # The legend stands above the plot, under the title.
    legend = right.get_legend().get_window_extent()
    assert legend.y0 >= right.get_window_extent().y1 - 1
    title = right._left_title.get_window_extent()
    assert title.y0 >= legend.y1 - 2


def test_layers_draw_teacher_and_student_over_depth(fakes) -> None:
    report = fakes.fractured()
    ax = report.plot("layers", measure="probe.selectivity")
    rows = [r for r in report.rows if r.measure == "probe.selectivity" and r.concept == "domain"]
    curves = {line.get_label(): line for line in ax.lines}
    assert len(curves) == 4  # two concepts
    for who, words in (("teacher", "teacher (mean member)"), ("student", "student")):
        line = curves[f"domain: {words}"]
        assert line.get_xdata() == pytest.approx([r.params["depth"] for r in rows])
        assert line.get_ydata() == pytest.approx([getattr(r, who) for r in rows])
    styles = {line.get_linestyle() for line in curves.values()}
    assert styles == {"-", "--"}
    assert {line.get_marker() for line in curves.values()} == {"o", "s"}
    assert "2 of 2 concepts" in ax.get_ylabel()


def test_layers_fall_back_on_the_similarity_of_layers_of_one_depth(fakes) -> None:
    rows = [r for r in fakes.sound().rows if not r.measure.startswith("probe.")]
    names = list(dict.fromkeys(r.student_layer for r in rows if r.statistic == "cka"))
    depth = {name: k / 5 for k, name in enumerate(names)}
    for r in rows:
        if r.measure == "similarity.cka" and r.statistic == "cka":
            r.params = {
                "teacher_depth": depth[r.teacher_layer],
                "student_depth": depth[r.student_layer],
            }
    ax = fakes.report(rows).plot("layers")
    students = next(line for line in ax.lines if line.get_label() == "student to members")
    same = [r.student for r in rows if r.statistic == "cka" and r.teacher_layer == r.student_layer]
    assert students.get_ydata() == pytest.approx(same)
    assert [t.get_text() for t in ax.get_xticklabels()] == list(depth)


def test_conditions_draw_the_score_of_every_condition_once(fakes) -> None:
    report = fakes.fractured()
    ax = report.plot("conditions")
    rows = [r for r in report.rows if r.measure == "outputs.score" and r.slice is None
            and math.isfinite(r.student)]  # fmt: skip
    found = marks(ax)
    (student,) = (v for k, v in found.items() if k.startswith("student, with 95 % interval"))
    assert sorted(student[:, 0]) == pytest.approx(sorted(r.student for r in rows))
    assert sorted(found["teacher (mean member)"][:, 0]) == pytest.approx(
        sorted(r.teacher for r in rows)
    )
    assert sorted(student[:, 1]) == list(range(len(rows)))
    at = labels(ax)
    assert at[0] == "benchmark inputs"
    assert at[at.index("gaussian noise 1") + 1 :][:4] == ["2", "3", "4", "5"]
    assert ax.get_xlabel() == "accuracy (higher is better)"


def test_conditions_without_room_keep_those_with_the_most_harm(fakes) -> None:
    report = fakes.many_rows()
    *at, rest = labels(report.plot("conditions"))
    assert len(at) <= common.MOST
    assert re.fullmatch(r"and [\d,]+ more with less harm", rest)
    assert at[0] == "benchmark inputs"
    harms: dict[str, float] = {}
    for r in report.rows:
        if r.measure == "outputs.score" and r.slice is None and math.isfinite(r.harm):
            where = view.condition(r.condition)
            harms[where] = max(r.harm, harms.get(where, -math.inf))
    kept = {where for where in harms if any(label.startswith(where) for label in at)}
    kept.discard("benchmark inputs")
    left = harms.keys() - kept - {"benchmark inputs"}
    assert left
    assert min(harms[k] for k in kept) >= max(harms[k] for k in left)


def test_one_condition_of_many_lines_is_cut_to_the_worst(fakes) -> None:
    rows = [fakes.row("outputs.score", "clean", 0.9, 0.001 * (k % 97), concept=f"c{k}",
                      statistic="mean") for k in range(400)]  # fmt: skip
    ax = fakes.report([fakes.benchmark(), *rows]).plot("conditions")
    assert ax.figure.get_figheight() < 20
    at = labels(ax)
    assert len(at) == common.MOST + 1
    assert at[-1] == f"and {401 - common.MOST:,} more with less harm"
    shown = sorted(marks(ax)["teacher (mean member)"][:, 1])
    assert shown == list(range(common.MOST))
    kept = {label.split()[-1] for label in at[:-1]}
    least = min(r.harm for r in rows if r.concept in kept)
    assert least >= max(r.harm for r in rows if r.concept not in kept)


def test_a_band_of_many_sets_is_cut_to_the_worst(fakes) -> None:
    """700 sets made a figure of 170 inches."""
    sets = [fakes.OFF, fakes.CERTIFIED, *(f"shift.unlabelled.s{k:03d}" for k in range(700))]
    rows = [fakes.benchmark(), *fakes.headlines(0.5, sets), *fakes.structure(0.1)]
    for k, r in enumerate(rows):
        if "unlabelled" in r.condition:
            r.harm = r.delta = 0.0
            r.student = r.teacher
        if r.condition == "shift.unlabelled.s500" and r.measure == "similarity.cka":
            rows[k] = replace(r, harm=0.3, delta=-0.3, student=r.teacher - 0.3)
    report = fakes.report(rows)
    ax = report.plot("band")
    assert ax.figure.get_figheight() < 20
    at = labels(ax)
    assert len(at) == common.MOST + 1
    assert at[0] == "off support, mean of all"
    assert any("s500" in label for label in at)
    assert re.fullmatch(r"and 6\d\d more with less harm", at[-1])
    more = [replace(r, condition="noise.input", headline=False, group=None, null=None)
            for r in fakes.headlines(0.1)[:1]]  # fmt: skip
    axes = ReportSet({"a": report, "b": fakes.report([*rows[:5], *more])}).plot("band")
    assert "input noise" in labels(axes[0])
    assert labels(axes[0])[-1] == "and more with less harm"


def test_groups_draw_harm_over_margin_and_the_margin_at_one(fakes) -> None:
    report = fakes.inconclusive()
    ax = report.plot("groups")
    rows = [r for r in report.verdict.rows if r.headline]
    for status in ("pass", "inconclusive", "fail"):
        ratios = [r.harm / r.margin for r in rows if r.status == status]
        found = marks(ax).get(view.STATUS[status].word, np.zeros((0, 2)))
        assert sorted(found[:, 0]) == pytest.approx(sorted(ratios))
    assert any(list(line.get_xdata()) == [1, 1] for line in ax.lines)
    assert "not measured" in {text.get_text() for text in ax.texts}
    assert "Global geometry: not measurable" in labels(ax)
    assert ax.get_xlim()[0] < 0 < 1 < ax.get_xlim()[1]


def test_groups_beyond_the_axis_are_told_by_an_arrow_and_a_number(fakes) -> None:
    rows = fakes.fractured().rows
    target = next(i for i, r in enumerate(rows) if r.group == "twins")
    harm = 30 * rows[target].margin
    rows[target] = replace(rows[target], harm=harm, delta=harm, student=rows[target].teacher + harm)
    ax = fakes.report(rows).plot("groups")
    assert ax.get_xlim()[1] == groups.HIGH
    assert any(line.get_marker() == ">" for line in ax.lines)
    assert "30.00" in {text.get_text() for text in ax.texts}


def test_status_and_subject_are_never_told_by_colour_alone() -> None:
    assert len({mark for mark, _ in common.STATUS.values()}) == len(common.STATUS)
    assert len(set(common.MARK.values())) == 2


def test_band_shades_what_the_student_may_lose(fakes) -> None:
    report = fakes.fractured()
    ax = report.plot("band")
    row = next(r for r in report.rows if r.headline and r.measure == "similarity.cka"
               and r.condition == "shift.off_support")  # fmt: skip
    y = labels(ax).index("off support, mean of all")
    shades = [p for p in ax.patches if isinstance(p, Rectangle)]
    (shaded,) = (p for p in shades if p.get_y() < y < p.get_y() + p.get_height())
    assert shaded.get_x() == pytest.approx(row.teacher - row.margin)
    assert shaded.get_width() == pytest.approx(row.margin)
    members = marks(ax)["members to each other"]
    assert members[members[:, 1] == y][0, 0] == pytest.approx(row.teacher)
    # The axis is that on which CKA is judged, its ticks tell the CKA itself.
    ticks = dict(zip([t.get_text() for t in ax.get_xticklabels()], ax.get_xticks(), strict=True))
    assert ticks["0.9"] == pytest.approx(math.atanh(margins.CKA_RELIABILITY * 0.9))


def test_band_shades_drift_beside_references_as_it_does_beside_members(fakes) -> None:
    rows = fakes.fractured().rows
    assert any(r.drifts for r in rows)
    kin = [replace(r, null="references") if r.null == "drift" else r for r in rows]
    both = list(rows)
    for row in rows:
        if row.null == "drift":
            params = {k: v for k, v in row.params.items() if k == "largest"}
            both.append(replace(row, null="references", margin=9.0, params=params))
    shaded = []
    for found in (rows, kin, both):
        ax = fakes.report(found, "kin").plot("band")
        shades = [p for p in ax.patches if isinstance(p, Rectangle)]
        shaded.append([(p.get_x(), p.get_y(), p.get_width()) for p in shades])
    assert len(shaded[0]) > 1
    assert shaded[1] == shaded[0]
    assert shaded[2] == shaded[0]


def test_a_set_has_a_panel_a_student_on_common_axes(fakes) -> None:
    reports = fakes.report_set()
    for kind in KINDS:
        axes = reports.plot(kind)
        drawn(axes[0])
        assert len(axes) == len(reports)
        for ax, (name, report) in zip(axes, reports.items(), strict=True):
            assert view.LABEL[report.verdict.label].word in ax.get_title("left"), name
        said = [{text.get_text() for text in ax.texts} for ax in axes]
        empty = [any(" holds n" in t for t in texts) for texts in said]
        assert empty[-1] == (kind in LACKS["bare"])
        assert not empty[0]
        shown = [ax for ax, e in zip(axes, empty, strict=True) if not e]
        assert len({ax.get_xlim() for ax in shown}) == 1
        assert len({ax.get_ylim() for ax in shown}) == 1


def test_a_set_lists_a_line_at_one_place_for_all_students(fakes) -> None:
    reports = ReportSet({"a": fakes.sound(), "b": fakes.fractured(), "c": fakes.band_void()})
    axes = reports.plot("groups")
    assert labels(axes[0])
    at = labels(axes[0]).index("off support")
    for ax in axes:
        assert sum((points[:, 1] == at).sum() for points in marks(ax).values()) == 1
    assert labels(axes[0]).count("certified, worst") == 3


@pytest.mark.parametrize("kind", ["conditions", "band"])
def test_the_lines_of_a_set_are_named_where_the_first_student_has_none(fakes, kind) -> None:
    """Beside an empty panel the others stood without a word."""
    names = ("outputs", "a", "b", "c", "d")
    reports = ReportSet(
        {n: fakes.bare() if n in ("outputs", "d") else fakes.sound() for n in names}
    )
    axes = reports.plot(kind)
    drawn(axes[0])
    named = [
        any(t.label1.get_visible() and t.label1.get_text() for t in ax.yaxis.get_major_ticks())
        for ax in axes
    ]
    # Two rows of panels: empty, a, b and c, empty.
    assert named == [False, True, False, True, False]


def test_a_set_in_which_nobody_has_it_is_refused(fakes) -> None:
    with pytest.raises(RingtestError, match="no other student does better"):
        ReportSet({"bare": fakes.bare()}).plot("layers")


def test_band_of_a_single_teacher_shows_the_level_of_a_near_copy(fakes) -> None:
    rows = fakes.single_teacher().rows
    judged = fakes.GEOMETRY["global geometry"][1]
    seen = [replace(r, condition="shift.off_support.mixed", headline=False, null=None, group=None,
                    margin=math.nan, statistic=judged, teacher=math.nan, student=1.2,
                    delta=math.nan, harm=math.nan, ci_low=math.nan, ci_high=math.nan,
                    params={"student_raw": math.tanh(1.2) / margins.CKA_RELIABILITY})
            for r in rows if r.measure == "similarity.cka"]  # fmt: skip
    ax = fakes.report([*rows, *seen], "clone", members=1).plot("band")
    drawn(ax)
    lines = {c.get_label(): c for c in ax.collections}
    ((start, _),) = lines["level of a near-copy (for the mean off support)"].get_segments()
    level = margins.LEVELS["global geometry"]
    assert start[0] == pytest.approx(math.atanh(margins.CKA_RELIABILITY * level))
    assert "members to each other" not in marks(ax)


def test_band_tells_strengths_that_were_asked_for_from_what_the_mean_is_over(fakes) -> None:
    judged = fakes.GEOMETRY["global geometry"][1]
    rows = [
        replace(r, params={**r.params, "conditions": ["shift.off_support.noise@1"]})
        if r.measure == "similarity.cka"
        else r
        for r in fakes.single_teacher().rows
    ]
    seen = [
        replace(
            r,
            condition="shift.off_support.noise",
            severity=severity,
            headline=False,
            null=None,
            group=None,
            margin=math.nan,
            statistic=judged,
            teacher=math.nan,
            student=1.2,
            delta=math.nan,
            harm=math.nan,
            ci_low=math.nan,
            ci_high=math.nan,
            params={"student_raw": math.tanh(1.2) / margins.CKA_RELIABILITY},
        )
        for severity in (1.0, 10.0)
        for r in rows
        if r.measure == "similarity.cka"
    ]
    lines = band.Band().find(fakes.report([*rows, *seen], "clone", members=1))
    found = {line.row.severity: line for line in lines if line.row.condition.endswith("noise")}
    assert found[1.0].judged is not None
    assert found[1.0].block == "shift.off_support"
    assert found[10.0].judged is None
    assert found[10.0].block != "shift.off_support"
