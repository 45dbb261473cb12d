"""What tells two functions of one name apart, and two audits by them."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

import ringtest
from ringtest.cells.versions import of_callable


def make(source: str) -> Any:
    """A function from its source, as another process would define it."""
    space: dict[str, Any] = {"functools": functools}
    exec(source, space)
    return space["f"]


SOURCES = (
    "f = lambda o, t: o",
    "f = lambda o, t: t",
    "f = lambda o, t: (lambda: 1)()",
    "f = lambda o, t: (lambda: 2)()",
    "f = lambda o, t=1: o",
    "f = lambda o, t=2: o",
    "f = lambda o, *, t=1: o",
    "f = (lambda k: lambda o, t: k)(1)",
    "f = (lambda k: lambda o, t: k)(2)",
    "f = functools.partial(lambda k, o, t: k, 1)",
    "f = functools.partial(lambda k, o, t: k, 2)",
    "f = functools.partial(lambda o, t, k: k, k=1)",
    "class A:\n  def __call__(self, o, t): return o\nf = A()",
    "class A:\n  def __call__(self, o, t): return t\nf = A()",
    "class A:\n  def __call__(self, o, t): return o\nf = A()\nf.k = 1",
    "class A:\n  def m(self, o, t): return o\nf = A().m",
    "f = len",
    "f = abs",
)


def test_functions_are_told_by_their_code_and_what_they_hold() -> None:
    found = [of_callable(make(source)) for source in SOURCES]
    assert len(set(found)) == len(found)
    assert found == [of_callable(make(source)) for source in SOURCES]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("asked_alone", "undrawn")
def test_two_metrics_of_one_name_are_not_one_audit(tmp_path) -> None:
    """Both are called <lambda>: a baseline by one said nothing about the other."""

    def net(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()

    with torch.random.fork_rng():
        models = [net(seed) for seed in range(3)]
        x = torch.randn(120, 6)
    data = ringtest.AuditData(x, torch.arange(120) % 3)

    def audit(metric: Any, **more: Any) -> Any:
        return ringtest.audit(models[:2], models[2], data, metric=metric, progress=False, **more)

    right = lambda o, t: (o.argmax(1) == t).float()  # noqa: E731
    ones = lambda o, t: torch.ones(len(t))  # noqa: E731
    old, new = audit(right, out=tmp_path), audit(ones)
    assert old.data["config"]["metric"] == new.data["config"]["metric"] == "<lambda>"
    with pytest.raises(ringtest.RingtestError, match=r"config\.identity\.metric differs"):
        ringtest.gate(new, baseline=old)
    with pytest.raises(ringtest.RingtestError, match="belongs to another audit"):
        audit(ones, out=tmp_path)
    assert "metric" not in audit(None).data["config"]["identity"]
    assert audit(right, out=tmp_path).data["integrity"] == old.data["integrity"]
