"""A small CNN on digits, for the tests that need a trained network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

Trained = tuple[nn.Module, Tensor, Tensor]


@pytest.fixture(scope="session")
def digits_cnn() -> Callable[..., Trained]:
    """``digits_cnn(temperature)``: the CNN, and 500 new digits (500, 1, 8, 8) in [0, 1]."""

    @cache
    def make(temperature: float = 1.0) -> Trained:
        raw = load_digits()
        x = torch.tensor(raw.images / 16, dtype=torch.float32).unsqueeze(1)
        y = torch.tensor(raw.target)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            net = nn.Sequential(
                *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU()),
                *(nn.Flatten(), nn.Linear(432, 10)),
            )
            optimiser = torch.optim.Adam(net.parameters(), lr=0.01 if temperature == 1 else 0.03)
            for _ in range(12):
                for part in torch.randperm(1200).split(100):
                    optimiser.zero_grad()
                    loss = nn.functional.cross_entropy(net(x[part]) / temperature, y[part])
                    loss.backward()
                    optimiser.step()
        net.requires_grad_(False).eval()
        return net, x[1200:1700], y[1200:1700]

    return make
