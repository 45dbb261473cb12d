"""Sections of the page for the context measures: what is drawn where, and what is said instead."""

import math
import re

import pytest
from reports_fake_rows import row

from ringtest.measure import PairMeasure, measures
from ringtest.reports import families, matrices, names, panels, unread, view

NAN = math.nan
EVERY = sorted(m.id for m in measures if families.of(m.id) is not None)
LAYERS = {"stem": 0.0, "middle": 0.5, "pool": 1.0}


def at_layers(measure, top=0.8, harm=0.1, **more):
    """A row for each of three layers."""
    return [
        row(measure, "clean", top - 0.1 * depth, harm, teacher_layer=f"t.{name}",
            student_layer=name, params={"depth": depth}, **{"statistic": "score", **more})
        for name, depth in LAYERS.items()
    ]  # fmt: skip


def nothing(measure, reason, **more):
    """A row that came to no value."""
    return row(measure, "clean", NAN, NAN, NAN, status="not_measurable", reason=reason, **more)


def matrix(column, labels, value, statistic="accuracy", measure="probe.slice_matrix"):
    """Rows of a matrix of scores; ``value(a, b)`` gives the teacher's, the student has .2 less."""
    return [
        row(measure, "clean", value(a, b), 0.2, slice=f"{column}: {a} -> {b}", concept="target",
            statistic=statistic, teacher_layer="pool", student_layer="pool", params={"depth": 1.0})
        for a in labels
        for b in labels
    ]  # fmt: skip


def rows_of(measure):
    """Rows as a measure of the registry gives them, as far as the page can tell."""
    entry = measures[measure] if measure in EVERY else None
    if isinstance(entry, PairMeasure):
        return [row(measure, "clean", 1.2, 0.1, statistic="atanh(0.9 x)",
                    params={"teacher_raw": 0.91, "student_raw": 0.87})]  # fmt: skip
    if measure == "probe.raw_input":
        return [row(measure, "clean", 0.4, 0.0, concept="target", statistic="accuracy")]
    if measure in ("probe.slice_matrix", "probe.condition_matrix"):
        return matrix("domain", ["a", "b"], lambda a, b: 0.9 if a == b else 0.7, measure=measure)
    return at_layers(measure, concept="target")


def shown(section):
    """All that a section says, without its tags."""
    found = " ".join(p.heading + p.svg + p.caption for p in section.pictures)
    return re.sub("<[^>]*>", " ", found)


def drawn(rows):
    return {s.family.key: s for s in panels.sections(rows, "x")}


# -- where a measure is drawn ----------------------------------------------------------------------


@pytest.mark.parametrize("measure", EVERY)
def test_every_measure_is_drawn_in_one_section(measure):
    found = drawn(rows_of(measure))
    assert len(found) == 1
    (section,) = found.values()
    assert section.pictures
    assert not section.unread
    assert not section.left_out
    assert len([f for f in families.FAMILIES if measure in f.listed]) == 1
    words = view.sentence_case(view.measure(measure))
    text = shown(section)
    assert words in text or "domain" in text  # a matrix bears the name of its column


def test_all_measures_together_have_their_places():
    rows = [r for m in EVERY for r in rows_of(m)]
    found = drawn(rows)
    assert list(found) == [f.key for f in families.FAMILIES if f.key != "others"]
    assert sum(s.left_out for s in found.values()) == 0
    for measure in EVERY:
        words = view.sentence_case(view.measure(measure))
        holders = [key for key, s in found.items() if re.search(rf"{re.escape(words)}\b", shown(s))]
        family = families.of(measure)
        assert set(holders) <= {family.key}


def test_every_measure_has_words_of_its_own():
    assert set(EVERY) <= set(names.MEASURE)
    assert len(set(names.MEASURE.values())) == len(names.MEASURE)


@pytest.mark.parametrize(
    ("measure", "key"),
    [
        ("probe.brand_new", "probes"),
        ("probe.slice_new", "slices"),
        ("structure.new", "structure"),
        ("similarity.new", "likeness"),
        ("usage.new", "usage"),
        ("somebodys.own", "others"),
        ("attack.new", "robustness"),
    ],
)
@pytest.mark.parametrize("layered", [True, False])
def test_a_new_measure_is_drawn_without_a_line_in_the_report(measure, key, layered):
    rows = at_layers(measure) if layered else [row(measure, "clean", 0.8, 0.1, concept="hue")]
    found = drawn(rows)
    assert list(found) == [key]
    assert view.sentence_case(measure) in shown(found[key])
    assert "higher is better" in shown(found[key])
    if not layered:
        assert "hue" in shown(found[key])


