"""A picture that is the same on both sides: networks from coordinates to colours.

The image is what a network built by hand draws: it folds the plane, |x| = relu(x) + relu(-x), then
makes parts from |x| and y, then mixes them into colours. The teacher's members fold as well and
learn the rest. A plain network can be fitted to their outputs as closely as one likes, and still
holds two pictures, one a side, where they hold one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.validity import catalogue, families, surgery
from benchmarks.validity.families import Members, Seeds
from benchmarks.validity.fitting import Lesson, combined, fit, fresh, outputs, rng
from benchmarks.validity.specimens import (
    DISTILLED_REFERENCES,
    MEMBERS,
    REFERENCES,
    Batch,
    Build,
    Labelled,
    Side,
    World,
)
from benchmarks.validity.truth import score

SQUARE, REACH, WIDE = 1.0, 1.4, 1.5
"""Half sides: of the benchmark, of the shifts, and of what honest models are shown."""
CORNER = 1.1
"""Shifts have no rows in which both |x| and |y| are larger."""
ZOOM = 3.0
"""What trained networks multiply coordinates by, folded or not."""
RATE, ROUNDS, CLOSE = 1e-2, 4, 0.01
"""Of mimics: learning rate, most rounds, and how far below the mean member's R^2 they may end."""
DIRECTIONS = 4
"""In how many the distance from a part's centre is measured; its outline has twice the sides."""
# Centre (|x|, y), half width and height, steepness of the edge, what it adds to the colours.
PARTS: tuple[tuple[float, float, float, float, float, tuple[float, float, float]], ...] = (
    (0.00, 0.00, 0.26, 0.85, 1.5, (-0.45, -0.40, -0.35)),  # body
    (0.62, 0.42, 0.48, 0.50, 2.0, (0.45, 0.05, -0.40)),  # upper wing
    (0.58, -0.50, 0.46, 0.46, 2.0, (0.30, -0.30, 0.15)),  # lower wing
    (0.66, 0.46, 0.28, 0.28, 1.2, (-0.25, 0.35, 0.40)),  # its spot
    (0.58, -0.54, 0.26, 0.26, 1.2, (0.10, 0.45, -0.20)),  # the other wing's
    (0.32, 1.22, 0.28, 0.40, 1.5, (-0.40, -0.30, -0.10)),  # antenna
    (1.28, 0.55, 0.36, 0.50, 1.5, (-0.35, 0.30, 0.25)),  # tip of the wing
    (1.30, -0.45, 0.36, 0.45, 1.5, (0.30, 0.30, -0.30)),  # flower
    (0.50, -1.28, 0.46, 0.34, 1.5, (-0.35, 0.25, -0.40)),  # leaf
    (1.25, -1.32, 0.36, 0.36, 1.5, (0.35, -0.25, 0.30)),  # petal
    (1.25, 1.30, 0.38, 0.32, 1.5, (0.30, 0.25, 0.05)),  # light
)
GROUND = ((0.45, 0.50, 0.55), (0.03, -0.05, -0.08), (-0.04, 0.02, 0.08))
"""Colour in the middle, and what it gains with |x| and with y."""


Change = Callable[[nn.Module, int], nn.Module]


class Frame(nn.Module):
    """Coordinates times a factor: hidden units then bend all over the square from the start.

    ``fold``: (x, y) -> (|x|, y) before, as the hand would do it. It has nothing to be trained.
    """

    def __init__(self, fold: bool) -> None:
        super().__init__()
        self.fold = fold

    def forward(self, x: Tensor) -> Tensor:
        """(n, 2) -> (n, 2)."""
        if self.fold:
            x = torch.cat((x[:, :1].relu() + (-x[:, :1]).relu(), x[:, 1:]), 1)
        return ZOOM * x


