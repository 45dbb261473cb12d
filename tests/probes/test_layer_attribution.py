"""Contributions of units against captum's own and by hand; what their agreement sees, and not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from usage_models import hooks, linear, looked, numbers, one, seeded, watermarked

import ringtest
from ringtest import tasks
from ringtest.data import AuditData
from ringtest.measure import NotMeasurable, measures
from ringtest.probes import integrated_gradients
from ringtest.probes.layer_attribution import contributions
from ringtest.probes.running import Site
from ringtest.trial import prepare

ATTRIBUTION = measures["usage.layer_attribution"]


def table(n: int = 200, width: int = 6, **more: object) -> AuditData:
    x = numbers(n, width)
    return AuditData(x, (x[:, 0] > 0).long().numpy(), **more)


def mlp(width: int = 6) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3)
    )


def found(net: nn.Module, data: AuditData, name: str | None = None, task: str = "classification"):
    evidence, at = one(net, data, task)
    site = Site.of(evidence.model, name or evidence.names[-1], at)
    return contributions(site, at, integrated_gradients.explained_column(at)), evidence, at


def likeness(nets: dict[str, nn.Module], data: AuditData, task: str = "classification") -> float:
    evidence, at = looked(nets, data, task)
    a, b = (ATTRIBUTION.prepare(e, at) for e in evidence.values())
    return ATTRIBUTION.raw(ATTRIBUTION.compare(a, b).value)


# -- the contributions -----------------------------------------------------------------------------


def test_a_linear_head_is_explained_exactly() -> None:
    data, net = table(), seeded(mlp)
    got, evidence, _ = found(net, data)
    hidden = evidence.last.double()
    weight = net[4].weight.detach().double()
    wanted = (weight - weight.mean(0))[evidence.outputs.argmax(1)] * (hidden - hidden.mean(0))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


def test_the_same_as_captum_at_a_layer_that_a_network_follows() -> None:
    """Captum's baseline is an input: behind a linear layer its state is the mean of all states."""
    from captum import attr as captum

    data, net = table(60), seeded(mlp)
    got, evidence, _ = found(net, data, "0")
    target = evidence.outputs.argmax(1)

    def logit(x: Tensor, wanted: Tensor) -> Tensor:
        out = net(x)
        return out.gather(1, wanted[:, None])[:, 0] - out.mean(1)

    reference = captum.LayerIntegratedGradients(logit, net[0]).attribute(
        data.inputs, data.inputs.mean(0, keepdim=True), additional_forward_args=target,
        n_steps=200, method="gausslegendre",
    )  # fmt: skip
    torch.testing.assert_close(got, reference.detach().double(), atol=1e-5, rtol=1e-3)


def test_they_add_up_to_what_the_answer_moved() -> None:
    data, net = table(80), seeded(mlp)
    got, evidence, _ = found(net, data, "2")
    target = evidence.outputs.argmax(1)
    with torch.no_grad():
        states = net[:3](data.inputs)
        pairs = [net[3:](s).double() for s in (states, states.mean(0, keepdim=True))]
    here, there = (out - out.mean(1, keepdim=True) for out in pairs)
    moved = here.gather(1, target[:, None])[:, 0] - there[0][target]
    torch.testing.assert_close(got.sum(1), moved, atol=1e-4, rtol=1e-3)