def test_judged_rows_and_other_sections_are_left_alone(fakes):
    assert not drawn([fakes.benchmark(), *fakes.headlines(1.0), *fakes.structure(0.2)])
    assert not drawn([row("outputs.score", "clean", 0.9, 0.0), row("shift.new", "clean", 0.5, 0.0)])


def test_no_section_without_rows(fakes, page):
    text = page(fakes.report([fakes.benchmark()]))
    assert not re.search(f'id="({"|".join(f.key for f in families.FAMILIES)})"', text)


def test_sections_stand_behind_the_layers_and_before_the_conditions(fakes):
    from ringtest import reports

    rows = [fakes.benchmark(), *fakes.context(0.2)]
    rows += [r for m in EVERY for r in rows_of(m)]
    text = reports.html(fakes.report(rows))
    order = re.findall(r'<h2 id="(\w+)"', text)
    keys = [f.key for f in families.FAMILIES if f.key != "others"]
    first = order.index(keys[0])
    assert order[first : first + len(keys)] == keys
    assert order[first - 1] == "layers"
    assert order[first + len(keys)] == "conditions"
    assert text.count("Nothing here is judged") == len(keys)
    assert len(text.encode()) < 800_000


# -- lines and dots --------------------------------------------------------------------------------


def test_what_comes_without_the_model_is_shaded():
    rows = at_layers("probe.decodability", concept="target", statistic="accuracy")
    assert ">inputs alone<" not in drawn(rows)["probes"].pictures[0].svg
    raw = row("probe.raw_input", "clean", 0.4, 0.0, concept="target", statistic="accuracy")
    with_inputs = drawn([*rows, raw])["probes"]
    assert ">inputs alone<" in with_inputs.pictures[0].svg
    assert len(with_inputs.pictures) == 1
    alone = drawn([raw])["probes"]
    assert "Inputs alone" in shown(alone)  # as a dot
    untrained = at_layers("probe.untrained", concept="target")
    assert ">untrained network<" in drawn(untrained)["probes"].pictures[0].svg


def test_concepts_after_the_first_are_folded():
    rows = [r for c in ("target", "hue") for r in at_layers("probe.decodability", concept=c)]
    found = drawn(rows)["probes"].pictures
    assert [(p.heading, p.folded) for p in found] == [
        ("Target (score)", False),
        ("Hue (score)", True),
    ]


def test_similarities_are_shown_as_measured_with_their_interval():
    made = row("similarity.rsa", "clean", math.atanh(0.9 * 0.8), 0.2, statistic="atanh(0.9 rsa)")
    made.params = {"teacher_raw": 0.8, "student_raw": math.tanh(made.student) / 0.9}
    dot = panels._dot(made, "RSA")
    assert (dot.teacher, dot.student) == (0.8, made.params["student_raw"])
    assert dot.low == pytest.approx(math.tanh(made.teacher + made.ci_low) / 0.9)
    assert dot.low < dot.student < dot.high < dot.teacher
    made.statistic = "somebody's own scale"
    assert math.isnan(panels._dot(made, "RSA").low)


@pytest.mark.parametrize(
    ("statistic", "scaled", "plain"),
    [("atanh(0.9 cka)", math.atanh(0.9 * 0.7), 0.7), ("log(overlap)", math.log(0.3), 0.3)],
)
def test_scales_are_undone_by_their_name(statistic, scaled, plain):
    back = names.unscaled(statistic)
    assert back is not None
    assert back(scaled) == pytest.approx(plain)
    assert names.unscaled("accuracy") is None
    assert names.unscaled("atanh(0 x)") is None


def test_one_teacher_alone_has_nothing_to_compare_with():
    lone = row("similarity.rsa", "clean", NAN, NAN, NAN, params={"student_raw": 0.7})
    lone.student, lone.statistic = 0.9, "atanh(0.9 rsa)"
    assert "– → 0.70" in shown(drawn([lone])["likeness"])


def test_values_far_below_any_use_are_arrows():
    rows = at_layers("probe.decodability", concept="size", statistic="R^2")
    rows[-1].student, rows[-1].delta = -9e5, -9e5
    rows[-1].ci_low, rows[-1].ci_high = -1e6, -8e5
    (picture,) = drawn(rows)["probes"].pictures
    assert "An arrow" in picture.caption
    assert "−9e5" in picture.svg  # the number is told
    assert "R²" in picture.heading
    heights = [float(h) for h in re.findall(r">(−?[\d.]+)</text>", picture.svg.replace("−", "-"))]
    assert min(heights) > -3