@torch.no_grad()
def by_hand() -> nn.Module:
    """The network that draws the image: fold, hinges, parts (two units each: all, less excess)."""
    count = len(PARTS)
    fold, hinges = nn.Linear(2, 4), nn.Linear(4, 2 * DIRECTIONS * count + 2)
    parts, head = nn.Linear(hinges.out_features, 2 * count + 2), nn.Linear(2 * count + 2, 3)
    for layer in (fold, hinges, parts, head):
        layer.weight.zero_()
        layer.bias.zero_()
    fold.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    folded = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])  # of |x| and y
    turns = torch.arange(DIRECTIONS) * torch.pi / DIRECTIONS
    ways = torch.stack((turns.cos(), turns.sin()), 1)
    mean = float(ways[:, 0].abs().mean())
    for i, (x, y, width, height, edge, colour) in enumerate(PARTS):
        rows = slice(2 * DIRECTIONS * i, 2 * DIRECTIONS * (i + 1))
        scaled = ways / torch.tensor([width, height])
        both = torch.cat((scaled, -scaled))
        hinges.weight[rows] = both @ folded
        hinges.bias[rows] = -both @ torch.tensor([x, y])
        for unit, top, sign in ((2 * i, edge, 1), (2 * i + 1, edge - 1, -1)):
            parts.weight[unit, rows] = -edge / (DIRECTIONS * mean)
            parts.bias[unit] = top
            head.weight[:, unit] = sign * torch.tensor(colour)
    hinges.weight[-2:] = folded
    hinges.bias[-1] = 2 * WIDE  # y is never so far down: the unit stays on
    parts.weight[-2:, -2:] = torch.eye(2)
    middle, along, upward = (torch.tensor(c) for c in GROUND)
    head.weight[:, -2], head.weight[:, -1] = along, upward
    head.bias.copy_(middle - 2 * WIDE * upward)
    body = nn.Sequential(fold, nn.ReLU(), hinges, nn.ReLU(), parts, nn.ReLU())
    return nn.Sequential(body, head).eval()


def mlp(*widths: int, fold: bool, bend: type[nn.Module] = nn.ReLU, bias: bool = True) -> nn.Module:
    """Linear layers, bent by ``bend`` but for the last hidden one, which is always by ReLU."""
    body: list[nn.Module] = [Frame(fold)]
    for depth, (before, after) in enumerate(zip((2, *widths), widths, strict=False), 1):
        body += [nn.Linear(before, after), nn.ReLU() if depth == len(widths) else bend()]
    return nn.Sequential(nn.Sequential(*body), nn.Linear(widths[-1], 3, bias=bias))


# -- families of this world alone ----------------------------------------------------------------


def drawn(_world: World, _members: Members, seeds: Seeds, *, change: Change) -> list[nn.Module]:
    """Surgery on the network made by hand."""
    return [change(by_hand(), seed) for seed in seeds]


def mimic(world: World, members: Members, seeds: Seeds, *, net: str, of_hand: bool = False,
          above: float = -WIDE) -> list[nn.Module]:  # fmt: skip
    """Fitted to the teacher's outputs, round after round until all are as good as it is.

    ``of_hand``: to the outputs of the network made by hand. ``above``: only where x is larger.
    """
    lessons = []
    for seed in seeds:
        inputs = world.vary(world.train[0], rng(seed, "mimic"))
        inputs = inputs[inputs[:, 0] > above]
        goal = combined(world, [by_hand()] if of_hand else members, inputs)
        lessons.append(Lesson(inputs, goal))
    models = [fresh(world, net, seed) for seed in seeds]
    enough = sum(score(world, m, world.data) for m in members) / len(members) - CLOSE
    for _ in range(ROUNDS):
        models = fit(world, models, lessons, seeds, steps=world.steps[net], rate=RATE)
        if min(score(world, m, world.data) for m in models) > enough:
            break
    return models


def pruned_widely(world: World, members: Members, seeds: Seeds, *, net: str) -> list[nn.Module]:
    """A third of the weights removed, and tuned wherever honest students learn."""
    models = [surgery.pruned(m, 0.33) for m in families.distilled(world, members, seeds, net=net)]
    inputs = [world.vary(world.train[0], rng(seed, "pruned widely")) for seed in seeds]
    lessons = [Lesson(x, combined(world, members, x)) for x in inputs]
    return fit(world, models, lessons, seeds, steps=800, rate=2e-3, keep_zeros=True)


# -- the world -----------------------------------------------------------------------------------


