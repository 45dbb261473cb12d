"""Small models of the usual kinds, each of which can also be run by hand, with a layer edited."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 7))
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def by_hand(self, x: Tensor, name: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
        for i, part in enumerate(self.body):
            x = part(x)
            x = edit(x) if name == f"body.{i}" else x
        return self.head(edit(x) if name == "input of head" else x)


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.more = nn.Conv2d(1, 5, 3, padding=1), nn.Conv2d(5, 6, 3, stride=2)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.more(self.conv(x).relu()).relu()).flatten(1))

    def by_hand(self, x: Tensor, name: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
        def channels(x: Tensor) -> Tensor:
            return edit(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

        x = self.conv(x)
        x = self.more((channels(x) if name == "conv" else x).relu())
        x = self.pool((channels(x) if name == "more" else x).relu())
        x = (channels(x) if name == "pool" else x).flatten(1)
        return self.head(edit(x) if name == "input of head" else x)


class Gru(nn.Module):
    """Its head reads the mean of all states and, if asked to, the last one, which is no layer."""

    def __init__(self, batch_first: bool = False, last: bool = False) -> None:
        super().__init__()
        self.batch_first, self.last = batch_first, last
        self.rnn, self.head = nn.GRU(4, 6, batch_first=batch_first), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        states, last = self.rnn(x)
        states = states if self.batch_first else states.transpose(0, 1)
        return self.head(states.mean(1) + last[0] if self.last else states.mean(1))

    def by_hand(self, x: Tensor, name: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
        states, last = self.rnn(x if self.batch_first else x.transpose(0, 1))
        states = states if self.batch_first else states.transpose(0, 1)
        states = edit(states) if name == "rnn" else states
        # The last state, which stands beside the states, is left alone.
        x = states.mean(1) + last[0] if self.last else states.mean(1)
        return self.head(edit(x) if name == "input of head" else x)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))

    def by_hand(self, x: Tensor, name: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
        x = self.embed(x)
        x = edit(x) if name == "embed" else x
        for i, layer in enumerate(self.encoder.layers):
            x = layer(x)
            x = edit(x) if name == f"encoder.layers.{i}" else x
        x = x.mean(1)
        return self.head(edit(x) if name == "input of head" else x)
