"""Interchange interventions by hand, by another library, and on models whose use is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import oracle
from small_nets import Cnn, Gru, Mlp, Transformer
from torch import Tensor, nn
from usage_models import linear, numbers, one, reads, seeded

from ringtest import blocks, inference, margins
from ringtest.data import AuditData
from ringtest.measure import measures
from ringtest.probes.erasure import Eraser, Span
from ringtest.probes.interchange import arrived, everything, interchanged, partners, subspace
from ringtest.probes.running import Site

INTERCHANGE = measures["usage.interchange"]


def rows(n: int = 500, width: int = 24, **more: object) -> AuditData:
    x = numbers(n, width)
    target = (x[:, 0] > 0).long().numpy()
    return AuditData(x, target, concepts={"idle": (x[:, 1] > 0).long().numpy()}, **more)


def last(found: list) -> dict:
    return {r.concept: r for r in found if r.layer.startswith("input of")}


# -- pairs -----------------------------------------------------------------------------------------


def test_partners_stay_in_their_group_and_are_never_the_row_itself() -> None:
    group = blocks.folds(103, 20)
    source = partners(group, 7)
    assert sorted(source) == list(range(103))
    assert (group[source] == group).all()
    assert (source != np.arange(103)).all()
    np.testing.assert_array_equal(source, partners(group, 7))
    assert (source != partners(group, 8)).any()
    # One round through each group.
    for g in range(20):
        first = at = int(np.flatnonzero(group == g)[0])
        for _ in range(int((group == g).sum())):
            at = int(source[at])
        assert at == first


def test_a_row_alone_in_its_group_is_its_own_source() -> None:
    np.testing.assert_array_equal(partners(np.array([1, 0, 2]), 0), [0, 1, 2])


# -- swaps -----------------------------------------------------------------------------------------


NETS = {
    "mlp": (Mlp, (6,)),
    "cnn": (Cnn, (1, 8, 8)),
    "gru": (Gru, (5, 4)),
    "transformer": (Transformer, (5, 4)),
}


@pytest.mark.parametrize("kind", NETS)
def test_all_of_a_layer_from_the_source_gives_the_answer_of_the_source(kind: str) -> None:
    """In a chain of layers; more rows than a block, and sources from other blocks."""
    make, shape = NETS[kind]
    n = 300
    evidence, at = one(seeded(make), AuditData(numbers(n, *shape), np.arange(n) % 3))
    source = np.random.default_rng(0).permutation(n)
    for name in evidence.names:
        site = Site.of(evidence.model, name, at)
        plain, (swapped,) = interchanged(site, [everything], source, at)
        torch.testing.assert_close(plain, evidence.outputs.double(), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(swapped, plain[source], atol=1e-6, rtol=1e-5)


def test_a_swapped_subspace_by_hand() -> None:
    data = rows(200, 8)
    net = reads({0: 2.0, 1: 1.0}, 8)
    evidence, at = one(net, data)
    name = evidence.names[-1]
    hidden = evidence.sample[name].double()
    eraser = Span.of(hidden).erase(torch.as_tensor(np.eye(2)[data.targets]))
    source = np.roll(np.arange(200), 1)
    _, (found,) = interchanged(Site.of(evidence.model, name, at), [subspace(eraser)], source, at)
    # What the eraser takes from the base is what it would take from the source.
    erased = eraser(hidden)
    mixed = erased + (hidden - erased)[source]
    wanted = (mixed @ net[2].weight.double().T).log_softmax(1)
    torch.testing.assert_close(found, wanted.detach(), atol=1e-6, rtol=1e-5)


def test_accuracy_and_its_jackknife_by_hand() -> None:
    data = rows(240, 8)
    net = reads({0: 2.0, 1: 1.0, 3: -1.0}, 8)
    evidence, at = one(net, data)
    name = evidence.names[-1]
    hidden = evidence.sample[name].double()
    span = Span.of(hidden)
    own = span.erase(torch.as_tensor(np.eye(2)[data.targets]))
    rng = blocks.generator(at.seed, INTERCHANGE.id, "target")
    random = [
        span.erase(torch.randn(240, 1, generator=rng, dtype=torch.float64))
        for _ in range(INTERCHANGE.draws)
    ]
    group = blocks.folds(240, margins.JACKKNIFE_GROUPS)
    source = partners(group, blocks.derive(at.seed, INTERCHANGE.id))
    weight = net[2].weight.detach().double()

    def answers(eraser: Eraser) -> np.ndarray:
        erased = eraser(hidden)
        mixed = erased + (hidden - erased)[source]
        return (mixed @ weight.T).argmax(1).numpy()

    plain = (hidden @ weight.T).argmax(1).numpy()
    differ = plain != plain[source]

    def shares(rows_: np.ndarray) -> list[float]:
        return [(answers(e) == plain[source])[differ & rows_].mean() for e in (own, *random)]

    def accuracy(rows_: np.ndarray) -> float:
        hits = shares(rows_)
        return float(hits[0] - np.mean(hits[1:]))

    found = last(INTERCHANGE.read(evidence, at))["target"].estimate
    assert found.value == pytest.approx(accuracy(np.ones(240, dtype=bool)), abs=1e-9)
    left = np.array([accuracy(group != g) for g in range(20)])
    of_rows = 19 / 20 * np.sum((left - left.mean()) ** 2)
    drawn = np.var(shares(np.ones(240, dtype=bool))[1:], ddof=1) * (1 + 1 / INTERCHANGE.draws)
    se = math.sqrt(of_rows + drawn)
    assert inference.standard_error(found) == pytest.approx(se, abs=1e-9)
    assert found.units == 20 + INTERCHANGE.draws
    dof = se**4 / (of_rows**2 / 19 + drawn**2 / (INTERCHANGE.draws - 1))
    assert found.dof == pytest.approx(dof)


def test_what_is_used_is_taken_over_and_what_is_idle_is_not() -> None:
    found = last(INTERCHANGE.read(*one(reads({0: 4.0}, 24), rows())))
    assert found["target"].estimate.value > 0.75
    # A random subspace holds a little of the used unit and turns some answers.
    assert -0.12 < found["idle"].estimate.value <= 0.0
    other = last(INTERCHANGE.read(*one(reads({1: 4.0}, 24), rows())))
    assert other["idle"].estimate.value > 0.75
    assert -0.12 < other["target"].estimate.value <= 0.0


def test_outputs_that_are_values_go_all_of_the_way() -> None:
    """The head is the concept: with it swapped, the output is the source's."""
    x = numbers(300, 10)
    net = nn.Sequential(linear(torch.eye(10)), linear(2 * torch.eye(10)[:1]))
    data = AuditData(x, (2 * x[:, 0]).numpy(), concepts={"other": x[:, 1].numpy()})
    evidence, at = one(net, data, "regression")
    found = {r.concept: r for r in INTERCHANGE.read(evidence, at) if r.layer == evidence.names[-1]}
    assert found["target"].statistic == "way to the source over random"
    assert 0.5 < found["target"].estimate.value <= 1.0 + 1e-9
    assert -0.5 < found["other"].estimate.value < 0.1


