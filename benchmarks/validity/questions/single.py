"""(c) What can be said of a single teacher, and what do references add?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pandas as pd

from benchmarks.validity import cases as cases_
from benchmarks.validity import tables
from benchmarks.validity.cases import Case
from benchmarks.validity.steps import Truths


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """A single teacher without anything, with references; beside the ensemble."""
    frame = cases_.table([c for c in cases if c.view != "distilled"])
    lone = frame[(frame["view"] == "single") & ~frame["elsewhere"]]
    return {
        "Single teacher and ensemble": tables.verdicts(frame),
        "Groups, single teacher": tables.groups(lone),
        "Families, single teacher": tables.families(lone),
    }
