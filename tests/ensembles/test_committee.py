"""What an audit says of the teacher's members together, and where it places the student."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import ringtest
from ringtest import alone, road
from ringtest.condition import conditions
from ringtest.ensembles import ambiguity, diversity

N = 500


def network(seed: int, width: int = 3) -> nn.Module:
    """A random one: how well it does plays no part here."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, width)).eval()


X = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
MEMBERS = [network(s) for s in range(3)]
STUDENT = network(3)
Y = (MEMBERS[0](X) + MEMBERS[1](X) + 0.5 * network(9)(X)).argmax(1).numpy()


def shares(model: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model(X).double().softmax(1).numpy()


def by_statistic(rows, measure: str) -> dict:
    return {r.statistic: r for r in rows if r.measure == measure}


@pytest.fixture(scope="module")
def report():
    return ringtest.audit(MEMBERS, STUDENT, ringtest.AuditData(X, Y), progress=False)


def test_the_rows_are_those_of_the_probabilities(report):
    found = by_statistic(report.rows, "ensemble.diversity")
    ours = diversity.of([shares(m) for m in MEMBERS], Y)
    assert found["effective votes"].teacher == pytest.approx(ours.effective.votes.value, rel=1e-5)
    for name, key in (("Q", "q"), ("CAPA", "capa"), ("double fault", "double_fault")):
        assert found[name].teacher == pytest.approx(ours.pairs[key].mean.value, rel=1e-5)
    assert found["mutual information"].teacher == pytest.approx(
        ours.mutual_information.value, rel=1e-4
    )
    assert found["effective votes"].params["words"] == ours.words()
    assert "(95 % interval all over 3)" in ours.words()


def test_the_student_stands_for_a_member(report):
    mixed = [
        diversity.of([shares(STUDENT if j == k else MEMBERS[j]) for j in range(3)], Y)
        for k in range(3)
    ]
    row = by_statistic(report.rows, "ensemble.diversity")["disagreement"]
    expected = np.mean([m.pairs["disagreement"].mean.value for m in mixed])
    assert row.student == pytest.approx(expected, rel=1e-6)
    assert row.ci_low <= row.student - row.teacher <= row.ci_high


def test_the_steps_are_those_of_the_predictions(report):
    found = by_statistic(report.rows, "ensemble.waterfall")
    assert list(found) == ["mean member", "ensemble", "oracle"]
    right = np.stack([shares(m).argmax(1) == Y for m in MEMBERS])
    together = np.mean([shares(m) for m in MEMBERS], 0).argmax(1) == Y
    steps = [right.mean(), together.mean(), right.any(0).mean()]
    assert [r.teacher for r in found.values()] == pytest.approx(steps)
    mine = (shares(STUDENT).argmax(1) == Y).mean()
    assert all(r.student == pytest.approx(mine) for r in found.values())
    placed = found["ensemble"].params
    assert placed["rise"] == pytest.approx(steps[1] - steps[0])
    assert placed["share"] == pytest.approx((mine - steps[0]) / (steps[1] - steps[0]))
    assert placed["answer"] == "not"
    assert f"{100 * steps[0]:.1f} %" in found["mean member"].params["sentence"]


def test_nothing_of_it_is_judged(report):
    rows = [r for r in report.rows if r.area == "ensembles"]
    assert rows
    assert {r.status for r in rows} == {"context"}
    assert not any(r.headline or r.required for r in rows)


def test_clones_are_one_opinion_and_have_no_gain_to_share():
    case = road.prepare([MEMBERS[0]] * 3, STUDENT, ringtest.AuditData(X, Y))
    rows = alone.rows(case)["student"]
    votes = by_statistic(rows, "ensemble.diversity")["effective votes"]
    assert votes.teacher == pytest.approx(1)
    assert votes.params["answer"] == "one"
    placed = by_statistic(rows, "ensemble.waterfall")["ensemble"].params
    assert "share" not in placed
    assert "holds 0" in placed["share_reason"]
    assert placed["answer"] == "open"


def test_one_model_is_no_ensemble():
    data = ringtest.AuditData(X[:300], Y[:300])
    asked = [(f"ensemble.{name}", "clean") for name in ("diversity", "waterfall")]
    case = road.prepare(MEMBERS[0], STUDENT, data, cells=asked)
    assert not any(m.area == "ensembles" for s in case.plan.stages for m in s.measures)
    left = [i for i in case.plan.not_measured if i["measure"].startswith("ensemble.")]
    assert {i["reason"] for i in left} == {"the teacher is one model, no ensemble"}
    assert road.prepare(MEMBERS[0], STUDENT, data).plan.not_measured == ()


def test_not_where_the_members_see_different_inputs():
    case = road.prepare(
        MEMBERS, STUDENT, ringtest.AuditData(X, Y), cells=[("ensemble.diversity", "attack.pgd")]
    )
    reasons = {i["reason"] for i in case.plan.not_measured if "ensemble" in i["measure"]}
    assert reasons == {"the members do not see the same there"}


def test_an_ensemble_by_itself_has_rows_without_a_student(report):
    case = road.prepare(MEMBERS, None, ringtest.AuditData(X, Y), alone=True)
    looked = [
        [s.condition.id for s in alone.reduced(case.plan, students).stages]
        for students in (True, False)
    ]
    # Where members disagree is only looked for on behalf of a student: it takes the longest
    assert looked == [["clean", "attack.disagreement"], ["clean"]]
    (rows,) = alone.rows(case).values()
    both = {(r.measure, r.statistic): r for r in report.rows if r.area == "ensembles"}
    assert len(rows) == len(both)
    for row in rows:
        assert row.teacher == both[row.measure, row.statistic].teacher
        assert math.isnan(row.student)
        assert math.isnan(row.delta)
        assert row.se > 0


def test_an_audit_still_needs_a_student():
    with pytest.raises(ringtest.RingtestError, match="student"):
        ringtest.audit(MEMBERS, None, ringtest.AuditData(X, Y), progress=False)


def test_a_resumed_audit_has_the_same_rows(report, tmp_path):
    def again():
        data = ringtest.AuditData(X, Y)
        return ringtest.audit(MEMBERS, STUDENT, data, out=tmp_path, progress=False)

    first, second = again(), again()
    assert second.data["timing"]["cached"]["clean"] > 2
    ours = [r.as_dict() for r in report.rows if r.area == "ensembles"]
    for found in (first, second):
        assert [r.as_dict() for r in found.rows if r.area == "ensembles"] == ours


def test_values_have_the_ambiguity_as_their_diversity():
    targets = (MEMBERS[0](X) + 0.3 * network(9)(X)).detach().double().numpy()
    data = ringtest.AuditData(X, targets)
    rows = alone.rows(road.prepare(MEMBERS, STUDENT, data, task="regression"))["student"]
    found = by_statistic(rows, "ensemble.diversity")
    scale = targets.std(0)
    errors = np.stack([(m(X).detach().double().numpy() - targets) / scale for m in MEMBERS])
    member, mean = (errors**2).mean(), (errors.mean(0) ** 2).mean()
    assert found["ambiguity"].teacher == pytest.approx(member - mean, rel=1e-5)
    assert found["effective votes"].teacher == pytest.approx(member / mean, rel=1e-5)
    rho = found["correlation of errors"].teacher
    assert found["effective votes"].teacher == pytest.approx(3 / (1 + 2 * rho), rel=1e-9)
    steps = by_statistic(rows, "ensemble.waterfall")
    assert steps["mean member"].teacher == pytest.approx(1 - member, rel=1e-5)
    assert steps["ensemble"].teacher == pytest.approx(1 - mean, rel=1e-5)
    assert steps["oracle"].teacher == pytest.approx(1 - (errors**2).mean(2).min(0).mean(), rel=1e-5)
    said = steps["mean member"].params["sentence"]
    assert f"R^2 {1 - member:.3f}" in said
    assert "right" not in said


def test_ambiguity_is_exact_and_clones_are_one_vote():
    draw = np.random.default_rng(0)
    errors = draw.normal(size=(4, 300, 2)) + 0.2
    split = ambiguity.of(errors)
    assert split.member.value - split.mean.value == pytest.approx(split.ambiguity.value, abs=1e-12)
    independent = ambiguity.of(draw.normal(size=(4, 4000, 1)))
    low, high = independent.votes.interval()
    assert low < 4 < high
    clones = ambiguity.of(np.repeat(errors[:1], 4, 0))
    assert clones.votes.votes.value == pytest.approx(1)
    assert clones.votes.answer() == "one"
    none = ambiguity.of(np.zeros((2, 10, 1)))
    assert "no error" in none.votes.votes.reason


@pytest.mark.parametrize(
    "errors",
    [np.zeros((1, 5, 1)), np.zeros((2, 0, 1)), np.zeros((2, 5)), np.full((2, 5, 1), np.nan)],
)
def test_errors_that_are_none_are_refused(errors):
    with pytest.raises(ringtest.RingtestError, match="errors"):
        ambiguity.of(errors)


def test_what_the_student_of_a_random_teacher_has_too_was_not_transferred():
    """A student that gains by the recipe alone: the control is the very same."""
    draw = np.random.default_rng(1)
    y = torch.from_numpy(draw.integers(3, size=2000))

    def reader(right: float, seed: int):
        """Fixed answers by row: the row's number is its input."""
        draw = np.random.default_rng(seed)
        wrong = (y + torch.from_numpy(draw.integers(1, 3, size=2000))) % 3
        said = torch.where(torch.from_numpy(draw.random(2000) < right), y, wrong)
        return lambda x: nn.functional.one_hot(said[x[:, 0].long()], 3) * 4.0

    members, student = [reader(0.7, s) for s in range(3)], reader(0.8, 7)
    data = ringtest.AuditData(torch.arange(2000.0)[:, None], y)

    def answer(**given) -> dict:
        case = road.prepare(members, student, data, **given)
        return by_statistic(alone.rows(case)["student"], "ensemble.waterfall")["ensemble"].params

    assert answer()["answer"] == "transferred"
    assert answer(control=reader(0.45, 8))["answer"] == "transferred"
    same = answer(control=student)
    assert same["answer"] == "not"
    assert "random teacher" in same["words"]
    assert same["control"] == pytest.approx(0.8, abs=0.03)


def sure(model):
    """Its answers alone: a probability of exactly 0 for all other classes."""
    return lambda x: nn.functional.one_hot(model(x).argmax(1), 3).float()


def test_a_floor_under_probabilities_of_nothing_is_no_number():
    case = road.prepare([sure(m) for m in MEMBERS], sure(STUDENT), ringtest.AuditData(X, Y))
    found = by_statistic(alone.rows(case)["student"], "ensemble.diversity")
    for name in ("diversity of log loss", "gain in log loss of the mean probability"):
        assert found[name].status == "not_measurable"
        assert "probability" in found[name].reason
    assert found["CAPA"].teacher == pytest.approx(found["CAPA of answers"].teacher)
    # Trees that rule out a class here and there leave a geometric mean.
    few = [
        lambda x, m=m: (p := (m(x).softmax(1) - 0.1).relu()) / p.sum(1)[:, None] for m in MEMBERS
    ]
    case = road.prepare(few, STUDENT, ringtest.AuditData(X, Y))
    row = by_statistic(alone.rows(case)["student"], "ensemble.diversity")["diversity of log loss"]
    with torch.no_grad():
        ours = diversity.of([m(X).double().numpy() for m in few], Y).log_loss.diversity
    assert (row.reason, row.status == "context") == (ours.reason, ours.measured)


def test_a_reason_says_whose_it_is():
    case = road.prepare([sure(MEMBERS[0]), MEMBERS[1]], STUDENT, ringtest.AuditData(X, Y))
    rows = by_statistic(alone.rows(case)["student"], "outputs.kl")
    assert rows["KL(teacher || model)"].reason.startswith("teacher[0]: infinite: on ")


def test_of_one_cluster_or_an_infinite_score_nothing_is_measurable():
    def only(data, **given):
        case = road.prepare(MEMBERS, STUDENT, data, **given)
        found = [r for r in alone.rows(case)["student"] if r.measure == "ensemble.waterfall"]
        assert [r.status for r in found] == ["not_measurable"]
        return found[0].reason

    one = ringtest.AuditData(X[:300], Y[:300], cluster=np.zeros(300, int))
    assert "all rows are of one cluster" in only(one)

    def log_or_nothing(outputs, y):
        return torch.where(outputs.argmax(1) == y, 1.0, -math.inf)

    said = only(ringtest.AuditData(X[:300], Y[:300]), metric=log_or_nothing)
    assert "the score of teacher[0] is infinite on" in said


def test_the_students_votes_have_the_interval_of_the_committees_votes(report):
    """That of the delta method holds 76 % of the time where 3 % of 200 items are wrong."""
    row = by_statistic(report.rows, "ensemble.diversity")["effective votes"]
    mixed = [
        diversity.of([shares(STUDENT if j == k else MEMBERS[j]) for j in range(3)], Y)
        for k in range(3)
    ]
    ends = np.mean([m.effective.interval() for m in mixed], axis=0)
    assert row.params["student_interval"] == pytest.approx(ends.tolist(), rel=1e-5)
    assert row.student - ends[0] < ends[1] - row.student


def test_a_share_has_its_interval_between_0_and_1():
    case = road.prepare([MEMBERS[0]] * 3, MEMBERS[0], ringtest.AuditData(X, Y))
    row = by_statistic(alone.rows(case)["student"], "ensemble.diversity")["disagreement"]
    assert row.params["teacher_interval"][0] == row.params["student_interval"][0] == 0
    assert 0.005 < row.params["teacher_interval"][1] < 0.01


def test_a_control_that_breaks_takes_none_of_the_ensembles_rows_with_it():
    def touchy(x):
        if not bool((x[:1] == X).all(1).any()):
            raise RuntimeError("only as they were")
        return STUDENT(x)

    asked = [("ensemble.waterfall", "attack.disagreement")]
    case = road.prepare(MEMBERS, STUDENT, ringtest.AuditData(X, Y), control=touchy, cells=asked)
    rows = [r for r in alone.rows(case)["student"] if r.condition == "attack.disagreement"]
    row = by_statistic(rows, "ensemble.waterfall")["ensemble"]
    assert row.status == "context"
    assert "only as they were" in row.params["control_reason"]
    assert "control" not in row.params


def test_what_stored_evidence_cannot_say_of_disagreement_is_told(tmp_path):
    with torch.no_grad():
        ringtest.save_evidence(tmp_path / "s.npz", STUDENT(X), {})
    stored = ringtest.Subject(evidence=tmp_path / "s.npz")
    for members, student in ((MEMBERS, stored), ([stored, *MEMBERS], STUDENT)):
        case = road.prepare(members, student, ringtest.AuditData(X, Y))
        rows = [r for r in alone.rows(case)["student"] if r.condition == "attack.disagreement"]
        assert {r.measure for r in rows} == set(conditions["attack.disagreement"].make.reads)
        assert {r.status for r in rows} == {"not_measurable"}
        assert all("stored evidence" in r.reason for r in rows)


def test_a_student_that_is_always_right_is_who_the_reason_speaks_of():
    """Two members that are never wrong together with it: a double fault of 0, not of less."""
    y = MEMBERS[0](X).argmax(1).numpy()
    case = road.prepare(MEMBERS[1:], MEMBERS[0], ringtest.AuditData(X, y))
    found = by_statistic(alone.rows(case)["student"], "ensemble.diversity")
    said = found["effective votes"].params["student_reason"]
    assert said.startswith("with the student for member 0: member 0 is right on every item")
    assert math.copysign(1, found["double fault"].student) == 1
    assert found["double fault"].student == 0
