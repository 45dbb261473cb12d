"""A family of graded faults: how much of the wide population a student was shown.

Falls between the sound and the fractured are what a strength has to rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.validity import families
from benchmarks.validity.fitting import rng
from benchmarks.validity.specimens import World

PERCENT = (1, 3, 10, 30)
"""Seeds of the family, and shares of varied rows in percent."""


def diluted(
    world: World, members: Sequence[nn.Module], seeds: Sequence[int], *, net: str
) -> list[nn.Module]:
    """Distilled on the benchmark's population, with as many percent of varied rows as the seed."""
    lessons = []
    for seed in seeds:
        wide, _ = families.varied(world, seed)
        home = families.blended(world, seed, 0.8)
        count = round(seed / 100 * len(wide))
        chosen = torch.randperm(len(wide), generator=rng(seed, "diluted"))[:count]
        # As many rows in all as the wide lesson has, so that steps mean the same.
        rest = home[torch.arange(len(wide) - count) % len(home)]
        lessons.append(families.taught(world, members, torch.cat((wide[chosen], rest))))
    return families.train(world, net, lessons, seeds)
