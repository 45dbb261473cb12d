"""Which modules are several models in one, and which only look like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ringtest import AuditData, Subject, subjects, tasks
from ringtest.discovery import discover
from ringtest.errors import SubjectError

X = torch.randn(23, 6, generator=torch.Generator().manual_seed(5))


def mlp(width: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


class Combined(nn.Module):
    """Several modules, and a function of what they answer."""

    def __init__(self, combine: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.combine, self.parts = combine, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.combine(*(part(x) for part in self.parts))


class Halves(nn.Module):
    """An additive model: parts of one build, each of its own inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](x[:, :3]) + self.parts[1](x[:, 3:])


ENSEMBLES: dict[str, Callable[[], nn.Module]] = {
    "mean of logits": lambda: Combined(lambda a, b: (a + b) / 2, mlp(), mlp()),
    "mean of three": lambda: Combined(lambda a, b, c: (a + b + c) / 3, mlp(), mlp(), mlp()),
    "mean of probabilities": lambda: Combined(
        lambda a, b: (a.softmax(1) + b.softmax(1)) / 2, mlp(), mlp()
    ),
    "logarithm of their mean": lambda: Combined(
        lambda a, b: torch.log((a.softmax(1) + b.softmax(1)) / 2), mlp(), mlp()
    ),
    "mean of logarithms": lambda: Combined(
        lambda a, b: ((a.log_softmax(1) + b.log_softmax(1)) / 2).log_softmax(1), mlp(), mlp()
    ),
    "probabilities of the mean": lambda: Combined(
        lambda a, b: ((a + b) / 2).softmax(1), mlp(), mlp()
    ),
    "mean of labels' probabilities": lambda: Combined(
        lambda a, b: (a.sigmoid() + b.sigmoid()) / 2, mlp(), mlp()
    ),
    "maximum": lambda: Combined(torch.maximum, mlp(), mlp()),
    "sum of logits": lambda: Combined(torch.add, mlp(), mlp()),
    "weighted, of unequal depth": lambda: Combined(
        lambda a, b: 0.3 * a + 0.7 * b, mlp(), nn.Sequential(nn.Linear(6, 8), mlp()[2])
    ),
}
SINGLE: dict[str, Callable[[], nn.Module]] = {
    "wide and deep": lambda: Combined(torch.add, mlp(), nn.Linear(6, 3)),
    "wide and deep, rectified": lambda: Combined(
        lambda a, b: (a + b).relu(), mlp(), nn.Linear(6, 3)
    ),
    "gated": lambda: Combined(
        lambda a, b: 3 * a.tanh() * b.sigmoid(), nn.Linear(6, 3), nn.Linear(6, 3)
    ),
    "additive": Halves,
}


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "no graph"])
@pytest.mark.parametrize("case", ENSEMBLES)
def test_an_ensemble_is_refused_whatever_its_mean(case: str, graph: bool) -> None:
    net = made(ENSEMBLES[case])
    with pytest.raises(SubjectError, match=r"an ensemble in disguise; pass a list.*single=True"):
        discover("net", net, X, graph=graph)
    assert discover("net", net, X, single=True, graph=graph) is not None


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "no graph"])
@pytest.mark.parametrize("case", SINGLE)
def test_what_is_added_up_or_gated_is_one_model(case: str, graph: bool) -> None:
    found = discover("net", made(SINGLE[case]), X, graph=graph)
    assert found is not None
    assert found.last.width in (3, 6, 8)


def test_a_shortcut_that_is_shaped_like_its_branch_is_no_member() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4))
            self.shortcut = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x: Tensor) -> Tensor:
            return (self.branch(x) + self.shortcut(x)).relu()

    images = torch.randn(23, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    found = discover("net", made(Block), images, output_is_hidden=True)
    assert found is not None
    assert found.last.name == "output"


def test_layers_alike_one_after_the_other_are_one_model_without_a_graph() -> None:
    chain = made(lambda: nn.Sequential(*(nn.Linear(6, 6) for _ in range(4))))
    found = discover("net", chain, X, graph=False)
    assert found is not None
    assert found.last.name == "input of 3"


def test_a_user_may_vouch_for_a_model() -> None:
    data = AuditData(X, torch.arange(len(X)) % 3)
    task = tasks.make("classification", data)
    net: Any = made(ENSEMBLES["weighted, of unequal depth"])
    with pytest.raises(SubjectError, match="ensemble in disguise"):
        subjects.students(Subject(net), task, data)
    vouched = subjects.students({"s": Subject(net, single=True)}, task, data)["s"]
    assert vouched.layers is not None
