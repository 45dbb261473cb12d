"""What a user can look at today without ringtest's verdict, each as a harm: higher is worse."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from benchmarks.validity.cases import Case
from benchmarks.validity.fitting import outputs
from benchmarks.validity.specimens import World

FROM_ROWS: Mapping[str, tuple[str, str]] = {
    "clean agreement": ("outputs.agreement", "clean"),
    "clean CKA": ("similarity.cka", "clean"),
    "off-support agreement": ("outputs.agreement", "shift.off_support"),
    "PGD-CE accuracy": ("outputs.score", "attack.pgd"),
    "accuracy under noise": ("outputs.score", "noise.input"),
}
"""Name -> measure and condition of the audit's row; of several strengths the strongest."""
NAMES = ("benchmark difference", "KL to the teacher", *FROM_ROWS)


def of(case: Case, divergence: float) -> dict[str, float]:
    """All alternatives for one case."""
    out = {"benchmark difference": -case.truth.benchmark, "KL to the teacher": divergence}
    for name, (measure, condition) in FROM_ROWS.items():
        rows = [
            r for r in case.audited.rows
            if r.measure == measure and r.condition == condition and r.slice is None
        ]  # fmt: skip
        rows.sort(key=lambda r: r.severity or 0.0)
        out[name] = rows[-1].harm if rows else float("nan")
    return out


def divergence(world: World, theirs: Tensor, student: nn.Module) -> float:
    """Mean KL from the ensemble to the student on the benchmark; regression: mean squared gap.

    Args:
        world: decides which.
        theirs: (n, k) the ensemble's outputs on the benchmark.
        student: whose outputs are compared.
    """
    mine = outputs(student, world.data[0])
    if world.task == "regression":
        return float((theirs - mine).square().mean())
    logs = theirs.clamp_min(1e-12).log() - mine.log_softmax(1)
    return float((theirs * logs).sum(1).mean())
