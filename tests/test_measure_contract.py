"""Every registered measure keeps what it declares. A new measure is tested by being registered.

A measure is handed three things, whatever it makes of them: the rows of a layer of model A, those
of a related model B, and outputs that follow from them. What it declares is then checked: range,
direction, null value, what it cannot see, and that nothing damaged gives a number that passes.
"""

import itertools
import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ringtest import inference
from ringtest.beside import Beside
from ringtest.compare import Failure, guarded
from ringtest.condition import Clean, Condition
from ringtest.measure import (
    Committee,
    EnsembleMeasure,
    ModelMeasure,
    PairMeasure,
    RecordedMeasure,
    measures,
)

N, D = 240, 6
EVERY = [pytest.param(m, id=m.id) for m in measures]
# What runs the model again is held to the same in tests/probes/test_usage_contract.py, what a
# condition learnt in the tests of that condition, what reads recordings in tests/ensembles.
UNSEEN = {"model", "gradients", "condition", "recorded"}
SEEING = [p for p in EVERY if not p.values[0].needs & UNSEEN]
INSIDE = [
    p
    for p in SEEING
    if p.values[0].needs & {"sample", "layers"} and "outcomes" not in p.values[0].needs
]
KNOWN = {"permutation", "orthogonal", "linear", "scale", "logit scale"}


class Elsewhere(Condition):
    """A condition that keeps rows, under which the second model's rows are what is seen."""

    kind = "shift.test"


class Half(Condition):
    """A split that shows every second row."""

    kind = "shift.half"
    selects = True

    def picks(self, data):
        return np.arange(1, data.n, 2)


@dataclass
class World:
    """Two related models on the same inputs."""

    x: np.ndarray
    y: np.ndarray
    a: torch.Tensor
    b: torch.Tensor
    site: np.ndarray
    seed: int = 0

    @property
    def size(self) -> np.ndarray:
        """Another concept than the target."""
        return self.x[:, 1].astype(float)