def test_the_way_by_hand() -> None:
    from ringtest import tasks

    task = tasks.make("regression", AuditData(numbers(4, 2), np.array([0.0, 1.0, 2.0, 3.0])))
    base, source = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[4.0], [1.0], [0.0]])
    weight, (share,) = arrived(task, base, source, [torch.tensor([[2.0], [1.0], [2.0]])])
    variance = 1.25  # outputs are in standard deviations of the targets
    torch.testing.assert_close(weight, torch.tensor([16.0, 0, 4]).double() / variance)
    torch.testing.assert_close(share, torch.tensor([0.75, 1.0, 0.0]).double())


def test_answers_that_are_all_the_same_give_no_number() -> None:
    net = nn.Sequential(linear(torch.eye(6)), linear(torch.zeros(2, 6), torch.tensor([0.0, 1.0])))
    found = INTERCHANGE.read(*one(net, rows(120, 6)))
    assert all(math.isnan(r.estimate.value) for r in found)
    assert all("too few pairs are answered differently" in r.reason for r in found)


def test_fewer_rows_than_pairs_give_no_number() -> None:
    """A row to each group of the jackknife: nobody has a partner."""
    found = INTERCHANGE.read(*one(reads({0: 1.0}, 6), rows(20, 6)))
    assert all(math.isnan(r.estimate.value) for r in found)
    assert all("too few pairs" in r.reason for r in found)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "constant"])
def test_a_damaged_layer_says_so(bad: float | str) -> None:
    evidence, at = one(reads({0: 1.0}, 6), rows(120, 6))
    name = evidence.names[-1]
    damaged = evidence.sample[name].clone()
    if bad == "constant":
        damaged[:] = 1.5
    else:
        damaged[7, 2] = bad
    evidence.sample[name] = damaged
    found = INTERCHANGE.read(evidence, at)
    assert all(math.isnan(r.estimate.value) == (r.layer == name) for r in found)
    assert all(name in r.reason for r in found if r.layer == name)


# -- another library -------------------------------------------------------------------------------


def test_the_same_logits_as_pyvene_on_a_tiny_transformer() -> None:
    """All of a block, and a low-rank rotated subspace of it, at every position."""
    pyvene = oracle("pyvene")
    transformers = pytest.importorskip("transformers", reason="the extra hf")
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=16, vocab_size=40, n_positions=12, pad_token_id=0, num_labels=3
    )
    net = seeded(lambda: transformers.GPT2ForSequenceClassification(config)).eval()
    rng = torch.Generator().manual_seed(3)
    x = torch.randint(1, 40, (24, 7), generator=rng)
    data = AuditData({"input_ids": x}, np.arange(24) % 3)
    evidence, at = one(net, data, layers=["transformer.h.0"])
    site = Site.of(evidence.model, "transformer.h.0", at)
    source = np.roll(np.arange(24), 5)
    basis = torch.linalg.qr(numbers(16, 3, seed=9)).Q
    rotated = Eraser(torch.zeros(16).double(), basis.double(), basis.double().T)
    _, found = interchanged(site, [everything, subspace(rotated)], source, at)

    def theirs(kind: type, **more: object) -> Tensor:
        """One intervention a position: several together it would lay side by side as one state."""
        one_ = {"layer": 0, "component": "block_output", "intervention_type": kind, **more}
        config = pyvene.IntervenableConfig([dict(one_) for _ in range(7)])
        made = pyvene.IntervenableModel(config, model=net)
        for held in made.interventions.values() if more else ():
            rotation = (held[0] if isinstance(held, tuple | list) else held).rotate_layer
            rotation.weight = basis  # through its parametrisation as an orthogonal matrix
            torch.testing.assert_close(rotation.weight.detach(), basis)
        places = [[[position]] * 24 for position in range(7)]
        with torch.no_grad():
            _, out = made(
                {"input_ids": x},
                [{"input_ids": x[source]}] * 7,
                {"sources->base": (places, places)},
            )
        return out.logits.log_softmax(-1).double()

    torch.testing.assert_close(found[0], theirs(pyvene.VanillaIntervention), atol=1e-5, rtol=0)
    low_rank = theirs(pyvene.LowRankRotatedSpaceIntervention, low_rank_dimension=3)
    torch.testing.assert_close(found[1], low_rank, atol=1e-5, rtol=0)
