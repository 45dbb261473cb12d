"""Edits of what layers show: nothing else changes, and what changes is what it is by hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any, NamedTuple

import pytest
import torch
from small_nets import Cnn, Gru, Mlp, Transformer
from torch import Tensor, nn
from usage_models import hooks, numbers, seeded

from ringtest.capture import capturing
from ringtest.discovery import discover
from ringtest.errors import SubjectError
from ringtest.intervene import calls, editing

B = 23


MODELS: dict[str, tuple[Callable[[], Any], Tensor]] = {
    "mlp": (Mlp, numbers(B, 6)),
    "cnn": (Cnn, numbers(B, 1, 8, 8)),
    "gru": (lambda: Gru(last=True), numbers(B, 9, 4)),
    "gru, batch first": (lambda: Gru(batch_first=True, last=True), numbers(B, 9, 4)),
    "transformer": (Transformer, numbers(B, 9, 4)),
}
PLACES = [
    (name, layer)
    for name, (make, x) in MODELS.items()
    for layer in discover(name, seeded(make).eval(), x).picked
]
IDS = [f"{name}: {layer.name}" for name, layer in PLACES]


def turn(width: int) -> Callable[[Tensor], Tensor]:
    weight, shift = numbers(width, width, seed=1) / width**0.5, numbers(width, seed=2)
    return lambda values: values @ weight + shift


def test_every_kind_of_pooling_is_met() -> None:
    # Flattened layers and single steps have tests of their own below.
    assert {layer.pool for _, layer in PLACES} == {"features", "channels"}
    assert {layer.at for _, layer in PLACES} == {"input", "output"}
    assert {layer.batch for _, layer in PLACES} == {0, 1}


@pytest.mark.parametrize("edit", [lambda v: v, lambda v: v.clone()], ids=["itself", "a copy"])
@pytest.mark.parametrize(("name", "layer"), PLACES, ids=IDS)
def test_an_identity_changes_no_bit(name: str, layer: Any, edit: Any) -> None:
    make, x = MODELS[name]
    net = seeded(make).eval()
    with torch.no_grad():
        before = net(x)
        with editing(net, layer, edit):
            during = net(x)
        after = net(x)
    assert torch.equal(before, during)
    assert torch.equal(before, after)
    assert hooks(net) == 0


@pytest.mark.parametrize(("name", "layer"), PLACES, ids=IDS)
def test_a_linear_edit_is_what_it_is_by_hand(name: str, layer: Any) -> None:
    make, x = MODELS[name]
    net, edit = seeded(make).eval(), turn(layer.width)
    with torch.no_grad():
        wanted = net.by_hand(x, layer.name, edit)
        plain = net(x)
        with editing(net, layer, edit):
            found = net(x)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert float((found - plain).abs().max()) > 1e-2


@pytest.mark.parametrize(("name", "layer"), PLACES, ids=IDS)
def test_what_a_capture_keeps_is_edited_alike(name: str, layer: Any) -> None:
    """An affine edit of every position is the same edit of the mean over positions."""
    make, x = MODELS[name]
    net, edit = seeded(make).eval(), turn(layer.width)

    def captured(*outer: Any) -> Tensor:
        with torch.no_grad(), editing(net, layer, *outer), capturing(net, (layer,)) as capture:
            capture.rows = B
            net(x)
        return capture.values[layer.name]

    torch.testing.assert_close(captured(edit), edit(captured(lambda v: v)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "layer"), PLACES, ids=IDS)
def test_gradients_flow_through_an_edit(name: str, layer: Any) -> None:
    make, x = MODELS[name]
    net, edit = seeded(make).eval(), turn(layer.width)
    leaf, twin = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    with editing(net, layer, edit):
        (found,) = torch.autograd.grad(net(leaf).square().sum(), leaf)
    (wanted,) = torch.autograd.grad(net.by_hand(twin, layer.name, edit).square().sum(), twin)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)
    assert all(p.grad is None for p in net.parameters())


def test_the_fused_path_stays_on() -> None:
    net, x = seeded(Transformer).eval(), MODELS["transformer"][1]
    fused: list[bool] = []
    original = torch._transformer_encoder_layer_fwd

    def spy(*args: Any) -> Tensor:
        fused.append(True)
        return original(*args)

    layers = {layer.name: layer for layer in discover("net", net, x).picked}
    torch._transformer_encoder_layer_fwd = spy
    try:
        with torch.no_grad(), editing(net, layers["encoder.layers.0"], lambda v: v + 1):
            net(x)
        assert len(fused) == 2
        # The fused path calls nothing inside: an edit there takes the other path.
        fused.clear()
        found = discover("net", net, x, ["encoder.layers.0.linear1"]).picked[0]
        fused.clear()
        with torch.no_grad():
            plain = net(x)
            with editing(net, found, lambda v: v * 0):
                other = net(x)
        assert len(fused) == 3
        assert float((plain - other).abs().max()) > 1e-3
    finally:
        torch._transformer_encoder_layer_fwd = original


class Moody(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise RuntimeError("not today")


MLP = [layer for name, layer in PLACES if name == "mlp"]


@pytest.mark.parametrize("layer", MLP, ids=[layer.name for layer in MLP])
def test_hooks_are_gone_after_an_error(layer: Any) -> None:
    net = seeded(Moody).eval()
    with pytest.raises(RuntimeError, match="not today"), editing(net, layer, lambda v: v):
        net(numbers(4, 6))
    assert hooks(net) == 0

    def fails(_values: Tensor) -> Tensor:
        raise ValueError("this edit")

    net = seeded(Mlp).eval()
    with pytest.raises(ValueError, match="this edit"), editing(net, layer, fails):
        net(numbers(4, 6))
    assert hooks(net) == 0


# -- containers ------------------------------------------------------------------------------------


class Named(NamedTuple):
    states: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Kept:
    logits: Tensor
    note: str = "kept"


CONTAINERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda h, w: (h, w),
    "list": lambda h, w: [h, w],
    "dict": lambda h, w: {"note": "a", "states": h, "weight": w},
    "named tuple": Named,
    "nested": lambda h, w: ({"none": None, "states": [h]}, w),
}


class Holder(nn.Module):
    """A block that hands on more than one tensor, and a head that reads both."""

    class Block(nn.Module):
        def __init__(self, hold: Callable[[Tensor, Tensor], Any]) -> None:
            super().__init__()
            self.layer, self.hold = nn.Linear(6, 7), hold

        def forward(self, x: Tensor) -> Any:
            h = self.layer(x)
            self.last = self.hold(h, h.square())
            return self.last

    def __init__(self, hold: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.block, self.head = self.Block(hold), nn.Linear(7, 3)

    @staticmethod
    def leaves(value: Any) -> list[Tensor]:
        if isinstance(value, Tensor):
            return [value]
        items = value.values() if isinstance(value, dict) else value
        return [t for v in items if v is not None and v != "a" for t in Holder.leaves(v)]

    def forward(self, x: Tensor) -> Tensor:
        self.got = self.block(x)
        h, w = self.leaves(self.got)
        return self.head(h + w)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_the_rest_of_a_container_is_kept(kind: str) -> None:
    net, x = seeded(lambda: Holder(CONTAINERS[kind])).eval(), numbers(B, 6)
    (layer, *_) = discover("net", net, x, ["block"]).picked
    assert layer.name == "block"
    with torch.no_grad():
        h = net.block.layer(x)
        wanted = net.head(2 * h + 1 + h.square())
        with editing(net, layer, lambda v: 2 * v + 1):
            found = net(x)
    torch.testing.assert_close(found, wanted)
    assert type(net.got) is type(net.block.last)
    first, second = Holder.leaves(net.block.last)
    # What the module made itself is untouched: it may keep it.
    torch.testing.assert_close(first, h)
    torch.testing.assert_close(second, h.square())


@pytest.mark.parametrize("kind", ["plain", "dict", "dataclass", "output", "namespace"])
def test_the_output_of_the_whole_model_is_edited_whatever_holds_it(kind: str) -> None:
    outputs: Any = None
    if kind == "output":
        outputs = pytest.importorskip("transformers.modeling_outputs", reason="the extra hf")

    class Holding:
        def __init__(self, logits: Tensor) -> None:
            self.logits, self.other = logits, logits + 1

    hold: dict[str, Callable[[Tensor], Any]] = {
        "plain": lambda v: v,
        "dict": lambda v: {"states": v - 1, "sentence_embedding": v},
        "dataclass": Kept,
        "output": lambda v: outputs.SequenceClassifierOutput(logits=v, attentions=v - 1),
        "namespace": Holding,
    }

    class Embedder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Any:
            return hold[kind](self.layer(x))

    net, x = seeded(Embedder).eval(), numbers(B, 6)
    layer = discover("net", net, x, "auto", output_is_hidden=True).last
    assert layer.module == ""
    with torch.no_grad():
        plain = net(x)
        with editing(net, layer, lambda v: v * 3):
            found = net(x)

    def main(value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return value
        return value["sentence_embedding"] if kind == "dict" else value.logits

    torch.testing.assert_close(main(found), 3 * main(plain))
    if kind == "dataclass":
        assert is_dataclass(found)
        assert found.note == "kept"
    if kind == "output":
        torch.testing.assert_close(found["logits"], 3 * plain["logits"])
        assert type(found) is type(plain)
        torch.testing.assert_close(found.attentions, plain.attentions)
    if kind == "namespace":
        torch.testing.assert_close(found.other, plain.other)


# -- odd heads -------------------------------------------------------------------------------------


class Keywords(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(input=self.body(x))


def test_a_head_called_by_keyword() -> None:
    net, x = seeded(Keywords).eval(), numbers(B, 6)
    layer = discover("net", net, x).last
    edit = turn(7)
    with torch.no_grad(), editing(net, layer, edit):
        found = net(x)
    torch.testing.assert_close(found, net.head(edit(net.body(x))))


class StepHead(nn.Module):
    """A head on every step, of which the last word's is the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(30, 5), nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        last = ((x != 0) * torch.arange(x.shape[1])).argmax(1)
        return self.head(self.embed(x))[torch.arange(len(x)), last]


