"""Recorded answers and candidates: what is refused, and the rows that they become."""

import itertools
import json
import math

import numpy as np
import pytest

import ringtest
from ringtest.ensembles.candidates import candidates
from ringtest.ensembles.recorded import Recorded, recordings
from ringtest.errors import RingtestError
from ringtest.measure import RecordedMeasure, measures

N = 80
WORDS = [f"w{i}" for i in range(40)]


def sampled(seed, right, n=8, noise=1.0, wrong=5):
    """Candidates of N items: ``right`` (N,) chance of a right sample, a verifier with noise."""
    rng = np.random.default_rng(seed)
    correct = rng.random((N, n)) < np.asarray(right)[:, None]
    answers = np.where(correct, 0, rng.integers(1, 1 + wrong, size=correct.shape))
    scores = 1 / (1 + np.exp(-1.0 * correct - noise * rng.normal(size=correct.shape)))
    return {"correct": correct, "answers": answers, "scores": scores}


EASE = np.random.default_rng(1).beta(2, 2, size=N)
TEACHER, STUDENT = sampled(2, EASE), sampled(3, 0.8 * EASE, n=4)


def rows(student=None, seed=0, **given):
    return recordings.rows(Recorded(**given), student, seed)


def one(found, measure, statistic, severity=None):
    (row,) = [
        r
        for r in found
        if (r.measure, r.statistic, r.severity) == (f"ensemble.{measure}", statistic, severity)
    ]
    return row


def texts(members, prompts=20, samples=3, seed=0, alike=0.0):
    """Answers of ten words, of which a share are the prompt's own, whoever answers."""
    rng = np.random.default_rng(seed)
    own = rng.choice(WORDS, (members, prompts, 10))
    common = rng.choice(WORDS, (prompts, 10))
    out = []
    for m in range(members):
        out.append([])
        for p in range(prompts):
            base = np.where(rng.random(10) < alike, common[p], own[m, p])
            changed = [np.where(rng.random(10) < 0.1, "x", base) for _ in range(samples)]
            out[m].append([" ".join(c) for c in changed])
    return out


# --- rows -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    return rows(
        "small",
        candidates=TEACHER,
        students={"small": STUDENT},
        cost=1,
        student_costs={"small": 0.1},
        student_scores={"small": TEACHER["correct"] + 2 * sampled(5, EASE)["scores"]},
    )


def test_every_row_is_context_and_holds_its_intervals(found):
    assert {r.status for r in found} == {"context"}
    assert {r.condition for r in found} == {"candidates"}
    assert {r.area for r in found} == {"ensembles"}
    assert not any(r.headline or r.required for r in found)
    for r in found:
        json.dumps(r.as_dict(), allow_nan=False)
        for side in ("teacher", "student"):
            if r.statistic == "cost" or not math.isfinite(getattr(r, side)):
                continue
            low, high = r.params[f"{side}_interval"]
            assert low - 1e-12 <= getattr(r, side) <= high + 1e-12
        if math.isfinite(r.delta):
            assert r.delta == pytest.approx(r.student - r.teacher, abs=1e-12)
            assert r.ci_low <= r.delta <= r.ci_high
            assert r.harm == pytest.approx(-r.delta if r.direction == "higher" else r.delta)


def test_pass_at_k_and_best_of_k_are_those_of_all_subsets(found):
    for k in (1, 2, 4):
        for side, given in (("teacher", TEACHER), ("student", STUDENT)):
            correct, scores = given["correct"], given["scores"]
            sets = [list(s) for s in itertools.combinations(range(correct.shape[1]), k)]
            hit = np.mean([correct[:, s].any(1) for s in sets])
            picks = [
                np.take_along_axis(correct[:, s], scores[:, s].argmax(1)[:, None], 1) for s in sets
            ]
            row = one(found, "selection", "pass@k", k)
            assert getattr(row, side) == pytest.approx(hit)
            assert getattr(one(found, "selection", "best of n", k), side) == pytest.approx(
                np.mean(picks)
            )
            lost = one(found, "verifier", "effect of false positives", k)
            assert getattr(lost, side) == pytest.approx(hit - np.mean(picks))
    # The student drew four; beyond that the teacher stands alone
    beyond = one(found, "selection", "pass@k", 8)
    assert math.isnan(beyond.student)
    assert math.isfinite(beyond.teacher)


def test_the_parts_of_the_gain_are_differences_of_the_rows(found):
    single, vote = one(found, "selection", "pass@k", 1), one(found, "selection", "majority")
    gained = one(found, "selection", "gain by aggregation")
    assert gained.teacher == pytest.approx(vote.teacher - single.teacher)
    assert gained.student == pytest.approx(vote.student - single.student)
    oracle = one(found, "selection", "oracle")
    lost = one(found, "selection", "unreachable")
    assert lost.teacher == pytest.approx(1 - oracle.teacher)
    assert lost.direction == "lower"


