"""Attacks against foolbox, torchattacks and the Adversarial Robustness Toolbox on 500 digits.

These libraries are oracles, which `make venv` installs. They keep the last
iterate of every example, while ours leaves the batch when it is broken; so steps are compared with
nobody leaving, on the points at which the model was looked at last.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from oracles import oracle
from torch import Tensor, nn

from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.perturb import losses, square

# They warn of what they import, and of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = 40
EPS = {"attack.fgsm": 0.1, "attack.pgd": 0.1, "attack.pgd_l2": 0.6}
Theirs = Callable[[nn.Module, Tensor, Tensor, str], Tensor]


def foolbox(net: nn.Module, x: Tensor, y: Tensor, id_: str) -> Tensor:
    fb = oracle("foolbox")
    model = fb.PyTorchModel(net, bounds=(0, 1), device="cpu")
    options = {"rel_stepsize": 2.5 / STEPS, "steps": STEPS, "random_start": False}
    attack = {
        "attack.fgsm": lambda: fb.attacks.LinfFastGradientAttack(random_start=False),
        "attack.pgd": lambda: fb.attacks.LinfProjectedGradientDescentAttack(**options),
        "attack.pgd_l2": lambda: fb.attacks.L2ProjectedGradientDescentAttack(**options),
    }[id_]()
    found: Tensor = attack(model, x, y, epsilons=EPS[id_])[1]
    return found


def torchattacks(net: nn.Module, x: Tensor, y: Tensor, id_: str) -> Tensor:
    ta = oracle("torchattacks")
    eps = EPS[id_]
    options = {"eps": eps, "alpha": 2.5 / STEPS * eps, "steps": STEPS, "random_start": False}
    attack = {
        "attack.fgsm": lambda: ta.FGSM(net, eps=eps),
        "attack.pgd": lambda: ta.PGD(net, **options),
        # What it adds to norms is no smaller than some gradients of its mean loss.
        "attack.pgd_l2": lambda: ta.PGDL2(net, eps_for_division=1e-30, **options),
    }[id_]()
    found: Tensor = attack(x, y)
    return found


def classifier(net: nn.Module) -> Any:
    # Each estimator of this toolbox is imported with what it stands on.
    art = oracle("art.estimators.classification")
    return art.PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )


def toolbox(net: nn.Module, x: Tensor, y: Tensor, id_: str) -> Tensor:
    evasion = oracle("art.attacks.evasion")
    eps = EPS[id_]
    options = {"eps": eps, "eps_step": 2.5 / STEPS * eps, "max_iter": STEPS, "batch_size": 500}
    attack = {
        "attack.fgsm": lambda of: evasion.FastGradientMethod(of, eps=eps, batch_size=500),
        "attack.pgd": lambda of: evasion.ProjectedGradientDescentPyTorch(
            of, np.inf, verbose=False, **options
        ),
        "attack.pgd_l2": lambda of: evasion.ProjectedGradientDescentPyTorch(
            of, 2, verbose=False, **options
        ),
    }[id_](classifier(net))
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


LIBRARIES = pytest.mark.parametrize("theirs", [foolbox, torchattacks, toolbox])


def made(id_: str, eps: float, x: Tensor, y: Tensor, **options: Any) -> Any:
    attack: Any = conditions[id_].make(severity=eps)
    for name, value in options.items():
        setattr(attack, name, value)
    attack.fit([], AuditData(x, y.numpy(), bounds=(0.0, 1.0)), torch.Generator())
    return attack


def last_points(net: nn.Module, x: Tensor, y: Tensor, id_: str) -> Tensor:
    """Where each example is after all steps, with cross-entropy and from the clean point."""
    seen: list[Tensor] = []

    def logits(z: Tensor, _: Tensor | None = None) -> Tensor:
        seen.append(z.detach().clone())
        out: Tensor = net(z)
        return out

    steps = 1 if id_ == "attack.fgsm" else STEPS
    ce = {"ce": losses.LOSSES["ce"]}
    attack = made(id_, EPS[id_], x, y, losses=ce, steps=steps, random_start=False)
    goal = attack.goal
    attack.goal = lambda outputs, y: replace(goal(outputs, y), breaks=False)
    attack.batch(SimpleNamespace(logits=logits, gradients=True), x, y, torch.Generator())
    assert len(seen) == steps + 2
    return seen[-1]


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((net(x).argmax(1) == y).double().mean())


@pytest.mark.parametrize("id_", ["attack.fgsm", "attack.pgd"])
@LIBRARIES
def test_linf_steps_are_theirs(theirs: Theirs, id_: str, digits_cnn: Callable[..., Any]) -> None:
    net, x, y = digits_cnn()
    expected, found = theirs(net, x, y, id_), last_points(net, x, y, id_)
    assert torch.equal(net(found).argmax(1), net(expected).argmax(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert 0.02 < accuracy(net, found, y) < 0.8, "too easy, or too hard, to tell attacks apart"


@LIBRARIES
def test_l2_steps_are_theirs_but_for_one_example(
    theirs: Theirs, digits_cnn: Callable[..., Any]
) -> None:
    net, x, y = digits_cnn()
    expected, found = theirs(net, x, y, "attack.pgd_l2"), last_points(net, x, y, "attack.pgd_l2")
    assert (net(found).argmax(1) != net(expected).argmax(1)).sum() <= 1
    # The toolbox clamps to the bounds before it projects: as far, by other points.
    if theirs is not toolbox:
        assert ((found - expected).abs().flatten(1).amax(1) > 1e-3).sum() <= 1
    assert 0.02 < accuracy(net, found, y) < 0.8


def ours(net: nn.Module, x: Tensor, y: Tensor, id_: str, eps: float, **options: Any) -> float:
    attack = made(id_, eps, x, y, **options)
    model: Any = SimpleNamespace(logits=lambda z, _=None: net(z), gradients=True)
    return accuracy(net, attack.batch(model, x, y, torch.Generator().manual_seed(1)), y)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_apgd_is_within_a_point_of_theirs(loss: str, digits_cnn: Callable[..., Any]) -> None:
    ta = oracle("torchattacks")
    net, x, y = digits_cnn()
    with torch.random.fork_rng([]):
        expected = accuracy(net, ta.APGD(net, eps=0.1, steps=100, loss=loss)(x, y), y)
    found = ours(net, x, y, "attack.apgd", 0.1, losses={loss: losses.LOSSES[loss]}, targets=0)
    assert found == pytest.approx(expected, abs=0.01)
    assert 0.05 < expected < 0.8


def test_all_losses_of_apgd_are_within_a_point_of_the_first_two_of_autoattack(
    digits_cnn: Callable[..., Any],
) -> None:
    ta = oracle("torchattacks")
    net, x, y = (part[:250] if isinstance(part, Tensor) else part for part in digits_cnn())
    right = torch.ones(len(y), dtype=torch.bool)
    with torch.random.fork_rng([]):
        for attack in (
            ta.APGD(net, eps=0.1, steps=50, loss="ce"),
            ta.APGDT(net, eps=0.1, steps=50, n_classes=10),
        ):
            right &= net(attack(x, y)).argmax(1) == y
    found = ours(net, x, y, "attack.apgd", 0.1, steps=50)
    assert found == pytest.approx(float(right.double().mean()), abs=0.01)


def torchattacks_square(net: nn.Module, x: Tensor, y: Tensor, queries: int) -> Tensor:
    attack = oracle("torchattacks").Square(net, eps=0.1, n_queries=queries)
    found: Tensor = attack(x, y)
    return found


def toolbox_square(net: nn.Module, x: Tensor, y: Tensor, queries: int) -> Tensor:
    attack = oracle("art.attacks.evasion").SquareAttack(
        classifier(net), eps=0.1, max_iter=queries, batch_size=500, verbose=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


@pytest.mark.parametrize("theirs", [torchattacks_square, toolbox_square])
def test_square_at_equal_queries(
    theirs: Any, digits_cnn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x, y = digits_cnn()
    state = np.random.get_state()  # noqa: NPY002 - theirs is the global one
    try:
        np.random.seed(0)  # noqa: NPY002
        with torch.random.fork_rng([]):
            expected = accuracy(net, theirs(net, x, y, 300), y)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    found = ours(net, x, y, "attack.square", 0.1, queries=300)
    # No more than gradients find, and more than noise of the same size does.
    assert found >= ours(net, x, y, "attack.apgd", 0.1, steps=20) - 0.005
    noise = x + 0.1 * (
        torch.randint(2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    )
    assert found < accuracy(net, noise.clamp(0, 1), y) - 0.1
    assert found <= expected + 0.01
    # Theirs never reach the last row and column: their squares begin before height - side.
    whole = square._stretch

    def shorter(length: int, side: float, *more: Any) -> Tensor:
        size = min(max(round(side), 1), length - 1)
        return nn.functional.pad(whole(length - 1, size, *more), (0, 1))

    monkeypatch.setattr(square, "_stretch", shorter)
    found = ours(net, x, y, "attack.square", 0.1, queries=300)
    assert found == pytest.approx(expected, abs=0.03)


def test_sparse_steps_in_l1_are_no_weaker_than_theirs(digits_cnn: Callable[..., Any]) -> None:
    fb = oracle("foolbox")
    net, x, y = digits_cnn()
    attack = fb.attacks.L1ProjectedGradientDescentAttack(
        steps=50, rel_stepsize=2.5 / 50, random_start=False
    )
    model = fb.PyTorchModel(net, bounds=(0, 1), device="cpu")
    expected = accuracy(net, attack(model, x, y, epsilons=2.0)[1], y)
    assert ours(net, x, y, "attack.pgd_l1", 2.0) <= expected
