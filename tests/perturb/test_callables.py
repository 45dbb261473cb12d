"""Perturbations of the user's own, with and without a model."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError, SubjectError
from ringtest.perturb.callables import Against, Changed

X = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0.5).long()


def blind(x: Tensor, rows: Tensor | None = None) -> Tensor:
    return torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)


def run(condition: Any, seed: int = 0, gradients: bool = True, y: Any = Y) -> Tensor:
    condition.fit([], AuditData(X, Y.numpy(), bounds=(0.0, 1.0)), torch.Generator())
    model = SimpleNamespace(logits=blind, gradients=gradients)
    found: Tensor = condition.batch(model, X, y, torch.Generator().manual_seed(seed))
    return found


def climb(forward: Any, x: Tensor, y: Tensor, eps: float = 0.1) -> Tensor:
    x = x.requires_grad_()
    loss = torch.nn.functional.cross_entropy(forward(x), y, reduction="sum")
    return x + eps * torch.autograd.grad(loss, x)[0].sign()


def test_a_callable_is_given_the_inputs_and_its_strength() -> None:
    assert torch.equal(run(Changed(lambda x: x / 2)), X / 2)
    half = Changed(lambda x, by: x * by, "times", severity=0.5)
    assert (half.key, half.scope) == ("perturb.callable.times@0.5", "shared")
    assert torch.equal(run(half), X / 2)
    assert run(Changed(lambda x: x + 0.7)).max() == 1.0, "moved into the bounds"
    assert Changed(torch.sin).id == "perturb.callable.sin"


def test_a_callable_against_a_model_has_its_gradients() -> None:
    with torch.inference_mode():
        found = run(Against(climb, severity=0.2))
    expected = X.clone()
    expected[:, 0] += torch.where(Y == 1, -0.2, 0.2)
    torch.testing.assert_close(found, expected.clamp(0, 1))
    assert not found.requires_grad
    assert Against(climb).key == "attack.callable.climb"


@pytest.mark.parametrize("make", [Changed, Against])
def test_random_callables_are_seeded_and_leave_no_trace(make: Any) -> None:
    state, before = torch.get_rng_state(), X.clone()

    def noisy(*given: Any) -> Tensor:
        x: Tensor = next(g for g in given if isinstance(g, Tensor))
        return x.add_(0.1 * torch.rand(x.shape))

    one, again, other = (run(make(noisy), seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(X, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", [Changed, Against])
@pytest.mark.parametrize("draw", [lambda: np.random.rand(), lambda: random.random()])  # noqa: NPY002
def test_draws_of_numpy_and_python_are_seeded_too(make: Any, draw: Any) -> None:
    def noisy(*given: Any) -> Tensor:
        x: Tensor = next(g for g in given if isinstance(g, Tensor))
        return x * draw()

    def state() -> list[Any]:
        return [repr(np.random.get_state()), random.getstate()]  # noqa: NPY002

    before = state()
    one, again, other = (run(make(noisy), seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert state() == before


def backward(forward: Any, x: Tensor, y: Tensor) -> Tensor:
    x = x.requires_grad_()
    torch.nn.functional.cross_entropy(forward(x), y, reduction="sum").backward()
    assert x.grad is not None
    return x + 0.1 * x.grad.sign()


def test_gradients_of_parameters_are_put_back() -> None:
    net = nn.Linear(4, 2)
    mine = torch.full((2,), 3.0)
    net.bias.grad = mine
    model: Any = SimpleNamespace(logits=net, gradients=True, module=net)
    attack = Against(backward)
    attack.fit([], AuditData(X, Y.numpy(), bounds=(0.0, 1.0)), torch.Generator())
    assert not torch.equal(attack.batch(model, X, Y, torch.Generator()), X)
    assert net.weight.grad is None
    assert net.bias.grad is mine
    assert mine.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x[:, :2], r"function of perturb.callable.mine: gave \(12, 2\)"),
        (lambda x: x.long(), "turned torch.float32 into torch.int64"),
        (lambda x: x / 0, "NaN or infinity in 12 rows"),
        (lambda x: x @ x, "raised RuntimeError"),
        (lambda x: x.double() + 1e300, "NaN or infinity in 12 rows"),
    ],
)
def test_a_wrong_answer_is_one_line(function: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        run(Changed(function, "mine"))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used_is_told() -> None:
    with pytest.raises(ConfigError, match=r"function of perturb\.callable: is Tensor; give"):
        Changed(X)  # type: ignore[arg-type]
    with pytest.raises(SubjectError, match=r"gives no gradients; leave attack\.callable out"):
        run(Against(climb), gradients=False)
    with pytest.raises(DataError, match="targets: are missing"):
        run(Against(climb), y=None)

    class BlackBox(Against):
        gradients = False

    assert torch.equal(run(BlackBox(lambda forward, x, y: x), gradients=False), X)
