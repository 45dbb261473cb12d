"""Controls of the ridge probe on cases whose answer is known."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import nn

from ringtest import blocks, tasks
from ringtest.condition import Clean
from ringtest.data import AuditData
from ringtest.evidence import Wanted, gather
from ringtest.measure import NotMeasurable, Setting, measures
from ringtest.model import evaluating
from ringtest.probes import controls, decodability
from ringtest.probes.concepts import Concept
from ringtest.probes.linear import cross_validated
from ringtest.representations import flat_inputs
from ringtest.trial import prepare

RIDGE, SHUFFLED, RAW, UNTRAINED, MATCHED = (
    measures[f"probe.{name}"]
    for name in ("decodability", "shuffled", "raw_input", "untrained", "matched_width")
)


def first(entry, rows, at, seen, concept="target"):
    found = entry.read(seen(np.asarray(rows, dtype=np.float32)), at)
    return next(r for r in found if r.concept == concept)


# -- shuffled labels -------------------------------------------------------------------------------


def test_shuffled_labels_leave_chance_whatever_the_layer_holds(rng, seen, setting):
    x = rng.normal(size=(500, 8)).astype(np.float32)
    size = x[:, 1].astype(float)
    at = setting(x, (x[:, 0] > 0).astype(int), concepts={"size": size})
    assert first(RIDGE, x, at, seen).estimate.value > 0.93
    assert first(SHUFFLED, x, at, seen).estimate.value == pytest.approx(0.5, abs=0.06)
    assert first(SHUFFLED, x, at, seen, "size").estimate.value == pytest.approx(0, abs=0.05)


def test_shuffled_values_cost_a_wide_layer_more(rng, seen, setting):
    """What is fitted to noise is wrong elsewhere: the more features, the further below 0."""
    y = rng.normal(size=200)
    wide = rng.normal(size=(200, 100))
    at = setting(wide[:, :2].astype(np.float32), concepts={"size": y})
    few, many = (first(SHUFFLED, wide[:, :k], at, seen, "size").estimate.value for k in (4, 100))
    assert -0.1 < few < 0.02
    assert many < -0.3


def test_clusters_change_places_as_a_whole(rng, setting):
    cluster = np.repeat(np.arange(40), 5)
    at = setting(np.zeros((200, 2), dtype=np.float32), cluster=cluster)
    orders = controls._orders("target", at)
    assert len(orders) == controls.SHUFFLES
    moved = []
    for order in orders:
        assert sorted(order.tolist()) == list(range(200))
        to = cluster[order.numpy()].reshape(40, 5)
        assert (to == to[:, :1]).all()
        moved.append((to[:, 0] != np.arange(40)).mean())
    assert min(moved) > 0.8
    assert len({tuple(o.tolist()) for o in orders}) == len(orders)


def test_a_concept_of_the_cluster_is_shuffled_between_clusters(rng, seen, setting):
    """Rows of a cluster share code and label: shuffled row by row, each cluster would be a mix."""
    cluster = np.repeat(np.arange(30), 10)
    code = rng.normal(size=(30, 20))[cluster]
    x = (code + 0.1 * rng.normal(size=code.shape)).astype(np.float32)
    y = rng.integers(0, 2, size=30)[cluster]
    at = setting(x, y, cluster=cluster)
    got = [y[o.numpy()].reshape(30, 10) for o in controls._orders("target", at)]
    assert all((g == g[:, :1]).all() for g in got)
    found = first(SHUFFLED, x, at, seen)
    assert found.estimate.units == 30
    assert abs(found.estimate.value - 0.5) < 0.25


# -- raw inputs ------------------------------------------------------------------------------------


def test_raw_inputs_are_read_once_and_alike_for_all_models(rng, seen, setting):
    x = (rng.normal(size=(300, 5)) * 100).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    at = setting(x, y, concepts={"size": x[:, 1].astype(float), "noise": rng.normal(size=300)})
    found = RAW.read(seen(rng.normal(size=(300, 3))), at)
    assert [(r.layer, r.concept) for r in found] == [
        (None, "target"),
        (None, "size"),
        (None, "noise"),
    ]
    assert found == RAW.read(seen({"a": np.ones((300, 2)), "b": np.ones((300, 9))}), at)
    c = Concept.of("target", y)
    fold = torch.as_tensor(blocks.folds(300, 5))
    points = flat_inputs(torch.as_tensor(x), "table")
    want = c.score(cross_validated(points, c.columns, fold)).mean()
    assert found[0].estimate.value == pytest.approx(float(want), abs=1e-12)
    assert found[0].estimate.value > 0.93
    assert found[1].estimate.value > 0.95
    assert found[2].estimate.value < 0.05


def test_inputs_that_do_not_vary_say_so(seen, setting, rng):
    x = np.ones((60, 3), dtype=np.float32)
    (found,) = RAW.read(seen(rng.normal(size=(60, 3))), setting(x, np.arange(60) % 2))
    assert math.isnan(found.estimate.value)
    assert found.reason


# -- an untrained network --------------------------------------------------------------------------


def net(seed, *, wide=12):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, wide), nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, 2)
        )


def looked_at(module, x, y, **more):
    """Evidence as an audit gathers it, with the model in it, and what measures may know."""
    data = AuditData(torch.as_tensor(x), y, **more)
    task = tasks.make("classification", data)
    model = prepare("model", "student", module, task, data, "auto")
    with evaluating([model]):
        found = gather(Clean(), [model], [], data, task, Wanted(layers=True, model=True), 0)
    at = Setting(data, task, Clean(), found.rows, data.cluster, 0)
    return found.evidence["model"], at


def test_what_training_added_is_found(rng):
    """Weights that compute the concept, beside random ones, which hold it in part."""
    x = rng.normal(size=(500, 6)).astype(np.float32)
    y = ((x[:, 0] > 0) ^ (x[:, 1] > 0)).astype(int)
    taught = net(0)
    with torch.no_grad():
        taught[0].weight.zero_()
        taught[0].bias.zero_()
        # |a + b| - |a - b| is above 0 where both signs agree
        for i, row in enumerate([(1, 1), (-1, -1), (1, -1), (-1, 1)]):
            taught[0].weight[i, :2] = torch.tensor(row, dtype=torch.float32)
    evidence, at = looked_at(taught.eval(), x, y)
    got = {r.layer: r for r in UNTRAINED.read(evidence, at)}
    last = got[evidence.names[-1]]
    assert last.estimate.value > 0.15
    assert last.statistic == "accuracy over untrained"
    assert last.estimate.units == 500
    # An untrained network is itself not better than untrained ones.
    evidence, at = looked_at(net(5).eval(), x, y)
    other = next(r for r in UNTRAINED.read(evidence, at) if r.layer == evidence.names[-1])
    assert abs(other.estimate.value) < 0.15


def test_the_difference_is_that_of_two_probes(rng):
    """Trained less untrained, row by row, the untrained rows made by hand."""
    x = rng.normal(size=(200, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    module = net(1).eval()
    evidence, at = looked_at(module, x, y)
    got = UNTRAINED.read(evidence, at)[-1]
    fresh = controls.redrawn(module, blocks.derive(0, "untrained"))
    with torch.no_grad():
        rows = fresh[:-1](torch.as_tensor(x))
    c, fold = Concept.of("target", y), torch.as_tensor(blocks.folds(200, 5))
    a, b = (c.score(cross_validated(v, c.columns, fold)).mean() for v in (evidence.last, rows))
    assert got.estimate.value == pytest.approx(float(a - b), abs=1e-9)


def test_a_redrawn_copy_leaves_the_model_and_the_random_state_alone():
    module = net(3)
    module(torch.randn(50, 6))  # batch norm has seen data
    before = copy.deepcopy(module.state_dict())
    state = torch.get_rng_state()
    one, same, other = (controls.redrawn(module, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for key, kept in module.state_dict().items():
        assert torch.equal(kept, before[key])
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)
    assert not torch.equal(one[0].weight, module[0].weight)
    assert bool((one[1].running_mean == 0).all())
    assert not bool((module[1].running_mean == 0).all())


def test_attention_draws_anew_too():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    fresh = controls.redrawn(layer, 0)
    for (name, old), new in zip(layer.named_parameters(), fresh.parameters(), strict=True):
        if name.endswith("weight") and "norm" not in name:
            assert not torch.equal(old, new), name


def test_modules_that_cannot_be_drawn_anew_are_named(rng):
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.zeros(6))

        def forward(self, x):
            return x + self.by

    x = rng.normal(size=(60, 6)).astype(np.float32)
    module = nn.Sequential(Shift(), *net(0)).eval()
    evidence, at = looked_at(module, x, np.arange(60) % 2)
    with pytest.raises(NotMeasurable, match="Shift cannot draw weights anew"):
        UNTRAINED.read(evidence, at)


def test_without_the_model_there_is_no_untrained_one(seen, setting, rng):
    x = rng.normal(size=(60, 4)).astype(np.float32)
    with pytest.raises(NotMeasurable, match="the model itself is needed"):
        UNTRAINED.read(seen(x), setting(x))


# -- equal width -----------------------------------------------------------------------------------


def test_directions_are_scikit_learns(rng):
    for shape in [(200, 40), (60, 150)]:
        x = rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])) * 3 + 7
        got = controls.leading(torch.as_tensor(x), 16).flip(1).numpy()
        want = PCA(16).fit_transform(StandardScaler().fit_transform(x))
        sign = np.sign((got * want).sum(0))
        np.testing.assert_allclose(got * sign, want, atol=1e-8)


def test_noise_beside_the_code_gains_nothing_by_width(rng, seen, setting):
    """The same code in 16 units, and in ten copies of each: no better for being wider."""
    y = rng.integers(0, 2, size=300)
    code = rng.normal(size=(300, 16)) + 0.3 * y[:, None]
    copies = np.hstack([code] * 10) @ np.diag(np.repeat(rng.uniform(0.1, 9, size=10), 16))
    at = setting(code[:, :2].astype(np.float32), y)
    thin, wide = (first(MATCHED, v, at, seen).estimate.value for v in (code, copies))
    assert thin == pytest.approx(wide, abs=0.01)


def test_what_lies_beyond_the_leading_directions_is_left_out(rng, seen, setting):
    """A concept in one quiet direction among many loud ones: only the full probe sees."""
    y = rng.integers(0, 2, size=600)
    loud = np.repeat(rng.normal(size=(600, 25)), 4, axis=1) + 0.05 * rng.normal(size=(600, 100))
    loud[:, 0] += 0.2 * y
    at = setting(loud[:, :2].astype(np.float32), y)
    full, matched = (first(e, loud, at, seen).estimate.value for e in (RIDGE, MATCHED))
    assert full > 0.85
    assert matched < 0.65
    x = loud.copy()
    x[:, :40] += 6 * y[:, None]
    assert first(MATCHED, x, at, seen).estimate.value > 0.95


def test_a_narrow_layer_gives_all_it_has(rng, seen, setting):
    x = rng.normal(size=(200, 3)).astype(np.float32)
    at = setting(x, (x[:, 0] > 0).astype(int))
    assert controls.leading(torch.as_tensor(np.hstack([x, x, 0 * x])), 16).shape == (200, 3)
    assert first(MATCHED, x, at, seen).estimate.value > 0.9


def test_directions_without_labels_do_not_leak(rng, seen, setting):
    """Noise far wider than long: on random labels the score stays at chance."""
    got = []
    for _ in range(6):
        x = rng.normal(size=(120, 600))
        at = setting(x[:, :2].astype(np.float32), np.arange(120) % 2)
        got.append(first(MATCHED, x, at, seen).estimate.value)
    assert np.mean(got) < 0.56


def test_bad_rows_say_so(rng, seen, setting):
    x = rng.normal(size=(60, 3)).astype(np.float32)
    broken = x.copy()
    broken[5, 1] = np.inf
    for entry in (SHUFFLED, MATCHED):
        got = {r.layer: r for r in entry.read(seen({"broken": broken, "last": x}), setting(x))}
        assert "layer broken holds NaN" in got["broken"].reason
        assert math.isfinite(got["last"].estimate.value)
        assert not entry.default


# -- random labels per input type ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [int, float])
def test_a_control_with_one_value_is_no_control(rng, seen, setting, kind):
    """Drawn for two types of inputs, both may get the same: any probe knows it without a look."""
    x = np.repeat(np.eye(2, dtype=np.float32), 100, axis=0)
    layer = rng.normal(size=(200, 3))
    concepts = {f"c{i}": rng.integers(0, 2, size=200).astype(kind) for i in range(8)}
    at = setting(x, (layer[:, 0] > 0).astype(int), concepts=concepts)
    selectivity = measures["probe.selectivity"]
    got = {r.concept: r for r in selectivity.read(seen(layer.astype(np.float32)), at)}
    same = {
        name
        for name, values in concepts.items()
        if len(decodability._control(Concept.of(name, values), at).columns.unique(dim=0)) == 1
    }
    assert 0 < len(same) < 8
    for name in concepts:
        r = got[name]
        assert math.isnan(r.estimate.value) == (name in same) == bool(r.reason)
        if name in same:
            assert r.estimate.units == 0
            assert r.reason == f"{name}: the control has one value only, drawn for 2 input types"
