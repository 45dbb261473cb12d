"""Noise inside a model: how much of it there is, where, and that nothing of it stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import Cnn, Gru, Mlp, Transformer
from torch import Tensor, nn

from ringtest import evidence, tasks
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.evidence import Gathered, Wanted
from ringtest.measure import NotMeasurable
from ringtest.model import Model, evaluating
from ringtest.perturb.inner_noise import matrices
from ringtest.trial import prepare

N = 300
SHAPES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (Mlp, (N, 6)),
    "cnn": (Cnn, (N, 1, 8, 8)),
    "gru": (lambda: Gru(last=True), (N, 9, 4)),
    "transformer": (Transformer, (N, 9, 4)),
}
KINDS = ["noise.weight", "noise.activation"]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(make: Callable[[], nn.Module], seed: int = 3) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return make()


def data(kind: str) -> AuditData:
    x = torch.randn(SHAPES[kind][1], generator=rng(1))
    return AuditData(x, np.arange(N) % 3)


def model(given: Any, at: AuditData, name: str = "m") -> Model:
    return prepare(name, "member", given, tasks.make("classification", at), at)


def looked(condition: Any, models: list[Model], at: AuditData, seed: int = 0) -> Gathered:
    task = tasks.make("classification", at)
    with evaluating(models):
        return evidence.gather(
            condition, models, (), at, task, Wanted(sample=True, layers=True), seed
        )


@pytest.mark.parametrize("id_", KINDS)
@pytest.mark.parametrize("kind", SHAPES)
def test_the_model_is_left_as_it_was_and_draws_are_its_seed_s(kind: str, id_: str) -> None:
    at, net = data(kind), built(SHAPES[kind][0])
    before = {k: v.clone() for k, v in net.state_dict().items()}
    own = model(net, at)
    with torch.no_grad():
        x = at.inputs[:20]
        answer = net.eval()(x)
    net.train()
    state = torch.get_rng_state()
    once, again, other = (
        looked(conditions[id_].make(severity=0.2), [own], at, seed).evidence["m"]
        for seed in (0, 0, 1)
    )
    assert not once.failed
    clean = looked(conditions["clean"].make(), [own], at).evidence["m"]
    for name in once.names:
        assert torch.equal(once.sample[name], again.sample[name])
        assert not torch.equal(once.sample[name], other.sample[name])
        moved = once.sample[name] - clean.sample[name]
        assert (moved.abs().amax(1) > 0).all(), "some rows are not disturbed"
    assert not torch.equal(once.outputs, clean.outputs)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())
    with torch.no_grad():
        assert torch.equal(net.eval()(x), answer)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("id_", KINDS)
def test_models_of_one_architecture_get_the_same_draws(id_: str) -> None:
    """Two copies move alike, whoever is looked at first; another copy of the data does, too."""
    at, net = data("mlp"), built(Mlp)
    pair = [model(net, at, "a"), model(built(Mlp), at, "b")]
    found = looked(conditions[id_].make(severity=0.3), pair, at).evidence
    alone = looked(conditions[id_].make(severity=0.3), pair[1:], at).evidence["b"]
    assert torch.equal(found["a"].last, found["b"].last)
    assert torch.equal(found["b"].last, alone.last)


def test_weight_noise_has_its_length_on_every_filter() -> None:
    wide = nn.Sequential(nn.Conv2d(3, 40, 5), nn.ReLU(), nn.Flatten(), nn.Linear(40 * 16, 30))
    at = AuditData(torch.randn(40, 3, 8, 8, generator=rng()), np.arange(40) % 3)
    with torch.no_grad():
        wide[0].weight *= torch.logspace(-3, 3, 40)[:, None, None, None]
        wide[0].weight[7] = 0
    net = model(wide, at)
    condition: Any = conditions["noise.weight"].make(severity=0.2)
    condition.fit([net], at, rng())
    view = condition.subject(net)
    seen: dict[str, Tensor] = {}
    handles = [
        part.register_forward_pre_hook(lambda m, _: seen.update({str(m): m.weight.clone()}))
        for part in (wide[0], wide[3])
    ]
    with torch.no_grad():
        view.outputs(at.inputs)
    for handle in handles:
        handle.remove()
    for part, count in ((wide[0], 75), (wide[3], 640)):
        weight = part.weight.detach()
        move = (seen[str(part)] - weight).flatten(1)
        ratio = move.norm(dim=1) / weight.flatten(1).norm(dim=1)
        ratio = ratio[~ratio.isnan()]
        # The length of a filter's noise is .2 times that of the filter, but for the draw.
        assert ratio.square().mean().sqrt() == pytest.approx(0.2, rel=4 / (count * 30) ** 0.5)
        assert ratio.min() > 0.2 * (1 - 4 / (2 * count) ** 0.5)
        assert ratio.max() < 0.2 * (1 + 4 / (2 * count) ** 0.5)
    assert (seen[str(wide[0])][7] == 0).all()


def _directed(form: Any, dim: int | None) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    with torch.no_grad():
        net[3].weight[1] = 0
    if form is not None:
        for at in (0, 3):
            form(net[at], dim=dim)
    return net


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("form", ["parametrisation", "hook"])
def test_a_weight_under_weight_norm_is_disturbed_as_the_plain_one(
    form: str, dim: int | None
) -> None:
    """One function in two forms is one network: noise must not tell them apart."""
    make = {
        "parametrisation": nn.utils.parametrizations.weight_norm,
        "hook": nn.utils.weight_norm,
    }[form]
    at = data("cnn")
    nets = [built(lambda given=given: _directed(given, dim)) for given in (None, make)]
    if dim == 0:
        # Its direction was 0 / 0: give it one, and the length 0.
        held = dict(nets[1].named_parameters())
        for end, other in ((".original1", ".original0"), ("_v", "_g")):
            for name in [n for n in held if n.endswith(end) and n.startswith("3.")]:
                with torch.no_grad():
                    held[name][1] = 1
                    held[name.removesuffix(end) + other][1] = 0
    plain, directed = (model(net, at, name) for net, name in zip(nets, "ab", strict=True))
    assert [w.shape for w in matrices(plain).values()] == [
        w.shape for w in matrices(directed).values()
    ]
    found = looked(conditions["noise.weight"].make(severity=0.5), [plain, directed], at).evidence
    assert not found["a"].failed + found["b"].failed
    clean = looked(conditions["clean"].make(), [plain, directed], at).evidence
    torch.testing.assert_close(clean["a"].outputs, clean["b"].outputs)
    assert (clean["a"].outputs - found["a"].outputs).abs().max() > 0.05
    torch.testing.assert_close(found["a"].outputs, found["b"].outputs, rtol=1e-4, atol=1e-4)


def test_names_alone_make_no_weight_norm() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w_v, self.w_g = nn.Parameter(torch.randn(3, 6)), nn.Parameter(torch.ones(()))
            self.b_v, self.b_g = nn.Parameter(torch.randn(3)), nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.w_g * (x @ self.w_v.T) + self.b_v * self.b_g

    at, net = data("mlp"), built(Gated)
    own = model(net, at)
    assert list(matrices(own)) == ["w_v"]
    assert matrices(own)["w_v"] is net.w_v
    assert not looked(conditions["noise.weight"].make(severity=0.5), [own], at).evidence["m"].failed


def test_tied_weights_are_disturbed_once_and_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
            self.b.weight = self.a.weight
            self.gap = torch.ones(())

        def forward(self, x: Tensor) -> Tensor:
            self.gap = (self.a.weight - self.b.weight).abs().sum().detach()
            return self.b(self.a(x).relu())

    at, net = data("mlp"), built(Tied)
    own = model(net, at)
    assert len(matrices(own)) == 1
    seen = looked(conditions["noise.weight"].make(severity=1.0), [own], at).evidence["m"]
    assert not seen.failed
    assert isinstance(net, Tied)
    assert net.gap == 0
    assert net.b.weight is net.a.weight


def test_activation_noise_is_in_units_of_each_unit_and_is_what_is_read() -> None:
    class One(nn.Module):
        """Its only layer is the last hidden one, which is a function of the inputs alone."""

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.given = x * torch.tensor([1.0, 100.0, 0.01, 0.0, 1.0, 1.0]) + 5
            return self.head(self.given)

    x = torch.randn(2000, 6, generator=rng(1))
    at = AuditData(x, np.arange(2000) % 3)
    net = built(One)
    own = model(net, at)
    found = looked(conditions["noise.activation"].make(severity=0.3), [own], at).evidence["m"]
    clean = looked(conditions["clean"].make(), [own], at).evidence["m"]
    assert found.names == ("input of head",)
    moved = found.last - clean.last
    sd = clean.last.std(0, correction=0)
    assert sd[3] == 0
    assert (moved[:, 3] == 0).all(), "a constant unit was moved"
    others = [0, 1, 2, 4, 5]
    ratio = moved.std(0)[others] / sd[others]
    torch.testing.assert_close(ratio, torch.full((5,), 0.3), rtol=0.1, atol=0)
    # The head was given just what is read.
    assert isinstance(net, One)
    with torch.no_grad():
        torch.testing.assert_close(net.head(found.last).log_softmax(1), found.outputs)
    # Rows of two blocks have draws of their own.
    assert not torch.equal(moved[:256], moved[256:512])


@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_read_of_every_layer_is_what_goes_on(kind: str) -> None:
    """With a noise that cannot be missed, the last layer read gives the outputs by the head."""
    at, net = data(kind), built(SHAPES[kind][0])
    own = model(net, at)
    found = looked(conditions["noise.activation"].make(severity=20.0), [own], at).evidence["m"]
    clean = looked(conditions["clean"].make(), [own], at).evidence["m"]
    for name in found.names:
        far = (found.sample[name] - clean.sample[name]).norm(dim=1).mean()
        assert far > 2 * (clean.sample[name] - clean.sample[name].mean(0)).norm(dim=1).mean()
    with torch.no_grad():
        torch.testing.assert_close(
            net.get_submodule("head")(found.last).log_softmax(1),
            found.outputs,
            rtol=1e-4,
            atol=1e-3,
        )


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_who_cannot_be_disturbed_is_told_in_words() -> None:
    at = data("mlp")
    net = built(Mlp)
    black = model(lambda x: net(x).detach(), at)
    scripted = model(torch.jit.trace(net.eval(), at.inputs[:5]), at)
    bare = model(nn.Identity(), at)
    for given, id_, why in (
        (black, "noise.weight", "plain callable"),
        (scripted, "noise.weight", "TorchScript"),
        (bare, "noise.weight", "no weight matrix"),
        (black, "noise.activation", "only its outputs"),
        (scripted, "ablate.units", "only its outputs"),
    ):
        condition: Any = conditions[id_].make()
        assert why in str(condition.beyond(given))
        condition.fit([], at, rng())
        with pytest.raises(NotMeasurable, match=why):
            condition.subject(given)
        # One that cannot be disturbed loses its own rows, and says why.
        both = looked(conditions[id_].make(), [given, model(net, at, "other")], at).evidence
        assert why in both["m"].failed
        assert both["m"].failure == "not_measurable"
        assert not both["other"].failed


@pytest.mark.parametrize(
    ("id_", "bad"),
    [
        *((k, s) for k in KINDS for s in (0, -1, float("nan"), float("inf"), "0.1")),
        ("noise.weight_matched", 1.0),
        ("ablate.units", 1.5),
        ("ablate.directions", 0.5),
        ("ablate.subspace", 2.5),
    ],
)
def test_a_severity_that_means_nothing_is_refused_in_one_line(id_: str, bad: Any) -> None:
    with pytest.raises(ConfigError, match=rf"severity of {id_}: is .*; give .* such as") as told:
        conditions[id_].make(severity=bad)
    assert "\n" not in str(told.value)


INSIDE = [k for k in conditions if k.id.startswith(("noise.", "ablate.")) and k.id != "noise.input"]


@pytest.mark.parametrize("kind", INSIDE, ids=lambda k: k.id)
def test_it_runs_only_where_it_is_asked_for(kind: Any) -> None:
    at = data("mlp")
    assert not list(kind.make.defaults(at))
    assert [c.key for c in kind.make.asked(at)] == [f"{kind.id}@{s:g}" for s in kind.make.usual]
    assert [c.key for c in kind.make.asked(at, kind.make.usual[1])] == [
        f"{kind.id}@{kind.make.usual[1]:g}"
    ]