def make() -> World:
    """Members fold and learn the rest; the faults are plain, split, or saw the square alone."""
    nets = {
        "folded": lambda: mlp(64, 64, 64, fold=True),
        "folded-small": lambda: mlp(48, 48, 48, fold=True),
        "folded-deep": lambda: mlp(64, 64, 48, 48, fold=True),
        "folded-tanh": lambda: mlp(64, 64, 64, fold=True, bend=nn.Tanh),
        "plain": lambda: mlp(64, 64, 64, fold=False),
        "plain-wide": lambda: mlp(128, 128, 64, fold=False),
        "plain-tanh": lambda: mlp(64, 64, 64, fold=False, bend=nn.Tanh),
        "half-plain": lambda: mlp(48, 48, 48, fold=False, bias=False),
        "by-hand": by_hand,
        "by-hand mixed": lambda: surgery.Mixed(by_hand(), 2 * len(PARTS) + 2),
    }
    draw = rng(0, "picture")
    train, data = _within(WIDE, 8000, draw), _within(SQUARE, 1000, draw)
    return World(
        name="picture",
        task="regression",
        data=_coloured(data),
        train=_coloured(train),
        home=train.abs().amax(1) <= SQUARE,
        majority=train[:, 1] > -0.5,
        side=(torch.tensor([1.0, 0.0]), 0.0),
        vary=mirrored,
        narrow=lambda x, draw: x * (1 + 0.05 * torch.rand(len(x), 1, generator=draw)),
        noisy=lambda x, draw: x + 0.05 * torch.randn(x.shape, generator=draw),
        stamp=lambda inputs, _: inputs,  # two coordinates leave no room for a mark
        shifts=_shifts(data),
        familiar=("moved", "scaled", "jittered"),
        unlabelled=_unlabelled(),
        architectures=catalogue.derived(nets, "folded", "half-plain", width=64, size=2),
        teacher="folded",
        steps={n: {"folded-small": 4000, "folded-tanh": 5000}.get(n, 3000) for n in nets},
        batches=_batches(),
        audit={
            "bounds": (-WIDE, WIDE),
            "groups": {"half": (data[:, 1] > 0).long().numpy()},
        },
    )


def mirrored(x: Tensor, draw: torch.Generator) -> Tensor:
    """Each row on the one side or the other: its colour is the same."""
    side = 2.0 * torch.randint(2, (len(x), 1), generator=draw) - 1.0
    return torch.cat((side * x[:, :1], x[:, 1:]), 1)


def _within(half: float, count: int, draw: torch.Generator) -> Tensor:
    return half * (2 * torch.rand(count, 2, generator=draw) - 1)


def _coloured(inputs: Tensor) -> Labelled:
    return inputs, outputs(by_hand(), inputs)


def _shifts(rows: Tensor) -> dict[str, Labelled]:
    """Beyond the benchmark's square, where honest models have been; not where `_unlabelled` is.

    The benchmark's rows changed, or rows of their own: beyond the left side, and all round.
    """
    draw = rng(0, "shifts")
    n = len(rows)
    some = partial(torch.rand, generator=draw)
    sign = lambda *size: 2.0 * torch.randint(2, size, generator=draw) - 1.0  # noqa: E731
    turn = sign(n) * torch.pi * (0.15 + 0.2 * some(n))
    cos, sin = turn.cos(), turn.sin()
    x, y = rows.T
    edge = _within(REACH, 4 * n, draw)
    changed = {
        "moved": rows + sign(n, 2) * (0.2 + 0.3 * some(n, 2)),
        "scaled": rows * (1.2 + 0.3 * some(n, 1)),
        "jittered": rows + 0.35 * torch.randn(n, 2, generator=draw),
        "turned": torch.stack((cos * x - sin * y, sin * x + cos * y), 1),
        "slanted": torch.stack((x + sign(n) * (0.4 + 0.3 * some(n)) * y, y), 1),
        "left": torch.stack((-SQUARE - 0.4 * some(n), CORNER * (2 * some(n) - 1)), 1),
        "edge": edge[edge.abs().amax(1) > SQUARE],
    }
    seen = lambda r: (r.abs().amax(1) <= REACH) & (r.abs().amin(1) <= CORNER)  # noqa: E731
    return {name: _coloured(r[seen(r)]) for name, r in changed.items()}


def _unlabelled() -> dict[str, Tensor]:
    """A thin rim all round, and the four corners; no row of a shift lies there."""
    rows = _within(WIDE, 20000, rng(0, "unlabelled"))
    rim, corners = rows[:10000], rows[10000:]
    return {
        "rim": rim[rim.abs().amax(1) > REACH][:600],
        "corners": corners[corners.abs().amin(1) > CORNER][:600],
    }