def test_auc_of_verifier_and_student_by_pairs(found):
    def pairs(scores):
        each = []
        for s, c in zip(scores, TEACHER["correct"], strict=True):
            if c.any() and not c.all():
                each.append((s[c][:, None] > s[~c]).mean())
        return np.mean(each)

    row = one(found, "verifier", "AUC of the student as a verifier")
    mine = TEACHER["correct"] + 2 * sampled(5, EASE)["scores"]
    assert row.teacher == pytest.approx(pairs(TEACHER["scores"]))
    assert row.student == pytest.approx(pairs(mine))
    assert one(found, "verifier", "AUC").teacher == row.teacher
    ceilings = [r for r in found if r.statistic == "ceiling"]
    assert 2 <= len(ceilings) <= 9
    # What accepts everything picks at random
    assert ceilings[-1].teacher == pytest.approx(TEACHER["correct"].mean())


def test_budget_has_costs_and_its_front(found):
    curve = [r for r in found if r.statistic == "accuracy of the majority"]
    assert [r.severity for r in curve] == [1, 2, 4, 8]
    for r in curve:
        assert r.params["cost"] == r.severity
        if r.severity <= 4:
            assert r.params["student_cost"] == pytest.approx(0.1 * r.severity)
    points = [(r.params["cost"], r.teacher, r.params["pareto"]) for r in curve]
    points += [(r.params["student_cost"], r.student, r.params["student_pareto"]) for r in curve[:3]]
    for cost, value, best in points:
        # Two samples vote like one, but for rounding
        beaten = any(c < cost and v > value - 1e-12 for c, v, _ in points)
        beaten |= any(c == cost and v > value + 1e-12 for c, v, _ in points)
        assert best is not beaten
    cost = one(found, "budget", "cost")
    assert (cost.teacher, cost.student) == (1, 0.1)
    never = one(found, "budget", "limit of coverage")
    assert never.params["never"] == (~TEACHER["correct"].any(1)).sum()
    assert never.params["rate"] == pytest.approx(1 - 0.05 ** (1 / 8))


def test_the_waterfall_of_samples_ends_where_the_rows_do(found):
    steps = {r.statistic: r for r in found if r.measure == "ensemble.waterfall"}
    assert list(steps) == ["mean member", "ensemble", "selected", "oracle"]
    assert steps["ensemble"].teacher == one(found, "selection", "majority").teacher
    assert steps["selected"].teacher == one(found, "selection", "best of n", 8).teacher
    assert steps["oracle"].student == pytest.approx(STUDENT["correct"].mean())
    assert "Of 80 items" in steps["mean member"].params["sentence"]


def test_a_student_without_recordings_has_the_teachers_rows_alone(found):
    alone = rows("other", candidates=TEACHER)
    assert len(alone) < len(found)
    assert all(math.isnan(r.student) for r in alone)
    assert one(alone, "selection", "oracle").teacher == one(found, "selection", "oracle").teacher
    assert "answer" not in one(alone, "budget", "limit of the majority").params


# --- answers: planted cases -----------------------------------------------------------------------


def gain(given):
    return one(rows(candidates=given), "selection", "gain by selection")


def test_an_oracle_for_a_verifier_makes_the_gain_selection():
    given = sampled(7, np.full(N, 0.3), wrong=1)  # the vote is mostly wrong
    assert gain({**given, "scores": given["correct"]}).params["answer"] == "selection"


def test_without_a_useful_verifier_the_gain_is_the_votes():
    given = sampled(7, np.full(N, 0.5))
    found = gain({**given, "scores": np.zeros((N, 8))}).params
    assert found["answer"] == "aggregation"
    assert "lies in the predictions" in found["words"]
    silent = rows(candidates={k: given[k] for k in ("correct", "answers")})
    row = one(silent, "selection", "gain by selection")
    assert row.status == "not_measurable"
    assert "no scores" in row.reason
    assert "No verifier" in row.params["words"]


def test_a_sample_that_is_drawn_again_gains_nothing_and_few_items_tell_nothing():
    once = sampled(8, EASE, n=1)
    again = {k: np.tile(v, (4, 6)) for k, v in once.items()}
    assert gain(again).params["answer"] == "neither"
    few = {k: v[:3] for k, v in TEACHER.items()}
    assert gain(few).params["answer"] == "open"