def test_a_head_on_steps() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(1, 30, (B, 9), generator=rng)
    x[::2, 5:] = 0
    net = seeded(StepHead).eval()
    layer = discover("net", net, x).last
    assert layer.pool == "step"
    edit = turn(5)
    with torch.no_grad():
        with editing(net, layer, edit):
            found = net(x)
        last = ((x != 0) * torch.arange(9)).argmax(1)
        wanted = net.head(edit(net.embed(x)[torch.arange(B), last]))
    torch.testing.assert_close(found, wanted)


class ConvHead(nn.Module):
    """Its head is a convolution, whose input is read flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu()).mean((2, 3))


def test_a_flattened_layer_is_edited_as_one_row() -> None:
    net, x = seeded(ConvHead).eval(), numbers(B, 1, 6, 6)
    layer = discover("net", net, x).last
    assert layer.pool == "flat"
    assert layer.width == 4 * 4 * 4
    edit = turn(layer.width)
    with torch.no_grad():
        hidden = net.conv(x).relu()
        wanted = net.head(edit(hidden.flatten(1)).reshape(hidden.shape)).mean((2, 3))
        with editing(net, layer, edit):
            found = net(x)
    torch.testing.assert_close(found, wanted)


def test_tokens_folded_into_rows_are_edited_one_by_one() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.embed(x).reshape(-1, 5)
            return self.head(tokens).reshape(*x.shape[:2], 3).mean(1)

    net, x = seeded(Folded).eval(), numbers(B, 9, 4)
    layer = discover("net", net, x).last
    edit = turn(5)
    shapes = []

    def spying(values: Tensor) -> Tensor:
        shapes.append(tuple(values.shape))
        return edit(values)

    with torch.no_grad():
        with editing(net, layer, spying):
            found = net(x)
        wanted = net.head(edit(net.embed(x))).mean(1)
    torch.testing.assert_close(found, wanted)
    assert shapes == [(B * 9, 5)]


class Shared(nn.Module):
    """One module called twice: what it shows is its last call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.again(self.first(x)).relu()).relu())


