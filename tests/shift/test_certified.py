"""The dictionary from which the teacher certifies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.shift.certified import Certified

NO_MODEL: Any = None


def run(name: str, data: AuditData) -> Tensor:
    condition = Certified(name)
    condition.fit([], data, torch.Generator().manual_seed(0))
    return condition.batch(NO_MODEL, data.inputs, None, torch.Generator().manual_seed(1))


def images(size: int = 40) -> AuditData:
    x = torch.rand(8, 2, size, size, generator=torch.Generator().manual_seed(0)) - 2
    return AuditData(x, bounds=(-2.0, -1.0))


def table(columns: int, **extra: Any) -> AuditData:
    return AuditData(torch.rand(500, columns, generator=torch.Generator().manual_seed(0)), **extra)


def names(data: AuditData) -> set[str]:
    return {str(c.name) for c in Certified.defaults(data)}


def test_ids() -> None:
    ids = [c.key for c in Certified.defaults(images())]
    assert len(ids) == 18
    assert "shift.certified.rotate_minus_15" in ids


def test_translations_are_whole_pixels_filled_with_the_low_end() -> None:
    data = images()
    x = data.inputs
    right, up = run("shift_right", data), run("shift_up", data)
    assert torch.equal(right[..., 2:], x[..., :-2])
    assert (right[..., :2] == -2).all()
    assert torch.equal(up[..., :-2, :], x[..., 2:, :])
    small = images(8)
    assert torch.equal(run("shift_left", small)[..., :-1], small.inputs[..., 1:])


def test_flips_and_brightness() -> None:
    data = images()
    assert torch.equal(run("flip_horizontal", data), data.inputs.flip(3))
    assert torch.equal(run("flip_vertical", data), data.inputs.flip(2))
    torch.testing.assert_close(run("brighter", data), (data.inputs + 0.1).clamp(-2, -1))


def test_sign_flips_of_coordinates() -> None:
    data = table(2)
    assert {"flip_0", "flip_1", "flip_all"} <= names(data)
    torch.testing.assert_close(run("flip_0", data), data.inputs * torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(run("flip_all", data), -data.inputs)
    # one column: a single flip would be the same again; many: only all at once
    assert [n for n in sorted(names(table(1))) if "flip" in n] == ["flip_all"]
    assert [n for n in sorted(names(table(9))) if "flip" in n] == ["flip_all"]


def test_a_flip_stays_inside_bounds_by_mirroring_about_their_middle() -> None:
    data = table(3, bounds=(0.0, 1.0))
    torch.testing.assert_close(run("flip_all", data), 1 - data.inputs)


def test_numbers_move_in_units_of_their_deviation() -> None:
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0])
    data = AuditData(x + 1000)
    sd = x.std(0, correction=0)
    moved = run("shift_up", data) - data.inputs
    torch.testing.assert_close(moved.mean(0), 0.1 * sd, rtol=1e-2, atol=0)
    wide = run("scale_up", data)
    torch.testing.assert_close(wide.mean(0), data.inputs.mean(0))
    torch.testing.assert_close(wide.std(0) / x.std(0), torch.tensor([1.1, 1.1]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("length", [2, 3, 4, 5, 12, 41])
def test_order_swaps_neighbours_only(length: int) -> None:
    x = torch.arange(length).repeat(300, 1)
    moved = run("order", AuditData(x)) - x
    assert moved.abs().max() == 1
    assert (moved.sum(1) == 0).all()
    assert torch.equal((x + moved).sort(1).values, x)
    pairs = (moved != 0).sum(1) / 2
    assert pairs.max() <= max(1, round(0.1 * (length // 2)))
    assert (pairs > 0).float().mean() > (0.4 if length % 2 == 0 else 0.99)


def test_dropout_replaces_one_token_in_twenty_from_the_marginal() -> None:
    x = torch.randint(100, 1000, (300, 60), generator=torch.Generator().manual_seed(0))
    changed = run("dropout", AuditData(x))
    assert ((changed != x).sum(1) <= 3).all()
    assert (changed != x).float().mean() == pytest.approx(0.05, abs=0.002)
    assert torch.isin(changed, x).all()


def test_an_unknown_name_comes_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="did you mean flip_all"):
        run("flip_al", table(3))
