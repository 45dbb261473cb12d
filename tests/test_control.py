"""Controls, students of a teacher that was never trained: planted truths, and no other say."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringtest import AuditData, Subject, audit, reports, save_evidence
from ringtest.compare import Paired, over_control
from ringtest.errors import RingtestError
from ringtest.estimate import row_mean
from ringtest.measure import Reading, measures
from ringtest.measurement import Measurement
from ringtest.progress import silent
from ringtest.road import prepare, run

Rows = dict[str, list[Measurement]]
N, WIDTH = 400, 40
RIGHT, WRONG = (f"share where the teacher is {side}" for side in ("right", "wrong"))


def rows(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and three classes, of which a fifth is drawn anew."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=g)
    y = (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0.3).long()
    return x, torch.where(torch.rand(n, generator=g) < 0.2, torch.randint(3, (n,), generator=g), y)


def network(seed: int) -> nn.Sequential:
    """Random features, and a head that was never trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(6, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 3)).eval()
    with torch.no_grad():
        made[2].weight.mul_(8)
    return made


@torch.no_grad()
def taught(seed: int, x: Tensor, logits: Tensor) -> nn.Sequential:
    """The network with the head that comes nearest to some logits (ridge)."""
    made = network(seed)
    h = torch.cat([made[:2](x), torch.ones(len(x), 1)], 1).double()
    head = torch.linalg.solve(h.T @ h + 0.1 * torch.eye(WIDTH + 1), h.T @ logits.double())
    made[2].weight.copy_(head[:-1].T)
    made[2].bias.copy_(head[-1])
    return made


def member(seed: int, data: int) -> nn.Sequential:
    x, y = rows(120, data)
    return taught(seed, x, 5.0 * nn.functional.one_hot(y, 3))


@torch.no_grad()
def distilled(seed: int, teacher: list[nn.Module]) -> nn.Sequential:
    x, _ = rows(3000, 99)
    mean = torch.stack([m(x).softmax(1) for m in teacher]).mean(0)
    return taught(seed, x, mean.log())


TEACHER: list[nn.Module] = [member(seed, 1) for seed in range(3)]
CONTROL = distilled(7, [network(seed) for seed in range(3)])
STUDENTS: dict[str, nn.Module] = {
    "distilled": distilled(8, TEACHER),
    "independent": member(9, 2),
    "control": CONTROL,
}


@pytest.fixture(scope="module")
def data() -> AuditData:
    x, y = rows(N, 0)
    return AuditData(x, y)


def looked(data: AuditData, students: dict[str, nn.Module], control: Any) -> Rows:
    """The rows of each student under the conditions in which a control is looked at."""
    case = prepare(TEACHER, students, data, control=control)
    asked = [s for s in case.plan.stages if s.condition.id in ("clean", "attack.disagreement")]
    assert len(asked) == 2
    return run(replace(case, plan=replace(case.plan, stages=tuple(asked))), silent)[0]


@pytest.fixture(scope="module")
def found(data: AuditData) -> Rows:
    return looked(data, STUDENTS, CONTROL)


def of(
    rows: list[Measurement], measure: str, statistic: str, condition: str = "clean"
) -> Measurement:
    (row,) = (
        r
        for r in rows
        if (r.measure, r.condition, r.statistic, r.slice) == (measure, condition, statistic, None)
    )
    return row


# -- planted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ["clean", "attack.disagreement"])
def test_a_student_that_copied_its_teacher_is_far_above_the_control(
    found: Rows, condition: str
) -> None:
    mine = found["distilled"]
    for statistic in (RIGHT, WRONG):
        row = of(mine, "outputs.fidelity", statistic, condition)
        over, low, high = row.params["over_control"]
        assert over == pytest.approx(row.student - row.params["control"])
        assert 0.1 < low < over < high
    for statistic in ("KL(teacher || model)", "KL(model || teacher)"):
        assert of(mine, "outputs.kl", statistic, condition).params["over_control"][2] < 0
    assert "control" in of(mine, "outputs.calibration", "ECE", condition).params
    score = of(mine, "outputs.score", "accuracy", condition)
    assert score.params["over_control"][1] > 0.03
    assert score.headline == (condition == "clean")


def test_the_control_is_what_it_says(found: Rows, data: AuditData) -> None:
    row = of(found["distilled"], "outputs.score", "accuracy")
    with torch.no_grad():
        own, theirs = (m(data.inputs).argmax(1).numpy() for m in (STUDENTS["distilled"], CONTROL))
    right = (theirs == data.targets).astype(float)
    assert row.params["control"] == pytest.approx(right.mean())
    gap = (own == data.targets) - right
    over, low, high = row.params["over_control"]
    assert over == pytest.approx(gap.mean())
    # Paired, row by row.
    assert high - low == pytest.approx(2 * 1.966 * gap.std(ddof=1) / np.sqrt(N), rel=0.08)


def test_a_student_that_is_the_control_is_nothing_over_it(found: Rows) -> None:
    told = [r for r in found["control"] if "over_control" in r.params]
    assert {r.measure for r in told} == {
        "outputs.score",
        "outputs.fidelity",
        "outputs.kl",
        "outputs.calibration",
    }
    for r in told:
        over, low, high = r.params["over_control"]
        # That they never part on these rows does not say that they never do.
        reach = 1.97 / r.params.get("rows", N) if r.unit != "nats" and "prob" not in r.unit else 0
        assert (over, low, high) == pytest.approx((0, -reach, reach), rel=0.07)