def test_only_the_call_that_is_meant_is_edited() -> None:
    net, x = seeded(Shared).eval(), numbers(B, 6)
    (layer, *_) = discover("net", net, x, ["again"]).picked
    assert layer.name == "again"
    assert calls(net, layer, lambda: net(x)) == 2
    assert hooks(net) == 0
    edit = turn(8)
    with torch.no_grad():
        once = net.again(net.first(x)).relu()
        wanted = {
            1: net.head(edit(net.again(once)).relu()),
            0: net.head(net.again(edit(net.again(net.first(x))).relu()).relu()),
            None: net.head(edit(net.again(edit(net.again(net.first(x))).relu())).relu()),
        }
        for call, out in wanted.items():
            with editing(net, layer, edit, call):
                torch.testing.assert_close(net(x), out)
                torch.testing.assert_close(net(x), out)  # counted anew in every pass


def test_what_cannot_be_edited_is_told() -> None:
    net, x = seeded(Mlp).eval(), numbers(B, 6)
    layer = discover("net", net, x).last
    with pytest.raises(SubjectError, match="is to become"), editing(net, layer, lambda v: v[:2]):
        net(x)
    assert hooks(net) == 0
    narrow = nn.Sequential(OrderedDict(head=nn.Linear(5, 3)))
    with pytest.raises(SubjectError, match="its width was 7"), editing(narrow, layer, turn(7)):
        narrow(numbers(B, 5))
    counts = nn.Sequential(OrderedDict(head=nn.Embedding(5, 3)))
    whole = torch.ones(B, 7, dtype=torch.long)
    with pytest.raises(SubjectError, match="int64"), editing(counts, layer, turn(7)):
        counts(whole)
    assert hooks(narrow) == hooks(counts) == 0


