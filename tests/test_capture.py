"""Which layers are found in real kinds of models, and that they hold what they should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from ringtest import AuditData, subjects, tasks
from ringtest.capture import capturing
from ringtest.discovery import discover
from ringtest.errors import SubjectError
from ringtest.trial import prepare

B = 23
"""Rows of the trial run in `subjects`."""


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def words(n: int, length: int) -> Tensor:
    x = torch.randint(1, 30, (n, length), generator=torch.Generator().manual_seed(6))
    x[::2, length // 2 :] = 0
    return x


def see(net: nn.Module, x: Tensor, rows: int | None = None, layers: Any = "auto") -> dict:
    """Layer name -> (rows, width), as an audit captures them."""
    x = x if rows is None else x[:rows]
    found = discover("net", net, x[:B], layers)
    with capturing(net, found.picked) as capture, torch.no_grad():
        capture.rows = len(x)
        net(x)
    assert list(found.names) == sorted(capture.values, key=found.names.index)
    for layer in found.picked:
        assert capture.values[layer.name].shape == (len(x), layer.width)
        assert capture.values[layer.name].dtype == torch.float32
    return capture.values


# -- models, each with its layers and its last hidden layer computed by hand --------------------


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.Tanh())
        self.head = nn.Linear(7, 3)

    def hidden(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))


class BasicBlock(nn.Module):
    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, 2), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(5, 6), BasicBlock(6, 6))
        self.layer2 = nn.Sequential(BasicBlock(6, 7), BasicBlock(7, 7))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(7, 3)

    def hidden(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.avgpool(self.layer2(self.layer1(x))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.hidden(x))


class Transformer(nn.Module):
    def __init__(self, batch_first: bool, mask: bool) -> None:
        super().__init__()
        self.batch_first, self.mask = batch_first, mask
        self.embed = nn.Embedding(30, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=batch_first)
        self.head = nn.Linear(8, 3)

    def hidden(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        tokens = tokens if self.batch_first else tokens.transpose(0, 1)
        tokens = self.encoder(tokens, src_key_padding_mask=(x == 0) if self.mask else None)
        return tokens[:, 0] if self.batch_first else tokens[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))


class BertEmbeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.norm = (
            nn.Embedding(30, 8),
            nn.Embedding(9, 8),
            nn.LayerNorm(8),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.words(x) + self.places(torch.arange(x.shape[1])))


class BertLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.output = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = x + self.attention(x, x, x)[0]
        return (self.norm(x + self.output(x)),)


class BertEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList([BertLayer() for _ in range(2)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for layer in self.layer:
            x = layer(x)[0]
        return {"last_hidden_state": x}


class BertPooler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x[:, 0]).tanh()


class BertModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embeddings, self.encoder = BertEmbeddings(), BertEncoder()
        self.pooler = BertPooler()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states = self.encoder(self.embeddings(x))["last_hidden_state"]
        return states, self.pooler(states)


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bert, self.drop, self.classifier = BertModel(), nn.Dropout(0.1), nn.Linear(8, 3)

    def hidden(self, x: Tensor) -> Tensor:
        return self.bert(x)[1]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.classifier(self.drop(self.hidden(x)))}


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.rnn = kind(4, 6, batch_first=batch_first)
        self.head = nn.Linear(6, 3)

    def states(self, x: Tensor) -> Tensor:
        if self.batch_first:
            return self.rnn(x)[0]
        return self.rnn(x.transpose(0, 1))[0].transpose(0, 1)

    def hidden(self, x: Tensor) -> Tensor:
        return self.states(x)[:, -1]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))


class Conv1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv1d(4, 6, 3), nn.AdaptiveMaxPool1d(2)
        self.head = nn.Linear(12, 3)

    def hidden(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(x.transpose(1, 2)).relu()).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))


class Wrapped(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def hidden(self, x: Tensor) -> Tensor:
        return self.model.hidden(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Halve(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class Normalised(Wrapped):
    """The usual preprocessing in front of a model of one's own."""

    def __init__(self) -> None:
        super().__init__(Custom())
        self.before = Halve()

    def hidden(self, x: Tensor) -> Tensor:
        return self.model.hidden(self.before(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.before(x))


class Fixed(Custom):
    """A function without parameters after the head."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.colours(self.head(self.hidden(x)))


class Shared(nn.Module):
    """One module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def hidden(self, x: Tensor) -> Tensor:
        return self.again(self.again(self.first(x)).relu())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))


