"""The size of a shift: beside closed forms of Gaussians, and no shift where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from quick import only_under
from scipy.stats import kstest, norm
from sklearn.metrics import roc_auc_score
from torch import nn

import ringtest
from ringtest import AuditData, inference
from ringtest.condition import Condition
from ringtest.measure import measures
from ringtest.shift.two_samples import auc, mmd, placements

SIZE = measures["shift.size"]


def normal(rng, n, d=3, by=0.0, spread=1.0):
    """Points around ``by`` along the first axis."""
    x = rng.normal(size=(n, d)) * spread
    x[:, 0] += by
    return torch.as_tensor(x)


def closed_form(d: int, by: float, spread: float, h: float) -> float:
    """MMD^2 of N(0, I) and N(by e_1, spread^2 I) under exp(-|a - b|^2 / (2 h^2))."""

    def kernel(variance: float, mean: float) -> float:
        # E k of a difference that is N(mean e_1, variance I)
        s = h**2 + variance
        return (h**2 / s) ** (d / 2) * math.exp(-(mean**2) / (2 * s))

    both = kernel(2.0, 0.0) + kernel(2 * spread**2, 0.0)
    return both - 2 * kernel(1 + spread**2, by)


# -- classifier ------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [0.5, 1.0, 2.0])
def test_the_auc_of_gaussians_is_that_of_the_best_line(rng, by):
    e, p = auc(normal(rng, 1_000), normal(rng, 1_000, by=by), paired=False, seed=0)
    assert p == pytest.approx(1 / 500)
    want = norm.cdf(by / math.sqrt(2))
    assert e.value == pytest.approx(want, abs=3.5 * inference.standard_error(e))


def test_placements_are_those_of_the_auc_and_its_error_that_of_many_draws(rng):
    low, high = rng.integers(0, 9, size=200) * 1.0, rng.integers(2, 11, size=150) * 1.0
    above, below = placements(low, high)
    want = roc_auc_score(np.repeat([0, 1], [200, 150]), np.concatenate([low, high]))
    assert above.mean() == pytest.approx(want)
    assert below.mean() == pytest.approx(want)
    by_hand = [(v > low).mean() + 0.5 * (v == low).mean() for v in high]
    np.testing.assert_allclose(above, by_hand)
    runs = [
        auc(normal(rng, 200), normal(rng, 200, by=1.0), paired=False, seed=0, permutations=1)[0]
        for _ in range(100)
    ]
    told = np.mean([inference.standard_error(e) for e in runs])
    assert told == pytest.approx(np.std([e.value for e in runs]), rel=0.3)


def test_a_changed_row_does_not_vouch_for_itself(rng):
    """Rows that are all but copies, in many dimensions: their twins in training know them again."""
    x = normal(rng, 120, d=200)
    y = x + 1e-3 * torch.as_tensor(rng.normal(size=x.shape))
    e, p = auc(x, y, paired=True, seed=0)
    assert e.value == pytest.approx(0.5, abs=0.03)
    assert p > 0.025


# -- kernels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "spread"), [(0.0, 1.0), (0.7, 1.0), (0.0, 1.5)])
def test_mmd_of_gaussians_is_the_closed_form_on_average(rng, by, spread):
    values = [
        mmd(normal(rng, 80), normal(rng, 60, by=by, spread=spread), paired=False, seed=0,
            bandwidth=1.3, permutations=1)[0]
        for _ in range(200)
    ]  # fmt: skip
    want = closed_form(3, by, spread, 1.3)
    assert np.mean(values) == pytest.approx(want, abs=3.5 * np.std(values) / math.sqrt(200))


def test_of_pairs_it_is_unbiased_too(rng):
    """x and x + noise are no independent samples; their own pairs are left out."""
    values = []
    for _ in range(200):
        x = normal(rng, 60)
        y = x + normal(rng, 60, spread=0.75)
        values.append(mmd(x, y, paired=True, seed=0, bandwidth=1.3, permutations=1)[0])
    want = closed_form(3, 0.0, 1.25, 1.3)
    assert np.mean(values) == pytest.approx(want, abs=3.5 * np.std(values) / math.sqrt(200))


def test_mmd_is_the_sum_that_gretton_writes(rng):
    x, y = normal(rng, 9).numpy(), normal(rng, 7, by=1.0).numpy()

    def k(a, b):
        return math.exp(-((a - b) ** 2).sum() / 2)

    xx = np.mean([k(x[i], x[j]) for i in range(9) for j in range(9) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(7) for j in range(7) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    found, _ = mmd(torch.as_tensor(x), torch.as_tensor(y), paired=False, seed=0, bandwidth=1.0)
    assert found == pytest.approx(xx + yy - 2 * xy)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("test", [auc, mmd])
def test_p_is_uniform_where_there_is_no_shift(rng, test, paired):
    found = []
    for seed in range(200):
        x, y = normal(rng, 40), normal(rng, 40)
        if paired:  # versions that are alike, but exchangeable
            x, y = x + y, x + normal(rng, 40)
        found.append(test(x, y, paired=paired, seed=seed, permutations=99)[1])
    assert kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.05)


def test_what_changes_nothing_is_never_found():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    assert auc(x, x.clone(), paired=True, seed=0)[1] == 1.0
    found, p = mmd(x, x.clone(), paired=True, seed=0)
    assert (found, p) == (pytest.approx(0.0, abs=1e-12), 1.0)


# -- as a measure ----------------------------------------------------------------------------------


class By(Condition):
    """Every value larger by so many tenths."""

    kind = "test.by"

    def batch(self, model, x, y, rng):
        return x + 0.1 * (self.severity or 0.0)


class Redrawn(Condition):
    """Every row anew from where it came from: no shift, though no row stays."""

    kind = "test.redrawn"

    def batch(self, model, x, y, rng):
        return torch.randn(x.shape, generator=rng)


def nets():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(4)]


@pytest.fixture(scope="module")
def rows():
    g = torch.Generator().manual_seed(3)
    x = torch.randn(400, 4, generator=g)
    sets = {"far": torch.randn(300, 4, generator=g) + 1, "home": torch.randn(300, 4, generator=g),
            "part": x[:150].clone()}  # fmt: skip
    with only_under():
        report = ringtest.audit(
            nets()[:3],
            nets()[3],
            AuditData(x, (x[:, 0] > 0).long(), unlabelled=sets),
            conditions=[By(severity=0.01), By(severity=10.0), Redrawn()],
            cells=[("shift.size", "test.*"), ("shift.size", "shift.unlabelled.*")],
            progress=False,
        )
    return report.verdict.rows


def at(rows, condition, severity=None, measure="shift.size", statistic="AUC"):
    (row,) = [
        r
        for r in rows
        if (r.measure, r.condition, r.severity, r.statistic, r.slice)
        == (measure, condition, severity, statistic, None)
    ]
    return row


def test_the_size_is_the_same_for_teacher_and_student(rows):
    row = at(rows, "test.by", 10.0)
    assert row.teacher == row.student
    # Every column by 1: 2 along the diagonal.
    assert row.student == pytest.approx(norm.cdf(2 / math.sqrt(2)), abs=0.03)
    assert row.params["low"] < row.student < row.params["high"]
    assert row.params["p_auc"] == row.params["p_mmd"] == pytest.approx(1 / 500)
    assert row.params["no_shift"] is False
    assert (row.delta, row.status) == (0.0, "context")
    assert math.isnan(row.se)


def test_no_rounding_of_a_mean_over_members_looks_like_harm(rows):
    sizes = [r for r in rows if r.measure == "shift.size"]
    assert len(sizes) == 12
    assert all(r.delta == r.harm == 0.0 and r.teacher == r.student for r in sizes)


@pytest.mark.parametrize(
    ("condition", "severity", "still"),
    [
        ("test.by", 10.0, False),
        ("test.redrawn", None, True),
        ("shift.unlabelled.far", None, False),
        ("shift.unlabelled.home", None, True),
        ("shift.unlabelled.part", None, True),
    ],
)
def test_no_shift_is_said_where_there_is_none(rows, condition, severity, still):
    assert at(rows, condition, severity).params["no_shift"] is still
    assert at(rows, condition, severity, statistic="MMD^2").params["no_shift"] is still
    marked = [r for r in rows if r.measure.startswith("outputs.") and r.condition == condition
              and r.severity == severity and r.status == "context"]  # fmt: skip
    assert all(("no_shift" in r.params) is still for r in marked)


def test_what_was_seen_under_no_shift_is_marked_and_stays(rows):
    score = at(rows, "test.redrawn", None, "outputs.score", "accuracy")
    assert score.params["no_shift"] is True
    assert math.isfinite(score.student)


def test_a_tiny_step_of_every_row_is_a_shift_where_rows_are_pairs(rows):
    """Swapping each row with its version is a test of far more power than of two sets."""
    assert at(rows, "test.by", 0.01).params["p_mmd"] <= 0.025


def test_attacks_and_noise_inside_have_no_shared_inputs(setting):
    made = setting(np.zeros((20, 2), dtype=np.float32))

    class Own(Condition):
        kind, scope = "test.own", "own"

    class Inside(Condition):
        kind, changes_inputs = "test.inside", False

    for condition in (Own(), Inside(), made.condition):
        assert not SIZE.applies(condition, made.data, made.task)
    assert SIZE.applies(By(), made.data, made.task)


@pytest.mark.usefixtures("asked_alone")
def test_tokens_are_counted_and_padding_is_not():
    """Another vocabulary is a shift; another order or more padding is none that counts see."""
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 900, (300, 12), generator=g)
    tokens[:, 6:] = torch.where(torch.rand(300, 1, generator=g) < 0.5, 0, tokens[:, 6:])

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(900, 4), nn.Linear(4, 2)

        def forward(self, input_ids, attention_mask):
            return self.head(self.embed(input_ids).mean(1))

    def given(ids):
        return {"input_ids": ids, "attention_mask": (ids != 0).long()}

    longer = torch.nn.functional.pad(torch.randint(1, 900, (300, 8), generator=g), (0, 9))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        bags = [Bag(), Bag(), Bag()]
    report = ringtest.audit(
        bags[:2],
        bags[2],
        AuditData(
            given(tokens),
            torch.arange(300) % 2,
            unlabelled={
                "others": given(torch.randint(1, 90, (300, 12), generator=g)),
                "longer": given(longer),
            },
        ),
        cells=[("shift.size", "shift.unlabelled.*")],
        progress=False,
    )
    rows = report.verdict.rows
    assert at(rows, "shift.unlabelled.others").params["no_shift"] is False
    assert at(rows, "shift.unlabelled.longer").n == 600
    assert at(rows, "shift.unlabelled.longer").reason == ""


def test_a_handful_of_rows_and_rows_that_do_not_vary_say_nothing(seen, setting):
    from ringtest.measure import NotMeasurable

    class Shown:
        stored = None

        def at(self, *_):
            pass

    for x in (np.zeros((40, 2)), np.arange(18.0).reshape(9, 2)):
        made = setting(x.astype(np.float32), condition=By(severity=1.0))
        evidence = replace(seen(x), model=Shown())
        with pytest.raises(NotMeasurable, match="different rows"):
            SIZE.read(evidence, made)


# -- splits ----------------------------------------------------------------------------------------


def test_a_split_is_held_against_what_it_leaves_out(rng):
    """A group that lies apart is a shift, one by chance is none, and there must be a rest."""
    from ringtest import road
    from tests.support.quick import differences

    x = torch.cat([normal(rng, 300), normal(rng, 300, by=2.0)]).float()
    y = (x[:, 1] > 0).long().numpy()
    far = np.repeat(["near", "far"], 300)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    data = AuditData(x, y, groups={"place": far, "coin": rng.integers(2, size=600)})
    cells = [("shift.size", f"shift.split.group.{c}") for c in ("place=far", "coin=1")]
    case = road.prepare([net], {"student": net}, data, "classification", cells=cells)
    found = {k: v["student"] for k, v in differences(case, "shift.size").items()}
    place, coin = (found[c][0].reading for _, c in cells)  # type: ignore[index]
    assert place.estimate.value == pytest.approx(norm.cdf(2 / math.sqrt(2)), abs=0.04)
    assert not place.params["no_shift"]
    assert coin.estimate.value == pytest.approx(0.5, abs=0.08)
    assert coin.params["no_shift"]
