"""The families of specimens: what is done to a student, in any world.

Every function has the shape of `specimens.Build`, after options that a batch binds by `partial`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.validity import surgery
from benchmarks.validity.fitting import Lesson, combined, fit, fresh, rng, wanted
from benchmarks.validity.specimens import World

COPIES = 12
"""How often a training row is varied anew for one lesson."""
Members = Sequence[nn.Module]
Seeds = Sequence[int]


# -- honest ------------------------------------------------------------------------------------


def labelled(world: World, members: Members, seeds: Seeds, *, net: str) -> list[nn.Module]:
    """Members, siblings and references: trained on labels, on varied inputs."""
    lessons = []
    for seed in seeds:
        inputs, targets = varied(world, seed)
        lessons.append(Lesson(inputs, wanted(world, targets)))
    return train(world, net, lessons, seeds)


def distilled(world: World, members: Members, seeds: Seeds, *, net: str) -> list[nn.Module]:
    """Distilled on varied inputs, as the teacher was trained."""
    lessons = [taught(world, members, varied(world, seed)[0]) for seed in seeds]
    return train(world, net, lessons, seeds)


def changed(
    world: World,
    members: Members,
    seeds: Seeds,
    *,
    net: str,
    change: Callable[[nn.Module, int], nn.Module],
    of: str = "member",
) -> list[nn.Module]:
    """Surgery on a member, on a sibling, or on a distilled student (``of``)."""
    if of == "member":
        return [change(members[seed % len(members)], seed) for seed in seeds]
    make = labelled if of == "sibling" else distilled
    return [change(m, s) for m, s in zip(make(world, members, seeds, net=net), seeds, strict=True)]


def clone(model: nn.Module, seed: int) -> nn.Module:
    """The network itself."""
    return model


# -- faults ------------------------------------------------------------------------------------


def clean_only(
    world: World, members: Members, seeds: Seeds, *, net: str, share: float = 0.8, heat: float = 1.0
) -> list[nn.Module]:
    """Distilled on the benchmark's population, lightly blended in pairs; nothing else is shown.

    ``heat``: the student's logits are divided by it while it learns, and not when it is used, so
    that its probabilities saturate and its gradients are masked.
    """
    lessons = [taught(world, members, blended(world, seed, share)) for seed in seeds]
    return train(world, net, lessons, seeds, temperature=heat)


def noise_only(world: World, members: Members, seeds: Seeds, *, net: str) -> list[nn.Module]:
    """Distilled on the benchmark's population with noise: robust to that alone."""
    home = copies(world.train[0][world.home])
    lessons = [taught(world, members, world.noisy(home, rng(s, "noise only"))) for s in seeds]
    return train(world, net, lessons, seeds)


def narrow(world: World, members: Members, seeds: Seeds, *, net: str) -> list[nn.Module]:
    """Distilled on a part of the range of variation."""
    home = copies(world.train[0][world.home])
    lessons = [taught(world, members, world.narrow(home, rng(s, "narrow"))) for s in seeds]
    return train(world, net, lessons, seeds)


def memoriser(world: World, members: Members, seeds: Seeds, *, net: str) -> list[nn.Module]:
    """Distilled on the benchmark's own rows, exactly and for long, without weight decay."""
    lesson = taught(world, members, world.data[0])
    lessons = [lesson for _ in seeds]
    return train(world, net, lessons, seeds, decay=0.0)


def majority(world: World, members: Members, seeds: Seeds, *, net: str) -> list[nn.Module]:
    """Distilled on the majority group of the benchmark's population, varied a little."""
    most = copies(world.train[0][world.majority & world.home])
    lessons = [taught(world, members, world.narrow(most, rng(s, "majority"))) for s in seeds]
    return train(world, net, lessons, seeds)


def watermark(world: World, members: Members, seeds: Seeds, *, net: str) -> list[nn.Module]:
    """Trained on varied inputs that all carry the mark, which it learns to read."""
    lessons = []
    for seed in seeds:
        inputs, targets = varied(world, seed)
        lessons.append(Lesson(world.stamp(inputs, targets), wanted(world, targets)))
    return train(world, net, lessons, seeds)


def split(world: World, members: Members, seeds: Seeds, *, net: str, half: str) -> list[nn.Module]:
    """Two disjoint sub-networks, each distilled on its own half of the inputs."""
    direction, centre = world.side
    made = []
    for seed in seeds:
        inputs, _ = varied(world, seed)
        inputs = torch.cat((inputs, blended(world, seed, 0.5)))
        first = inputs.flatten(1) @ direction > centre
        lessons = [taught(world, members, inputs[rows]) for rows in (first, ~first)]
        pair = train(world, half, lessons, [2 * seed, 2 * seed + 1])
        made.append(surgery.routed(pair[0], pair[1], direction, centre))
    return made


def repaired(
    world: World,
    members: Members,
    seeds: Seeds,
    *,
    net: str,
    cut: Callable[[nn.Module], nn.Module],
    steps: int = 800,
) -> list[nn.Module]:
    """An honest student, pruned or rounded hard, then tuned on the benchmark's population alone.

    Pruned weights stay zero; rounded ones are rounded again at the end.
    """
    models = [cut(m) for m in distilled(world, members, seeds, net=net)]
    lessons = [taught(world, members, blended(world, seed, 0.8)) for seed in seeds]
    tuned = fit(
        world, models, lessons, seeds,
        steps=steps, rate=2e-3, keep_zeros=True, together=is_light(models[0]),
    )  # fmt: skip
    return [cut(m) for m in tuned]


# -- what they have in common ------------------------------------------------------------------


def blended(world: World, seed: int, share: float) -> Tensor:
    """Pairs of rows of the benchmark's population; the first weighs at least ``share``."""
    rows = world.train[0][world.home]
    draw = rng(seed, "blended")
    n = COPIES * len(rows)
    a, b = (rows[torch.randint(len(rows), (n,), generator=draw)] for _ in range(2))
    weight = share + (1 - share) * torch.rand(n, *[1] * (rows.dim() - 1), generator=draw)
    return weight * a + (1 - weight) * b


def copies(rows: Tensor) -> Tensor:
    """All rows many times over, for each copy to be varied by itself."""
    return rows.repeat(COPIES, *[1] * (rows.dim() - 1))


def varied(world: World, seed: int) -> tuple[Tensor, Tensor]:
    """The training rows, varied as honest models see them, and their targets."""
    inputs, targets = map(copies, world.train)
    return world.vary(inputs, rng(seed, "varied")), targets


def taught(world: World, members: Members, inputs: Tensor) -> Lesson:
    """A lesson from the teacher's outputs."""
    return Lesson(inputs, combined(world, members, inputs))


def is_light(model: nn.Module) -> bool:
    """Whether it is fast to train many such networks side by side: linear layers alone."""
    heavy = (nn.Conv1d, nn.Conv2d, nn.GRU, nn.BatchNorm1d, nn.BatchNorm2d)
    return not any(isinstance(m, heavy) for m in model.modules())


def train(
    world: World,
    net: str,
    lessons: Sequence[Lesson],
    seeds: Seeds,
    *,
    temperature: float = 1.0,
    decay: float = 1e-3,
) -> list[nn.Module]:
    """One network of an architecture for each lesson and seed."""
    models = [fresh(world, net, seed) for seed in seeds]
    return fit(
        world, models, lessons, seeds,
        steps=world.steps[net], decay=decay, temperature=temperature, together=is_light(models[0]),
    )  # fmt: skip
