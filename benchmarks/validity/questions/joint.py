"""(h) Two groups that both fall a little short of their margins: may they fail together?

Candidate rule: the mean of the two largest ratios of harm to margin lies above 1, at the level of
every test, with the two harms as correlated as they are seen to be. The rule of the product, that
two groups each fail, needs no correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.validity import cases as cases_
from benchmarks.validity import tables
from benchmarks.validity.cases import Case
from benchmarks.validity.steps import Truths
from ringtest import margins

DRAWS = 20_000
SE = 0.25
"""Standard error of a ratio, of the size that audits of some hundred rows show."""


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Error rates by simulation, and what the rule would change on the specimens."""
    frame = cases_.table([c for c in cases if c.view == "members"])
    return {"Simulated rates of `fractured`": simulated(), "On the specimens": _gain(frame)}


def simulated(seed: int = 0) -> pd.DataFrame:
    """How often each rule says `fractured` for true ratios and correlations of three groups."""
    rng = np.random.default_rng(seed)
    limit = stats.norm.ppf(1 - margins.ALPHA)
    out = []
    for truth in ((0, 0, 0), (0.6, 0.6, 0.6), (1, 1, 0), (1.5, 0.5, 0), (3, 0.9, 0),
                  (1.3, 1.3, 0), (2, 2, 0)):  # fmt: skip
        for rho in (0.0, 0.5, 0.9):
            cover = np.full((3, 3), rho) + (1 - rho) * np.eye(3)
            seen = np.array(truth) + SE * rng.multivariate_normal(np.zeros(3), cover, DRAWS)
            # Holm over three: the second rejection needs alpha / 2, the first alpha / 3.
            z = np.sort((seen - 1) / SE, axis=1)[:, ::-1]
            two = (z[:, 0] > stats.norm.ppf(1 - margins.ALPHA / 3)) & (
                z[:, 1] > stats.norm.ppf(1 - margins.ALPHA / 2)
            )
            top = np.sort(seen, axis=1)[:, ::-1][:, :2].mean(1)
            joint = (top - 1) / (SE * np.sqrt((1 + rho) / 2)) > limit
            out.append(
                {
                    "true ratios": str(truth), "correlation": rho,
                    "honest": "yes" if sorted(truth)[-2] <= 1 else "no",
                    "two groups fail": f"{two.mean():.3f}",
                    "mean of the two largest": f"{joint.mean():.3f}",
                }
            )  # fmt: skip
    return pd.DataFrame(out)


def _gain(frame: pd.DataFrame) -> pd.DataFrame:
    known = tables.counted(frame)
    columns = [c for c in known if c.startswith("ratio ")]
    values = np.sort(known[columns].fillna(0.0).to_numpy(float), axis=1)[:, ::-1][:, :2]
    for name, level in (("joint above 1", 1.0), ("joint above 1.25", 1.25)):
        known = known.assign(**{name: values.mean(1) > level})
    known = known.assign(**{"two groups fail": known["label"] == "fractured"})
    names = ["two groups fail", "joint above 1", "joint above 1.25"]
    return known.groupby(["elsewhere", "truth"])[names].mean().mul(100).round(1).reset_index()
