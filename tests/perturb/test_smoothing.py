"""Certificates against closed forms, and bounds against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from torch import Tensor, nn
from usage_models import linear, one

from ringtest.data import AuditData
from ringtest.measure import measures
from ringtest.perturb.smoothing import Smoothing, lower_bound

ENTRY = measures["certify.smoothing"]


def boundary(distance: np.ndarray) -> tuple[nn.Module, AuditData]:
    """Rows at known distances from the boundary of a linear classifier."""
    g = torch.Generator().manual_seed(0)
    weight = torch.nn.functional.normalize(torch.randn(5, generator=g), dim=0)
    x = torch.randn(len(distance), 5, generator=g)
    x = x + (torch.as_tensor(distance, dtype=torch.float32) - x @ weight)[:, None] * weight
    # Bounds far away: an eps of .001 is a distance of 1.
    data = AuditData(x, (distance > 0).astype(int), bounds=(-500.0, 500.0))
    return linear(torch.stack([-weight, weight])), data


@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_the_bound_is_that_of_scipy(alpha: float) -> None:
    hits = np.array([0, 1, 3, 50, 99, 100])
    found = lower_bound(hits, 100, alpha)
    for k, bound in zip(hits, found, strict=True):
        both = binomtest(int(k), 100).proportion_ci(1 - 2 * alpha, "exact")
        assert bound == pytest.approx(both.low, abs=1e-10)


def certified(distance: np.ndarray, **options: float) -> tuple[np.ndarray, np.ndarray, AuditData]:
    net, data = boundary(distance)
    evidence, at = one(net, data)
    entry = Smoothing()
    for name, value in {"sigma": 0.001, **options}.items():
        setattr(entry, name, value)
    assert evidence.model is not None
    classes, radius = entry.certify(evidence.model, at)
    return classes, radius * 1000, data


def test_a_linear_model_is_certified_up_to_its_boundary_and_no_further() -> None:
    distance = np.linspace(-2.5, 2.5, 200)
    gaps = []
    for draws in (100, 1500):
        classes, radius, data = certified(distance, draws=draws)
        # The smoothed model is the model, and p = Phi(distance / sigma), with noise of 1 here.
        decided = radius > 0
        assert (classes[decided] == data.targets[decided]).all()
        beyond = radius > np.abs(distance) + 1e-6
        assert beyond.sum() <= 1, "each with a probability of at most .001"
        highest = norm.ppf(0.001 ** (1 / draws))
        assert radius.max() <= highest * (1 + 1e-6)
        near = (np.abs(distance) > 0.5) & (np.abs(distance) < 1.5)
        gaps.append((np.abs(distance) - radius)[near].mean())
    assert gaps[1] < gaps[0] / 2
    assert 0 < gaps[1] < 0.15


def test_it_abstains_on_the_boundary() -> None:
    _, radius, _ = certified(np.full(200, 0.01), draws=300)
    assert (radius > 0).mean() < 0.01


def test_readings_count_what_is_wrong_or_undecided_as_nothing() -> None:
    distance = np.concatenate([np.full(40, 2.0), np.full(40, -2.0), np.full(20, 0.01)])
    net, data = boundary(distance)
    assert data.targets is not None
    data.targets[40:60] = 1  # wrong, and certainly so
    evidence, at = one(net, data)
    entry = Smoothing()
    entry.sigma = 0.001  # type: ignore[misc]
    entry.draws = 400  # type: ignore[misc]
    mean, *accuracy, decided = entry.read(evidence, at)
    assert [r.estimate.value for r in accuracy] == [0.6, pytest.approx(0.6, abs=0.05), 0.0]
    assert decided.estimate.value == pytest.approx(0.8, abs=0.011)
    assert 0.6 * 1.2 < mean.estimate.value * 1000 < 0.6 * 2.0
    assert {mean.unit, decided.unit} == {"", "share"}
    assert mean.estimate.n == 100


def test_noise_is_that_of_the_seed_and_stays_inside_the_bounds() -> None:
    net, data = boundary(np.linspace(-1, 1, 60))
    seen: list[Tensor] = []

    class Seeing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            out: Tensor = self.net(x)
            return out

    evidence, at = one(Seeing(), data)
    entry = Smoothing()
    entry.choosing, entry.draws = 5, 20  # type: ignore[misc]
    seen.clear()
    state = torch.get_rng_state()
    assert evidence.model is not None
    first = entry.certify(evidence.model, at)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(seen) == 25
    assert all(x.abs().max() <= 500 for x in seen)
    assert max(float(x.abs().max()) for x in seen) == 500
    assert len({float(x[0, 0]) for x in seen}) > 10
    again = entry.certify(evidence.model, at)
    assert np.array_equal(first[1], again[1])


def test_without_bounds_a_unit_is_the_sd_of_a_column() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=g) * torch.tensor([100.0, 1.0])
    x[:, 1] = 3.0  # a constant column gets no noise
    net = linear([[-1.0, 1e6], [1.0, 1e6]])
    evidence, at = one(net, AuditData(x, (x[:, 0] > 0).long().numpy()))
    entry = Smoothing()
    entry.draws = 400  # type: ignore[misc]
    assert evidence.model is not None
    _, radius = entry.certify(evidence.model, at)
    distance = (x[:, 0].abs() / x[:, 0].std(correction=0)).numpy()
    assert (radius <= distance + 1e-6).mean() > 0.99
    middle = (distance > 0.15) & (distance < 0.4)
    assert 0 < (distance - radius)[middle].mean() < 0.1


def test_what_gives_nan_is_not_measurable() -> None:
    from ringtest.measure import NotMeasurable

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = linear([[1.0, 0.0], [0.0, 1.0]])

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net(x)
            return torch.where(x[:, :1] > 1.05, torch.nan, out)

    x = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    evidence, at = one(Broken(), AuditData(x, (x[:, 0] > 0.5).long().numpy()))
    with pytest.raises(NotMeasurable, match="NaN"):
        ENTRY.read(evidence, at)  # type: ignore[attr-defined]
