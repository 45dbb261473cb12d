"""What is audited here: worlds, and the specimens that are trained in them from seeds.

A specimen is a student with planted or measured truth. Specimens of one family and architecture are
a `Batch`: one function trains all of them from their seeds, so that small networks can be trained
side by side. A `World` is a benchmark, a teacher's architecture, labelled shifts from which truth
is measured and that no audit ever sees, and the batches. A new world is one file in `worlds/`; a
new family is one function and one row there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

Side = Literal["sound", "fractured"]
Labelled = tuple[Tensor, Tensor]
"""Inputs (n, ...) and targets (n,) or (n, k)."""
Build = Callable[["World", Sequence[nn.Module], Sequence[int]], list[nn.Module]]
"""(world, members of the teacher, seeds) -> one trained model a seed, in eval mode."""

Vary = Callable[[Tensor, torch.Generator], Tensor]
"""Inputs (n, ...) -> the same rows, changed at random; targets keep."""

MEMBERS, REFERENCES = "member", "reference"
"""Families of models that are not specimens: the teacher's, and honest models of a kind."""
DISTILLED_REFERENCES = "distilled reference"
"""Honest models of a kind that were distilled from the teacher, as honest students are."""


@dataclass(frozen=True)
class Batch:
    """Specimens of one family and architecture."""

    family: str
    """Name of what was done to them; calibration and intervals go by family."""
    side: Side
    """What the family is meant to be. Measured falls decide unless the truth is planted."""
    architecture: str
    """Key of `World.architectures`: the module whose weights are kept."""
    seeds: tuple[int, ...]
    build: Build
    about: str
    """What was done, in a short phrase."""
    planted: bool = False
    """The truth holds by construction, whatever falls are measured."""

    @property
    def names(self) -> list[str]:
        """Names of the specimens, unique within a world."""
        return [
            f"{self.family} {self.architecture} {seed}".replace(" ", "-") for seed in self.seeds
        ]


@dataclass(frozen=True, eq=False)  # known by identity: tensors have no hash
class World:
    """One benchmark with its teacher, its truth, and what a family needs to know of its rows."""

    name: str
    task: Literal["classification", "regression"]
    data: Labelled
    """The benchmark, as the audit gets it; it carries the faint watermark of `stamp`."""
    train: Labelled
    """What honest models learn from, before it is varied."""
    home: Tensor
    """(n,) bool: rows of `train` from the benchmark's own population."""
    majority: Tensor
    """(n,) bool: rows of `train` in a group that most of the benchmark belongs to."""
    side: tuple[Tensor, float]
    """Direction (d,) and threshold of a property of flattened inputs that halves them and tells
    nothing of the class: what a student of two sub-networks is divided by."""
    vary: Vary
    """How honest models see an input: widely. The unseen shifts lie beyond it, or beside it."""
    narrow: Vary
    """The same restricted to a part of its range."""
    noisy: Vary
    """Noise alone: nothing moves."""
    stamp: Callable[[Tensor, Tensor], Tensor]
    """(inputs, targets) -> the same with a faint mark that tells the target."""
    shifts: Mapping[str, Labelled]
    """The unseen: truth is measured here; no audit and no training ever sees it."""
    familiar: tuple[str, ...]
    """Which of `shifts` are stronger versions of what ringtest's certified dictionary holds."""
    unlabelled: Mapping[str, Tensor]
    """Inputs from elsewhere that an audit may be given; other shifts than those of the truth."""
    architectures: Mapping[str, Callable[[], nn.Module]]
    """Untrained modules, `Sequential(body, head)`: the body ends in Linear, ReLU; heads are Linear.
    Names that start with `half` are halves of a split student; their heads have no bias."""
    teacher: str
    """Architecture of the members."""
    steps: Mapping[str, int]
    """Updates by architecture."""
    batches: tuple[Batch, ...]
    """Members, references and specimens."""
    pool: Labelled = (torch.zeros(0), torch.zeros(0))
    """More rows like the benchmark's (with the mark), for the study of power; may be empty."""
    audit: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of AuditData, such as bounds and groups."""
