"""A toy ensemble with a gain to distil: classes have two views, and a net learns one of them.

Allen-Zhu & Li (2012.09816): each class has two features ("views"), most rows show both. Whichever a
net responds to a little more at its start wins, since the response grows with the third power of
the weight, and once the rows are fitted nothing is left to learn the other view from. So each net
fails on rows that show only the view that it never learnt, nets from other starts fail on others,
and their average knows nearly all views. It also sees the faint feature of another class that each
row has, so its soft labels name views that the labels do not: a student of one net's size learns
both.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES, PATCHES, UNITS, MEMBERS = 8, 3, 5, 5
FEATURES = 2 * CLASSES


class Net(nn.Module):
    """(n, PATCHES * FEATURES) rows to (n, CLASSES) logits; all patches share the weights."""

    def __init__(self, start: torch.Generator) -> None:
        super().__init__()
        self.units = Units(start)

    def forward(self, x: Tensor) -> Tensor:
        return self.units(x).reshape(-1, CLASSES, UNITS).sum(2)


class Units(nn.Module):
    """Responses summed over the patches, (n, CLASSES * UNITS); a class has its own."""

    def __init__(self, start: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(FEATURES, CLASSES * UNITS, generator=start))

    def forward(self, x: Tensor) -> Tensor:
        z = (x.reshape(-1, PATCHES, FEATURES) @ self.weight).relu()
        # The paper's smoothed ReLU: a cubic start, then slope 1.
        return torch.where(z < 1, z**3 / 3, z - 2 / 3).sum(1)


@dataclass(frozen=True)
class MultiView:
    """Nets of one size, and the rows to hold them against."""

    members: list[Net]
    student: Net
    """Distilled from the members' mean probabilities."""
    label_only: Net
    """Trained on the labels alone."""
    control: Net
    """Distilled as the student was, from nets as they start."""
    inputs: Tensor
    """(n, PATCHES * FEATURES) rows that nobody was trained on; half show one view only."""
    targets: Tensor
    """(n,) classes."""

    def probabilities(self, nets: Sequence[Net]) -> Tensor:
        """(nets, n, CLASSES) on the rows."""
        return soft(nets, self.inputs)


def multi_view(seed: int) -> MultiView:
    """Make the rows and train all nets, in about 3 s on one core; the same for the same seed.

    All students begin where the member began that is the last below the mean (on rows of its own):
    a start alone is worth up to half of the gain, and none should win by that.
    """
    g = torch.Generator().manual_seed(seed)
    x, y = rows(1_000, 0.02, g)
    starts = [Net(g) for _ in range(MEMBERS)]
    members = [trained(start, x, y, g) for start in starts]
    start = starts[_just_below_mean(members, *rows(4_000, 0.5, g))]
    label_only = trained(start, x, y, g)
    student = trained(start, x, y, g, members)
    control = trained(start, x, y, g, [Net(g) for _ in range(MEMBERS)])
    return MultiView(members, student, label_only, control, *rows(2_000, 0.5, g))


def _just_below_mean(nets: Sequence[Net], x: Tensor, y: Tensor) -> int:
    right = (soft(nets, x).argmax(2) == y).float().mean(1)
    return int(torch.where(right <= right.mean(), right, -1.0).argmax())


def rows(n: int, single: float, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows and classes; a share ``single`` shows only one of the two views of its class."""
    y = torch.randint(CLASSES, (n,), generator=g)
    hidden = torch.randint(2, (n,), generator=g)
    shown = torch.ones(n, 2)
    shown[torch.arange(n), hidden] -= (torch.rand(n, generator=g) < single).float()
    other = (y + torch.randint(1, CLASSES, (n,), generator=g)) % CLASSES
    feature = torch.stack([2 * y, 2 * y + 1, 2 * other + torch.randint(2, (n,), generator=g)], 1)
    size = torch.cat([shown, torch.full((n, 1), 0.4)], 1)
    size = size * (0.8 + 0.4 * torch.rand(n, PATCHES, generator=g))
    x = functional.one_hot(feature, FEATURES) * size[:, :, None]
    x = x + 0.1 * torch.randn(x.shape, generator=g)
    place = torch.rand(n, PATCHES, generator=g).argsort(1)
    return x[torch.arange(n)[:, None], place].flatten(1), y


def soft(nets: Sequence[Net], x: Tensor, temperature: float = 1.0) -> Tensor:
    """(nets, n, CLASSES) probabilities."""
    with torch.no_grad():
        return torch.stack([(net(x) / temperature).softmax(1) for net in nets])


TEMPERATURE, LABELS = 4.0, 0.1
"""Of the distillation (Hinton et al. 2015), and the weight of the labels in its loss."""


def trained(
    start: Net, x: Tensor, y: Tensor, g: torch.Generator, teachers: Sequence[Net] = ()
) -> Net:
    """A trained copy of ``start``, on the labels or, with teachers, on their soft labels too."""
    net = copy.deepcopy(start)
    target = functional.one_hot(y, CLASSES).float()
    taught = soft(teachers, x, TEMPERATURE).mean(0) if teachers else target
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    size = 100
    for step in range(400):
        if step % (len(x) // size) == 0:
            batches = torch.randperm(len(x), generator=g).split(size)
        i = batches[step % len(batches)]
        z = net(x[i])
        loss = functional.cross_entropy(z, target[i])
        if teachers:
            mimic = functional.cross_entropy(z / TEMPERATURE, taught[i])
            loss = LABELS * loss + (1 - LABELS) * TEMPERATURE**2 * mimic
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net
