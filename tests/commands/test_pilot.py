"""The estimate of an audit's cost: what is counted, what is left out, and that nothing breaks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ringtest
from ringtest import AuditData, road
from ringtest.case import Case
from ringtest.commands import pilot
from ringtest.commands.cost import Cost
from ringtest.files import CELLS


class Net(nn.Module):
    """A small network that counts the rows it sees."""

    def __init__(self, seed: int, limit: float = torch.inf) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
            self.head = nn.Linear(6, 2)
        self.limit, self.seen = limit, 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.head(self.body(x)) + torch.where(
            x.abs().amax(1, keepdim=True) > self.limit, torch.nan, 0.0
        )


def given(n: int = 700, **more: Any) -> dict[str, Any]:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    data = AuditData(x, (x[:, 0] > 0).long(), unlabelled={"far": x[:120] + 1, "near": x[:90]})
    return {"teacher": [Net(0), Net(1)], "student": Net(2), "data": data, **more}


def prepared(**more: Any) -> Case:
    return road.prepare(**given(**more))


def estimate(case: Case, out: Path) -> Cost:
    return pilot.estimate(case, out, lambda _what, _share: None)


@pytest.fixture(scope="module")
def case() -> Case:
    return prepared()


@pytest.fixture(scope="module")
def cost(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Cost:
    return estimate(case, tmp_path_factory.mktemp("out"))


def test_every_kind_of_condition_and_every_measure_has_a_price(case: Case, cost: Cost) -> None:
    assert cost.untimed == {}
    assert set(cost.forward) == {s.condition.kind for s in case.plan.stages}
    measures = {entry.id for s in case.plan.stages for entry in s.measures}
    assert set(cost.measures) == {*measures, "similarity.layer_pairs"}
    assert all(v > 0 for v in [*cost.forward.values(), *cost.measures.values()])
    assert cost.keepable == case.plan.cells
    assert cost.disk > 1000
    assert sum(cost.memory.values()) > 1e8  # torch alone takes more
    assert cost.memory["data"] == 4 * 4 * (700 + 120 + 90)
    assert cost.seconds == pytest.approx(
        sum(cost.forward.values()) + sum(cost.measures.values()) + pilot.PAGE_SECONDS
    )


def test_a_trial_runs_a_block_of_each_kind_and_no_more(tmp_path: Path) -> None:
    case = prepared()
    students = list(case.students.values())
    seen = students[0].module
    assert isinstance(seen, Net)
    seen.seen = 0
    estimate(case, tmp_path)
    plain = {
        (s.condition.kind, s.condition.severity)
        for s in case.plan.stages
        if s.condition.scope == "shared"
    }
    attacks = [s for s in case.plan.stages if s.condition.scope == "own"]
    # A block each, the clean one twice, a few rows by which the model is known.
    most = 256 * (len(plain) + 1 + len(attacks) * (2 + 2 * 21)) + 32
    assert 256 * len(plain) - 200 <= seen.seen <= most


def test_forward_costs_grow_with_rows_and_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that ticks once a row and model, the pilot's block stands for all 700 rows."""
    counted = prepared()

    def ticks() -> float:
        return float(sum(getattr(m.module, "seen", 0) for m in counted.models))

    monkeypatch.setattr(pilot, "time", SimpleNamespace(perf_counter=ticks))
    cost = estimate(counted, tmp_path)
    stages = [s for s in counted.plan.stages if s.condition.kind == "shift.certified"]
    assert len(stages) > 3
    assert cost.forward["clean"] == pytest.approx(3 * 700)
    assert cost.forward["shift.certified"] == pytest.approx(3 * 700 * len(stages))
    assert cost.forward["shift.unlabelled"] == pytest.approx(3 * (120 + 90))
    # An attack runs the models many times over.
    assert cost.forward["attack.pgd"] > 10 * cost.forward["clean"]


def test_what_is_there_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringtest.reports.html", lambda _: "page")
    ringtest.audit(**given(150), out=tmp_path, progress=False)
    case = prepared(n=150)
    done = estimate(case, tmp_path)
    assert done.there == case.plan.cells
    assert done.seconds == done.pages
    files = sorted((tmp_path / CELLS).glob("*@noise.input*"))
    files[0].unlink()
    left = estimate(case, tmp_path)
    # The condition itself, and the clean rows that it is compared with.
    assert set(left.forward) == {"clean", "noise.input"}
    assert set(left.measures) == {files[0].name.partition("@")[0]}


def test_what_fails_in_the_trial_is_named(tmp_path: Path) -> None:
    def bad(x: Tensor) -> Tensor:
        if len(x) > 100:
            raise RuntimeError("no more than 100")
        return x

    case = prepared(student=Net(2, limit=6.0))
    found = estimate(case, tmp_path)
    assert "shift.off_support.noise@3" in found.untimed
    assert "NaN" in found.untimed["shift.off_support.noise@3"]
    assert "clean" not in found.untimed
    assert found.seconds > 0
    told = [line for line in found.lines(case.plan.cells) if line.startswith("Could not be tried")]
    assert len(told) == len(found.untimed)
    data = given()["data"]
    mirrored = AuditData(data.inputs, data.targets, invariances={"bad": bad})
    found = estimate(prepared(data=mirrored), tmp_path)
    assert list(found.untimed) == ["shift.invariance.bad"]
    assert "no more than 100" in found.untimed["shift.invariance.bad"]


def test_a_model_that_fails_on_clean_rows_leaves_the_plan_to_be_read(tmp_path: Path) -> None:
    student = Net(2)

    def few(x: Tensor) -> Tensor:
        if len(x) > 100:
            raise RuntimeError("no more than 100")
        return student(x)

    case = prepared(student=few)
    found = estimate(case, tmp_path)
    assert "no more than 100" in found.untimed["clean"]
    assert found.keepable == 0
    assert all("\n" not in line for line in found.lines(case.plan.cells))


@pytest.mark.parametrize("task", ["regression", "embedding"])
def test_other_tasks(tmp_path: Path, task: str) -> None:
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    nets = [Net(s) if task == "regression" else Net(s).body for s in range(3)]
    data = AuditData(x, x[:, :2] if task == "regression" else None)
    case = road.prepare(nets[:2], nets[2], data, task)
    found = estimate(case, tmp_path)
    assert found.untimed == {}
    assert found.seconds > 0


def test_words_say_what_dominates() -> None:
    cost = Cost(pages=2.0, disk=2_500_000, there=3, keepable=9)
    cost.forward["attack.pgd"], cost.forward["clean"] = 7_300.0, 12.0
    cost.measures["similarity.neighbours"] = 100.0
    cost.memory["data"], cost.memory["weights"] = 12e6, 3.4e9
    assert cost.lines(10) == [
        "Time: about 2.1 h on this machine: models 2.0 h (most of it attack.pgd, 2.0 h), "
        "measures 2 min, reports 2.0 s.",
        "Cells in the output folder already: 3 of 10.",
        "Memory: about 3.4 GB: weights 3.4 GB, data 12 MB.",
        "Disk: about 2.5 MB for 9 of 10 cells that are kept.",
    ]