def test_one_sample_and_one_item_tell_of_no_gain():
    once = rows("student", candidates=sampled(8, EASE, n=1), students=STUDENT)
    row = one(once, "selection", "gain by selection")
    assert row.params["answer"] == "open"
    assert "draw more" in row.params["words"]
    (way,) = [r for r in once if r.measure == "ensemble.waterfall"]
    assert (way.status, way.reason) == ("not_measurable", "one sample of an item leaves no vote")
    first = {k: v[:1] for k, v in TEACHER.items()}
    single = rows("student", candidates=first, students={k: v[:1] for k, v in STUDENT.items()})
    words = [str(v) for r in single for v in (r.params.get("words"), r.reason)]
    assert not any("nan" in said for said in words)
    assert any("Of 1 item a" in said for said in words)


def test_what_is_missing_is_the_reason():
    given = [{k: TEACHER[k] for k in keys} for keys in (
        ("correct", "scores"), ("correct", "answers"), ("correct",)
    )]  # fmt: skip
    scored, voted, bare = (rows(candidates=g) for g in given)
    for name in ("gain by aggregation", "gain by selection over the vote"):
        assert one(scored, "selection", name).reason == "no answers were recorded"
    assert "a vote would gain" in gain(given[0]).params["words"]
    for name in ("recovery", "missed", "gain by selection over the vote"):
        assert "no scores" in one(voted, "selection", name).reason
    assert "no gain can be told" in one(bare, "selection", "gain by selection").params["words"]


def test_accuracies_of_few_items_have_intervals_that_can_be():
    few = {k: v[:2] for k, v in TEACHER.items()}
    found = rows("student", candidates=few, students={k: v[:2] for k, v in STUDENT.items()})
    for r in found:
        if r.measure == "ensemble.waterfall" or r.statistic.startswith("gain"):
            floor = -1 if r.statistic.startswith("gain") else 0
            for key in ("teacher_interval", "student_interval"):
                assert floor <= r.params[key][0] <= r.params[key][1] <= 1
            assert all(-1 <= end <= 1 for end in r.params.get("rise_interval", ()))
    assert "-100.0 to +100.0" in one(found, "waterfall", "mean member").params["sentence"]


def test_all_right_and_none_right_are_told_without_numbers_that_are_none():
    for right in (0, 1):
        correct = np.full((N, 4), right)
        found = rows(candidates={"correct": correct, "answers": correct, "scores": correct})
        assert one(found, "verifier", "AUC").status == "not_measurable"
        assert one(found, "selection", "recovery").status == "not_measurable"
        assert gain({"correct": correct, "answers": correct, "scores": correct}).params[
            "answer"
        ] in ("neither", "open")
        assert one(found, "selection", "oracle").teacher == right


def decides(student, teacher=TEACHER):
    found = rows("student", candidates=teacher, students=student)
    return one(found, "budget", "limit of the majority").params


def test_no_budget_closes_the_gap_of_a_student_whose_most_likely_answers_are_wrong():
    lost = sampled(9, np.full(N, 0.02), n=40, wrong=1)
    found = decides(lost)
    assert found["answer"] == "no budget"
    assert "No budget" in found["words"]


def test_a_student_that_votes_beyond_a_single_sample_closes_the_gap():
    found = decides(sampled(10, np.full(N, 0.45), n=32))
    assert found["answer"] == "closed"
    assert found["reached_with"] > 1
    assert f"With {found['reached_with']} samples, the student lies above" in found["words"]


def test_a_student_that_is_ahead_with_one_sample_has_no_gap_to_close():
    found = decides(sampled(10, np.full(N, 0.8)))
    assert (found["answer"], found["reached_with"]) == ("closed", 1)
    assert "no gap" in found["words"]


def test_only_costs_that_were_given_are_told():
    better = sampled(10, np.full(N, 0.45), n=32)
    given = {"candidates": TEACHER, "students": better}
    for costs, told in (({"cost": 7}, (7, math.nan)), ({"student_costs": 3}, (math.nan, 3))):
        found = rows("student", **given, **costs)
        row = one(found, "budget", "cost")
        assert (row.teacher, row.student) == pytest.approx(told, nan_ok=True)
        assert "cost" not in one(found, "budget", "limit of the majority").params["words"]
    found = rows("student", **given, cost=7, student_costs=3)
    words = one(found, "budget", "limit of the majority").params["words"]
    k = one(found, "budget", "limit of the majority").params["reached_with"]
    assert f"at a cost of {3 * k}, the student" in words
    assert words.endswith("at 7.")