class Vision(nn.Module):
    """A vision transformer: class token and positions are parameters of the model itself."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, 4)
        self.token = nn.Parameter(numbers(1, 1, 8))
        self.places = nn.Parameter(numbers(1, 5, 8))
        self.blocks = nn.ModuleList([BertLayer() for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def hidden(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.places
        for block in self.blocks:
            tokens = block(tokens)[0]
        return self.norm(tokens)[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))


class Scaled(Custom):
    """A learnt temperature after the head."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x)) * self.scale


class OwnHead(nn.Module):
    """The head is a bare parameter of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 7)
        self.weight = nn.Parameter(numbers(7, 3))

    def hidden(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden(x) @ self.weight


class Functional(nn.Module):
    """A layer of one's own, without modules inside."""

    class Dense(nn.Module):
        def __init__(self, inside: int, out: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(numbers(inside, out))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = self.Dense(6, 7), self.Dense(7, 3)

    def hidden(self, x: Tensor) -> Tensor:
        return self.first(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))


class WeightNorm(Custom):
    """A parametrised head without a bias: its parameters lie in a module of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = parametrizations.weight_norm(nn.Linear(7, 3, bias=False))


class ConvHead(nn.Module):
    """A convolution and a global mean as the head: its input is flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 1)

    def hidden(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu()).mean((2, 3))


class TokenHead(nn.Module):
    """A head on every token, the answers averaged after it; ``fold``: tokens as rows."""

    def __init__(self, fold: bool) -> None:
        super().__init__()
        self.fold, self.embed, self.head = fold, nn.Embedding(30, 5), nn.Linear(5, 3)

    def hidden(self, x: Tensor) -> Tensor:
        return self.embed(x).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        if self.fold:
            return self.head(tokens.reshape(-1, 5)).reshape(*x.shape, 3).mean(1)
        return self.head(tokens).mean(1)


class StepHead(nn.Module):
    """A head on every step, of which one is the answer: the last word, as decoders have it."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed, self.head = nn.Embedding(30, 5), nn.Linear(5, 3, bias=False)

    def last(self, x: Tensor) -> Tensor:
        return ((x != 0) * torch.arange(x.shape[1])).argmax(1)

    def hidden(self, x: Tensor) -> Tensor:
        return self.embed(x)[torch.arange(len(x)), self.last(x)]

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        if self.batch_first:
            answers = self.head(tokens)
        else:
            answers = self.head(tokens.transpose(0, 1)).transpose(0, 1)
        return answers[torch.arange(len(x)), self.last(x)]


class Keywords(Custom):
    """The head is called by keyword."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(input=self.hidden(x))


class Plain(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(6, 8),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(8, 7),
            nn.ReLU(),
            nn.Linear(7, 3),
        )

    def hidden(self, x: Tensor) -> Tensor:
        for layer in list(self)[:6]:
            x = layer(x)
        return x


TABLE, IMAGES, SERIES, TEXT = numbers(40, 6), numbers(40, 1, 8, 8), numbers(40, 9, 4), words(40, 9)
BODY = ["body.0", "body.1", "body.2"]
RNN_HEAD = "input of head"

MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor, list[str] | None]] = {
    "sequential": (Plain, TABLE, ["1", "2", "4", "input of 6"]),
    "custom": (Custom, TABLE, [*BODY, "input of head"]),
    "resnet": (
        ResNet,
        IMAGES,
        ["conv1", "bn1", "relu", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "input of fc"],
    ),
    "bert": (
        Bert,
        TEXT,
        ["bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1", "input of classifier"],
    ),
    "LSTM": (lambda: Recurrent(nn.LSTM, False), SERIES, ["rnn", RNN_HEAD]),
    "LSTM, batch first": (lambda: Recurrent(nn.LSTM, True), SERIES, ["rnn", RNN_HEAD]),
    "GRU": (lambda: Recurrent(nn.GRU, False), SERIES, ["rnn", RNN_HEAD]),
    "1-D convolution": (Conv1, SERIES, ["conv", "input of head"]),
    "wrapper": (lambda: Wrapped(Custom()), TABLE, [f"model.{n}" for n in BODY]),
    "wrapper of a wrapper": (lambda: Wrapped(Wrapped(Custom())), TABLE, None),
    "normalised": (Normalised, TABLE, ["before", *(f"model.{n}" for n in BODY)]),
    "fixed function after the head": (Fixed, TABLE, [*BODY, "input of head"]),
    "called twice": (Shared, TABLE, ["first", "input of head"]),
    "vision transformer": (
        Vision,
        IMAGES,
        ["patches", "blocks.0", "blocks.1", "norm", "input of head"],
    ),
    "temperature": (Scaled, TABLE, [*BODY, "input of head"]),
    "head a bare parameter": (OwnHead, TABLE, ["output of body"]),
    "layers without modules": (Functional, TABLE, ["first", "input of head"]),
    "weight norm": (WeightNorm, TABLE, [*BODY, "input of head"]),
    "convolution as the head": (ConvHead, IMAGES, ["conv", "input of head"]),
    "head on tokens": (lambda: TokenHead(False), TEXT, ["input of head"]),
    "head on folded tokens": (lambda: TokenHead(True), TEXT, ["input of head"]),
    "head on the last word": (StepHead, TEXT, ["embed", "input of head"]),
    "head on the last word, steps first": (
        lambda: StepHead(False),
        TEXT,
        ["embed", "input of head"],
    ),
    "head called by keyword": (Keywords, TABLE, [*BODY, "input of head"]),
    **{
        f"transformer, batch_first={first}, mask={mask}": (
            lambda first=first, mask=mask: Transformer(first, mask),
            TEXT,
            ["embed", "encoder.layers.0", "encoder.layers.1", "input of head"],
        )
        for first in (True, False)
        for mask in (True, False)
    },
}


def build(name: str) -> tuple[nn.Module, Tensor, list[str] | None]:
    make, x, names = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make().eval()
    for module in net.modules():
        # As `evaluating` does: nested tensors have no shape.
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
    return net, x, names


@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
@pytest.mark.parametrize("name", MODELS)
def test_the_layers_of_real_kinds_of_models(name: str, frozen: bool) -> None:
    net, x, names = build(name)
    net.requires_grad_(not frozen)
    seen = see(net, x)
    last = list(seen)[-1]
    with torch.no_grad():
        hidden = net.hidden(x)
    torch.testing.assert_close(seen[last], hidden, atol=1e-5, rtol=1e-4)
    if names is not None:
        assert [n for n in seen if n != last] == [n for n in names if n != last]
    assert all(p.requires_grad != frozen for p in net.parameters())


@pytest.mark.parametrize("rows", [1, 4, 8, 9, 23, 30])
@pytest.mark.parametrize("name", MODELS)
def test_pooling_does_not_depend_on_how_many_rows_there_are(name: str, rows: int) -> None:
    """The sequences have 9 steps, axes 4 to 8 places: each of these is a block's size, too."""
    net, x, _ = build(name)
    found = discover("net", net, x[:B])
    for n, part in ((40, x), (rows, x[:rows])):
        with capturing(net, found.picked) as capture, torch.no_grad():
            capture.rows = n
            net(part)
        if n == 40:
            whole = capture.values
    for layer, values in capture.values.items():
        torch.testing.assert_close(values, whole[layer][:rows], atol=1e-5, rtol=1e-4)


