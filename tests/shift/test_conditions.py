"""What every condition of shift/ and perturb/ promises, on every kind of data."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

import ringtest.perturb
import ringtest.shift
from ringtest import tasks
from ringtest.condition import Condition, conditions
from ringtest.data import AuditData
from ringtest.trial import prepare
from tests.support.steady import STEADY

AREAS = ("ringtest.shift.", "ringtest.perturb.")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _data(kind: str) -> AuditData:
    g = rng(7)
    n = 60
    targets = torch.randint(3, (n,), generator=g).numpy()
    invariances = {"reverse": lambda x: x.flip(-1)}
    extra: dict[str, Any] = {"targets": targets, "invariances": invariances}
    if kind.startswith("images"):
        smooth = torch.rand(n, 3, 3, 3, generator=g)
        x = torch.nn.functional.interpolate(smooth, size=(11, 9), mode="bilinear")
        bounds = (0.0, 1.0) if kind == "images, bounds" else None
        x = x if bounds else 4 * x - 1
        return AuditData(x, bounds=bounds, unlabelled={"elsewhere": x[:20] * 0.5}, **extra)
    if kind == "tokens":
        x = torch.randint(50, (n, 12), generator=g)
        return AuditData(x, unlabelled={"elsewhere": x[:20]}, **extra)
    shape = {"table": (n, 5), "sequence": (n, 6, 4), "halves": (n, 5)}[kind]
    x = torch.randn(shape, generator=g) * torch.linspace(0.5, 3, shape[-1]) + 2
    x[..., 1] = 4.0  # a constant column
    x = x.half() if kind == "halves" else x
    return AuditData(x, unlabelled={"elsewhere": x[:20]}, **extra)


DATA = {k: _data(k) for k in ("images, bounds", "images", "table", "halves", "sequence", "tokens")}
LINEAR = {k: torch.randn(d.inputs[0].numel(), 3, generator=rng(3)) for k, d in DATA.items()}


def model(kind: str) -> Any:
    def logits(x: Tensor, rows: Tensor | None = None) -> Tensor:
        return x.flatten(1).float() @ LINEAR[kind]

    return SimpleNamespace(logits=logits, gradients=True)


def ours(data: AuditData) -> list[Condition]:
    kinds = [k for k in conditions if k.make.__module__.startswith(AREAS)]
    return [c for k in kinds for c in k.make.defaults(data)]


CASES = [pytest.param(k, c, id=f"{k}-{c.key}") for k, d in DATA.items() for c in ours(d)]


def members(data: AuditData, count: int) -> list[Any]:
    """Linear members that differ."""
    task, k = tasks.make("classification", data), data.inputs[0].numel()
    made = []
    for i in range(count):
        layer = skip_init(nn.Linear, k, 3, bias=False)  # draws nothing
        with torch.no_grad():
            layer.weight.copy_(torch.randn(3, k, generator=rng(10 + i)) / k**0.5)
        net = nn.Sequential(nn.Flatten(), layer)
        net = net.to(data.inputs.dtype if data.inputs.is_floating_point() else torch.float32)
        made.append(prepare(f"m{i}", "member", net, task, data))
    return made


def fitted(condition: Condition, data: AuditData) -> Condition:
    few = condition.least_members
    subjects = [STEADY] if few == 1 else members(data, few)
    condition.fit(subjects, data, rng(1))
    for m in subjects if few > 1 else ():
        m.at(data.rows, slice(0, data.n))
    return condition


def run(kind: str, condition: Condition, x: Tensor | None = None, seed: int = 2) -> Tensor:
    data = DATA[kind]
    x = condition.inputs(data) if x is None else x
    y = torch.as_tensor(data.targets)[: len(x)] if condition.keeps_rows else None
    return condition.batch(model(kind), x, y, rng(seed))


@pytest.mark.parametrize(("kind", "condition"), CASES)
def test_contract(kind: str, condition: Condition) -> None:
    data = DATA[kind]
    before, state = data.inputs.clone(), torch.get_rng_state()
    x = fitted(condition, data).inputs(data)
    changed = run(kind, condition)
    assert changed.shape == x.shape
    assert changed.dtype == x.dtype
    assert not changed.requires_grad
    if changed.is_floating_point():
        assert changed.isfinite().all()
        if data.bounds is not None:
            assert changed.min() >= data.bounds[0]
            assert changed.max() <= data.bounds[1]
    # the same again, also from a fresh fit; nothing global, nothing in place
    assert torch.equal(run(kind, condition), changed)
    again = fitted(type(condition)(condition.name, condition.severity), data)
    assert torch.equal(run(kind, again), changed)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(data.inputs, before)
    # it does something, unless it is another set of rows
    assert condition.keeps_rows != torch.equal(changed, x)


@pytest.mark.parametrize(("kind", "condition"), CASES)
def test_rows_do_not_depend_on_other_rows(kind: str, condition: Condition) -> None:
    data = DATA[kind]
    fitted(condition, data)
    x = condition.inputs(data)
    other = torch.cat([x[:8], x[8:].flip(0)])
    a, b = run(kind, condition, x)[:8], run(kind, condition, other)[:8]
    if condition.scope == "own":
        # The attack's batch shrinks with the examples broken: float rounding moves with it.
        assert ((a - b).abs() > 1e-5).float().mean() < 0.01
    else:
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", DATA)
def test_severities_are_ordered_and_keys_unique(kind: str) -> None:
    data = DATA[kind]
    found = ours(data)
    assert len({c.key for c in found}) == len(found)
    families: dict[str, list[tuple[float, float]]] = {}
    for c in found:
        if c.severity is not None:
            moved = (run(kind, fitted(c, data)) - data.inputs).float().abs().mean()
            families.setdefault(c.id, []).append((c.severity, float(moved)))
    for name, pairs in families.items():
        moves = [m for _, m in sorted(pairs)]
        if name == "shift.off_support.patches":
            continue  # smaller patches are no larger change, but another
        # A share of few columns may be the same number of them.
        assert all(a < b or (a == b and "mixed" in name) for a, b in pairwise(moves)), (name, pairs)


def test_every_kind_says_what_it_is() -> None:
    for kind in conditions:
        assert kind.about, kind.id
        assert "\n" not in kind.about
        assert kind.make.__doc__
        assert kind.id == kind.make.kind
        if kind.role in ("off_support", "certified", "unlabelled"):
            assert not kind.make.keeps_targets


def test_who_gets_what() -> None:
    names = {
        k: {c.key.removeprefix("shift.off_support.") for c in ours(d)} for k, d in DATA.items()
    }
    real = {
        "gaussian",
        "mixed",
        "noise@1",
        "noise@3",
        "spectrum",
        "noise.input@0.1",
        "attack.pgd@0.1",
    }
    assert real | {"patches", "phases"} <= names["images"]
    assert real | {"shift.corruption.noise@5"} <= names["table"]
    assert not {"patches", "shift.corruption.blur@1"} & names["table"]
    assert names["tokens"] == {
        "shuffled",
        "shuffled@0.25",
        "shuffled@0.5",
        "random",
        "random@0.25",
        "random@0.5",
        "shift.certified.order",
        "shift.certified.dropout",
        "shift.strongest.order",
        "shift.strongest.dropout",
        "shift.unlabelled.elsewhere",
        "shift.invariance.reverse",
    }
    assert ringtest.shift.__doc__
    assert ringtest.perturb.__doc__