def test_without_answers_the_budget_is_open():
    bare = {"correct": STUDENT["correct"]}
    found = rows("student", candidates=TEACHER, students=bare)
    row = one(found, "budget", "limit of coverage")
    assert row.params["answer"] == "open"
    assert math.isnan(one(found, "budget", "limit of the majority").student)


@pytest.mark.parametrize(("alike", "expected"), [(1.0, "one"), (0.0, "many")])
def test_texts_that_are_the_prompts_are_one_opinion(alike, expected):
    row = one(rows(answers=texts(4, alike=alike)), "texts", "effective votes of texts")
    assert row.params["answer"] == expected
    assert row.params["members"] == 4
    assert row.condition == "answers"


def test_a_students_texts_are_held_against_the_members():
    members = texts(3, prompts=8, seed=4)
    copied = rows("student", answers=members, student_answers=members[0])
    row = one(copied, "texts", "identical between members")
    assert row.student > row.teacher
    assert row.student == pytest.approx(1 / 3 * _same(members[0]), abs=1e-6)


def _same(prompts):
    """Share of equal texts of two copies of one member, over all pairs of samples."""
    return np.mean([[a == b for a in p for b in p] for p in prompts])


# --- what is refused ------------------------------------------------------------------------------

BAD = {
    "holds nothing": {},
    "recorded.*holds nothing": {"cost": 1.0},
    "candidates: scores: NaN in item 3": {
        "candidates": {**TEACHER, "scores": np.where(np.arange(N)[:, None] == 3, np.nan, 1.0)
                       + np.zeros((N, 8))}
    },
    "candidates: correct: .*lengths|samples": {"candidates": {"correct": [[1, 0], [1]]}},
    "candidates: correct: has values": {"candidates": {"correct": [[2, 0]]}},
    "candidates: correct: is missing": {"candidates": {"scores": [[1.0]]}},
    "candidates: score: is no column": {"candidates": {"correct": [[1]], "score": [[1.0]]}},
    "candidates: is list": {"candidates": [[1]]},
    "of 79 items, the teacher's are of 80": {
        "candidates": TEACHER, "students": {k: v[1:] for k, v in STUDENT.items()}
    },
    "the teacher none": {"answers": texts(2, 3), "students": STUDENT},
    "shape": {"candidates": TEACHER, "student_scores": np.zeros((N, 3))},
    "scores: are no table": {"candidates": TEACHER, "student_scores": [["x"]]},
    "has answers and the teacher none": {"candidates": TEACHER, "student_answers": [["a"]]},
    "to 2 prompts, the teacher's are to 3": {
        "answers": texts(2, 3), "student_answers": texts(1, 2)[0]
    },
    "cost: is -1": {"candidates": TEACHER, "cost": -1},
    "student 'a': cost: is nan": {"candidates": TEACHER, "student_costs": {"a": math.nan}},
    "has no members": {"answers": []},
    "not a string": {"answers": [[[1]]]},
}  # fmt: skip


@pytest.mark.parametrize("problem", BAD)
def test_bad_recordings_are_refused_in_a_line(problem):
    with pytest.raises(RingtestError, match=problem) as error:
        Recorded(**BAD[problem])
    assert "\n" not in str(error.value)


# --- ringtest.ensemble ----------------------------------------------------------------------------


def test_recordings_alone_are_saved_and_loaded(tmp_path):
    given = Recorded(candidates=TEACHER, students={"a": STUDENT, "b": sampled(4, EASE)})
    found = ringtest.ensemble(recorded=given, out=tmp_path, progress=False)
    again = ringtest.ensemble(recorded=given, progress=False)
    assert found.data["integrity"] == again.data["integrity"]
    assert list(found.students) == ["a", "b"]
    loaded = ringtest.EnsembleReport.load(tmp_path)
    assert loaded.data == found.data
    assert loaded.words() == found.words()
    assert "a: " in found.words()
    assert "b: recorded samples: Of 80 items" in found.words()
    assert {p.name for p in tmp_path.iterdir()} == {
        "ensemble.json", "ensemble.html", "ensemble-b.html",
    }  # fmt: skip
    frame = found.frame()
    assert frame.columns[0] == "name"
    assert len(frame) == len(found.rows)
    (tmp_path / "ensemble-own.html").write_text("the user's")
    other = ringtest.ensemble(recorded=Recorded(candidates=TEACHER), progress=False)
    other.save(tmp_path)
    assert {p.name for p in tmp_path.glob("*.html")} == {"ensemble.html", "ensemble-own.html"}
    assert other.data["integrity"] != found.data["integrity"]
    assert other.data["data"]["recorded"]["digest"] != given.digest