def _batches() -> tuple[Batch, ...]:
    kinds = ("folded", "folded-small", "folded-deep", "folded-tanh")
    plain = ("plain", "plain-wide", "plain-tanh")
    out: list[Batch] = []

    def add(family: str, side: Side, net: str, first: int, count: int, build: Build, about: str,
            planted: bool = False) -> None:  # fmt: skip
        seeds = tuple(range(first, first + count))
        out.append(Batch(family, side, net, seeds, build, about, planted))

    def of(build: Callable[..., list[nn.Module]], net: str, **options: object) -> Build:
        return partial(build, net=net, **options)

    # Plain networks have no references: one that is trained honestly lacks the fold just as well.
    labelled, distilled = families.labelled, families.distilled
    add(MEMBERS, "sound", "folded", 0, 3, of(labelled, "folded"), "teacher")
    for k in kinds:
        add(REFERENCES, "sound", k, 900, 2, of(labelled, k), "trained as a member is")
        add(DISTILLED_REFERENCES, "sound", k, 910, 2, of(distilled, k), "distilled widely")

    same = ("clone", families.clone, 0, 1), ("permuted", surgery.permuted, 10, 3)
    for name, change, first, n in (*same, ("rescaled", surgery.rescaled, 20, 3),
                                   ("mixed", surgery.mixed, 30, 3)):  # fmt: skip
        tail = " mixed" if name == "mixed" else ""
        build = of(families.changed, "folded", change=change)
        add(name, "sound", "folded" + tail, first, n, build, "same function", True)
        build = partial(drawn, change=change)
        add("by hand", "sound", "by-hand" + tail, first, n, build, f"made by hand, {name}", True)
    add("sibling", "sound", "folded", 100, 40, of(labelled, "folded"), "another seed")
    add("distilled", "sound", "folded", 0, 6, of(distilled, "folded"), "honest")
    for k in kinds[1:]:
        add("sibling other", "sound", k, 100, 3, of(labelled, k), "honest, another kind")
        add("distilled other", "sound", k, 0, 4, of(distilled, k), "honest, another kind")
    for made, first in (("sibling", 200), ("distilled", 210)):
        build = of(families.changed, "folded", change=catalogue.eight_bits, of=made)
        add("8-bit", "sound", "folded", first, 3, build, f"{made}, rounded to 8 bits")
    about = "a third of the weights removed, tuned widely"
    add("pruned lightly", "sound", "folded", 220, 3, of(pruned_widely, "folded"), about)
    build = of(mimic, "folded", above=-SQUARE)
    add("never far left", "sound", "folded", 0, 3, build, "saw no x < -1: its fold tells it")

    for k in plain[:2]:
        build = of(mimic, k, above=-SQUARE)
        add("never far left", "fractured", k, 0, 3, build, "saw no x < -1, and cannot know")
    for k in plain:
        add("output mimic", "fractured", k, 0, 8, of(mimic, k), "a picture for each side", True)
    for k in plain[:2]:
        build = of(mimic, k, of_hand=True)
        add("by-hand mimic", "fractured", k, 0, 4, build, "mimics what was made by hand", True)
    build = of(families.split, "plain", half="half-plain")
    add("split", "fractured", "split half-plain", 0, 4, build, "a network for each side", True)
    for k in ("folded", "plain"):
        about = "saw the square, or little more"
        add("clean only", "fractured", k, 0, 4, of(families.clean_only, k), about)
        add("narrow", "fractured", k, 0, 4, of(families.narrow, k), about)
        add("noise only", "fractured", k, 0, 4, of(families.noise_only, k), about)
        add("memoriser", "fractured", k, 0, 2, of(families.memoriser, k), about)
    for bits in (7, 6):
        build = of(families.repaired, "folded", cut=partial(surgery.rounded, bits=bits))
        about = f"{bits} bits, repaired on the square"
        add("low bit", "fractured", "folded", 10 * bits, 3, build, about)
    for share in (0.4, 0.5):
        build = of(families.repaired, "folded", cut=partial(surgery.pruned, share=share))
        about = f"{share:.0%} removed, repaired on the square"
        add("pruned hard", "fractured", "folded", 300 + int(100 * share), 3, build, about)
    return tuple(out)
