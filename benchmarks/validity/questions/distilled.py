"""(e) Do references that were distilled, as honest students are, find the mild falls?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pandas as pd

from benchmarks.validity import cases as cases_
from benchmarks.validity import tables
from benchmarks.validity.cases import Case
from benchmarks.validity.steps import Truths

MILD = (0.12, 0.22)
"""Falls that are called mild here."""


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """Without references, with trained ones and with distilled ones; all falls, and mild ones."""
    views = ("members", "references", "distilled")
    frame = cases_.table([c for c in cases if c.view in views and not c.elsewhere])
    mild = frame[(frame["truth"] == "sound") | frame["fall"].between(*MILD)]
    honest = frame[(frame["truth"] == "sound") & frame["counts"]]
    raised = honest.groupby(["view", "family"])["ratio global geometry"].median().unstack("view")
    return {
        "All": tables.verdicts(frame),
        f"Falls of {MILD[0]} to {MILD[1]}": tables.verdicts(mild),
        "Global geometry of the honest, median harm over margin": raised[list(views)].reset_index(),
    }
