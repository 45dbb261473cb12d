"""Balls against exact answers: uniform draws, steepest steps, nearest points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import kstest
from torch import Tensor

from ringtest.perturb.geometry import L2, Ball, Linf
from ringtest.perturb.sparse import L1, shrunk

BALLS = [Linf, L2, L1]
ORDER = {Linf: np.inf, L2: 2, L1: 1}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def length(offset: Tensor, kind: type[Ball]) -> Tensor:
    return torch.linalg.vector_norm(offset.double().flatten(1), ord=ORDER[kind], dim=1)


@pytest.mark.parametrize("kind", BALLS)
def test_starts_are_uniform_in_the_ball(kind: type[Ball]) -> None:
    unit = torch.tensor([[1.0, 2.0, 0.0, 0.5]])
    centre = torch.randn(4000, 4, generator=rng())
    start = kind(centre, unit, 0.3, None).start(rng(1))
    assert torch.equal(start[:, 2], centre[:, 2])
    offset = ((start - centre) / unit)[:, [0, 1, 3]] / 0.3
    # The volume within r of the centre is r^d, d the number of features that may move.
    assert kstest(length(offset, kind).numpy() ** 3, "uniform").pvalue > 0.01
    # Reflections and exchanges of coordinates leave a ball as it is.
    assert kstest(offset[:, 0], offset[:, 1]).pvalue > 0.01
    assert kstest(offset[:, 0], -offset[:, 2]).pvalue > 0.01
    # A uniform point stays one where it was conditioned on a smaller cube inside the ball.
    cube = offset[(offset.abs() < 0.33).all(1)] / 0.33
    assert len(cube) > 40
    assert kstest(cube.flatten().numpy(), "uniform", args=(-1, 2)).pvalue > 0.01


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("kind", BALLS)
def test_projection_is_inside_and_moves_nothing_that_is(
    kind: type[Ball], bounds: tuple[float, float] | None
) -> None:
    centre = torch.rand(300, 3, 4, generator=rng())
    unit = torch.rand(1, 3, 1, generator=rng(1)) + 0.1
    ball = kind(centre, unit, 0.5, bounds)
    far = (
        centre + torch.randn(300, 3, 4, generator=rng(2)) * torch.linspace(0, 2, 300)[:, None, None]
    )
    near = ball.project(far)
    assert ball.holds(near, torch.float32).all()
    assert (length((near - centre) / unit, kind) <= 0.5 * (1 + 1e-5)).all()
    if bounds is not None:
        assert near.min() >= 0
        assert near.max() <= 1
    torch.testing.assert_close(ball.project(near), near, atol=1e-6, rtol=1e-5)
    assert not ball.holds(far, torch.float32)[-100:].any()


@pytest.mark.parametrize("kind", [L2, L1])
def test_projection_is_the_nearest_point(kind: type[Ball]) -> None:
    g = rng(3)
    bounds = None if kind is L2 else (0.0, 1.0)
    centre = torch.rand(6, 5, generator=g, dtype=torch.float64)
    point = centre + torch.randn(6, 5, generator=g, dtype=torch.float64)
    found = kind(centre, torch.ones(()), 0.7, bounds).project(point)
    for c, p, f in zip(centre.numpy(), point.numpy(), found.numpy(), strict=True):
        # Positive and negative parts, so that the l1 norm is smooth.
        def offset(z: np.ndarray) -> np.ndarray:
            return z[:5] - z[5:]

        room = (
            [(0, None)] * 10 if bounds is None else [*((0, 1 - v) for v in c), *((0, v) for v in c)]
        )
        limit = {
            L2: lambda z: 0.7**2 - np.square(offset(z)).sum(),
            L1: lambda z: 0.7 - z.sum(),
        }[kind]
        best = minimize(
            lambda z: np.square(c + offset(z) - p).sum(),  # noqa: B023 - called at once
            np.full(10, 0.01),
            bounds=room,
            constraints={"type": "ineq", "fun": limit},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        assert np.square(f - p).sum() == pytest.approx(best.fun, abs=1e-5)


def test_l1_together_with_the_box_keeps_its_budget() -> None:
    # Clamping after the projection would leave less than half of eps here.
    centre = torch.full((1, 8), 0.95)
    point = centre + torch.tensor([[3.0, 3, 3, 3, 0.4, 0.4, 0.4, -0.4]])
    found = L1(centre, torch.ones(()), 0.5, (0.0, 1.0)).project(point) - centre
    assert found.abs().sum() == pytest.approx(0.5, abs=1e-6)
    plain = L1(centre, torch.ones(()), 0.5, None).project(point)
    assert (plain.clamp(0, 1) - centre).abs().sum() < 0.25


def test_shrunk_on_long_rows() -> None:
    sizes = torch.rand(3, 100_000, generator=rng()) ** 4
    out = shrunk(sizes, torch.full_like(sizes, 0.5), 40.0)
    torch.testing.assert_close(
        out.double().sum(1), torch.full((3,), 40.0).double(), rtol=1e-4, atol=0
    )
    assert out.max() <= 0.5
    assert torch.equal(shrunk(sizes, sizes, 1e6), sizes)
    assert torch.equal(shrunk(torch.zeros(2, 3), torch.ones(2, 3), 1.0), torch.zeros(2, 3))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("kind", BALLS)
def test_steepest_steps(kind: type[Ball], scale: float) -> None:
    g = torch.randn(50, 12, generator=rng())
    unit = torch.linspace(0, 2, 12)[None]
    ball = kind(torch.zeros(50, 12), unit, 1.0, None)
    way = ball.steepest(ball.centre, g * scale)
    size = length(way * (unit > 0), kind)
    torch.testing.assert_close(size, torch.ones_like(size), rtol=1e-5, atol=0)
    # By Hoelder the best rise of a linear loss is the dual norm; 5 % of 11 is one coordinate in l1.
    dual = torch.linalg.vector_norm(g * unit, ord={Linf: 1, L2: 2, L1: np.inf}[kind], dim=1)
    torch.testing.assert_close((way * g * unit).sum(1), dual)
    assert (ball.steepest(ball.centre, torch.zeros_like(g)) == 0).all()


def test_sparse_steps_leave_out_what_stands_at_the_bounds() -> None:
    centre = torch.tensor([[0.0, 1.0, 0.5, 0.5]])
    ball = L1(centre, torch.ones(()), 1.0, (0.0, 1.0))
    way = ball.steepest(centre, torch.tensor([[-9.0, 8.0, -2.0, 1.0]]))
    assert torch.equal(way, torch.tensor([[0.0, 0.0, -1.0, 0.0]]))


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("kind", BALLS)
def test_each_row_may_have_a_radius_of_its_own(
    kind: type[Ball], bounds: tuple[float, float] | None
) -> None:
    centre = torch.rand(4, 3, 4, generator=rng())
    unit = torch.rand(1, 3, 1, generator=rng(1)) + 0.1
    unit[0, 1] = 0
    eps = torch.tensor([0.0, 0.1, 0.5, 2.0])
    far = centre + torch.randn(4, 3, 4, generator=rng(2)) * (unit > 0)
    slope = torch.randn(4, 3, 4, generator=rng(3))
    balls = kind(centre, unit, eps, bounds)
    near, moved, start = balls.project(far), balls.move(far, 0.3, slope), balls.start(rng(4))
    for row, radius in enumerate(eps.tolist()):
        # A number as ever, for all rows: this row is the same to the last bit.
        one = kind(centre, unit, radius, bounds)
        assert torch.equal(near[row], one.project(far)[row])
        assert torch.equal(moved[row], one.move(far, 0.3, slope)[row])
        assert torch.equal(start[row], one.start(rng(4))[row])
        assert torch.equal(balls.holds(far, far.dtype)[row], one.holds(far, far.dtype)[row])
    assert balls.holds(near, near.dtype).all()
    assert (balls.distance(near) <= eps * (1 + 1e-5) + 1e-6).all()
    few = balls.take(torch.tensor([3, 1]))
    assert torch.equal(few.project(far[[3, 1]]), near[[3, 1]])
    assert torch.equal(balls.take(eps > 0.3).project(far[2:]), near[2:])
