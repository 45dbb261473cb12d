"""The default list of batches that every world takes over, with its own architectures' names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from benchmarks.validity import dilution, families, surgery
from benchmarks.validity.specimens import (
    DISTILLED_REFERENCES,
    MEMBERS,
    REFERENCES,
    Batch,
    Build,
)


def batches(
    net: str,
    smaller: str,
    deeper: str,
    other: str,
    halves: str,
    siblings: int,
    *,
    bits: Sequence[int] = (4, 3),
    cuts: Sequence[float] = (0.8, 0.9),
    few: int = 3,
) -> tuple[Batch, ...]:
    """Members, references and specimens of a world.

    Args:
        net: the members' architecture; most faults have it too.
        smaller: fewer units.
        deeper: more layers.
        other: another kind of network.
        halves: architecture of half a split student.
        siblings: how many honest siblings.
        bits: what low-bit faults are rounded to.
        cuts: shares that are pruned before a repair on the benchmark.
        few: specimens of each fault.
    """
    nets = (net, smaller, deeper, other)
    some = tuple(range(few))
    out = [
        Batch(MEMBERS, "sound", net, (0, 1, 2), partial(families.labelled, net=net), "teacher"),
    ]
    for kind in nets:
        of_labels = partial(families.labelled, net=kind)
        of_teacher = partial(families.distilled, net=kind)
        out += [
            Batch(REFERENCES, "sound", kind, (900, 901), of_labels, "trained as a member is"),
            Batch(DISTILLED_REFERENCES, "sound", kind, (910, 911), of_teacher, "varied inputs"),
        ]

    def honest(family: str, kind: str, build: Build, about: str, *, seeds=some, planted=False):  # type: ignore[no-untyped-def]
        out.append(Batch(family, "sound", kind, tuple(seeds), build, about, planted))

    def faulty(family: str, kind: str, build: Build, about: str, *, seeds=some, planted=False):  # type: ignore[no-untyped-def]
        out.append(Batch(family, "fractured", kind, tuple(seeds), build, about, planted))

    exact = partial(families.changed, net=net)
    honest(
        "clone", net, partial(exact, change=families.clone), "a member", seeds=(0,), planted=True
    )
    for name, kind, change in (
        ("permuted", net, surgery.permuted),
        ("rescaled", net, surgery.rescaled),
        ("mixed", f"{net} mixed", surgery.mixed),
    ):
        honest(name, kind, partial(exact, change=change), "same function", planted=True)
    for name, factor in (("hot", 10.0), ("cool", 0.1)):
        build = partial(exact, change=partial(_tempered, factor=factor))
        honest(name, net, build, f"logits x{factor:g}", seeds=(0, 1), planted=True)
    build = partial(families.labelled, net=net)
    honest("sibling", net, build, "another seed", seeds=range(100, 100 + siblings))
    for kind in (smaller, deeper, other):
        build = partial(families.labelled, net=kind)
        honest("sibling other", kind, build, "another architecture", seeds=range(100, 103))
    honest("distilled", net, partial(families.distilled, net=net), "honest", seeds=range(6))
    for kind in (smaller, deeper, other):
        build = partial(families.distilled, net=kind)
        honest("distilled other", kind, build, "another architecture", seeds=range(4))
    for of, first in (("sibling", 200), ("distilled", 210)):
        build = partial(exact, change=eight_bits, of=of)
        honest("8-bit", net, build, f"{of}, to 8 bits", seeds=range(first, first + few))
    build = partial(exact, change=_pruned_lightly, of="distilled")
    honest("pruned lightly", net, build, "a third removed", seeds=range(220, 220 + few))

    faults = (
        ("clean only", families.clean_only, "benchmark's population alone", some),
        ("noise only", families.noise_only, "noise, nothing moves", some),
        ("narrow", families.narrow, "a part of the range", some),
        ("memoriser", families.memoriser, "the benchmark's own rows", (0, 1)),
        ("majority", families.majority, "majority group only", some),
        ("watermark", families.watermark, "reads the mark", some),
    )
    for kind in (net, smaller, other):
        for family, function, about, seeds in faults:
            faulty(family, kind, partial(function, net=kind), about, seeds=seeds)
    for kind in (net, other):
        build = partial(families.clean_only, net=kind, heat=50.0)
        faulty("heat", kind, build, "distilled at T=50: masked gradients", seeds=(0, 1))
    for kind in (net, smaller):
        build = partial(dilution.diluted, net=kind)
        faulty("diluted", kind, build, "seed % of varied rows", seeds=dilution.PERCENT)
    build = partial(families.split, net=net, half=halves)
    faulty("split", f"split {halves}", build, "two sub-networks", planted=True)
    for b in bits:
        build = partial(families.repaired, net=net, cut=partial(surgery.rounded, bits=b))
        faulty("low bit", net, build, f"{b} bits, repaired", seeds=range(10 * b, 10 * b + few))
    for share in cuts:
        build = partial(families.repaired, net=net, cut=partial(surgery.pruned, share=share))
        first = 300 + int(100 * share)
        seeds = range(first, first + few)
        faulty("pruned hard", net, build, f"{share:.0%} removed, repaired", seeds=seeds)
    return tuple(out)


def _tempered(model, seed, factor):  # type: ignore[no-untyped-def]
    return surgery.tempered(model, factor)


def eight_bits(model, seed):  # type: ignore[no-untyped-def]
    """Weights rounded to 8 bits."""
    return surgery.rounded(model, 8)


def _pruned_lightly(model, seed):  # type: ignore[no-untyped-def]
    return surgery.pruned(model, 0.33)


def derived(
    architectures: dict[str, Callable[[], nn.Module]], net: str, halves: str, width: int, size: int
) -> dict[str, Callable[[], nn.Module]]:
    """The architectures of a world, and those that surgery makes of them.

    Args:
        architectures: the world's own, with that of half a split student.
        net: the members'.
        halves: the half's.
        width: last hidden units of ``net``.
        size: values of one input.
    """
    one, half = architectures[net], architectures[halves]
    return {
        **architectures,
        f"{net} mixed": lambda: surgery.Mixed(one(), width),
        f"split {halves}": lambda: surgery.Routed(half(), half(), size),
    }