def test_other_conditions_are_counted_or_stand_in():
    clean = at_layers("probe.logistic", concept="target")
    noisy = at_layers("probe.logistic", concept="target")
    for r in noisy:
        r.condition, r.severity = "noise.input", 0.3
    section = drawn([*clean, *noisy])["probes"]
    assert section.left_out == len(noisy)
    assert [p.heading for p in section.pictures] == ["Target (score)"]
    alone = drawn(noisy)["probes"]
    assert alone.left_out == 0
    assert [p.heading for p in alone.pictures] == ["Target, input noise, severity 0.3 (score)"]


def test_what_is_too_much_to_draw_is_counted():
    rows = [
        r
        for k in range(panels.MOST_BOXES + 2)
        for r in at_layers("probe.logistic", concept=f"c{k}")
    ]
    section = drawn(rows)["probes"]
    assert section.left_out == len(rows) - 3 * panels.MOST_BOXES
    many = [row("usage.infidelity", "clean", 0.5, 0.01 * k, concept=f"c{k}") for k in range(40)]
    section = drawn(many)["usage"]
    assert section.left_out == 40 - panels.MOST_DOTS
    assert "c39" in shown(section)
    assert "c0 " not in shown(section)  # the least harm
    assert "the 16 of 40 with the most harm" in shown(section)


# -- matrices --------------------------------------------------------------------------------------


SCORES = {("a", "a"): 0.91, ("a", "b"): 0.52, ("a", "c"): 0.53, ("b", "a"): 0.64, ("b", "b"): 0.95,
          ("b", "c"): 0.66, ("c", "a"): 0.77, ("c", "b"): 0.78, ("c", "c"): 0.99}  # fmt: skip


def test_scores_lie_where_they_belong():
    rows = matrix("domain", "abc", lambda a, b: SCORES[a, b])
    ((pair, held),), rest = matrices.pairs(rows, "x")
    assert not rest
    assert len(held) == 9
    assert pair.down == pair.across == ("a", "b", "c")
    for i, a in enumerate("abc"):
        for j, b in enumerate("abc"):
            assert pair.teacher[i, j] == pytest.approx(SCORES[a, b])
            assert pair.student[i, j] == pytest.approx(SCORES[a, b] - 0.2)
    assert pair.limits == (pytest.approx(0.3), 1.0)


def test_cosines_are_mirrored_with_a_diagonal_of_one():
    values = {("a", "b"): 0.1, ("a", "c"): 0.2, ("b", "c"): 0.3}
    rows = [r for r in matrix("domain", "abc", lambda a, b: values.get((a, b), 9.0),
                              "cosine of directions") if r.teacher < 9.0]  # fmt: skip
    ((pair, _),), _ = matrices.pairs(rows, "x")
    expected = [[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]]
    assert pair.teacher.tolist() == [[pytest.approx(v) for v in line] for line in expected]
    assert pair.student[1, 0] == pair.student[0, 1] == pytest.approx(0.1 - 0.2)
    assert pair.student[1, 1] == 1


def test_a_score_that_was_read_one_way_is_not_shown_the_other():
    """As of an earlier layer under a condition: clean -> here alone."""
    rows = [r for r in matrix("condition", "ab", lambda a, b: SCORES[a, b]) if "a -> b" in r.slice]
    ((pair, _),), _ = matrices.pairs(rows, "x")
    assert pair.teacher[0, 1] == pytest.approx(SCORES["a", "b"])
    assert all(math.isnan(pair.teacher[i, j]) for i, j in ((0, 0), (1, 0), (1, 1)))
    assert pair.sides == ("probe of", "tried in")


def test_scores_without_a_diagonal_are_no_cosines():
    rows = [
        r for r in matrix("domain", "ab", lambda a, b: SCORES[a, b]) if r.slice[-1] != r.slice[8]
    ]
    ((pair, _),), _ = matrices.pairs(rows, "x")
    assert pair.teacher[0, 1] == pytest.approx(0.52)
    assert pair.teacher[1, 0] == pytest.approx(0.64)
    assert math.isnan(pair.teacher[0, 0])