def test_pooling_is_over_time_where_the_trial_is_as_long_as_the_sequence() -> None:
    net, x = Recurrent(nn.LSTM, False).eval(), numbers(40, B, 4)
    with torch.no_grad():
        states = net.states(x[:B])
    torch.testing.assert_close(see(net, x, B)["rnn"], states.mean(1), atol=1e-5, rtol=1e-4)


def test_channels_and_tokens_are_told_apart() -> None:
    """A gate of Linear on channels, and patches that become tokens inside a block."""

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 5, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).flatten(2).transpose(1, 2)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.tokens, self.head = Gate(), Tokens(), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.tokens(self.gate(x)).amax(1))

    net, x = Net().eval(), numbers(30, 1, 6, 6)
    seen = see(net, x)
    with torch.no_grad():
        gated = net.gate(x)
        torch.testing.assert_close(seen["gate"], gated.mean((2, 3)))
        torch.testing.assert_close(seen["tokens"], net.tokens(gated).mean(1))


def test_a_layer_is_read_before_the_next_one_works_in_place() -> None:
    net = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    ).eval()
    seen = see(net, TABLE)
    torch.testing.assert_close(seen["0"], net[0](TABLE).detach())
    torch.testing.assert_close(seen["1"], net[0](TABLE).relu().detach())


def test_many_layers_are_thinned_evenly() -> None:
    net = nn.Sequential(*(nn.Linear(6, 6) for _ in range(30)), nn.Linear(6, 3)).eval()
    found = discover("net", net, TABLE[:B])
    assert len(found.picked) <= 12
    assert found.names[0] == "0"
    assert found.names[-1] == "input of 30"
    assert found.depth(found.names[0]) == 0.0
    assert found.depth(found.last.name) == 1.0
    gaps = [int(b) - int(a) for a, b in zip(found.names[:-1], found.names[1:-1], strict=False)]
    assert max(gaps) - min(gaps) <= 1
    assert len(found.left_out) + len(found.picked) in (30, 31)


def test_names_and_globs() -> None:
    net = Custom().eval()
    assert discover("net", net, TABLE[:B], "body.0").names == ("body.0", "input of head")
    found = discover("net", net, TABLE[:B], ["body.[02]", "nothing*"])
    assert found.names == ("body.0", "body.2", "input of head")
    assert found.unmatched == ("nothing*",)
    # In the order of the model, whatever the order of the names.
    assert discover("net", net, TABLE[:B], ["body.2", "body.0"]).names[:2] == ("body.0", "body.2")
    assert "head" not in found.known


def data(x: Tensor) -> AuditData:
    return AuditData(x, torch.arange(len(x)) % 3)


def test_unknown_names_come_with_close_ones() -> None:
    found = data(TABLE)
    task = tasks.make("classification", found)
    models = [prepare("s", "student", Custom().eval(), task, found, ["body.O"])]
    with pytest.raises(SubjectError, match=r"did you mean body\.") as caught:
        subjects.check_layers(["body.O"], models)
    assert caught.value.field == "layers"
    # A name that only one of the models has is no error, if the other has one, too.
    both = ["body.0", "4"]
    other = prepare("t", "member", Plain().eval(), task, found, both)
    mine = prepare("s", "student", Custom().eval(), task, found, both)
    subjects.check_layers(both, [other, mine])
    assert other.layers.names == ("4", "input of 6")
    other = prepare("t", "member", Plain().eval(), task, found, ["body.0"])
    with pytest.raises(SubjectError, match=r"none of 'body\.0' is a module of t; add names"):
        subjects.check_layers(["body.0"], [other, mine])
    # A single layer has nothing before its head that could be asked for.
    line = prepare("l", "student", nn.Linear(6, 3).eval(), task, found, ["body.0"])
    subjects.check_layers(["body.0"], [line, mine])


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_hooks_are_gone_after_an_exception() -> None:
    class Moody(Custom):
        mood = "good"

        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            if self.mood == "bad":
                raise RuntimeError("not today")
            return out

    net = Moody().eval().requires_grad_(False)
    found = discover("net", net, TABLE[:B])
    net.mood = "bad"
    with pytest.raises(RuntimeError, match="not today"):
        discover("net", net, TABLE[:B])
    assert hooks(net) == 0
    assert not any(p.requires_grad for p in net.parameters())
    with pytest.raises(RuntimeError, match="not today"), capturing(net, found.picked):
        net(TABLE)
    assert hooks(net) == 0


