"""How far an attack moves what is linear in its inputs."""

from __future__ import annotations

import torch
from torch import Tensor


def moved_as_far_as_it_goes(before: Tensor, after: Tensor, reach: Tensor, least: float) -> None:
    """Assert it of (n,) sizes: by ``reach`` where the sign stays, past 0 to the nearer peak else.

    More than a share ``least`` of the rows, and not all of them, lie so far off that it stays.
    """
    far = before > reach  # nearer to 0 there is a peak on either side
    assert least < far.float().mean() < 1
    torch.testing.assert_close(after[far], before[far] + reach, rtol=1e-3, atol=1e-3)
    assert (after[~far] >= reach - before[~far] - 1e-3).all()