@pytest.mark.parametrize(("name", "layer"), PLACES, ids=IDS)
def test_a_capture_reads_an_edit_that_comes_first(name: str, layer: Any) -> None:
    make, x = MODELS[name]
    net, shift = seeded(make).eval(), 3.0
    seen = {}
    with torch.no_grad(), capturing(net, (layer,)) as capture:
        capture.rows = B
        for how in (None, False, True):
            if how is None:
                net(x)
            else:
                with editing(net, layer, lambda v: v + shift, first=how):
                    net(x)
            seen[how] = capture.values[layer.name]
    torch.testing.assert_close(seen[False], seen[None])
    torch.testing.assert_close(seen[True], seen[None] + shift)


@pytest.mark.parametrize(("name", "layer"), PLACES, ids=IDS)
def test_a_capture_that_stays_attached_can_be_differentiated(name: str, layer: Any) -> None:
    make, x = MODELS[name]
    net = seeded(make).eval()
    with torch.no_grad(), capturing(net, (layer,)) as plain:
        plain.rows = B
        net(x)
    x = x.clone().requires_grad_(True)
    with capturing(net, (layer,), attached=True) as capture:
        capture.rows = B
        net(x)
    found = capture.values[layer.name]
    torch.testing.assert_close(found.detach(), plain.values[layer.name])
    assert not plain.values[layer.name].requires_grad
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    assert (gradient != 0).any()