def test_the_digest_is_of_what_was_recorded_and_not_of_its_form():
    listed = {k: v.tolist() for k, v in TEACHER.items()}
    renamed = {**listed, "answers": [[f"a{9 - v}" for v in row] for row in listed["answers"]]}
    digests = {Recorded(candidates=given).digest for given in (TEACHER, listed, renamed)}
    assert len(digests) == 1
    other = np.where(TEACHER["correct"], 0, 1)
    assert Recorded(candidates={**TEACHER, "answers": other}).digest not in digests


def test_names_of_students_are_words_and_names_of_files(tmp_path):
    small = {k: v[:9, :2] for k, v in TEACHER.items()}

    def found(*names):
        given = Recorded(candidates=small, students=dict.fromkeys(names, small))
        return ringtest.ensemble(recorded=given, out=tmp_path / "out", progress=False)

    for names, problem in ((("a", "n" * 300), "makes no file"), (("a", "x y", "x-y"), "'x y' and")):
        with pytest.raises(RingtestError, match=problem):
            found(*names)
        assert not (tmp_path / "out").exists()
    assert "\x1b" not in found("\x1b[2J", "b").words()
    with pytest.raises(RingtestError, match="too long"):
        ringtest.ensemble(recorded=Recorded(candidates=small), out="n" * 300, progress=False)


def test_altered_or_foreign_files_are_refused(tmp_path):
    small = {k: v[:9, :2] for k, v in TEACHER.items()}
    ringtest.ensemble(recorded=Recorded(candidates=small), out=tmp_path, progress=False)
    file = tmp_path / "ensemble.json"
    whole = file.read_text()
    data = json.loads(whole)
    data["measurements"][0]["row"]["teacher"] = 0.123
    for text, problem in (
        (json.dumps(data), "digest"),
        (whole[:-50], "cannot be read"),
        (whole.replace('"ensemble"', '"other"'), "kind"),
        (whole.replace('"schema_version": 1', '"schema_version": 2'), "newer"),
        ("[]", "kind"),
    ):
        file.write_text(text)
        with pytest.raises(RingtestError, match=problem):
            ringtest.EnsembleReport.load(tmp_path)
    with pytest.raises(RingtestError, match="unknown origin"):
        ringtest.ensemble(recorded=Recorded(candidates=small), out=tmp_path, progress=False)
    assert file.read_text() == "[]"


def test_names_that_make_one_file_name_are_refused(tmp_path):
    small = {k: v[:9, :2] for k, v in TEACHER.items()}
    given = Recorded(candidates=small, students={"x": small, "a/b": small, "A-b": small})
    with pytest.raises(RingtestError, match="one file name"):
        ringtest.ensemble(recorded=given, out=tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("problem", "given"),
    [
        ("nothing was recorded", {}),
        ("student: is given without a teacher", {"student": 1, "recorded": True}),
        ("recorded: is a dict", {"recorded": {}}),
        ("seed", {"recorded": True, "seed": -1}),
    ],
)
def test_what_is_missing_is_said(problem, given):
    if given.get("recorded") is True:
        given = {**given, "recorded": Recorded(candidates=TEACHER)}
    with pytest.raises(RingtestError, match=problem):
        ringtest.ensemble(**given, progress=False)


def test_a_measure_of_recordings_is_never_read_from_models():
    kinds = [m for m in measures if isinstance(m, RecordedMeasure)]
    assert {m.id for m in kinds} >= {
        "ensemble.texts", "ensemble.selection", "ensemble.verifier", "ensemble.budget",
    }  # fmt: skip
    from ringtest import plan, tasks
    from ringtest.data import AuditData
    from ringtest.model import Model

    data = AuditData(np.zeros((30, 2), np.float32) + np.arange(30)[:, None], np.arange(30) % 2)
    task = tasks.make("classification", data)
    members = [Model(name, "member", lambda x: x, task) for name in "ab"]
    made = plan.make(data, task, members, [("ensemble.texts", "clean")])
    assert not any(m in kinds for s in made.stages for m in s.measures)
    assert [x["reason"] for x in made.not_measured if x["measure"] == "ensemble.texts"] == [
        "is read from recordings, not from models: give audit(recorded=) or [recorded]"
    ]


def test_a_measure_that_breaks_leaves_a_row(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a planted fault")

    monkeypatch.setattr(type(measures["ensemble.verifier"]), "read", broken)
    (row,) = [r for r in rows(candidates=TEACHER) if r.measure == "ensemble.verifier"]
    assert row.status == "error"
    assert "planted" in row.reason


def test_candidates_are_taken_as_they_are():
    made = candidates(TEACHER["correct"])
    assert Recorded(candidates=made).candidates is made
