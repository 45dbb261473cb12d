"""Sufficient statistics that add over blocks and shards, and exact debiased CKA from them.

The unbiased HSIC of linear kernels (Song et al. 2012, eq. 5) needs no n x n matrix. With
k_i = x_i . sum(x) - |x_i|^2 and the Gram matrices' diagonals taken out,

    T1 = |X'Y|_F^2 - sum |x|^2 |y|^2,   Sx = sum k_i,   T3 = sum kx_i ky_i,
    HSIC = [T1 + Sx Sy / ((n-1)(n-2)) - 2 T3 / (n-2)] / (n (n-3)).

It does not change when a constant is added to all rows, so rows are shifted by the first row ever
seen, which keeps the sums well conditioned, and everything is in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def hsic(t1: Tensor, sx: Tensor, sy: Tensor, t3: Tensor, n: Tensor | float) -> Tensor:
    """Unbiased HSIC from its four sums; NaN for n < 4. Works on tensors of any common shape."""
    n = torch.as_tensor(n, dtype=torch.float64)
    value = (t1 + sx * sy / ((n - 1) * (n - 2)) - 2 * t3 / (n - 2)) / (n * (n - 3))
    return torch.where(n >= 4, value, torch.full_like(value, math.nan))


def ratio(xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
    """CKA = HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)); NaN where a layer has no variation left."""
    scale = torch.where((xx > 0) & (yy > 0), xx * yy, torch.full_like(xx, math.nan))
    return xy / scale.sqrt()


@dataclass
class Moments:
    """Running sums over (b, p) rows x and (b, q) rows y, seen together.

    Mergeable: :meth:`merge` brings another shard to this one's shift first.
    """

    n: int = 0
    """Rows seen."""
    shift_x: Tensor | None = None
    """(p,) subtracted from every x: the first row seen."""
    shift_y: Tensor | None = None
    sums: dict[str, Tensor] | None = None
    """xy (p, q), x (p,), y (q,), xny = sum x|y|^2 (p,), ynx (q,), nn, nx, ny (scalars)."""

    def update(self, x: Tensor, y: Tensor | None = None) -> Moments:
        """Add rows; with ``y`` None the rows are paired with themselves."""
        x = x.detach().double()
        y = x if y is None else y.detach().double()
        if x.shape[0] != y.shape[0]:
            raise ValueError(f"{x.shape[0]} rows of x beside {y.shape[0]} rows of y")
        if x.shape[0] == 0:
            return self
        if self.shift_x is None or self.shift_y is None:
            self.shift_x, self.shift_y = x[0].clone(), y[0].clone()
        same = y is x
        x = x - self.shift_x
        y = x if same else y - self.shift_y
        self._add(_sums(x, y, same))
        self.n += int(x.shape[0])
        return self

    def merge(self, other: Moments) -> Moments:
        """Add what another shard has seen."""
        if other.sums is None:
            return self
        assert other.shift_x is not None
        assert other.shift_y is not None
        if self.sums is None or self.shift_x is None or self.shift_y is None:
            self.shift_x, self.shift_y = other.shift_x.clone(), other.shift_y.clone()
            self.sums, self.n = {k: v.clone() for k, v in other.sums.items()}, other.n
            return self
        a, b = other.shift_x - self.shift_x, other.shift_y - self.shift_y
        self._add(_moved(other.sums, other.n, a, b))
        self.n += other.n
        return self

    def _add(self, sums: dict[str, Tensor]) -> None:
        if self.sums is None:
            self.sums = sums
        else:
            for key, value in sums.items():
                self.sums[key] += value

    def hsic(self) -> Tensor:
        """Unbiased HSIC of x and y, a float64 scalar; NaN for fewer than 4 rows."""
        if self.sums is None:
            return torch.tensor(math.nan, dtype=torch.float64)
        s = self.sums
        t1 = s["xy"].square().sum() - s["nn"]
        sx, sy = s["x"] @ s["x"] - s["nx"], s["y"] @ s["y"] - s["ny"]
        t3 = s["x"] @ s["xy"] @ s["y"] - s["x"] @ s["xny"] - s["y"] @ s["ynx"] + s["nn"]
        return hsic(t1, sx, sy, t3, float(self.n))

    @property
    def mean(self) -> Tensor:
        """(p,) mean of x."""
        assert self.sums is not None
        assert self.shift_x is not None
        return self.shift_x + self.sums["x"] / self.n

    @property
    def covariance(self) -> Tensor:
        """(p, q) sum of centred products over n."""
        assert self.sums is not None
        s = self.sums
        return s["xy"] / self.n - torch.outer(s["x"], s["y"]) / self.n**2


def _sums(x: Tensor, y: Tensor, same: bool) -> dict[str, Tensor]:
    nx = x.square().sum(1)
    ny = nx if same else y.square().sum(1)
    xny = x.T @ ny
    total = x.sum(0)
    return {
        "xy": x.T @ y,
        "x": total,
        "y": total.clone() if same else y.sum(0),
        "xny": xny,
        "ynx": xny.clone() if same else y.T @ nx,
        "nn": nx @ ny,
        "nx": nx.sum(),
        "ny": ny.sum(),
    }


def _moved(s: dict[str, Tensor], n: int, a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """The sums of x + a and y + b from those of x and y."""
    aa, bb = a @ a, b @ b
    ny = s["ny"] + 2 * (b @ s["y"]) + n * bb
    nx = s["nx"] + 2 * (a @ s["x"]) + n * aa
    return {
        "xy": s["xy"] + torch.outer(a, s["y"]) + torch.outer(s["x"], b) + n * torch.outer(a, b),
        "x": s["x"] + n * a,
        "y": s["y"] + n * b,
        "xny": s["xny"] + 2 * s["xy"] @ b + bb * s["x"] + a * ny,
        "ynx": s["ynx"] + 2 * s["xy"].T @ a + aa * s["y"] + b * nx,
        "nn": s["nn"]
        + 2 * (b @ s["ynx"])
        + bb * s["nx"]
        + 2 * (a @ s["xny"])
        + 4 * (a @ s["xy"] @ b)
        + 2 * bb * (a @ s["x"])
        + aa * ny,
        "nx": nx,
        "ny": ny,
    }


def cka(x: Tensor, y: Tensor, debiased: bool = True) -> float:
    """Linear CKA of (n, p) and (n, q) rows in one pass; 1 is alike.

    Debiased it lies in about [-1, 1], 0 in expectation for independent codes. As it was first
    published it lies in [0, 1] and is sqrt(p q / ((n + p) (n + q))) for independent Gaussians,
    .91 for 500 units on 50 rows: that is for comparison with other tools, and judged nowhere.
    """
    cross, own_x, own_y = Moments().update(x, y), Moments().update(x), Moments().update(y)
    if debiased:
        return float(ratio(cross.hsic(), own_x.hsic(), own_y.hsic()))
    shared, *own = (m.covariance.norm() for m in (cross, own_x, own_y))
    return float(shared.square() / (own[0] * own[1]))


def ridge(xx: Tensor, xy: Tensor, penalty: Tensor | float) -> Tensor:
    """Ridge coefficients from second moments: (xx + penalty I)^-1 xy.

    Args:
        xx: (..., p, p) centred sums of products of the features.
        xy: (..., p, q) centred sums of products of features and targets.
        penalty: positive; a scalar or (...,).

    Returns:
        (..., p, q) coefficients.
    """
    p = xx.shape[-1]
    penalty = torch.as_tensor(penalty, dtype=xx.dtype)[..., None, None]
    weights: Tensor = torch.linalg.solve(xx + penalty * torch.eye(p, dtype=xx.dtype), xy)
    return weights
