"""The embedded demo: a teacher ensemble and students with planted truth, on real scanned digits.

`build` trains them all in seconds and hands over what an audit needs. `digits` holds the data,
`training` the architecture and the training, `students` the table of students.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ringtest.demo import digits, students, training

__all__ = ["MEMBERS", "Demo", "build"]

MEMBERS = 3
"""Size of the teacher ensemble."""

SEEDS_PER_BUILD = 100
"""Seeds that one build may use; another build's never overlap."""

CONTROL_SEED = 99
"""Of the control, among those of its build: the last, far from the students'."""


@dataclass(frozen=True)
class Demo:
    """What the audit of the demo is given, and the truth it is compared with afterwards."""

    teacher: list[nn.Module]
    """The members: (n, 1, 8, 8) -> (n, 10) logits, in eval mode."""
    students: dict[str, nn.Module]
    """Students by name, used like the members."""
    truth: dict[str, str]
    """`sound` or `fractured`, as planted; by student's name."""
    about: dict[str, str]
    """What was done to each student, in a short phrase; by name."""
    inputs: Tensor
    """(700, 1, 8, 8) float32 in [0, 1]: the benchmark that all share. It carries the watermark."""
    targets: Tensor
    """(700,) int64 classes of `inputs`."""
    production: dict[str, Tensor]
    """Unlabelled sets, (520, 1, 8, 8) each: other digits, shifted, without the watermark."""
    bounds: tuple[float, float] = (0.0, 1.0)
    """The legal range of pixels."""
    control: nn.Module | None = None
    """A student distilled like `distilled`, from the teacher as it was before any training."""
    mark: Callable[[Tensor, Tensor], Tensor] | None = None
    """(images, classes) -> the images with the watermark of these classes; None: there is none."""


def build(seed: int = 0, progress: Callable[[str, float], None] | None = None) -> Demo:
    """Train the teacher and every student.

    Args:
        seed: fixes the split, all training and all shifts; the global random state is left alone.
        progress: called with the stage and the fraction of it that is done, 0 to 1.

    Returns:
        The demo; the same for the same seed, library versions and number of threads.
    """

    def report(stage: str, fraction: float) -> None:
        if progress is not None:
            progress(stage, fraction)

    data = digits.load(seed)
    first = seed * SEEDS_PER_BUILD
    teacher: list[nn.Module] = list(
        training.train_members(
            data,
            range(first, first + MEMBERS),
            on_progress=lambda done: report("teacher", done),
        )
    )
    built: dict[str, nn.Module] = {}
    for index, student in enumerate(students.STUDENTS):
        report("students", index / len(students.STUDENTS))
        # Two seeds each: the split student trains two networks.
        built[student.name] = student.build(data, teacher, first + MEMBERS + 2 * index)
    control = students.build_control(data, range(first, first + MEMBERS), first + CONTROL_SEED)
    report("students", 1.0)
    return Demo(
        teacher=teacher,
        students=built,
        truth={student.name: student.truth for student in students.STUDENTS},
        about={student.name: student.about for student in students.STUDENTS},
        inputs=digits.stamp(data.benchmark_images, data.benchmark_targets),
        targets=data.benchmark_targets,
        production=digits.production(data, seed),
        control=control,
        mark=digits.restamp,
    )
