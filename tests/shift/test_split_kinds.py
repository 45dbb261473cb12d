"""Each split against what it should be: scikit-learn's splitters, hand-computed weights, truths."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from quick import differences
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, TimeSeriesSplit
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from ringtest import AuditData, blocks, inference, margins
from ringtest.estimate import row_mean
from ringtest.inference import standard_error
from ringtest.road import prepare
from ringtest.shift import splits
from ringtest.shift.split_cluster import Cluster, Rare
from ringtest.shift.split_groups import GroupFold, LeftOut
from ringtest.shift.split_labels import Dirichlet, Labels
from ringtest.shift.split_spurious import Spurious, by_chance, cramers_v, repaired
from ringtest.shift.split_tilt import Tilt
from ringtest.shift.split_time import Late, TimeFold

N = 1200


def benchmark(n: int = N, **groups: Any) -> AuditData:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    y = np.searchsorted([0.5, 0.8], rng.random(n))
    return AuditData(x, y, groups=groups or None)


def rows(split: Any, data: AuditData, seed: int = 0) -> np.ndarray:
    split.check(data)
    split.fit([], data, torch.Generator().manual_seed(seed))
    found: np.ndarray = split.picks(data)
    return found


def test_leave_one_group_out_is_scikit_learns() -> None:
    site = np.array(["b", "a", "d", "c"])[np.random.default_rng(1).integers(4, size=N)]
    data = benchmark(site=site)
    folds = list(LeaveOneGroupOut().split(site, groups=site))
    assert len(folds) == 4
    for train, test in folds:
        split = LeftOut("site", site[test[0]])
        assert np.array_equal(rows(split, data), test)
        assert np.array_equal(split.outside(data), train)


def test_group_folds_are_scikit_learns_and_a_partition() -> None:
    patient = np.random.default_rng(2).integers(60, size=N)
    data = benchmark(patient=patient)
    folds = list(StratifiedGroupKFold(5).split(data.inputs, data.targets, patient))
    seen = []
    for i, (train, test) in enumerate(folds):
        split = GroupFold("patient", i + 1)
        seen.append(rows(split, data, seed=i))
        assert np.array_equal(seen[-1], test)
        assert np.array_equal(split.outside(data), train)
        assert not set(patient[seen[-1]]) & set(patient[split.outside(data)])
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(N))


@pytest.mark.parametrize("kind", ["numbers", "dates", "texts"])
def test_time_folds_are_scikit_learns_and_look_only_back(kind: str) -> None:
    order = np.random.default_rng(3).permutation(N)
    day = np.datetime64("2020-01-01") + order
    column = {"numbers": order, "dates": day, "texts": day.astype(str)}[kind]
    data = benchmark(day=column)
    by_time = np.argsort(order)
    for i, (train, test) in enumerate(TimeSeriesSplit(5).split(by_time)):
        split = TimeFold("day", i + 1)
        assert np.array_equal(rows(split, data), np.sort(by_time[test]))
        assert np.array_equal(split.outside(data), np.sort(by_time[train]))
    late = Late("day", 0.2)
    assert np.array_equal(rows(late, data), np.flatnonzero(order >= 0.8 * N))
    assert np.array_equal(late.outside(data), np.flatnonzero(order < 0.8 * N))


def test_who_shares_a_cluster_with_a_shown_row_does_not_teach() -> None:
    data = AuditData(torch.randn(N, 2), np.arange(N) % 2, {"day": np.arange(N)}, cluster=None)
    unit = np.arange(N) // 2
    unit[N // 2 - 1] = unit[-1] + 1
    unit[-1] = unit[N // 2 - 1]
    data = AuditData(data.inputs, data.targets, {"day": np.arange(N)}, cluster=unit)
    split = Late("day", 0.25)
    assert len(rows(split, data)) == N // 4
    assert N // 2 - 1 not in split.outside(data)
    assert len(split.outside(data)) == 3 * N // 4 - 1


def test_clusters_are_a_partition_found_again_whatever_the_seed() -> None:
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1, 2], [600, 400, 200])
    x = rng.normal(size=(N, 2)) + 20 * np.eye(3)[truth][:, :2] * [1, 1]
    data = AuditData(x.astype(np.float32), truth)
    parts = [rows(Cluster(i + 1, 3), data, seed=i) for i in range(3)]
    assert [set(truth[p]) for p in parts] == [{0}, {1}, {2}]
    assert [len(p) for p in parts] == [600, 400, 200]
    # Of features that a user gives, other clusters
    halves = [rows(Cluster(i + 1, 2, lambda v: v[:, :1] > 10), data) for i in range(2)]
    assert [set(truth[p]) for p in halves] == [{1, 2}, {0}] or len(halves[0]) == 600


def test_clusters_and_rarity_of_tokens_and_images() -> None:
    rng = np.random.default_rng(5)
    kind = np.arange(400) % 2
    tokens = AuditData(rng.integers(10, size=(400, 12)) + 100 * kind[:, None], kind)
    bright = rng.random((400, 1, 6, 6)) + 3 * kind[:, None, None, None]
    images = AuditData(bright.astype(np.float32), kind)
    for data in (tokens, images):
        assert len(set(kind[rows(Cluster(1, 2), data)])) == 1
        assert len(rows(Rare(share=0.3), data)) == 120


def test_rare_rows_are_those_far_from_their_neighbours() -> None:
    data = benchmark()
    x = data.inputs.numpy().astype(float)
    x = (x - x.mean(0)) / x.std(0)
    far = NearestNeighbors(n_neighbors=11).fit(x).kneighbors(x)[0][:, 1:].mean(1)
    assert set(rows(Rare(share=0.1), data)) == set(np.argsort(-far)[: N // 10])


def test_rare_groups_are_the_smallest_that_fit() -> None:
    a = np.repeat(["w", "x", "y", "z"], [800, 250, 100, 50])
    data = benchmark(a=a, b=np.array(["s"] * N))
    assert set(a[rows(Rare("a", 0.2), data)]) == {"y", "z"}
    assert set(a[rows(Rare(["a", "b"], 0.34), data)]) == {"x", "y", "z"}


def test_tilted_weights_and_effective_sample() -> None:
    age = np.random.default_rng(6).normal(50, 7, N)
    data = benchmark(age=age)
    z = (age - age.mean()) / age.std()
    by_hand = np.exp(0.8 * z) / np.exp(0.8 * z).sum()
    found = Tilt("age", 0.8).weigh(data, torch.Generator())
    np.testing.assert_allclose(found, by_hand, rtol=1e-12)
    assert splits.effective(found) == pytest.approx(1 / (by_hand**2).sum())
    # Of a normal feature: a share of exp(-s^2)
    assert splits.effective(found) / N == pytest.approx(np.exp(-(0.8**2)), rel=0.15)
    picked = rows(Tilt("age", 0.8), data)
    counts = np.bincount(picked, minlength=N)
    assert (np.abs(counts - N * by_hand) < 1).all()
    assert age[picked].mean() == pytest.approx(by_hand @ age, abs=0.01 * age.std())
    assert np.mean(age[picked]) - age.mean() == pytest.approx(0.8 * age.std(), rel=0.1)
    # The same along a column of the inputs, and along a user's function
    x = data.inputs[:, 1].double().numpy()
    own = Tilt(lambda v: v[:, 1], 0.5, "mine")
    np.testing.assert_allclose(
        own.weigh(data, torch.Generator()),
        Tilt("x1", 0.5).weigh(data, torch.Generator()),
        rtol=1e-5,
    )
    assert x[rows(own, data)].mean() > x.mean() + 0.3 * x.std()


def test_effective_sample_counts_clusters() -> None:
    w = np.array([0.1, 0.2, 0.3, 0.4])
    assert splits.effective(w) == pytest.approx(1 / 0.30)
    assert splits.effective(w, np.array([0, 0, 1, 1])) == pytest.approx(1 / (0.3**2 + 0.7**2))


def score_by_class(data: AuditData) -> tuple[np.ndarray, np.ndarray]:
    right = (
        np.random.default_rng(7).random(data.n) < np.array([0.9, 0.6, 0.3])[data.targets]
    ) * 1.0
    return right, np.array([right[data.targets == c].mean() for c in range(3)])


def test_label_shift_is_the_weighted_sum_of_class_scores() -> None:
    # Rows so that a mix of a third each takes every row a whole number of times: exact.
    y = np.repeat([0, 1, 2], [400, 400, 200])
    data = AuditData(torch.randn(1000, 2), y)
    right, of_class = score_by_class(data)
    picked = rows(Labels({0: 0.4, 1: 0.4, 2: 0.2}), data)
    assert np.array_equal(picked, np.arange(1000))
    assert right[picked].mean() == pytest.approx(np.array([0.4, 0.4, 0.2]) @ of_class)
    half = rows(Labels([0.2, 0.2, 0.6]), data)
    assert np.bincount(y[half]).tolist() == [200, 200, 600]
    assert set(np.bincount(half[y[half] == 2])[800:]) == {3}
    by_chance = np.sqrt(sum(0.2**2 * v * (1 - v) / 200 for v in of_class[:2]))
    assert right[half].mean() == pytest.approx([0.2, 0.2, 0.6] @ of_class, abs=4 * by_chance)


def test_mixes() -> None:
    data = benchmark()
    assert np.bincount(data.targets[rows(Labels(), data)]) == pytest.approx([400] * 3, abs=1)
    before = np.bincount(data.targets) / N
    after = np.bincount(data.targets[rows(Labels({2: 0.5}), data)]) / N
    assert after[2] == pytest.approx(0.5, abs=1 / N)
    assert after[0] / after[1] == pytest.approx(before[0] / before[1], rel=0.01)
    mixes = [Dirichlet(10.0).mix(np.ones(3), torch.Generator().manual_seed(s)) for s in range(400)]
    assert np.mean(mixes, 0) == pytest.approx([1 / 3] * 3, abs=0.02)
    # Variance of a Dirichlet share: p (1 - p) / (total + 1)
    assert np.var(mixes, 0) == pytest.approx([2 / 9 / 31] * 3, rel=0.25)


def paired(v: float, n: int = 2000, classes: int = 2) -> AuditData:
    rng = np.random.default_rng(8)
    y = rng.integers(classes, size=n)
    mark = np.where(rng.random(n) < v, y, rng.integers(classes, size=n))
    return AuditData(rng.normal(size=(n, 2)).astype(np.float32), y, groups={"mark": mark})


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.6, 0.9, -0.2])
def test_the_pairing_has_the_strength_asked_for(classes: int, strength: float) -> None:
    data = paired(0.7, classes=classes)
    y, mark = data.targets, data.groups["mark"]
    picked = rows(Spurious("mark", strength), data)
    table = np.zeros((classes, classes), int)
    np.add.at(table, (y[picked], mark[picked]), 1)
    assert association(table, "cramer") == pytest.approx(abs(strength), abs=0.005)
    wanted = repaired(np.histogram2d(y, mark, classes)[0], strength)
    with np.errstate(divide="ignore", invalid="ignore"):
        free = np.outer(wanted.sum(1), wanted.sum(0))
        information = np.nansum(wanted * np.log(wanted / free))
    assert mutual_info_score(y[picked], mark[picked]) == pytest.approx(information, abs=0.005)
    # Both marginals stay.
    for column in (y, mark):
        assert np.bincount(column[picked]) == pytest.approx(np.bincount(column), abs=classes + 1)
    if classes == 2:
        assert np.corrcoef(y[picked], mark[picked])[0, 1] == pytest.approx(strength, abs=0.005)


def test_cramers_v_and_chance_are_scipys() -> None:
    rng = np.random.default_rng(9)
    for shape in ((2, 2), (3, 4)):
        table = rng.integers(5, 60, size=shape)
        assert cramers_v(table.astype(float)) == pytest.approx(association(table, "cramer"))
        p = chi2_contingency(table, correction=False).pvalue
        assert by_chance(table.astype(float)) == (p > 0.05)


def test_rows_that_break_a_pairing() -> None:
    data = paired(0.6)
    found = rows(Spurious("mark"), data)
    against = data.groups["mark"] != data.targets
    assert np.array_equal(found, np.flatnonzero(against))


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_the_error_of_drawn_rows_counts_copies_once(slope: float) -> None:
    """Against brute force: benchmarks drawn anew from a population, each tilted and scored."""
    n, strength, tries = 500, 0.7, 300
    rng = np.random.default_rng(10)
    values, errors = [], []
    for i in range(tries):
        x = rng.normal(size=(n, 1)).astype(np.float32)
        y = (rng.random(n) < 1 / (1 + np.exp(-slope * x[:, 0]))).astype(int)
        data = AuditData(x, y)
        picked = rows(Tilt("x0", strength), data, seed=i)
        view = data.take(picked)
        estimate = row_mean(y[picked].astype(float), view.cluster)
        values.append(estimate.value)
        errors.append(np.sqrt((estimate.influence**2).sum()))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)
    if not slope:
        # As if all drawn rows were different: too sure, by the root of rows over effective sample.
        naive = 0.5 / np.sqrt(n)
        assert np.mean(errors) == pytest.approx(naive * np.exp(strength**2 / 2), rel=0.1)
    # ... and the bootstrap over clusters that reports use says the same
    assert standard_error(estimate) == pytest.approx(errors[-1], rel=0.1)


def test_folds_of_probes_keep_copies_together() -> None:
    view = benchmark().take(rows(Labels({2: 0.6}), benchmark()))
    fold = blocks.folds(view.n, 5, view.cluster)
    numbers = view.rows.numbers
    assert all(len(set(fold[numbers == r])) == 1 for r in np.unique(numbers))


def trained(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 2))
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model.eval()


def watermarked(n: int, share: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images with a faint stroke that says the class, and a bright pixel that goes with it."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=g)
    mark = torch.where(torch.rand(n, generator=g) < share, y, 1 - y)
    x = 0.5 * torch.randn(n, 1, 8, 8, generator=g)
    x[:, 0, 4, 1:5] += 0.4 * (2.0 * y - 1)[:, None]
    x[:, 0, 0, 0] = 3.0 * mark
    return x, y, mark


def test_a_student_that_reads_the_watermark_is_caught_where_the_pairing_is_broken() -> None:
    free, y0, _ = watermarked(3000, 0.5, 0)
    with_mark, y1, _ = watermarked(3000, 1.0, 1)
    teacher = [trained(free, y0, s) for s in (0, 1)]
    students = {"honest": trained(free, y0, 2), "watermark": trained(with_mark, y1, 3)}
    x, y, mark = watermarked(2400, 0.93, 2)
    data = AuditData(x, y, groups={"mark": np.array(["no", "yes"])[mark]})
    names = ["shift.split.spurious.mark", "shift.split.spurious.mark@0"]
    case = prepare(teacher, students, data, cells=[("outputs.score", name) for name in names])
    found = differences(case, "outputs.score")

    def harm(student: str, condition: str) -> tuple[float, float]:
        """Ends of the 95 % interval of what the student scores less than the mean member."""
        delta = found[condition][student][0].delta
        low, high = inference.interval(delta.value, standard_error(delta), delta.dof, 0.95)
        return -high, -low

    # The benchmark passes both, by its own margin; so do splits for the honest one.
    for student, condition in [*product(students, ["clean"]), *product(["honest"], names)]:
        assert harm(student, condition)[1] < margins.BENCHMARK
    for name in names:
        assert harm("watermark", name)[0] > margins.BENCHMARK
