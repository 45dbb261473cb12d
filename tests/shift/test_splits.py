"""Splits on the road: what is measured under them, and what they say where they cannot be shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from quick import differences
from torch import nn

import ringtest
from ringtest import AuditData, inference, plan, tasks
from ringtest.cells.keys import Keys
from ringtest.condition import conditions
from ringtest.errors import ConfigError, DataError
from ringtest.estimate import row_mean
from ringtest.evidence import Wanted, gather
from ringtest.measure import NotMeasurable
from ringtest.road import prepare
from ringtest.shift.split_cluster import Cluster, Rare
from ringtest.shift.split_groups import Group, GroupFold, LeftOut
from ringtest.shift.split_labels import Dirichlet, Labels
from ringtest.shift.split_spurious import Spurious
from ringtest.shift.split_tilt import Tilt, Weighted
from ringtest.shift.split_time import Late, TimeFold
from ringtest.sources.stored import Stored

N = 600
SCORE = "outputs.score"


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def benchmark(**more: Any) -> AuditData:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 4)).astype(np.float32)
    groups = {
        "site": np.array(["web", "phone", "a[1]"])[np.arange(N) % 3],
        "age": rng.normal(40, 10, N),
        "day": np.arange(N) // 2,
        "rest": np.array(["most"] * (N - 20) + ["few"] * 19 + ["one"]),
    }
    return AuditData(x, (x[:, 0] + x[:, 1] > 0).astype(int), groups={**groups, **more})


@pytest.fixture(scope="module")
def data() -> AuditData:
    return benchmark()


def audit(data: AuditData, cells: Any = (), conditions: Any = (), **more: Any) -> Any:
    teacher = [network(0), network(1)]
    report = ringtest.audit(
        teacher, network(2), data, cells=cells, conditions=conditions, progress=False, **more
    )
    return report.frame()


def scores(model: nn.Module, data: AuditData) -> np.ndarray:
    with torch.no_grad():
        return (model(data.inputs).argmax(1).numpy() == data.targets).astype(float)


def fitted(split: Any, data: AuditData, seed: int = 0) -> Any:
    split.check(data)
    split.fit([], data, torch.Generator().manual_seed(seed))
    return split


def test_no_audit_looks_under_a_split_by_itself(data: AuditData) -> None:
    made = plan.make(data, tasks.make("classification", data), [])
    assert not any(stage.condition.selects for stage in made.stages)
    kinds = [k for k in conditions if k.id.startswith("shift.split.")]
    assert len(kinds) == 12
    for kind in kinds:
        assert kind.role == "context"
        assert not list(kind.make.defaults(data))


@pytest.mark.usefixtures("asked_alone")
def test_a_cell_and_an_instance_show_the_score_of_the_rows_themselves(data: AuditData) -> None:
    frame = audit(
        data,
        [
            (SCORE, "shift.split.group.site=*"),
            ("outputs.agreement", "shift.split.time.day"),
        ],
        [Group({"site": "web", "rest": "most"})],
    )
    student = scores(network(2), data)
    members = (scores(network(0), data) + scores(network(1), data)) / 2
    rows = frame[frame["slice"].isna() & (frame.measure == SCORE)].set_index("condition")
    for site in ("web", "phone", "a[1]"):
        own = data.groups["site"] == site
        row = rows.loc[f"shift.split.group.site={site}"]
        assert row.student == pytest.approx(student[own].mean())
        assert row.teacher == pytest.approx(members[own].mean())
        assert row.n == own.sum()
        assert row.se == pytest.approx(
            inference.standard_error(row_mean((student - members)[own])), rel=0.05
        )
    both = (data.groups["site"] == "web") & (data.groups["rest"] == "most")
    assert rows.loc["shift.split.group.site=web&rest=most"].n == both.sum()
    late = frame[
        (frame.condition == "shift.split.time.day") & (frame.measure == "outputs.agreement")
    ]
    assert late.n.tolist() == [N // 4]


def test_what_a_cell_may_name(data: AuditData) -> None:
    case = prepare(network(0), network(2), data)

    def keys(name: str) -> list[str]:
        made = plan.make(data, case.task, case.models, [(SCORE, name)])
        return [s.condition.key for s in made.stages if s.condition.selects]

    sites = [f"shift.split.group.site={s}" for s in ("a[1]", "phone", "web")]
    assert keys("shift.split.group") == [*sites, "shift.split.group.rest=most"]
    assert keys("shift.split.group.site=*") == keys("shift.split.group.site") == sites
    assert keys("shift.split.group.site=a[1]") == sites[:1]
    assert keys("shift.split.group.site=web&rest=few") == ["shift.split.group.site=web&rest=few"]
    assert keys("shift.split.tilt.age@.50") == ["shift.split.tilt.age@0.5"]
    assert keys("shift.split.tilt.x2") == ["shift.split.tilt.x2@1"]
    assert keys("shift.split.cluster.2") == [f"shift.split.cluster.{i}of2" for i in (1, 2)]
    assert keys("shift.split.cluster.2of3") == ["shift.split.cluster.2of3"]
    assert keys("shift.split.time.day") == ["shift.split.time.day@0.25"]
    assert len(keys("shift.split.time_fold.day")) == 5
    assert keys("shift.split.labels.1=0.7") == ["shift.split.labels.1=0.7"]
    assert keys("shift.split.labels.dirichlet") == ["shift.split.labels.dirichlet@1"]
    assert keys("shift.split.labels.dirichlet.3@2") == ["shift.split.labels.dirichlet.3@2"]
    assert keys("shift.split.spurious.site@0") == ["shift.split.spurious.site@0"]
    assert keys("shift.split.rare.site&rest@0.2") == ["shift.split.rare.site&rest@0.2"]


def test_a_value_that_looks_like_a_glob_is_taken_before_what_the_glob_matches() -> None:
    data = benchmark(room=np.array(["a[1]", "a1", "b*"])[np.arange(N) % 3])
    for name in ("a[1]", "a1", "b*"):
        cells = [(SCORE, f"shift.split.group.room={name}")]
        made = plan.make(data, tasks.make("classification", data), [], cells)
        keys = [s.condition.key for s in made.stages if s.condition.selects]
        assert keys == [f"shift.split.group.room={name}"]


@pytest.mark.usefixtures("asked_alone")
def test_a_cell_may_name_what_is_handed_over(data: AuditData) -> None:
    handed = [
        Weighted("target", np.linspace(1, 2, N)),
        Labels([0.3, 0.7], "field"),
        Tilt(lambda x: x[:, 0].numpy(), 0.5, "hard"),
        Cluster(1, 2, lambda x: x[:, :1]),
    ]
    cells = [("outputs.agreement", name) for c in handed for name in (c.id, c.key)]
    frame = audit(data, cells, handed)
    rows = frame[frame.measure == "outputs.agreement"]
    assert sorted(rows.condition[rows.condition.str.contains("split")]) == sorted(
        c.id for c in handed
    )


@pytest.mark.parametrize("form", ["counts", "below zero", "rare", "times"])
def test_folds_of_groups_where_whole_numbers_are_no_classes(form: str) -> None:
    rng = np.random.default_rng(1)
    patient = rng.integers(0, 60, N)
    targets = {
        "counts": rng.poisson(3.0, N),
        "below zero": rng.integers(-50, 50, N),
        "rare": np.arange(N),
        "times": 1_700_000_000_000 + rng.integers(0, 10**9, N),
    }[form]
    x = rng.normal(size=(N, 4)).astype(np.float32)
    data = AuditData(x, targets, groups={"patient": patient})
    tasks.make("regression", data)
    folds = [fitted(GroupFold("patient", i + 1), data).picks(data) for i in range(5)]
    assert np.array_equal(np.sort(np.concatenate(folds)), np.arange(N))
    held = [set(patient[fold]) for fold in folds]
    assert sum(map(len, held)) == len(set(patient))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shift.split.group.sit=web", "no group or concept 'sit'; did you mean site"),
        ("shift.split.group.site=wev", "no row has site 'wev'; did you mean web"),
        ("shift.split.group.site=web@2", "a group has no strength"),
        ("shift.split.left_out.day", "no group of 'day' has 100 rows; name a value"),
        ("shift.split.left_out.site=web&rest=few", "leaves out two"),
        ("shift.split.time.dya", "no group or concept 'dya'; did you mean day"),
        ("shift.split.time.day@2", "between 0 and 1"),
        ("shift.split.tilt.aeg@1", "no group or concept 'aeg'; did you mean age"),
        ("shift.split.tilt.x9", "no column x9"),
        ("shift.split.cluster.9of4", "fold 9 of 4 is none"),
        ("shift.split.group_fold.site=1", "names no fold"),
        ("shift.split.labels.0=1.5", "mix sums to 1.5"),
        ("shift.split.labels.many", "is no mix"),
        ("shift.split.labels.0=0.5&0=0.3", "is no mix"),
        ("shift.split.cluster.²of4", "names no cluster"),
        ("shift.split.cluster@3.7", "no number of clusters"),
        ("shift.split.cluster@nan", "no number of clusters"),
        ("shift.split.cluster@inf", "no number of clusters"),
        ("shift.split.cluster@1", "no number of clusters"),
        ("shift.split.spurious.watermark@0", "no group or concept 'watermark'"),
        ("shift.split.spurious.site@2", "between -1 and 1"),
        ("shift.split.weighted.target", "has no weights"),
        ("shift.split.nothing", "no condition matches"),
        ("shift.split.time", "no condition matches 'shift.split.time'; it means nothing"),
        ("shift.corruption.fog", "no condition matches 'shift.corruption.fog'; it means nothing"),
    ],
)
def test_what_a_cell_may_not_name(data: AuditData, name: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan.make(data, tasks.make("classification", data), [], [(SCORE, name)])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


NOT = [
    (Group({"rest": "one"}), {}, "has 1 row, at least 100 are needed"),
    (Group({"rest": "few"}), {}, "has 19 rows, at least 100"),
    (Late("pair", 0.5), {"pair": np.repeat([0, 1, 2], 200)}, "200 rows of one pair, 1; share="),
    (Late("when"), {"when": np.array(["2020-01-01", "NaT"] * 300)}, "no time (NaT) in 300 rows"),
    (Late("when"), {"when": np.array(["soon", "late"] * 300)}, "no numbers, dates or ISO times"),
    (TimeFold("pair", 1), {"pair": np.repeat([0, 1, 2], 200)}, "another number of folds"),
    (Late("day", 0.0001), {}, "cuts off none"),
    (LeftOut("same", "x"), {"same": np.array(["x"] * N)}, "one value only"),
    (GroupFold("site", 1), {}, "3 groups, 5 folds"),
    (Cluster(1, N + 1), {}, "different inputs make no"),
    (Tilt("age", 5.0), {}, "strength="),
    (Tilt("same", 1.0), {"same": np.zeros(N)}, "one value only"),
    (Tilt("site", 1.0), {}, "holds no numbers"),
    (Weighted("zero", np.zeros(N)), {}, "sum to 0"),
    (Weighted("nan", np.where(np.arange(N) == 3, np.nan, 1.0)), {}, "NaN or infinite in 1 rows"),
    (Weighted("minus", np.where(np.arange(N) < 2, -1.0, 1.0)), {}, "negative in 2 rows"),
    (Weighted("one", np.eye(1, N)[0]), {}, "effective sample of 1.0 of 600 rows, at least 100"),
    (Labels({10**12: 0.2}), {}, "class 1000000000000 is to have a share of 0.2, and has no rows"),
    (Labels({5: 0.2}), {}, "class 5 is to have a share of 0.2, and has no rows"),
    (Spurious("same", 0.0), {"same": np.zeros(N, int)}, "one value only"),
    (Spurious("day", 0.0), {}, "300 values, at most 50"),
    (Spurious("site"), {}, "by chance"),
    (Spurious("site", 0.5), {}, "nothing to strengthen"),
    (Rare("site"), {}, "smallest groups of site hold 1 of the rows"),
]


@pytest.mark.parametrize(("split", "more", "said"), NOT, ids=[f"{s.key}-{w}" for s, _, w in NOT])
def test_what_the_data_cannot_show(split: Any, more: Any, said: str) -> None:
    with pytest.raises(NotMeasurable) as error:
        fitted(split, benchmark(**more))
    assert said in str(error.value)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1.7e308])
def test_weights_count_by_their_ratios_however_large_they_are(
    data: AuditData, scale: float
) -> None:
    weights = scale * ((1.0 + np.arange(N) % 2) / 2)
    picked = fitted(Weighted("w", weights), data).picks(data)
    assert np.bincount(picked % 2) == pytest.approx([N / 3, 2 * N / 3], abs=20)
    assert len(np.unique(picked)) > N / 2


def test_a_perfect_pairing_cannot_be_broken() -> None:
    paired = benchmark(mark=benchmark().targets)
    for split in (Spurious("mark", 0.0), Spurious("mark", 0.5), Spurious("mark", -0.5)):
        with pytest.raises(NotMeasurable, match="without exception"):
            fitted(split, paired)
    with pytest.raises(NotMeasurable, match="0 rows, at least 100"):
        fitted(Spurious("mark"), paired)


def test_the_strength_that_is_advised_would_do() -> None:
    data = benchmark()
    with pytest.raises(NotMeasurable) as error:
        fitted(Tilt("age", -5.0), data)
    most = float(str(error.value).split("strength=")[1].split()[0])
    assert -5 < most < 0
    fitted(Tilt("age", most), data)
    with pytest.raises(NotMeasurable):
        fitted(Tilt("age", most - 0.01), data)


@pytest.mark.usefixtures("asked_alone")
def test_every_measure_says_why_and_the_audit_goes_on(data: AuditData) -> None:
    cells = [("outputs.*", "shift.split.tilt.age@5"), ("similarity.cka", "shift.split.tilt.age@5")]
    frame = audit(data, cells)
    rows = frame[frame.condition == "shift.split.tilt.age"]
    assert {SCORE, "outputs.agreement", "similarity.cka"} <= set(rows.measure)
    assert set(rows.status) == {"not_measurable"}
    assert rows.reason.str.contains("effective sample of .* strength=").all()
    assert rows.student.isna().all()


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Weighted("w", ["a"]),
        lambda: Group({}),
        lambda: Group("site"),
        lambda: Late("day", 1.0),
        lambda: Late("day", "0.3"),
        lambda: TimeFold("day", 6),
        lambda: Tilt(3),  # type: ignore[arg-type]
        lambda: Tilt("age", float("nan")),
        lambda: Labels([0.5, 0.6]),
        lambda: Labels({0: -0.1}),
        lambda: Labels("even"),
        lambda: Labels(0.5),  # type: ignore[arg-type]
        lambda: Labels({"cat": 0.5}),  # type: ignore[dict-item]
        lambda: Rare(3),  # type: ignore[arg-type]
        lambda: Dirichlet(0.0),
        lambda: Spurious("site", 1.5),
        lambda: Rare(share=0.0),
        lambda: Cluster(0),
        lambda: Cluster(1, features="x"),  # type: ignore[arg-type]
    ],
)
def test_arguments_that_mean_nothing(bad: Any) -> None:
    with pytest.raises(ConfigError):
        bad()


def test_weights_of_another_length_are_refused_before_anything_runs(data: AuditData) -> None:
    with pytest.raises(DataError, match=r"weights have shape \(5,\); give \(600,\)"):
        prepare(network(0), network(2), data, conditions=[Weighted("w", np.ones(5))])


def test_the_same_rows_for_all_models_and_every_time(data: AuditData) -> None:
    splits = [Tilt("age", 0.5), Labels({0: 0.8}), Dirichlet(5.0), Cluster(1), Rare(share=0.2)]
    for split in splits:
        first = fitted(split, data).picks(data)
        assert np.array_equal(first, fitted(split, data).picks(data))
        assert (np.diff(first) >= 0).all()
    assert not np.array_equal(
        fitted(Tilt("age", 0.5), data, 1).picks(data), fitted(Tilt("age", 0.5), data, 2).picks(data)
    )
    state = torch.get_rng_state()
    values = []
    for _ in range(2):
        cells = [(SCORE, "shift.split.tilt.age@0.5")]
        case = prepare(network(0), network(2), data, cells=cells, seed=3)
        (found,) = differences(case, SCORE)["shift.split.tilt.age@0.5"].values()
        values.append([(p.teacher, p.delta.value, p.delta.n) for p in found])
    assert values[0] == values[1]
    assert torch.equal(state, torch.get_rng_state())


def test_a_view_of_the_picked_rows(data: AuditData) -> None:
    picked = np.array([5, 5, 9, 2])
    view = data.take(picked)
    assert torch.equal(view.inputs, data.inputs[picked])
    assert view.groups["site"].tolist() == data.groups["site"][picked].tolist()
    assert view.cluster.tolist() == [1, 1, 2, 0]
    assert view.rows.numbers.tolist() == picked.tolist()
    assert data.take(picked[1:]).cluster is None
    task = tasks.make("classification", data).take(picked)
    assert task.targets.tolist() == data.targets[picked].tolist()
    assert view.fingerprint != data.fingerprint


def test_a_sample_of_the_data_is_split_by_its_own_rows() -> None:
    rng = np.random.default_rng(1)
    weights = rng.random(N)
    data = benchmark().sample(400)
    split = fitted(Weighted("w", weights), data)
    chosen = data.take(split.picks(data)).rows.numbers
    assert set(chosen) <= set(data.rows.numbers)
    counts = np.bincount(chosen, minlength=N)[data.rows.numbers]
    expected = 400 * weights[data.rows.numbers] / weights[data.rows.numbers].sum()
    assert (np.abs(counts - expected) < 1).all()


def test_stored_evidence_of_the_clean_rows_serves_every_split(tmp_path: Any) -> None:
    data = benchmark()
    path = tmp_path / "student.npz"
    with torch.no_grad():
        student = network(2)
        ringtest.save_evidence(path, student(data.inputs), {"1": student[:2](data.inputs)})
    cells = [(SCORE, "shift.split.group.site=web")]
    values = []
    for given in (network(2), Stored.load("student", path)):
        case = prepare([network(0), network(1)], given, data, cells=cells)
        (found,) = differences(case, SCORE)["shift.split.group.site=web"].values()
        values.append([p.reading.estimate.value for p in found])
    assert values[0] == values[1]
    assert len(values[0]) > 0


def test_nothing_that_compares_with_clean_rows_is_read(data: AuditData) -> None:
    cells = [("*", "shift.split.group.site=web")]
    case = prepare([network(0), network(1)], network(2), data, cells=cells)
    (stage,) = [s for s in case.plan.stages if s.condition.selects]
    assert not any("clean_pair" in m.needs for m in stage.measures)
    left = [r for r in case.plan.not_measured if r["condition"] == "shift.split.group.site=web"]
    assert any("rows of the data as they are" in r["reason"] for r in left)
    wanted = Wanted(outcomes=True, sample=True)
    found = gather(Group({"site": "web"}), case.models, [], data, case.task, wanted, 0)
    assert found.picked is not None
    for evidence in found.evidence.values():
        assert evidence.clean is None
        assert len(evidence.score) == len(found.picked) == 200


def test_a_feature_of_the_users_keeps_no_cells(data: AuditData) -> None:
    def names(split: Any) -> str | None:
        case = prepare(network(0), network(2), data, conditions=[split])
        return Keys(case)[f"outputs.score@{split.key}"]

    assert names(Tilt("age", 0.5)) is not None
    assert names(Tilt(lambda x: x[:, 0], 0.5, "mine")) is None
    assert names(Tilt("age", 0.5)) != names(Tilt("age", 0.25))


def test_a_word_that_opens_all_picked_rows_is_none_of_the_frame() -> None:
    rng = np.random.default_rng(0)
    topic = np.arange(N) % 2
    # Rows open with the word of their topic, and end with what ends every row.
    words = rng.integers(2, 40, (N, 6))
    x = np.concatenate([topic[:, None] + 40, words, np.full((N, 1), 1)], axis=1)
    data = AuditData(torch.from_numpy(x), words[:, 0] % 2, groups={"topic": topic})
    task = tasks.make("classification", data)
    found = gather(Group({"topic": 0}), [], [], data, task, Wanted(), 0)
    assert found.data is not None
    assert found.data.n == N // 2
    assert found.data.frame_tokens.tolist() == [1]