def world(seed: int, n: int = N) -> World:
    g = np.random.default_rng(seed)
    x = g.normal(size=(n, 4))
    x[: n // 2, 0] = np.abs(x[: n // 2, 0]) + 0.5
    x[n // 2 :] = x[: n - n // 2] * [-1, 1, 1, 1]  # mirrored pairs: twins for who wants them
    hidden = np.stack([np.abs(x[:, 0]), x[:, 1], x[:, 2] * x[:, 1]], 1)
    # Rows that are float32, as evidence keeps them, of about unit scale and all directions alive
    a = hidden @ g.normal(size=(3, D)) + 0.5 * g.normal(size=(n, D))
    b = hidden @ g.normal(size=(3, D)) + 0.5 * g.normal(size=(n, D))
    y = (hidden[:, 0] + hidden[:, 1] > 1).astype(int)
    site = np.arange(n) % 2
    return World(x.astype(np.float32), y, torch.as_tensor(a), torch.as_tensor(b), site, seed)


def teacher(w: World, predictions: np.ndarray) -> Beside:
    """What the others say on the same rows."""
    score = (predictions == w.y).astype(float)
    apart = np.abs(w.x[:, 2:]).astype(float)
    return Beside(apart[:, 0], score, w.y, typical=score, reverse=apart[:, 1])


@pytest.fixture(scope="session")
def value(seen, setting):
    """The last hidden layer's number: value(measure, world, rows of A, rows of B) -> Estimate."""

    def evidence(rows, w, clean=None):
        logits = torch.stack([torch.as_tensor(w.x[:, 1]), torch.as_tensor(w.x[:, 0]).abs()], 1)
        outputs = logits.log_softmax(1)  # as a classifier's canonical outputs are
        predictions = w.y.copy()
        predictions[:: 3 if rows is w.b else 5] ^= 1
        score = (predictions == w.y).astype(float)
        return seen(
            rows,
            outputs,
            predictions=predictions,
            score=score,
            clean=clean,
            beside=teacher(w, predictions),
        )

    def read(entry, w, a, b):
        condition = Clean() if {"clean"} & {*entry.on} or "outside" in entry.needs else Elsewhere()
        at = setting(
            w.x, w.y, condition=condition, groups={"site": w.site}, concepts={"size": w.size}
        )
        twin = torch.stack([torch.as_tensor(w.x[:, 0]).abs(), torch.as_tensor(w.x[:, 1])], 1)
        at.shared["mean outputs"] = twin.double() * 0.02
        clean = evidence(a, w)
        if "outside" in entry.needs:
            shown = Half()
            rows = shown.picks(at.data)
            half = World(w.x[rows], w.y[rows], w.a[rows], w.b[rows], w.site[rows])
            seen_there = evidence(a[rows], half)
            seen_there.whole = clean
            there = setting(half.x, half.y, condition=shown)
            there = replace(there, picked=rows, whole=at)
            found = guarded(seen_there, lambda e: entry.read(e, there))
            return found if isinstance(found, Failure) else found[0].estimate
        if isinstance(entry, PairMeasure):
            before = evidence(b, w) if "clean_pair" in entry.needs else None
            clean, other = evidence(a, w, before), evidence(b, w, before)
            return guarded(
                clean, lambda e: entry.compare(entry.prepare(e, at), entry.prepare(other, at))
            )
        if isinstance(entry, EnsembleMeasure):
            other = evidence(b, w)
            # Both give the outputs of the world: turned round, they differ.
            turned = replace(other, outputs=other.outputs.roll(1, 0))
            shown = Committee([clean, turned], clean, other)
            found = guarded(clean, lambda _: entry.read(shown, at))
            return found if isinstance(found, Failure) else found[0].estimate
        one = evidence(b, w, clean) if "clean_pair" in entry.needs else clean
        found = guarded(one, lambda e: entry.read(e, at))
        if isinstance(found, Failure):
            return found
        assert found, "a reading, or NotMeasurable"
        return next((r for r in found if r.slice is None), found[0]).estimate

    return read


@pytest.fixture(scope="session")
def plain(value):
    """What a measure says of a world as it is, asked once: plain(measure, seed) -> Estimate."""

    @cache
    def read(entry, seed):
        w = world(seed)
        return value(entry, w, w.a, w.b)

    return read


def number(found) -> float:
    return math.nan if isinstance(found, Failure) else found.value


def raw(entry, found) -> float:
    """On the scale that the declared range and null are on."""
    v = number(found)
    return entry.raw(v) if isinstance(entry, PairMeasure) and math.isfinite(v) else v


def sees_both(entry) -> bool:
    """Whether both layers go in: similarities, and measures of a change."""
    return isinstance(entry, PairMeasure) or "clean_pair" in entry.needs


# -- declarations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", EVERY)
def test_declarations_are_complete(entry):
    assert isinstance(entry, ModelMeasure | PairMeasure | EnsembleMeasure | RecordedMeasure)
    assert entry.id.count(".") == 1
    assert entry.about
    assert type(entry).__doc__
    assert entry.direction in ("higher", "lower")
    assert entry.range[0] < entry.range[1]
    assert entry.invariant_to <= KNOWN
    # a rotation can permute, an invertible linear map can do either and rescale
    order = ("permutation", "orthogonal", "linear")
    for smaller, larger in itertools.pairwise(order):
        assert larger not in entry.invariant_to or smaller in entry.invariant_to
    assert "linear" not in entry.invariant_to or "scale" in entry.invariant_to
    assert entry.on or isinstance(entry, RecordedMeasure)
    assert entry.needs
    if type(entry).__module__.startswith("ringtest."):
        assert entry.area in ("probes", "perturb", "shift", "ensembles")
    if entry.null_value is not None:
        assert entry.range[0] <= entry.null_value <= entry.range[1]
    # What is judged has a margin, and what has none is judged nowhere.
    assert (entry.margin is None) == (entry.group is None)
    assert entry.margin is None or 0 < entry.margin[0] <= entry.margin[1] < math.inf


@pytest.mark.parametrize("entry", SEEING)
@settings(max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_a_value_lies_in_its_range_and_comes_with_an_error(entry, value, plain, seed):
    w = world(seed)
    found = plain(entry, seed)
    assert not isinstance(found, Failure), found
    low, high = entry.range
    assert low - 1e-9 <= raw(entry, found) <= high + 1e-9
    assert found.n > 0
    assert inference.standard_error(found) > 0 or found.units == 0
    again = value(entry, w, w.a, w.b)
    assert again.value == found.value
    np.testing.assert_array_equal(again.influence, found.influence)


# -- what it cannot see ----------------------------------------------------------------------------


def change(kind: str, seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    if kind == "permutation":
        return torch.eye(D, dtype=torch.float64)[torch.randperm(D, generator=g)]
    q = torch.linalg.qr(torch.randn(D, D, generator=g, dtype=torch.float64)).Q
    if kind == "orthogonal":
        return q
    if kind == "scale":
        return torch.eye(D, dtype=torch.float64) * float(10 ** (6 * torch.rand(1, generator=g) - 3))
    r = torch.linalg.qr(torch.randn(D, D, generator=g, dtype=torch.float64)).Q
    return q @ torch.diag(torch.logspace(-1.5, 1.5, D, dtype=torch.float64)) @ r


@pytest.mark.parametrize("kind", ["permutation", "orthogonal", "scale", "linear"])
@pytest.mark.parametrize("entry", INSIDE)
@settings(max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_what_it_declares_not_to_see_changes_nothing(entry, value, plain, kind, seed):
    if kind not in entry.invariant_to:
        pytest.skip("not declared: the opposite is tested below")
    w, m = world(seed), change(kind, seed)
    before = plain(entry, seed)
    # A change of one model's own units: the same before and after a transformation of inputs
    b = w.b @ m if "clean_pair" in entry.needs else w.b
    after = value(entry, w, w.a @ m, b)
    assert after.value == pytest.approx(before.value, abs=1e-6)
    se = inference.standard_error(before), inference.standard_error(after)
    assert se[1] == pytest.approx(se[0], abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("kind", ["permutation", "orthogonal", "linear"])
@pytest.mark.parametrize("entry", INSIDE)
def test_what_it_does_not_declare_it_can_see(entry, value, plain, kind):
    """Else the declaration is too modest, and a negative control is lost."""
    if kind in entry.invariant_to:
        pytest.skip("declared: tested above")
    if entry.id.startswith("probe.") or entry.id == "shift.domain_auc":
        # Ridge sees a rotation of unequal features through standardisation only.
        stretch = torch.diag(torch.logspace(-2, 2, D, dtype=torch.float64))
    else:
        stretch = torch.eye(D, dtype=torch.float64)

    def moved(seed):
        w, m = world(seed), stretch @ change(kind, seed)
        b = w.b @ m if "clean_pair" in entry.needs else w.b
        return abs(value(entry, w, w.a @ m, b).value - plain(entry, seed).value)

    # One world is enough to see it, and most measures see it in the first.
    assert any(moved(seed) > 1e-4 for seed in range(12))


# -- null, duplicates, constants -------------------------------------------------------------------


@pytest.mark.parametrize("entry", INSIDE)
def test_unrelated_codes_give_the_null_value(entry, value):
    if entry.null_value is None:
        pytest.skip("declares no null value")
    found = []
    for seed in range(6):
        w, g = world(seed), np.random.default_rng([seed, 9])
        a, b = (torch.as_tensor(g.normal(size=(N, D))) for _ in range(2))
        found.append(raw(entry, value(entry, w, a, b)))
    # Context may be coarse: a control task of few cells has a majority of its own.
    assert np.mean(found) == pytest.approx(entry.null_value, abs=0.1 if entry.group else 0.2)


@pytest.mark.parametrize("entry", INSIDE)
def test_a_model_is_at_its_best_against_itself(entry, value):
    """Direction: a copy is at least as good as a related model, which beats a stranger."""
    if not isinstance(entry, PairMeasure) and "outcomes" not in entry.needs:
        pytest.skip("has no model to be compared with itself")
    w = world(1)
    stranger = torch.as_tensor(np.random.default_rng(5).normal(size=(N, D)))
    sign = 1 if entry.direction == "higher" else -1
    own, related, other = (sign * value(entry, w, w.a, b).value for b in (w.a, w.b, stranger))
    assert own > related > other


@pytest.mark.parametrize("entry", INSIDE)
def test_duplicate_rows_are_no_new_information(entry, value, plain):
    """Every row twice: the number stays about what it was, and nothing fails."""
    w = world(3)
    twice = World(
        *(np.repeat(v, 2, axis=0) for v in (w.x, w.y)),
        *(v.repeat_interleave(2, 0) for v in (w.a, w.b)),
        np.repeat(w.site, 2),
    )
    before, after = plain(entry, 3), value(entry, twice, twice.a, twice.b)
    assert not isinstance(after, Failure)
    # Probes and k follow the number of rows, so not exactly; a broken 'self' is off by far more.
    assert raw(entry, after) == pytest.approx(raw(entry, before), abs=0.2)


@pytest.mark.parametrize("entry", INSIDE)
@settings(max_examples=3)
@given(constant=st.sampled_from([0.0, 1.0, 1e4, -3.5]), seed=st.integers(0, 1000))
def test_constant_units_change_nothing(entry, value, plain, constant, seed):
    w = world(seed)

    def padded(rows):
        return torch.cat([rows, torch.full((N, 3), constant, dtype=torch.float64)], dim=1)

    before, after = plain(entry, seed), value(entry, w, padded(w.a), padded(w.b))
    assert after.value == pytest.approx(before.value, abs=1e-6)


@pytest.mark.parametrize("entry", INSIDE)
@pytest.mark.parametrize("which", ["a", "b"])
@pytest.mark.parametrize("kind", ["nan row", "inf cell", "all nan", "constant"])
def test_nothing_damaged_gives_a_number_that_could_pass(entry, value, which, kind):
    if which == "b" and not sees_both(entry):
        pytest.skip("reads one model only")
    w = world(2)
    rows = getattr(w, which).clone()
    if kind == "nan row":
        rows[7] = math.nan
    elif kind == "inf cell":
        rows[7, 2] = math.inf
    elif kind == "all nan":
        rows[:] = math.nan
    else:
        rows[:] = 1.5
        if which == "b" and "clean_pair" in entry.needs:
            return  # a layer that collapses under a change is a finding, not damage
    with np.errstate(invalid="ignore"):
        found = value(
            entry,
            replace(w, **{which: rows}),
            *(rows if k == which else getattr(w, k) for k in "ab"),
        )
    finite = not isinstance(found, Failure) and math.isfinite(found.value)
    assert not (finite and math.isfinite(inference.standard_error(found)))
    if kind != "constant":
        assert not finite or found.units == 0


@pytest.mark.parametrize("entry", SEEING)
def test_clusters_are_kept_together(entry, seen, setting):
    """The units of the error are clusters, or groups of whole clusters."""
    if "outside" in entry.needs:
        pytest.skip("of splits: tests/probes/test_split_transfer.py")
    w = world(4)
    cluster = np.arange(N) // 4
    condition = Clean() if "clean" in entry.on else Elsewhere()
    at = setting(
        w.x,
        w.y,
        condition=condition,
        groups={"site": w.site},
        cluster=cluster,
        concepts={"size": w.size},
    )
    at.shared["mean outputs"] = torch.as_tensor(np.abs(w.x[:, :2])).double() * 0.02
    score = (w.y == 1).astype(float)
    clean = seen(w.a, w.x[:, :2], predictions=w.y, score=score)
    predictions = w.y ^ (w.site == 1)
    other = seen(
        w.b,
        w.x[:, :2] ** 2,
        predictions=predictions,
        score=score,
        clean=clean,
        beside=teacher(w, predictions),
    )
    if isinstance(entry, PairMeasure):
        clean.clean = other.clean
        e = entry.compare(entry.prepare(clean, at), entry.prepare(other, at))
    elif isinstance(entry, EnsembleMeasure):
        for one in (clean, other):
            one.outputs = one.outputs.log_softmax(1)
        e = entry.read(Committee([clean, other], clean, other), at)[0].estimate
    else:
        e = entry.read(other, at)[0].estimate
    assert e.units in (0, 20, 30, 60)  # 30: the clusters of half of the rows