def test_where_the_teacher_is_wrong_a_distilled_student_follows_and_an_independent_does_not(
    found: Rows,
) -> None:
    wrong = {n: of(found[n], "outputs.fidelity", WRONG) for n in ("distilled", "independent")}
    right = {n: of(found[n], "outputs.fidelity", RIGHT) for n in wrong}
    assert wrong["distilled"].params["rows"] > 60
    assert wrong["distilled"].student > wrong["independent"].student + 0.15
    # As far as a member does, where the others are wrong; the independent one less.
    assert wrong["distilled"].ci_high > 0 > wrong["independent"].ci_high
    gap = right["distilled"].student - right["independent"].student
    assert gap < wrong["distilled"].student - wrong["independent"].student


def test_the_interval_over_the_control_holds_where_they_part_on_few_rows() -> None:
    """98 and 95 % of 24 rows: half the samples hold no row on which they part."""
    fidelity, held = measures["outputs.fidelity"], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        mine, theirs = (row_mean(rng.random(24) < share) for share in (0.98, 0.95))
        found = Paired(Reading(mine, RIGHT), None, 0.9, mine, control=theirs)
        low, high = over_control(fidelity, found, 0)["over_control"][1:]
        held.append(low <= 0.03 <= high)
    assert np.mean(held) > 0.93


# -- no say in anything ----------------------------------------------------------------------------


def without_control(rows: list[Measurement]) -> list[dict[str, Any]]:
    said = ("control", "over_control", "control_reason")
    out = [asdict(r) for r in rows]
    return [{**r, "params": {k: v for k, v in r["params"].items() if k not in said}} for r in out]


def test_nothing_else_knows_of_a_control(found: Rows, data: AuditData) -> None:
    alone = looked(data, {"distilled": STUDENTS["distilled"]}, None)["distilled"]
    assert repr(without_control(found["distilled"])) == repr(without_control(alone))
    told = {(r.measure, r.condition) for r in found["distilled"] if "control" in r.params}
    assert {c for _, c in told} == {"clean", "attack.disagreement"}
    assert not any("control" in r.params for r in alone)


def test_a_report_says_who_the_control_was() -> None:
    g = torch.Generator().manual_seed(0)
    words = torch.randint(5, (120, 3), generator=g)  # tokens: few conditions apply

    def reader(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 3))

    members, data = [reader(0), reader(1)], AuditData(words, torch.arange(120) % 3)
    report: Any = audit(members, reader(2), data, control=reader(3), progress=False)
    (model,) = report.data["subjects"]["controls"]
    assert (model["name"], report.data["subjects"]["references"]) == ("control", [])
    assert report.data["config"]["identity"]["controls"] == [model["weights_hash"]]
    jsonschema.validate(report.data, reports.schema())
    assert {r.condition for r in report.rows if "control" in r.params} == {"clean"}


def test_of_several_the_mean_counts_and_outputs_or_evidence_will_do(
    data: AuditData, tmp_path: Path
) -> None:
    with torch.no_grad():
        save_evidence(tmp_path / "c.npz", CONTROL(data.inputs), {})
    other = distilled(11, [network(seed) for seed in (4, 5, 6)])
    given = [Subject(evidence=tmp_path / "c.npz"), lambda x: other(x)]
    one = {"distilled": STUDENTS["distilled"]}
    mine = looked(data, one, given)["distilled"]
    row = of(mine, "outputs.score", "accuracy")
    with torch.no_grad():
        said = [m(data.inputs).argmax(1).numpy() for m in (CONTROL, other)]
    assert row.params["control"] == pytest.approx(np.mean([s == data.targets for s in said]))
    # What is stored holds nothing of other inputs, and the other one stands alone there.
    row = of(mine, "outputs.score", "accuracy", "attack.disagreement")
    alone = of(looked(data, one, other)["distilled"], "outputs.score", "accuracy", row.condition)
    assert row.params["control"] == alone.params["control"]


def test_a_control_that_breaks_under_a_condition_takes_nothing_else_with_it(
    data: AuditData,
) -> None:
    def touchy(x: Tensor) -> Tensor:
        if not all(bool((row == data.inputs).all(1).any()) for row in x[:2]):
            raise RuntimeError("only as they were")
        out: Tensor = CONTROL(x)
        return out

    mine = looked(data, {"distilled": STUDENTS["distilled"]}, touchy)["distilled"]
    row = of(mine, "outputs.fidelity", RIGHT, "attack.disagreement")
    assert row.status == "context"
    assert np.isfinite([row.teacher, row.student]).all()
    assert "only as they were" in row.params["control_reason"]
    assert "over_control" not in row.params
    assert "over_control" in of(mine, "outputs.score", "accuracy").params


# -- how it is given -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("auto", "control: is a str"),
        ({"a": CONTROL}, "control: is a dict"),
        ([], "control: is an empty list"),
        (3, "control: is int, no model"),
        ([CONTROL, nn.Linear(6, 4)], r"control\[1\]: gives 4 output columns"),
        (nn.Linear(5, 3), "control: raised RuntimeError"),
    ],
)
def test_what_is_no_control_is_refused_in_one_line(data: AuditData, given: Any, says: str) -> None:
    with pytest.raises(RingtestError, match=says) as caught:
        prepare(TEACHER, STUDENTS["distilled"], data, control=given)
    assert "\n" not in str(caught.value)


def test_controls_cost_what_is_read_of_them(data: AuditData) -> None:
    case = prepare(TEACHER, STUDENTS["distilled"], data, control=[CONTROL, CONTROL])
    assert [m.role for m in case.controls] == ["control", "control"]
    looked = {s.condition.key for s in case.plan.stages if len(case.shown(s)) == len(case.models)}
    assert looked == {"clean", "attack.disagreement@0.1"}
    without = prepare(TEACHER, STUDENTS["distilled"], data).plan
    blocks = -(-N // 256)
    assert case.plan.passes == without.passes + 2 * 2 * blocks
