"""Probes from outside a split, against scikit-learn's ridge and against planted models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from quick import differences
from sklearn.linear_model import Ridge
from torch import nn

from ringtest import AuditData, blocks, tasks
from ringtest.compare import Failure
from ringtest.condition import Clean, Condition
from ringtest.measure import NotMeasurable, Setting, measures
from ringtest.road import prepare
from ringtest.shift.split_groups import Group, LeftOut
from ringtest.shift.split_time import Late

N = 900
ENTRY = measures["probe.split_transfer"]


def benchmark() -> AuditData:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 3)).astype(np.float32)
    site = np.arange(N) % 3
    return AuditData(x, (x[:, 0] > 0).astype(int), groups={"site": site, "day": np.arange(N)})


def settings(data: AuditData, split: Condition, kind: str = "classification") -> Setting:
    task = tasks.make(kind, data)
    split.fit([], data, torch.Generator().manual_seed(0))
    picked = split.picks(data)
    assert picked is not None
    whole = Setting(data, task, Clean(), blocks.sample_rows(data.n), data.cluster, 0)
    view = data.take(picked)
    rows = blocks.sample_rows(view.n)
    return Setting(
        view, task.take(picked), split, rows, view.cluster, 0, picked=picked, whole=whole
    )


def read(seen: Any, at: Setting, layers: dict[str, np.ndarray]) -> Any:
    """What the measure reads of (n, d) layers of the whole data."""
    assert at.whole is not None
    assert at.picked is not None
    evidence = seen({k: v[at.picked][at.rows] for k, v in layers.items()})
    evidence.whole = seen({k: v[at.whole.rows] for k, v in layers.items()})
    return ENTRY.read(evidence, at)


def by_hand(x: np.ndarray, y: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(m,) own score less that of probes from outside, ridge by scikit-learn, folds alike."""
    onehot = np.eye(2)[y]
    right = []
    for rows in (inside, outside):
        fold = blocks.folds(len(rows), 5)
        mine = blocks.folds(len(inside), 5)
        mean, sd = x[rows].mean(0), x[rows].std(0)
        z = (x - mean) / sd
        score = np.zeros(len(inside))
        for f in range(5):
            train = rows[fold != f]
            probe = Ridge(0.01 * len(train)).fit(z[train], onehot[train])
            test = mine == f
            score[test] = probe.predict(z[inside[test]]).argmax(1) == y[inside[test]]
        right.append(score)
    return right[0] - right[1]


def test_against_scikit_learn(seen: Any) -> None:
    data = benchmark()
    rng = np.random.default_rng(1)
    site, y = data.groups["site"], data.targets
    sign = np.where(site == 0, -1.0, 1.0)
    x = rng.normal(size=(N, 4)) + 0.8 * np.outer((2 * y - 1) * sign, [1, 0, 0, 0])
    x[:, 1] += 0.5 * (2 * y - 1)
    at = settings(data, LeftOut("site", 0))
    (found,) = read(seen, at, {"last": x})
    expected = by_hand(x.astype(np.float32).astype(float), y, at.picked, np.flatnonzero(site != 0))
    assert found.estimate.value == pytest.approx(expected.mean(), abs=1e-12)
    assert found.estimate.value > 0.2
    assert found.params["rows"] == 300
    assert found.params["rows_outside"] == 600
    assert found.params["own"] - found.params["outside"] == pytest.approx(found.estimate.value)
    variance = expected.var() / len(expected)
    assert (found.estimate.influence**2).sum() == pytest.approx(variance * 300 / 299)


def test_one_direction_for_all_loses_nothing_and_layers_are_read_alike(seen: Any) -> None:
    data = benchmark()
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(N, 3)) + np.outer(2 * data.targets - 1, [1, 1, 0])
    own = rng.normal(size=(N, 3))
    own[np.arange(N), data.groups["site"]] += 3 * (2 * data.targets - 1)
    at = settings(data, Group({"site": 1}))
    first, last = read(seen, at, {"shared": shared, "own": own})
    assert abs(first.estimate.value) < 0.05
    assert last.estimate.value > 0.3
    assert (first.layer, last.layer) == ("shared", "own")


