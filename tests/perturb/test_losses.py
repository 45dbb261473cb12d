"""Losses against their formulas, written once more."""

from __future__ import annotations

import torch

from ringtest.perturb import losses


def _logits(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(60, classes, generator=g, dtype=torch.float64)
    return z, torch.randint(classes, (60,), generator=g)


def test_targeted_dlr_is_equation_7() -> None:
    z, y = _logits(6)
    target = (y + 2) % 6
    expected = []
    for row, a, b in zip(z.tolist(), y.tolist(), target.tolist(), strict=True):
        first, _, third, fourth = sorted(row, reverse=True)[:4]
        expected.append(-(row[a] - row[b]) / (first - (third + fourth) / 2))
    found = losses.targeted_dlr(z, y, target)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(losses.targeted_dlr(100 * z + 7, y, target), found)
    # Its gradient leaves the other classes alone but through the scale, and points to the target.
    leaf = z.clone().requires_grad_()
    (g,) = torch.autograd.grad(losses.targeted_dlr(leaf, y, target).sum(), leaf)
    assert (g.sum(1).abs() < 1e-9).all()


def test_targeted_dlr_with_few_classes_is_the_difference() -> None:
    z, y = _logits(3)
    target = (y + 1) % 3
    rows = torch.arange(60)
    torch.testing.assert_close(losses.targeted_dlr(z, y, target), z[rows, target] - z[rows, y])
    assert (
        losses.targeted_dlr(torch.zeros(2, 5), torch.tensor([0, 1]), torch.tensor([1, 2]))
        .isfinite()
        .all()
    )


def test_deficit_is_above_0_where_the_model_is_wrong() -> None:
    z, y = _logits(4)
    assert torch.equal(losses.deficit(z, y) > 0, z.argmax(1) != y)