def test_teacher_left_and_student_right():
    rows = matrix("domain", "ab", lambda a, b: SCORES[a, b])
    svg = drawn(rows)["slices"].pictures[0].svg
    texts = re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', svg)
    place = {text: (float(x), float(y)) for x, y, text in texts}
    assert place["0.52"][0] < place["0.32"][0]  # the same entry
    assert place["0.52"][1] == place["0.32"][1]
    assert place["0.91"][0] < place["0.52"][0]  # a -> a left of a -> b
    assert place["0.91"][1] < place["0.64"][1]  # a -> b above b -> a
    assert place["teacher"][0] < place["student"][0]
    assert "probe of" in svg
    assert "tried in" in svg


def test_labels_may_look_like_the_notation():
    labels = ["x", "y -> z", "k: v"]
    rows = matrix("in: out", labels, lambda a, b: 0.5 + 0.1 * labels.index(a) + 0.01 * len(b))
    rows.append(
        row("probe.slice_matrix", "clean", 0.4, 0.1, slice="in: out", statistic="mean cosine")
    )
    ((pair, _),), rest = matrices.pairs(rows, "x")
    assert rest == rows[-1:]
    assert pair.down == tuple(labels)
    assert pair.title.startswith("in: out: ")
    assert pair.teacher[1, 2] == pytest.approx(0.5 + 0.1 + 0.04)


def test_an_entry_without_a_value_is_a_dash_and_a_sentence():
    rows = matrix("domain", "ab", lambda a, b: SCORES[a, b])
    rows[1] = nothing("probe.slice_matrix", "b has one value only", slice=rows[1].slice,
                      statistic="accuracy", params={"depth": 1.0})  # fmt: skip
    section = drawn(rows)["slices"]
    svg = section.pictures[0].svg
    assert svg.count(">–<") == 2  # teacher and student
    assert "0.52" not in svg
    assert ">0.00<" not in svg
    assert len(section.unread) == 1
    assert "b has one value only" in section.unread[0]


def test_readings_of_layers_become_a_matrix():
    rows = []
    for k in range(3):
        mine = at_layers("usage.concept_sensitivity", top=0.9, concept=f"hue={k}",
                         slice="target=1", statistic="TCAV")  # fmt: skip
        rows += mine
    for r in rows[-3:]:
        r.teacher = r.student = r.delta = NAN
        r.status, r.reason = "not_measurable", "not told from random concepts"
    rows[1].teacher = rows[1].student = NAN
    rows[1].status, rows[1].reason = "not_measurable", "not told from random concepts"
    ((pair, held),), rest = matrices.layers(rows, "TCAV")
    assert pair.down == ("hue=0, target=1", "hue=1, target=1")
    assert pair.across == ("stem", "middle", "pool")
    assert pair.teacher[0, 0] == pytest.approx(0.9)
    assert math.isnan(pair.teacher[0, 1])
    assert pair.student[1, 2] == pytest.approx(0.8 - 0.1)
    assert not rest
    assert len(held) == 6
    section = drawn(rows)["usage"]
    assert len(section.unread) == 1
    assert "4 readings" in section.unread[0]
    assert section.left_out == 0


# -- what was not measured -------------------------------------------------------------------------


def test_layers_that_could_not_be_read_are_counted():
    rows = [nothing("probe.logistic", "hue has values, not classes", concept="hue",
                    statistic="R^2", student_layer=name) for name in LAYERS]  # fmt: skip
    (section,) = panels.sections(rows, "x")
    assert section.pictures == ()
    assert section.unread == (
        "Logistic probe (hue): 3 layers could not be read: hue has values, not classes.",
    )


def test_rows_that_failed_alike_are_one():
    rows = [nothing("usage.concept_sensitivity",
                    f"teacher[{k % 2}]: layer l{k}: not told from random concepts (p = 0.{k}2)",
                    concept=f"hue={k}", slice=f"target={j}", student_layer=f"l{k}")
            for k in range(9) for j in range(3)]  # fmt: skip
    rows.append(nothing("usage.concept_sensitivity", "no gradients", concept="hue=1"))
    table = unread.table(rows)
    assert len(table) == 2
    assert "27 readings" in table[0]["reason"]
    assert "hue=0, target=0" in table[0]["reason"]
    assert "and 24 more" in table[0]["reason"]
    assert "(p = 0.02)" in table[0]["reason"]
    assert table[1]["reason"] == "no gradients"


