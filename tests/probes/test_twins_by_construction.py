"""Twins and invariances on two networks that compute one function, one of them in two halves.

The function is even in its first input. One network takes the absolute value first and shares all
that follows; the other has a sub-network for either sign, the other one being switched off.
"""

import numpy as np
import pytest
import torch

from ringtest import blocks, inference, margins
from ringtest.condition import Condition
from ringtest.measure import measures
from ringtest.probes.twin_spread import MEAN_OUTPUTS, spread, twins
from ringtest.representations import input_points, whitener

TWINS, INVARIANCE = measures["structure.twin_spread"], measures["structure.invariance_spread"]
UNITS = 12
GATE = 0.5
"""Inputs have |x0| of at least so much: from there on a sub-network is off."""
OFF = 100.0
"""What switches a unit off: more than it can ever be driven by."""


class Mirrored(Condition):
    """A condition that keeps rows and changes the sign of the first input."""

    kind = "shift.test"


class Net(torch.nn.Module):
    """Two hidden layers of ReLUs, the last of which is read."""

    def __init__(self, first, offset, second, bias, head):
        super().__init__()
        rows = (first, second, head)
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(r.shape[1], r.shape[0], dtype=torch.float64) for r in rows
        )
        with torch.no_grad():
            for layer, r, b in zip(self.layers, rows, (offset, bias, None), strict=True):
                layer.weight.copy_(r)
                layer.bias.copy_(torch.zeros(len(r)) if b is None else b)

    def forward(self, x):
        first = torch.relu(self.layers[0](x))
        last = torch.relu(self.layers[1](first))
        return self.layers[2](last), {"first": first, "last": last}


def networks():
    """g(|x0|, x1), g = V relu(W v + b): all units shared, and all units twice."""
    rng = torch.Generator().manual_seed(4)
    w = torch.randn(UNITS, 2, generator=rng, dtype=torch.float64)
    b = torch.randn(UNITS, generator=rng, dtype=torch.float64)
    v = torch.randn(3, UNITS, generator=rng, dtype=torch.float64) / 3
    # First layer: relu(x0), relu(-x0), relu(x1), relu(-x1), relu(x0 - gate), relu(-x0 - gate)
    first = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 0], [-1, 0]], dtype=torch.float64)
    offset = torch.tensor([0, 0, 0, 0, -GATE, -GATE], dtype=torch.float64)
    none = torch.zeros(UNITS, dtype=torch.float64)
    a, c = w.T
    shared = torch.stack([a, a, c, -c, none, none], dim=1)
    # relu(x) - relu(x - gate) is the gate where x is beyond it and 0 where x < 0.
    off = none + OFF / GATE
    right = torch.stack([a, -off, c, -c, none, off], dim=1)
    left = torch.stack([-off, a, c, -c, off, none], dim=1)
    one = Net(first, offset, shared, b, v)
    two = Net(first, offset, torch.cat([right, left]), torch.cat([b, b]), torch.cat([v, v], dim=1))
    return one, two


