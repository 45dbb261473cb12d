"""A temperature hides gradients from cross-entropy, and from no loss that is free of scale."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.perturb import losses

Found = dict[str, float]
ATTACKS = {"attack.pgd": 0.1, "attack.pgd_l2": 0.6, "attack.apgd": 0.1}


def robust(net: Any, x: Tensor, y: Tensor, id_: str, factor: float = 1.0) -> Found:
    """Accuracy under an attack with one loss alone and with all of them."""
    found = {}
    model: Any = SimpleNamespace(logits=lambda z, _=None: factor * net(z), gradients=True)
    for name in ("ce", "dlr", "both"):
        attack: Any = conditions[id_].make(severity=ATTACKS[id_])
        attack.steps = 20
        if id_ == "attack.apgd" and name != "both":
            attack.targets = 0
        if name != "both":
            attack.losses = {name: losses.LOSSES[name]}
        attack.fit([], AuditData(x, y.numpy(), bounds=(0.0, 1.0)), torch.Generator())
        moved = attack.batch(model, x, y, torch.Generator().manual_seed(1))
        found[name] = float((net(moved).argmax(1) == y).float().mean())
    return found


@pytest.mark.parametrize("id_", ATTACKS)
def test_a_scale_of_logits_changes_nothing_for_dlr(
    id_: str, digits_cnn: Callable[..., Any]
) -> None:
    net, x, y = digits_cnn()
    x, y = x[:250], y[:250]
    cool, hot = robust(net, x, y, id_), robust(net, x, y, id_, 100.0)
    assert hot["dlr"] == pytest.approx(cool["dlr"], abs=1 / 250)
    # The gap between the losses is what gives the trick away.
    assert hot["ce"] - hot["dlr"] > abs(cool["ce"] - cool["dlr"]) + 0.1
    assert hot["both"] <= cool["dlr"] + 1 / 250


@pytest.mark.parametrize("id_", ATTACKS)
@pytest.mark.parametrize("fake", ["trained at T=50", "logits x1000"])
def test_vanishing_gradients_are_not_taken_for_robustness(
    fake: str, id_: str, digits_cnn: Callable[..., Any]
) -> None:
    net, x, y = digits_cnn(50.0 if fake == "trained at T=50" else 1.0)
    x, y = x[:250], y[:250]
    found = robust(net, x, y, id_, 1000.0 if fake == "logits x1000" else 1.0)
    assert found["ce"] > found["dlr"] + 0.2
    assert found["both"] <= found["dlr"]
