"""What runs a model again keeps what it declares, and leaves the model as it found it.

The same contract as that of ``tests/test_measure_contract.py``, on small models in the place of
bare rows: what a measure declares not to see is done to the model by surgery on its weights that
leaves the function as it is.
"""

from __future__ import annotations

import copy
import math
import random
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from usage_models import hooks, looked, numbers, seeded

from ringtest import blocks, inference
from ringtest.compare import Failure, guarded
from ringtest.data import AuditData
from ringtest.estimate import Estimate
from ringtest.measure import PairMeasure, measures
from ringtest.model import evaluating

IDS = (
    "usage.attribution",
    "usage.concept_sensitivity",
    "usage.erasure",
    "usage.infidelity",
    "usage.interchange",
    "usage.layer_attribution",
    "usage.sensitivity",
)
EVERY = [pytest.param(measures[i], id=i) for i in IDS]
INSIDE = [p for p in EVERY if "layers" in p.values[0].needs]
KINDS = ("permutation", "orthogonal", "linear", "scale", "logit scale")
N, WIDTH = 200, 8


class Net(nn.Module):
    """Two layers that feed the next linearly, so that any change of basis can be made good."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc, self.act = nn.Linear(WIDTH, 9), nn.Linear(9, 12), nn.Tanh()
        self.mid, self.head = nn.Linear(12, 10), nn.Linear(10, 2)
        self.noise = nn.Parameter(torch.zeros(1))  # never used: it has no gradient

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mid(self.act(self.fc(self.first(x)))))


def table(n: int = N, **more: object) -> AuditData:
    x = numbers(n, WIDTH)
    y = (x[:, 0] + x[:, 1] > 0).long().numpy()
    concepts = {"second": (x[:, 1] > 0).long().numpy()}
    return AuditData(x, y, concepts=concepts, **more)


def trained(seed: int, data: AuditData | None = None) -> nn.Module:
    """A net that has learnt the target, the same on every run."""
    data = table() if data is None else data

    def make() -> nn.Module:
        net = Net()
        optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(60):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(data.inputs), torch.as_tensor(data.targets))
            loss.backward()
            optimiser.step()
        optimiser.zero_grad()
        return net

    return seeded(make, seed)


NETS = [trained(seed).eval() for seed in range(2)]


def values(
    entry, net: nn.Module, other: nn.Module, data: AuditData, mode=nullcontext
) -> dict | Failure:
    """Everything that a measure says of the net (beside another): key -> Estimate."""
    evidence, at = looked({"net": net, "other": other}, data)
    with mode(), evaluating([e.model for e in evidence.values()]):
        if isinstance(entry, PairMeasure):
            prepared = [guarded(e, lambda e: entry.prepare(e, at)) for e in evidence.values()]
            failed = next((p for p in prepared if isinstance(p, Failure)), None)
            return failed or {"": entry.compare(*prepared)}
        found = guarded(evidence["net"], lambda e: entry.read(e, at))
    if isinstance(found, Failure):
        return found
    return {(r.layer, r.concept, r.slice): r.estimate for r in found}


@cache
def plain(entry) -> dict | Failure:
    """What it says of the nets as they are."""
    return values(entry, *NETS, table())


def apart(a: dict, b: dict) -> float:
    """The largest difference of two sets of estimates; infinite where only one is a number."""
    assert a.keys() == b.keys()
    gaps = []
    for key, one in a.items():
        x, y = one.value, b[key].value
        if math.isnan(x) and math.isnan(y):
            continue
        gaps.append(abs(x - y) if math.isfinite(x) and math.isfinite(y) else math.inf)
    assert gaps, "nothing was measured"
    return max(gaps)


# -- declarations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", EVERY)
def test_it_is_asked_for_and_judges_nothing(entry) -> None:
    assert not entry.default
    assert entry.group is None
    assert entry.needs & {"model", "gradients"}
    assert entry.on == ("clean",)
    assert entry.source


@pytest.mark.parametrize("entry", EVERY)
def test_only_the_rows_as_they_are(entry) -> None:
    from ringtest import tasks
    from ringtest.condition import Clean, Condition

    class Elsewhere(Condition):
        kind = "shift.test"

    data = table()
    task = tasks.make("classification", data)
    assert entry.applies(Clean(), data, task)
    assert not entry.applies(Elsewhere(), data, task)


@pytest.mark.parametrize("entry", EVERY)
def test_values_lie_in_their_range_and_come_with_an_error(entry) -> None:
    found = plain(entry)
    assert not isinstance(found, Failure), found
    measured = [e for e in found.values() if math.isfinite(e.value)]
    assert measured
    low, high = entry.range
    for e in measured:
        assert isinstance(e, Estimate)
        # Similarities are compared on another scale than the one that their range is on.
        value = entry.raw(e.value) if isinstance(entry, PairMeasure) else e.value
        assert low - 1e-9 <= value <= high + 1e-9
        assert inference.standard_error(e) >= 0
        assert e.n > 0
    if entry.id in ("usage.erasure", "usage.interchange"):
        assert all(-1 <= e.value <= 1 for e in measured)
    # At a linear head all rows of a class agree in sign: there is no error to be had.
    if entry.id != "usage.concept_sensitivity":
        assert all(inference.standard_error(e) > 0 for e in measured)


# -- the model is left as it was -------------------------------------------------------------------


@pytest.mark.parametrize("entry", EVERY)
def test_the_same_twice_and_nothing_is_left_behind(entry) -> None:
    net, other = copy.deepcopy(NETS[0]), copy.deepcopy(NETS[1])
    for i, p in enumerate(net.parameters()):
        p.grad = torch.full_like(p, float(i)) if i % 2 else None
        p.requires_grad_(i % 3 != 0)
    held = {k: v.clone() for k, v in net.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    asked = [p.requires_grad for p in net.parameters()]
    data = table()
    inputs = data.inputs.clone()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = values(entry, net, other, data)
    assert torch.equal(torch.get_rng_state(), state[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    assert random.getstate() == state[2]
    torch.manual_seed(2)
    second = values(entry, net, other, data)
    assert first.keys() == second.keys()
    for key, e in first.items():
        np.testing.assert_equal(e.value, second[key].value)
        np.testing.assert_array_equal(e.influence, second[key].influence)
    assert all(torch.equal(v, held[k]) for k, v in net.state_dict().items())
    for p, grad, wanted in zip(net.parameters(), grads, asked, strict=True):
        assert (p.grad is None) == (grad is None)
        assert grad is None or torch.equal(p.grad, grad)
        assert p.requires_grad == wanted
    assert hooks(net) == hooks(other) == 0
    assert torch.equal(data.inputs, inputs)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("entry", EVERY)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_callers_grad_mode_changes_nothing(entry, mode) -> None:
    assert apart(plain(entry), values(entry, *NETS, table(), mode)) == 0


# -- what it cannot see ----------------------------------------------------------------------------


def basis(kind: str, d: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    if kind == "permutation":
        return torch.eye(d, dtype=torch.float64)[torch.randperm(d, generator=g)]
    q, r = (
        torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64)).Q for _ in range(2)
    )
    if kind == "orthogonal":
        return q
    if kind == "scale":
        return torch.eye(d, dtype=torch.float64) * float(10 ** (4 * torch.rand(1, generator=g) - 2))
    return q @ torch.diag(torch.logspace(-1, 1, d, dtype=torch.float64)) @ r


def operated(net: nn.Module, kind: str, seed: int) -> nn.Module:
    """The same function with the units of two layers changed, or with larger logits."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        if kind == "logit scale":
            net.head.weight *= 2.5
            net.head.bias *= 2.5
            return net
        for before, after in ((net.first, net.fc), (net.mid, net.head)):
            m = basis(kind, before.out_features, seed)
            before.weight.copy_(m @ before.weight.double())
            before.bias.copy_(m @ before.bias.double())
            after.weight.copy_(after.weight.double() @ torch.linalg.inv(m))
    return net


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entry", EVERY)
def test_what_it_declares_not_to_see_changes_nothing(entry, kind: str) -> None:
    if kind not in entry.invariant_to:
        pytest.skip("not declared: the opposite is tested below")
    data, before = table(), plain(entry)
    # Function measures see no more of one surgery than of another, and there is one logit scale.
    for seed in range(2 if "layers" in entry.needs and kind != "logit scale" else 1):
        net = operated(NETS[0], kind, seed)
        if kind != "logit scale":
            with torch.no_grad():
                torch.testing.assert_close(
                    net(data.inputs), NETS[0](data.inputs), atol=1e-4, rtol=1e-3
                )
        after = values(entry, net, NETS[1], data)
        assert apart(before, after) < 2e-3
        for key, e in before.items():
            if math.isfinite(e.value):
                se = inference.standard_error(e), inference.standard_error(after[key])
                assert se[1] == pytest.approx(se[0], abs=2e-3, rel=2e-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entry", EVERY)
def test_what_it_does_not_declare_it_can_see(entry, kind: str) -> None:
    """Else the declaration is too modest."""
    if kind in entry.invariant_to:
        pytest.skip("declared: tested above")
    data, before = table(), plain(entry)
    assert any(
        apart(before, values(entry, operated(NETS[0], kind, s), NETS[1], data)) > 1e-3
        for s in (0, 1)
    )


# -- null, direction, duplicates -------------------------------------------------------------------


@pytest.mark.parametrize("entry", [p for p in EVERY if p.values[0].null_value is not None])
def test_unrelated_models_and_concepts_give_the_null_value(entry) -> None:
    found: list[float] = []
    seeds, n = (16, 64) if isinstance(entry, PairMeasure) else (8, N)
    for seed in range(seeds):
        labels = np.random.default_rng(seed).integers(0, 2, n)
        x = numbers(n, WIDTH, seed=seed)
        data = AuditData(x, (x[:, 0] > 0).long().numpy(), concepts={"noise": labels})
        strangers = [seeded(Net, 10 * seed + k).eval() for k in (1, 2)]
        read = values(entry, *strangers, data)
        assert not isinstance(read, Failure), read
        found += [e.value for k, e in read.items() if not k or k[:2] == ("act", "noise")]
    # One that answers all rows alike says nothing.
    assert np.isfinite(found).sum() >= 6
    assert np.nanmean(found) == pytest.approx(entry.null_value, abs=0.15)


def test_a_model_is_at_its_best_against_itself() -> None:
    entry = measures["usage.attribution"]
    data = table()
    stranger = seeded(Net, 77).eval()
    own, sibling, other = (
        values(entry, NETS[0], net, data)[""].value for net in (NETS[0], NETS[1], stranger)
    )
    assert own == pytest.approx(1.0, abs=1e-9)
    assert own > sibling > other


@pytest.mark.parametrize("entry", EVERY)
def test_duplicate_rows_are_no_new_information(entry) -> None:
    half = table(256)
    twice = AuditData(
        half.inputs.repeat_interleave(2, 0),
        np.repeat(half.targets, 2),
        concepts={k: np.repeat(v, 2) for k, v in half.concepts.items()},
    )
    before, after = values(entry, *NETS, half), values(entry, *NETS, twice)
    pairs = [(e.value, after[k].value) for k, e in before.items()]
    told = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    assert told
    assert all(b == pytest.approx(a, abs=0.2) for a, b in told)


def of_rows(entry, e: Estimate) -> Estimate:
    """Without the units that are no rows, but draws of random subspaces."""
    if not math.isfinite(e.value) or not hasattr(entry, "draws"):
        return e
    return replace(e, influence=e.influence[: -entry.draws])


@pytest.mark.parametrize("entry", EVERY)
def test_clusters_are_kept_whole(entry) -> None:
    """The units of the error are clusters, or groups of whole clusters."""
    clusters = np.arange(240) // 4
    whole = table(240)
    data = AuditData(whole.inputs, whole.targets, concepts=whole.concepts, cluster=clusters)
    found = values(entry, *NETS, data)
    measured = [of_rows(entry, e) for e in found.values() if math.isfinite(e.value)]
    assert measured
    units = {20, 60}
    if hasattr(entry, "tries"):  # on a sample of the rows, which may miss a cluster
        units = {len(np.unique(clusters[blocks.sample_rows(240, entry.rows)]))}
        assert 20 < max(units) <= 60
    assert {e.units for e in measured} <= units
    # Each cluster a row repeated: the error is that of the rows, not a half of it.
    rows = table(60)
    copies = AuditData(
        rows.inputs.repeat_interleave(4, 0),
        np.repeat(rows.targets, 4),
        concepts={k: np.repeat(v, 4) for k, v in rows.concepts.items()},
        cluster=clusters,
    )
    naive = AuditData(copies.inputs, copies.targets, concepts=copies.concepts)
    kept, split = values(entry, *NETS, copies), values(entry, *NETS, naive)
    for key in kept.keys() & split.keys():
        a, b = of_rows(entry, kept[key]), of_rows(entry, split[key])
        if math.isfinite(a.value) and math.isfinite(b.value) and b.units == 240:
            assert inference.standard_error(a) > 1.4 * inference.standard_error(b)


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nan", "inf", "constant", "dead"])
@pytest.mark.parametrize("entry", INSIDE)
def test_no_damaged_layer_gives_a_number_that_could_pass(entry, kind: str) -> None:
    evidence, at = looked({"net": NETS[0], "other": NETS[1]}, table())
    one, name = evidence["net"], "act"
    damaged = one.sample[name].clone()
    if kind == "dead":
        damaged[:] = 0.0
    elif kind == "constant":
        damaged[:] = 1.5
    else:
        damaged[7, 2] = math.nan if kind == "nan" else math.inf
    one.sample[name] = damaged
    found = guarded(one, lambda e: entry.read(e, at))
    assert not isinstance(found, Failure), found
    assert all(math.isnan(r.estimate.value) and r.reason for r in found if r.layer == name)
    assert any(math.isfinite(r.estimate.value) for r in found if r.layer != name)


@pytest.mark.parametrize("broken", ["answers NaN", "raises"])
@pytest.mark.parametrize("entry", EVERY)
def test_a_model_that_broke_since_gives_no_number(entry, broken: str) -> None:
    """Its evidence is sound, but run again it answers with NaN, or not at all."""
    net = copy.deepcopy(NETS[0])
    evidence, at = looked({"net": net, "other": NETS[1]}, table())
    if broken == "raises":
        net.head = nn.Linear(3, 2)
    else:
        with torch.no_grad():
            net.head.weight[:] = math.nan
    pair = isinstance(entry, PairMeasure)
    found = guarded(evidence["net"], lambda e: (entry.prepare if pair else entry.read)(e, at))
    assert isinstance(found, Failure) or not pair
    if not isinstance(found, Failure):
        assert all(math.isnan(r.estimate.value) and r.reason for r in found)
    assert hooks(net) == 0


def test_these_are_all_that_run_a_model() -> None:
    """Another one has to be added here, where it is held to the contract."""
    running = {m.id for m in measures if m.needs & {"model", "gradients"} and m.area == "probes"}
    assert set(IDS) <= running
    assert {i for i in running if i.startswith("usage.")} == set(IDS)