def test_reasons_that_differ_in_words_stay_apart():
    first = nothing("a.b", "1 row is fewer than 20", concept="x")
    second = nothing("a.b", "9 rows are fewer than 20", concept="y")
    third = nothing("a.b", "8 rows are fewer than 20", concept="z")
    required = nothing("a.b", "8 rows are fewer than 20", concept="w", required=True)
    assert list(map(len, unread.grouped([first, second, third, required]))) == [1, 2, 1]


def test_the_table_of_the_page_is_folded(fakes):
    from ringtest import reports

    rows = [nothing("usage.concept_sensitivity", "hue holds values", concept="hue",
                    slice=f"target={k}", student_layer=name)
            for k in range(10) for name in LAYERS]  # fmt: skip
    text = reports.html(fakes.report([fakes.benchmark(), *rows]))
    table = text.split('id="unmeasured"')[1].split("</section>")[0]
    assert table.count("hue holds values") == 1
    assert "30 readings" in table


# -- safe, the same again, to be heard -------------------------------------------------------------


def test_hostile_names_are_drawn_as_they_are(fakes):
    from ringtest import reports

    evil = '<script>alert("x")</script>'
    rows = [r for c in (evil, "$\\frac{$") for r in at_layers("probe.logistic", concept=c)]
    rows += matrix(evil, [evil, "b\x1b[31m"], lambda a, b: 0.7)
    rows += [
        row("usage.new", "clean", 0.5, 0.1, concept=evil, slice=evil, unit=evil, statistic=evil)
    ]
    rows += [row(evil, "clean", 0.5, 0.1, concept=evil)]
    rows += at_layers("usage.concept_sensitivity", concept=evil, slice=evil)
    rows += [nothing("usage.new", evil, concept=evil, student_layer=evil)]
    text = reports.html(fakes.report([fakes.benchmark(), *rows]))
    assert "<script" not in text
    assert "\x1b" not in text
    assert "alert" in text
    assert "\\frac{" in text


def test_the_same_again_and_unique_ids():
    rows = [r for m in EVERY for r in rows_of(m)]
    one, two = (panels.sections(rows, "x") for _ in range(2))
    assert one == two
    ids = re.findall(r' id="([^"]+)"', "".join(p.svg for s in one for p in s.pictures))
    assert len(ids) == len(set(ids))


def test_pictures_can_be_heard_with_their_values():
    rows = [*rows_of("probe.logistic"), *rows_of("probe.slice_matrix"), *rows_of("similarity.rsa")]
    for section in panels.sections(rows, "x"):
        for picture in section.pictures:
            label = re.search('aria-label="([^"]*)"', picture.svg).group(1)
            assert "teacher and student" in label
            assert re.search(r"0\.\d", label)


def test_every_caption_says_what_is_better():
    """In its words, or in each box."""
    rows = [r for m in EVERY for r in rows_of(m)]
    for section in panels.sections(rows, "x"):
        for picture in section.pictures:
            said = picture.caption + picture.svg
            assert re.search("is better|best as the teacher|sound student", said), (
                section.family.key
            )
            assert picture.caption or picture.folded


@pytest.mark.slow
def test_everything_at_once_stays_small(fakes):
    from ringtest import reports

    layers = {f"encoder.blocks.{k}.mlp": k / 47 for k in range(48)}
    rows = [fakes.benchmark(), *fakes.context(0.3)]
    rows += [
        row(m, "clean", 0.5 + 0.4 * depth, 0.1, concept=f"concept {k}", student_layer=name,
            params={"depth": depth}, statistic="s")
        for m in EVERY
        for k in range(6)
        for name, depth in layers.items()
    ]  # fmt: skip
    for k in range(4):
        rows += matrix(f"column {k}", [f"site {j}" for j in range(10)], lambda a, b: 0.7)
    text = reports.html(fakes.report(rows, "large"))
    assert len(text.encode()) < 2_000_000


def test_curves_of_damage_stand_side_by_side_in_one_figure():
    found = []
    for condition, severity in (("noise.weight", 0.1), ("attack.representation", 0.03)):
        for r in at_layers("representation.displacement"):
            r.condition, r.severity = condition, severity
            found.append(r)
    (section,) = panels.sections(found, "x")
    (picture,) = section.pictures
    assert not section.left_out
    text = re.sub("<[^>]*>", " ", picture.svg)
    assert "Weight noise 0.1" in text
    assert "Attack: last layer 0.03" in text
    # What is under one condition alone still has the measure's own name.
    (clean,) = panels.sections(at_layers("representation.displacement"), "x")
    assert "Movement of layers" in shown(clean)
