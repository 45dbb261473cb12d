"""What the off-support conditions keep of the data, and what they break."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ringtest.data import AuditData
from ringtest.shift import common, off_support, off_support_tokens

NO_MODEL: Any = None


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(n: int = 3000, d: int = 6) -> AuditData:
    x = torch.randn(n, d, generator=rng()) @ torch.randn(d, d, generator=rng(1)) + 5
    x[:, 2] = 0.1
    return AuditData(x)


def run(condition: Any, data: AuditData, x: Tensor | None = None) -> Tensor:
    condition.fit([], data, rng(2))
    out: Tensor = condition.batch(NO_MODEL, data.inputs if x is None else x, None, rng(3))
    return out


def test_gaussian_has_the_mean_and_covariance_of_the_data() -> None:
    data = table()
    many = data.inputs.repeat(20, 1)
    drawn = run(off_support.Gaussian(), data, many)
    torch.testing.assert_close(drawn.mean(0), data.inputs.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), data.inputs.T.cov(), atol=0.35, rtol=0.1)
    assert (drawn[:, 2] - 0.1).abs().max() < 1e-6
    # and no memory of the row
    assert abs(float(torch.stack([drawn[:, 0], many[:, 0]]).corrcoef()[0, 1])) < 0.02


def test_mixed_takes_exactly_half_and_keeps_marginals() -> None:
    data = table(d=7)
    mixed = run(off_support.Mixed(), data)
    same = mixed == data.inputs
    same[:, 2] = False
    assert ((same.sum(1) >= 3) & (same.sum(1) <= 4) | (same.sum(1) == 6)).all()
    for j in range(7):
        assert torch.isin(mixed[:, j], data.inputs[:, j]).all()
        assert mixed[:, j].mean() == pytest.approx(float(data.inputs[:, j].mean()), abs=0.2)
    before, after = data.inputs.T.corrcoef().nan_to_num(), mixed.T.corrcoef().nan_to_num()
    off = ~torch.eye(7, dtype=torch.bool)
    assert after[off].abs().mean() < 0.7 * before[off].abs().mean()


@pytest.mark.parametrize("severity", [1.0, 3.0])
def test_noise_is_in_units_of_each_column(severity: float) -> None:
    data = table()
    noise = run(off_support.Noise(severity=severity), data) - data.inputs
    ratio = noise.std(0) / data.inputs.std(0)
    assert (noise[:, 2] == 0).all()
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(ratio[kept], torch.full((5,), severity), rtol=0.05, atol=0)


def test_noise_on_images_is_by_channel() -> None:
    x = torch.randn(200, 3, 6, 5, generator=rng()) * torch.tensor([1.0, 10.0, 0.0]).view(1, 3, 1, 1)
    noise = run(off_support.Noise(severity=3.0), AuditData(x)) - x
    assert noise[:, 0].std() == pytest.approx(3, rel=0.05)
    assert noise[:, 1].std() == pytest.approx(30, rel=0.05)
    assert (noise[:, 2] == 0).all()


def test_spectrum_flattens_by_square_root_and_keeps_norms() -> None:
    x = torch.randn(1000, 5, generator=rng()) * torch.tensor([10.0, 5.0, 1.0, 0.1, 0.0]) + 3
    q = torch.linalg.qr(torch.randn(5, 5, generator=rng(1))).Q
    x = x @ q
    flat = run(off_support.Spectrum(), AuditData(x))
    mean = x.mean(0)
    torch.testing.assert_close((flat - mean).norm(dim=1), (x - mean).norm(dim=1))
    directions = torch.linalg.svd(x - mean, full_matrices=False).Vh
    before, after = ((x - mean) @ directions.T), ((flat - mean) @ directions.T)
    # Row by row, each coordinate is divided by sqrt(s), up to the row's own factor.
    s = before.std(0, correction=0)[:4]
    expected = before[:, :4] / s.sqrt()
    expected *= (before.norm(dim=1) / expected.norm(dim=1))[:, None]
    torch.testing.assert_close(after[:, :4], expected, rtol=1e-3, atol=1e-3)
    assert after[:, 4].abs().max() < 1e-3
    old, new = before.std(0)[:4], after.std(0)[:4]
    assert new[0] / new[3] < 0.2 * old[0] / old[3]


def test_spectrum_is_the_same_from_either_gram_matrix() -> None:
    x = torch.randn(40, 60, generator=rng()) * torch.linspace(3, 0.2, 60)
    values, directions = off_support._principal(x - x.mean(0))
    _, s, vh = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    torch.testing.assert_close(values, s[:39] / 40**0.5)
    torch.testing.assert_close((directions.T @ vh[:39].T).abs(), torch.eye(39), atol=1e-3, rtol=0)


def test_a_constant_data_set_stays() -> None:
    data = AuditData(torch.full((30, 4), 2.5))
    for condition in (
        off_support.Gaussian(),
        off_support.Spectrum(),
        off_support.Noise(severity=3),
    ):
        assert torch.equal(run(condition, data), data.inputs)


def test_pool_is_seeded_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(5000.0)[:, None].expand(5000, 10)
    one, two = common.pool(x, 100, rng()), common.pool(x, 100, rng())
    assert torch.equal(one, two)
    assert len(one[:, 0].unique()) == 100
    assert torch.equal(common.pool(x[:50], 100, rng()), x[:50])
    monkeypatch.setattr(common, "POOL_NUMBERS", 700)
    assert len(common.pool(x, 100, rng())) == 70
    monkeypatch.setattr(common, "POOL_NUMBERS", 7)
    assert len(common.pool(x, 100, rng())) == common.POOL_LEAST


def test_tokens() -> None:
    x = torch.randint(3, (400, 30), generator=rng()).clamp(max=1) * 17
    data = AuditData(x)
    shuffled = run(off_support_tokens.Shuffled(), data)
    assert torch.equal(shuffled.sort(1).values, x.sort(1).values)
    drawn = run(off_support_tokens.Random(), data)
    assert set(drawn.unique().tolist()) == {0, 17}
    assert (drawn == 17).float().mean() == pytest.approx(2 / 3, abs=0.02)
