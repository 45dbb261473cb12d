"""Invariances and unlabelled sets: what the user hands in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ringtest.data import AuditData
from ringtest.errors import DataError
from ringtest.shift.invariance import Invariance
from ringtest.shift.unlabelled import Unlabelled

NO_MODEL: Any = None


def rows(n: int) -> Tensor:
    return torch.rand(n, 4, generator=torch.Generator().manual_seed(n))


def run(function: Callable[[Tensor], Any], x: Tensor | None = None) -> Tensor:
    x = rows(6) if x is None else x
    data = AuditData(x, invariances={"mine": lambda r: r})
    data.invariances = {"mine": function}
    (condition,) = Invariance.defaults(data)
    condition.fit([], data, torch.Generator())
    return condition.batch(NO_MODEL, x, None, torch.Generator().manual_seed(0))


def test_the_callable_is_applied_without_gradient() -> None:
    weight = torch.ones(4, requires_grad=True)
    x = rows(6)
    assert torch.equal(run(lambda r: r * weight * 2, x), 2 * x)
    assert not run(lambda r: r * weight).requires_grad


def test_in_place_and_random_callables_leave_no_trace() -> None:
    x = rows(6)
    before, state = x.clone(), torch.get_rng_state()
    one, two = run(lambda r: r.add_(torch.rand(4)), x), run(lambda r: r + torch.rand(4), x)
    assert torch.equal(one, two)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x[:, :2], r"gave \(6, 2\)"),
        (lambda x: x.numpy(), "gave ndarray"),
        (lambda x: x.long(), "turned torch.float32 into torch.int64"),
        (lambda x: x / 0, "NaN or infinity in 6 rows"),
        (lambda x: x @ x, "raised RuntimeError"),
    ],
)
def test_a_wrong_answer_is_one_line(function: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(function)
    assert "\n" not in str(caught.value)
    assert "invariances['mine']" in str(caught.value)


def test_unlabelled_rows_as_they_are() -> None:
    sets = {"phone": rows(3), "scan": rows(9)}
    data = AuditData(rows(6), unlabelled=sets)
    found = list(Unlabelled.defaults(data))
    assert [c.id for c in found] == ["shift.unlabelled.phone", "shift.unlabelled.scan"]
    assert torch.equal(found[1].inputs(data), sets["scan"])
    with pytest.raises(DataError, match="did you mean phone"):
        Unlabelled("phones").inputs(data)
