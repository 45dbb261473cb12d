"""(h) Two groups that both fall a little short of their margins: may they fail together?

Rule of this version: two groups fail, or one fails at twice its margin and another at half of its
own. Both are intersections of tests with Holm's correction, so neither needs to know how correlated
the groups are. Beside it stands the rule of the mean: that of the two largest ratios lies above 1,
which does need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from benchmarks.validity import cases as cases_
from benchmarks.validity import tables
from benchmarks.validity.cases import Case
from benchmarks.validity.statistics import shown
from benchmarks.validity.steps import Truths
from ringtest import margins

DRAWS: Final = 20_000
SE: Final = 0.25
"""Standard error of a ratio, of the size that audits of some hundred rows show."""
TRUTHS: Final = (
    (0, 0, 0, 0), (0.5, 0.5, 0.5, 0.5), (0.9, 0.9, 0.9, 0.9), (1, 1, 0, 0), (1, 1, 1, 1),
    (2, 0.5, 0, 0), (4, 0.5, 0, 0), (4, 0.5, 0.5, 0.5), (9, 0.4, 0, 0),
    (1.5, 1.5, 0, 0), (2, 1, 0, 0), (3, 0.9, 0, 0), (3, 1.3, 0, 0),
)  # fmt: skip


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Error rates by simulation, and what the rule changes on the specimens."""
    frame = tables.counted(cases_.table([c for c in cases if c.view in ("members", "references")]))
    return {"Simulated rates of `fractured`": simulated(), "On the specimens": _gain(frame)}


def simulated(seed: int = 0) -> pd.DataFrame:
    """How often each rule says `fractured` for true ratios and correlations of four groups."""
    rng = np.random.default_rng(seed)
    out = []
    for truth in TRUTHS:
        line: dict[str, Any] = {"true ratios": ", ".join(f"{v:g}" for v in truth)}
        line["to be found"] = "yes" if _beyond(truth) else "no"
        for rho in (0.0, 0.5, 0.9):
            cover = np.full((4, 4), rho) + (1 - rho) * np.eye(4)
            seen = np.array(truth) + SE * rng.multivariate_normal(np.zeros(4), cover, DRAWS)
            top = np.sort(seen, axis=1)[:, ::-1]
            mean = (top[:, :2].mean(1) - 1) / (SE * np.sqrt((1 + rho) / 2))
            two = rejected(seen, 1.0).sum(1) >= 2
            line[f"two fail, rho {rho:g}"] = two.mean()
            line[f"this version, rho {rho:g}"] = (two | uneven(seen)).mean()
            line[f"mean, rho {rho:g}"] = (mean > stats.norm.ppf(1 - margins.ALPHA)).mean()
        out.append(line)
    return pd.DataFrame(out).round(3)


def _beyond(truth: Sequence[float]) -> bool:
    first, second = sorted(truth)[:-3:-1]
    return second > 1 or (first > margins.UNEVEN and second > 1 / margins.UNEVEN)


def rejected(seen: NDArray[np.float64], scale: float) -> NDArray[np.bool_]:
    """(draws, groups): beyond ``scale`` margins, by Holm over the groups."""
    p = stats.norm.sf((seen - scale) / SE)
    order = np.argsort(p, axis=1)
    adjusted = np.take_along_axis(p, order, 1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.maximum.accumulate(adjusted, axis=1)
    out = np.empty_like(adjusted, dtype=bool)
    np.put_along_axis(out, order, adjusted <= margins.ALPHA, 1)
    return out


def uneven(seen: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(draws,): one group far beyond its margin, and another beyond as small a part of its own.

    That the second must not pass is left out: it can only make the rule say less.
    """
    in_part = rejected(seen, 1 / margins.UNEVEN).sum(1) >= 2
    return rejected(seen, margins.UNEVEN).any(1) & in_part


def _gain(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares called fractured, by this version's rule and by two failing groups alone."""
    status = [c for c in frame if c.startswith("status ")]
    two = (frame[status] == "fail").sum(axis=1) >= 2
    out = []
    for keys, index in frame.groupby(["view", "elsewhere", "truth"], sort=False).groups.items():
        part = frame.loc[index]
        view, elsewhere, truth = keys
        out.append(
            {
                "audit": tables.audit_name(view, elsewhere), "truth": truth,
                "two groups fail": shown(tables.share(part, two[index])),
                "this version": shown(tables.label_rate(part, "fractured")),
            }
        )  # fmt: skip
    return pd.DataFrame(out)
