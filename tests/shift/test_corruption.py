"""Corruptions: strengths that mean what their docstrings say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.shift import corruption, images

NO_MODEL: Any = None


def run(condition: Any, data: AuditData) -> torch.Tensor:
    condition.fit([], data, torch.Generator().manual_seed(0))
    out: torch.Tensor = condition.batch(
        NO_MODEL, data.inputs, None, torch.Generator().manual_seed(1)
    )
    return out


def grey(value: float = 0.5) -> AuditData:
    return AuditData(torch.full((50, 1, 16, 16), value), bounds=(0.0, 2.0))


def test_noise_is_a_share_of_the_range() -> None:
    data = grey(1.0)
    assert run(corruption.Noise(severity=2), data).std() == pytest.approx(0.16, rel=0.03)


def test_noise_on_tables_is_in_standard_deviations() -> None:
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 9.0])
    moved = run(corruption.Noise(severity=1), AuditData(x)) - x
    torch.testing.assert_close(moved.std(0) / x.std(0), torch.tensor([0.4, 0.4]), rtol=0.05, atol=0)


def test_brightness_saturates() -> None:
    assert (run(corruption.Brightness(severity=1), grey(1.0)) == 1.2).all()
    assert (run(corruption.Brightness(severity=5), grey(1.5)) == 2.0).all()


def test_contrast_keeps_the_mean() -> None:
    x = torch.rand(20, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    low = run(corruption.Contrast(severity=5), AuditData(x, bounds=(0, 1)))
    torch.testing.assert_close(low.mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(low.std((2, 3)), 0.15 * x.std((2, 3)))


def test_rotation_goes_both_ways_and_fills_with_the_low_end() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(1, 1, 9, 9, generator=g).expand(64, 1, 9, 9) - 3
    data = AuditData(x.contiguous(), bounds=(-3.0, -2.0))
    turned = run(corruption.Rotate(severity=5), data)
    left, right = images.rotated(x, 30, -3.0), images.rotated(x, -30, -3.0)
    is_left = (turned - left).abs().amax((1, 2, 3)) < 1e-5
    is_right = (turned - right).abs().amax((1, 2, 3)) < 1e-5
    assert (is_left ^ is_right).all()
    assert 16 < is_left.sum() < 48
    assert (turned[:, 0, 0, 0] < -2.9).all()


@pytest.mark.parametrize("severity", [None, 0, 1.5, 6])
def test_an_unknown_severity_is_an_error(severity: float | None) -> None:
    with pytest.raises(ConfigError, match="give 1 to 5"):
        run(corruption.Rotate(severity=severity), grey())
