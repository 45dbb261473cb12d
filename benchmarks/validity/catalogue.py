"""The default list of batches that every world takes over, with its own architectures' names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from benchmarks.validity import dilution, families, surgery
from benchmarks.validity.specimens import DISTILLED_REFERENCES, MEMBERS, REFERENCES, Batch


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
        about = "trained on labels, as a member is"
        out.append(
            Batch(
                REFERENCES, "sound", kind, (900, 901), partial(families.labelled, net=kind), about
            )
        )
        out.append(
            Batch(
                DISTILLED_REFERENCES, "sound", kind, (910, 911),
                partial(families.distilled, net=kind), "distilled on varied inputs",
            )
        )  # fmt: skip

    def add(family: str, side: str, kind: str, build, about: str, seeds=some, planted=False):  # type: ignore[no-untyped-def]
        out.append(Batch(family, side, kind, tuple(seeds), build, about, planted))  # type: ignore[arg-type]

    exact = partial(families.changed, net=net)
    add("clone", "sound", net, partial(exact, change=families.clone), "a member", (0,), True)
    for name, change in (("permuted", surgery.permuted), ("rescaled", surgery.rescaled),
                         ("mixed", surgery.mixed)):  # fmt: skip
        kind = f"{net} mixed" if name == "mixed" else net
        add(name, "sound", kind, partial(exact, change=change), "same function", planted=True)
    for name, factor in (("hot", 10.0), ("cool", 0.1)):
        change = partial(_tempered, factor=factor)
        add(name, "sound", net, partial(exact, change=change), f"logits x{factor:g}", (0, 1), True)
    seeds = range(100, 100 + siblings)
    add("sibling", "sound", net, partial(families.labelled, net=net), "another seed", seeds)
    for kind, count in ((smaller, 3), (deeper, 3), (other, 3)):
        build = partial(families.labelled, net=kind)
        add(
            "sibling other",
            "sound",
            kind,
            build,
            "honest, another architecture",
            range(100, 100 + count),
        )
    add("distilled", "sound", net, partial(families.distilled, net=net), "honest", range(6))
    for kind in (smaller, deeper, other):
        build = partial(families.distilled, net=kind)
        add("distilled other", "sound", kind, build, "honest, another architecture", range(4))
    for of in ("sibling", "distilled"):
        build = partial(exact, change=_eight_bits, of=of)
        add(
            "8-bit",
            "sound",
            net,
            build,
            f"{of}, rounded to 8 bits",
            range(200 if of == "sibling" else 210, (200 if of == "sibling" else 210) + few),
        )
    build = partial(exact, change=_pruned_lightly, of="distilled")
    add(
        "pruned lightly",
        "sound",
        net,
        build,
        "a third of the weights removed",
        range(220, 220 + few),
    )

    for kind in (net, smaller, other):
        add(
            "clean only",
            "fractured",
            kind,
            partial(families.clean_only, net=kind),
            "benchmark's population alone",
        )
        add(
            "noise only",
            "fractured",
            kind,
            partial(families.noise_only, net=kind),
            "noise, nothing moves",
        )
        add("narrow", "fractured", kind, partial(families.narrow, net=kind), "a part of the range")
        add(
            "memoriser",
            "fractured",
            kind,
            partial(families.memoriser, net=kind),
            "the benchmark's own rows",
            (0, 1),
        )
        add(
            "majority",
            "fractured",
            kind,
            partial(families.majority, net=kind),
            "majority group only",
        )
        add("watermark", "fractured", kind, partial(families.watermark, net=kind), "reads the mark")
    for kind in (net, other):
        build = partial(families.clean_only, net=kind, heat=50.0)
        add("heat", "fractured", kind, build, "distilled at T=50: masked gradients", (0, 1))
    for kind in (net, smaller):
        build = partial(dilution.diluted, net=kind)
        add("diluted", "fractured", kind, build, "seed % of varied rows", dilution.PERCENT)
    build = partial(families.split, net=net, half=halves)
    add("split", "fractured", f"split {halves}", build, "two sub-networks", planted=True)
    for b in bits:
        build = partial(families.repaired, net=net, cut=partial(surgery.rounded, bits=b))
        add(
            "low bit",
            "fractured",
            net,
            build,
            f"{b} bits, repaired on the benchmark",
            range(10 * b, 10 * b + few),
        )
    for share in cuts:
        build = partial(families.repaired, net=net, cut=partial(surgery.pruned, share=share))
        first = 300 + int(100 * share)
        add(
            "pruned hard",
            "fractured",
            net,
            build,
            f"{share:.0%} removed, repaired on the benchmark",
            range(first, first + few),
        )
    return tuple(out)


def _tempered(model, seed, factor):  # type: ignore[no-untyped-def]
    return surgery.tempered(model, factor)


def _eight_bits(model, seed):  # type: ignore[no-untyped-def]
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