def test_later_rows_teach_nothing_of_earlier_ones(seen: Any) -> None:
    data = benchmark()
    split = Late("day", 0.5)
    at = settings(data, split)
    early = np.flatnonzero(data.groups["day"] < N // 2)
    (found,) = read(seen, at, {"last": np.random.default_rng(3).normal(size=(N, 3))})
    assert found.params["rows_outside"] == len(early)


def test_values_and_clusters(seen: Any) -> None:
    rng = np.random.default_rng(4)
    value = rng.normal(size=N)
    site = np.arange(N) % 3
    data = AuditData(
        torch.randn(N, 2), value, groups={"site": site}, cluster=np.arange(N) // 6 * 3 + site
    )
    x = rng.normal(size=(N, 3))
    x[:, 0] += np.where(site == 0, -value, value)
    at = settings(data, LeftOut("site", 0), "regression")
    (found,) = read(seen, at, {"last": x})
    assert found.statistic == "R^2 lost into the split"
    assert found.estimate.value > 0.5
    assert found.estimate.units == N // 6
    paired = AuditData(torch.randn(N, 2), value, groups={"site": site}, cluster=np.arange(N) // 3)
    with pytest.raises(NotMeasurable, match="0 sampled rows outside it are fewer than 100"):
        # Every cluster has a row in the split: nobody outside may teach.
        read(seen, settings(paired, LeftOut("site", 0), "regression"), {"last": x})


def test_a_damaged_layer_has_a_reason(seen: Any) -> None:
    data = benchmark()
    x = np.random.default_rng(5).normal(size=(N, 3))
    for broken in (np.where(np.arange(N)[:, None] == 7, np.nan, x), np.zeros((N, 3))):
        (found,) = read(seen, settings(data, LeftOut("site", 1)), {"last": broken})
        assert np.isnan(found.estimate.value)
        assert found.reason
        assert found.params["rows"] == 300


class Sited(nn.Module):
    """Answers alike; inside, either one code for all sites, or a unit pair for each."""

    def __init__(self, each: bool) -> None:
        super().__init__()
        self.each = each
        self.hidden = nn.Linear(2, 6)
        self.head = nn.Linear(6, 2)
        with torch.no_grad():
            self.hidden.weight.zero_()
            self.hidden.bias.zero_()
            self.head.weight.zero_()
            self.head.bias.zero_()
            # Units 0, 1 see value at site 0 alone (a large bias keeps them silent), 2, 3 at site 1.
            for unit in range(6):
                sign = 1.0 if unit % 2 == 0 else -1.0
                self.hidden.weight[unit, 0] = sign
                if each and unit < 4:
                    own = 1.0 if unit < 2 else -1.0
                    self.hidden.weight[unit, 1] = -9.0 * own
                    self.hidden.bias[unit] = 0.0 if own > 0 else -9.0
                    self.head.weight[:, unit] = torch.tensor([-sign, sign])
                if (each and unit >= 4) or (not each and unit >= 2):
                    self.hidden.weight[unit] = 0.0
                if not each and unit < 2:
                    self.head.weight[:, unit] = torch.tensor([-sign, sign])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(torch.relu(self.hidden(x)))
        return out


def test_a_student_with_a_part_for_each_site_loses_what_its_teacher_keeps() -> None:
    g = torch.Generator().manual_seed(0)
    value, site = torch.rand(600, generator=g) * 2 - 1, torch.arange(600) % 2
    data = AuditData(torch.stack([value, site.float()], 1), (value > 0).long(), {"site": site})
    cells = [("probe.split_transfer", "shift.split.left_out.site=1")]
    case = prepare(Sited(False).eval(), Sited(True).eval(), data, cells=cells)
    (found,) = differences(case, ENTRY.id)["shift.split.left_out.site=1"].values()
    assert not isinstance(found, Failure)
    by_layer = {p.reading.layer: p for p in found}
    last = by_layer[case.students["student"].layers.last.name]  # type: ignore[union-attr]
    assert abs(last.teacher) < 0.05
    assert last.delta.value > 0.3


def test_it_means_something_under_splits_alone() -> None:
    data = benchmark()
    task = tasks.make("classification", data)
    assert ENTRY.applies(Group({"site": 1}), data, task)
    assert not ENTRY.applies(Clean(), data, task)
    assert not ENTRY.default