def test_an_embedding_is_its_own_last_hidden_layer() -> None:
    net, x, _ = build("bert")
    found = discover("net", net.bert, x[:B], "auto", output_is_hidden=True)
    assert found.last.name == "output"
    with capturing(net.bert, found.picked) as capture, torch.no_grad():
        capture.rows = len(x)
        states, _ = net.bert(x)
    torch.testing.assert_close(capture.values["output"], states.mean(1))
    assert "pooler" in found.names or "pooler" in found.known


def test_a_module_without_parameters_shows_no_layers() -> None:
    assert discover("net", Halve(), TABLE[:B]) is None


def test_rows_that_lose_themselves_are_refused() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, 4), nn.Linear(1, 3)

        def forward(self, x: Tensor) -> Tensor:
            # Features as rows: (b, 4) -> (4 b, 1), the features outermost.
            turned = self.head(self.first(x).T.reshape(-1, 1))
            return turned.reshape(4, len(x), 3).mean(0)

    with pytest.raises(SubjectError, match="no axis that counts the 23 rows"):
        discover("net", Turned().eval(), TABLE[:B])


def test_an_operation_without_a_derivative_hides_no_layer() -> None:
    class Rounded(Custom):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return self.head(self.hidden(x).round(decimals=1))

    found = discover("net", Rounded().eval(), TABLE[:B])
    assert found.last.name == "input of head"


def test_the_fused_path_stays_on_unless_its_inside_is_read() -> None:
    """A hook on the layer itself would turn it off; a hook inside it must."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(
        nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(8, 3)
    )
    net.eval()
    x = torch.randn(23, 9, 8)
    fused = []
    original = torch._transformer_encoder_layer_fwd

    def spy(*args: Any) -> Tensor:
        fused.append(True)
        return original(*args)

    torch._transformer_encoder_layer_fwd = spy
    try:
        for wanted, times in (("0.layers.0", 1), ("0.layers.0.linear1", 0)):
            found = discover("net", net, x, [wanted])
            fused.clear()
            with capturing(net, found.picked) as capture, torch.no_grad():
                capture.rows = 23
                net(x)
            assert len(fused) == times
            assert set(capture.values) == set(found.names)
    finally:
        torch._transformer_encoder_layer_fwd = original


def test_a_step_is_found_again_in_every_block() -> None:
    net, x, _ = build("head on the last word")
    found = discover("net", net, x[:B])
    assert found.last.pool == "step"
    assert found.last.width == 5
    with capturing(net, found.picked) as capture, torch.no_grad():
        for part in (x[:7], x[7:30]):
            capture.values, capture.rows = {}, len(part)
            net(part)
            torch.testing.assert_close(capture.values["input of head"], net.hidden(part))
        # What is no step of its answers any more is not read as something else.
        capture.values = {}
        handle = net.register_forward_hook(lambda _m, _a, out: out + 1, prepend=True)
        net(x)
        assert "input of head" not in capture.values
        handle.remove()
    assert hooks(net) == 0


def test_weights_of_a_module_that_is_never_called_are_its_callers() -> None:
    class Rounded(nn.Module):
        def __init__(self, inside: int, out: int) -> None:
            super().__init__()
            self.linear = nn.Linear(inside, out)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.linear.weight.round(decimals=1), self.linear.bias)

    net = nn.Sequential(Rounded(6, 8), nn.ReLU(), Rounded(8, 3)).eval()
    found = discover("net", net, TABLE[:B])
    assert found.names == ("0", "input of 2")
    # The model itself is no layer of its own.
    assert discover("net", Rounded(6, 3), TABLE[:B]) is None
