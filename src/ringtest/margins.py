"""Versioned constants of the verdict.

They change only with work on ``benchmarks/validity`` and with a new ``VERSION``; a verdict carries
the version it was made under, and strengths are comparable only where versions are equal.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 5

ALPHA: Final = 0.05
"""Level of every one-sided test."""
MIN_N: Final = 100
"""Least number of rows of a judged slice or set."""
MIN_GROUPS: Final = 3
"""Least number of judged groups for ``sound``."""
SAMPLE: Final = 2_048
"""Rows whose layers are kept."""
RESAMPLES: Final = 2_000
"""Resamples of the paired bootstrap."""
CI_LEVEL: Final = 0.95

BENCHMARK: Final = 0.03
"""Non-inferiority margin on the benchmark."""

UNLABELLED: Final = {"global geometry": 0.08, "local geometry": 0.13, "function": 0.06}
"""Difference in differences on an unlabelled set."""
CERTIFIED: Final = {
    "global geometry": 0.10,
    "local geometry": 0.13,
    "function": 0.07,
    "invariance": 0.15,
}
"""The largest harm over the transformations that the teacher certifies."""
OFF_SUPPORT: Final = {"global geometry": 0.31, "local geometry": 0.60, "function": 0.13}
"""Floor off support, against members of another architecture: the band is void there."""
REFERENCES: Final = {"global geometry": 0.11, "local geometry": 0.21, "function": 0.08}
"""Off support, against references of the student's own kind."""
FLOORS: Final = {
    "elsewhere": UNLABELLED,
    "certified": CERTIFIED,
    "off support": OFF_SUPPORT,
    "references": REFERENCES,
}
OWN_FLOORS: Final = {
    "elsewhere": {"global geometry": 0.08, "local geometry": 0.08, "function": 0.05},
    "certified": {"global geometry": 0.08, "local geometry": 0.09, "function": 0.06},
    "off support": {"global geometry": 0.08, "local geometry": 0.08, "function": 0.04},
    "references": {"global geometry": 0.08, "local geometry": 0.08, "function": 0.05},
}
"""What stands in place of FLOORS where a student is held against models of its own architecture:
these scatter far less."""
LEVELS: Final = {"global geometry": 0.95, "local geometry": 0.50, "function": 0.95}
"""A single teacher without references: as near as a near-copy, off support."""
STRUCTURE: Final = {"invariance": 0.20, "twins": 0.20, "slice transfer": 0.05}

BAND_PRIOR_SD: Final = {"global geometry": 0.03, "local geometry": 0.02}
"""s0: prior SD of the similarity between training runs."""
BAND_PRIOR_DF: Final = 4
"""nu0: weight of that prior, in degrees of freedom."""

ELSEWHERE_AUC: Final = 0.60
"""An unlabelled set counts only if a probe tells it from the benchmark this well."""
CERTIFIED_SHARE: Final = 0.90
"""A transformation is certified if members keep at least this share of their predictions."""
CERTIFIED_MOVEMENT: Final = 0.30
"""Regression and embedding: output movement at most this share of that of random pairs."""

TWIN_INPUT: Final = 0.8
"""Twins' inputs are at least this share of the median distance apart."""
TWIN_OUTPUT: Final = 0.05
"""Twins' mean outputs are at most this far apart (probability; or output SD)."""
TWIN_PAIRS: Final = 50
"""Least number of twin pairs."""

WHITEN_VARIANCE: Final = 0.99
"""Whitening uses the leading directions that hold this share of the variance."""
CKA_RELIABILITY: Final = 0.9
"""CKA is judged as atanh(reliability * CKA): atanh alone is steep near 1, where .999 and .99, which
mean the same to anybody, lay as far apart as .9 and .3."""
NEIGHBOUR_SHARE: Final = 0.02
"""k = max(5, round(share * n))."""
JACKKNIFE_GROUPS: Final = 20
PROBE_RIDGE: Final = 0.01
"""Ridge penalty per row of a probe on standardised features."""
PROBE_FOLDS: Final = 5
SLICE_TRANSFER: Final = 0.25
"""Slice transfer is judged only where the teacher's own probes lose at most this much."""
SLICES: Final = (2, 10)
"""Slice transfer takes between two and ten slices of at least MIN_N rows."""
TEACHER_STRUCTURE: Final = {"invariance": 0.40, "twins": 0.60}
"""A structural row is judged only where the teacher shows at most this (unrelated codes show 1).
Under transformations that move a teacher by .4 to .6 honest students of another architecture were
up to 1.1 worse (95 %), below .4 at most .13."""

UNEVEN: Final = 2.0
"""A group that fails at so many times its margin needs a second only beyond 1 / UNEVEN of its own:
together they are as far out as two groups that fail."""

GROUPS: Final = (
    "global geometry",
    "local geometry",
    "function",
    "slice transfer",
    "invariance",
    "twins",
)
ALWAYS_REQUIRED: Final = ("global geometry", "local geometry", "function", "twins")
BAND_GROUPS: Final = ("global geometry", "local geometry", "function")
"""Groups whose off-support rows rest on the member band."""


def span(group: str) -> tuple[float, float]:
    """Least and largest default margin of a group; which one counts, what it is held against says.

    Raises KeyError for a group that the verdict does not know.
    """
    tables = [*FLOORS.values(), *OWN_FLOORS.values(), STRUCTURE, {"benchmark": BENCHMARK}]
    found = [table[group] for table in tables if group in table]
    if not found:
        raise KeyError(group)
    return min(found), max(found)