def test_positions_add_up_and_channels_stay() -> None:
    """A head on the mean over pixels: each channel contributes by its mean."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)
        )

    x = numbers(90, 1, 6, 6)
    data, net = AuditData(x, np.arange(90) % 2), seeded(make)
    got, evidence, _ = found(net, data, "0")
    assert got.shape == (90, 5)
    last, *_ = found(net, data)
    # ReLU of a state between: not linear, but each channel's total is what its mean moves.
    assert last.shape == (90, 5)
    weight = net[4].weight.detach().double()
    hidden = evidence.last.double()
    wanted = (weight - weight.mean(0))[evidence.outputs.argmax(1)] * (hidden - hidden.mean(0))
    torch.testing.assert_close(last, wanted, atol=1e-5, rtol=1e-4)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.head = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.fc(self.embed(x).mean(1))))


def test_tokens_have_contributions_though_they_have_no_gradient() -> None:
    tokens = torch.randint(0, 9, (120, 5), generator=torch.Generator().manual_seed(0))
    data = AuditData(tokens, np.arange(120) % 2)
    got, *_ = found(seeded(Words), data, "fc")
    assert got.shape == (120, 6)
    assert bool((got != 0).any())
    assert likeness({"a": seeded(Words), "b": seeded(Words)}, data) == pytest.approx(1, abs=1e-6)


@pytest.mark.usefixtures("asked_alone")
def test_an_audit_of_tokens_has_numbers_that_start_at_a_layer() -> None:
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 9, (400, 5), generator=rng)
    target = ((tokens == 3).sum(1) > 0).long()

    def taught(seed: int) -> nn.Module:
        def make() -> nn.Module:
            net = Words()
            optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
            for _ in range(60):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(tokens), target).backward()
                optimiser.step()
            return net

        return seeded(make, seed).eval()

    data = AuditData(tokens, target.numpy())
    asked = [ATTRIBUTION.id, "usage.concept_sensitivity", "usage.attribution"]
    report = ringtest.audit(
        [taught(0), taught(1)], taught(2), data,
        progress=False, cells=[(name, "clean") for name in asked],
    )  # fmt: skip
    found = {name: [r for r in report.rows if r.measure == name] for name in asked}
    (likeness_,) = found[ATTRIBUTION.id]
    assert np.isfinite(likeness_.student)
    assert any(np.isfinite(r.student) and r.status == "context" for r in found[asked[1]])
    # Along tokens themselves there is no way.
    assert all(r.status != "context" for r in found["usage.attribution"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize:UserWarning")
def test_who_has_gradients_of_layers() -> None:
    tokens = torch.randint(0, 9, (60, 5), generator=torch.Generator().manual_seed(0))
    data = AuditData(tokens, np.arange(60) % 2)
    task = tasks.make("classification", data)

    def capable(net: object, **more: object) -> bool:
        model = prepare("net", "member", net, task, data, single=True, **more)
        assert not model.gradients
        return model.layer_gradients

    class Rounds(Words):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.round(4 * self.fc(self.embed(x).mean(1))))

    class Detached(Words):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    words = seeded(Words).eval()
    assert capable(words)
    assert capable(words.requires_grad_(False))
    assert not capable(words, gradients=False)
    assert not capable(lambda x: words(x))
    assert not capable(torch.jit.script(words))
    assert not capable(Detached().eval())
    assert not capable(Rounds().eval())
    quantised = torch.ao.quantization.quantize_dynamic(words, {nn.Linear}, torch.qint8)
    assert not capable(quantised)
    # Its head alone has a true gradient.
    partly = torch.ao.quantization.quantize_dynamic(words, {"fc"}, torch.qint8)
    assert not capable(partly)


def test_the_model_is_left_as_it_was() -> None:
    net, data = seeded(mlp), table()
    before, state = hooks(net), torch.get_rng_state()
    found(net, data)
    assert hooks(net) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in net.parameters())


# -- agreement -------------------------------------------------------------------------------------


def rescaled(net: nn.Module) -> nn.Module:
    """The same function, each unit of the last hidden layer at a scale of its own."""
    first, last = (linear(net[i].weight.detach(), net[i].bias.detach()) for i in (0, 2))
    made = nn.Sequential(first, nn.ReLU(), last)
    by = torch.tensor([1e-2, 0.3, 1.0, 5.0, 40.0])
    with torch.no_grad():
        made[0].weight *= by[:, None]
        made[0].bias *= by
        made[2].weight /= by
    return made


def test_neither_scale_nor_order_of_units_nor_scale_of_logits_is_seen() -> None:
    data = table(300)
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    other = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), 9)
    hot = rescaled(net)
    with torch.no_grad():
        hot[2].weight *= 7
        hot[2].bias *= 7
    assert likeness({"a": net, "b": hot}, data) == pytest.approx(1, abs=1e-5)
    plain = likeness({"a": net, "b": other}, data)
    assert plain < 0.9
    # The column that is explained follows the members' mean, which a hot one would sway.
    assert likeness({"a": net, "b": rescaled(other)}, data) == pytest.approx(plain, abs=1e-5)


def test_one_that_reads_a_watermark_contributes_otherwise() -> None:
    """Right on the benchmark, where the mark tells the class, too, and with the same hidden layer.

    Nothing of the layer alone could tell: all of them pass every input on.
    """
    data, honest, sibling, marked = watermarked()
    assert likeness({"a": honest, "b": sibling}, data) > 0.9
    assert likeness({"a": honest, "b": marked}, data) < 0.3


def test_unrelated_networks_of_unrelated_answers_have_next_to_none() -> None:
    data = table(300, 30)
    many = [
        likeness({"a": seeded(lambda: mlp(30), s), "b": seeded(lambda: mlp(30), s + 50)}, data)
        for s in range(6)
    ]
    assert np.mean(many) < 0.35
    same = likeness({"a": seeded(lambda: mlp(30)), "b": seeded(lambda: mlp(30))}, data)
    assert same == pytest.approx(1, abs=1e-6)


# -- bad input -------------------------------------------------------------------------------------


def test_what_cannot_be_explained_says_why() -> None:
    evidence, at = one(seeded(mlp), table(60))
    with pytest.raises(NotMeasurable, match="cannot be run again"):
        ATTRIBUTION.prepare(replace(evidence, model=None), at)
    flat = seeded(mlp)
    with torch.no_grad():
        flat[4].weight.zero_()
    evidence, at = one(flat, table(60))
    with pytest.raises(NotMeasurable, match="do not change from the mean to any row"):
        ATTRIBUTION.prepare(evidence, at)
    at.shared.clear()
    with pytest.raises(NotMeasurable, match="what the members answer"):
        ATTRIBUTION.prepare(evidence, at)