def rows(rng, n=600):
    """Mirrored pairs, in any order: half of the rows on either side."""
    half = np.stack([rng.uniform(1.0, 1.5, size=n // 2), rng.normal(size=n // 2)], axis=1)
    x = np.concatenate([half, half * [-1, 1]])[rng.permutation(n)]
    return torch.as_tensor(x)


@pytest.fixture
def world(rng, setting):
    """Inputs, both networks' outputs and layers, and what a measure may know."""
    x = rows(rng)
    with torch.no_grad():
        (outputs, one), (same, two) = (net(x) for net in networks())
    torch.testing.assert_close(same, outputs, atol=1e-6, rtol=0)
    points = outputs / outputs.var(dim=0).sum().sqrt()
    at = setting(x.float(), outputs.numpy(), "regression", shared={MEAN_OUTPUTS: points})
    return x, outputs, one, two, at


def test_the_networks_answer_alike_wherever_a_sign_is_clear(rng):
    one, two = networks()
    x = torch.as_tensor(rng.uniform(-9, 9, size=(5_000, 2)))
    x = x[x[:, 0].abs() >= GATE]
    with torch.no_grad():
        torch.testing.assert_close(one(x)[0], two(x)[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(one(x)[0], one(x * torch.tensor([-1, 1]))[0])
        # Inside, the second is two: no unit is active on both sides.
        sides = [two(x[side])[1]["last"] for side in (x[:, 0] > 0, x[:, 0] < 0)]
    assert bool((sides[0][:, UNITS:] == 0).all())
    assert bool((sides[1][:, :UNITS] == 0).all())
    assert all(float(s.abs().max()) < OFF for s in sides)


def apart(code):
    """Distance of mirrored codes over that of random pairs, where all units are there twice.

    Of the r whitened directions (r - 1) / 2 are even in the sign and do not move. The others, and
    the sign itself, turn round: 4 times their variance of 1, where a random pair has 2 in each.
    """
    r, n = whitener(code).rank, len(code)
    return (r + 1) / 2 * 4 / (2 * r) * (n - 1) / n


def test_twins_are_mirrored_rows_and_their_spread_tells_one_network_from_two(world, seen):
    x, outputs, one, two, at = world
    (low,), (high,) = (TWINS.read(seen(layers, outputs), at) for layers in (one, two))
    pairs = at.shared["twins"]
    assert len(pairs) == len(x) // 2
    mirror = x[pairs[:, 0]] * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(mirror, x[pairs[:, 1]])
    assert low.estimate.value == pytest.approx(0, abs=1e-9)
    assert high.estimate.value == pytest.approx(apart(two["last"]), rel=1e-6)
    assert 0.9 < high.estimate.value < 1.3
    # Far enough above where a teacher's own structure ends
    lowest = high.estimate.value - 4 * inference.standard_error(high.estimate)
    assert lowest > margins.TEACHER_STRUCTURE["twins"]


def test_movement_under_the_mirror_tells_the_same(world, seen):
    x, outputs, one, two, at = world
    read = {}
    for name, net, layers in zip(("one", "two"), networks(), (one, two), strict=True):
        with torch.no_grad():
            after, moved = net(x * torch.tensor([-1.0, 1.0]))
        torch.testing.assert_close(after, outputs, atol=1e-6, rtol=0)
        found = INVARIANCE.read(seen(moved, after, clean=seen(layers, outputs)), at)
        read[name] = {r.layer: r.estimate.value for r in found}
    assert read["one"]["last"] == pytest.approx(0, abs=1e-9)
    assert read["two"]["last"] == pytest.approx(apart(two["last"]), rel=1e-6)
    # The first layers are one and the same, and neither has taken the absolute value yet.
    assert read["one"]["first"] == read["two"]["first"] > 0.4
    # Every row has its mirror among the rows: the pairs are those of the twins.
    (high,) = TWINS.read(seen(two, outputs), at)
    assert read["two"]["last"] == pytest.approx(high.estimate.value, rel=1e-9)


def test_near_pairs_and_unlike_answers_tell_the_networks_apart_from_nothing(world):
    """Why twins are chosen as they are."""
    x, _, one, two, at = world
    groups = blocks.folds(len(x), margins.JACKKNIFE_GROUPS)
    # Near in input: one code or two, near rows lie together in both.
    distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
    near = torch.stack([torch.arange(len(x)), distance.argmin(1)], dim=1)
    assert all(spread(net["last"], near, groups).value < 0.05 for net in (one, two))
    # Any output: rows far apart lie far apart in both, as they should where answers differ.
    far = torch.stack([torch.arange(len(x)), distance.nan_to_num(posinf=0).argmax(1)], dim=1)
    assert all(spread(net["last"], far, groups).value > 0.5 for net in (one, two))
    # Without the distance of inputs, the nearest in output would be chosen from either side.
    pairs = twins(input_points(at), at.shared[MEAN_OUTPUTS])
    assert float((x[pairs[:, 0], 0] * x[pairs[:, 1], 0]).max()) < 0


def test_halves_that_are_joined_lie_between(world, seen):
    """The share of units that are split is the spread, whatever the outputs."""
    _, outputs, one, two, at = world
    found = []
    for split in (0, 4, 8, UNITS):
        chosen = [*range(split), *range(UNITS, UNITS + split)]
        code = torch.cat([two["last"][:, chosen], one["last"][:, split:]], dim=1)
        (r,) = TWINS.read(seen(code, outputs), at)
        found.append(r.estimate.value)
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert found == sorted(found)
    assert found[1] > 0.1
    assert found[3] - found[1] > 0.1
