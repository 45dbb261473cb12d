"""Never worse than what was shipped: row by row, and in the label."""

from __future__ import annotations

import math
from typing import Final

from ringtest import pvalues, reasons
from ringtest.decision import Check, CheckStatus, Label
from ringtest.gates.waivers import Desk, undecided
from ringtest.measurement import Measurement
from ringtest.policy import Shipped

_RANK: Final[dict[str, int]] = {
    "sound": 0,
    "inconclusive": 1,
    "fractured": 2,
    "below-benchmark": 2,
}


def checks(rows: tuple[Measurement, ...], label: Label, desk: Desk) -> list[Check]:
    """Never worse than what was shipped, row by row and in the label."""
    base = desk.policy.baseline
    if base is None:
        return []
    # An unknown label counts as the best: the strictest reading.
    worse = _RANK[label] > _RANK.get(base.label, 0)
    word = "worse than" if worse else "no worse than"
    out = [
        Check(
            "baseline",
            "label",
            "fail" if worse else "pass",
            f"{label} is {word} {base.label}, the label of {base.source}, which was shipped.",
        )
    ]
    pairs = _pairs(rows, base.rows)
    tests = [_against(old, new) for old, new in pairs]
    rejected = pvalues.holm([p for p, _ in tests], desk.policy.alpha)
    for (old, new), (_, p_pass), fails in zip(pairs, tests, rejected, strict=True):
        status: CheckStatus = undecided(desk.policy.inconclusive, not math.isnan(p_pass))
        if new is None or not judged(new):
            # What was judged and is gone could hide anything: it is never a pass.
            status = "fail"
        elif p_pass <= desk.policy.alpha or (base.same and _numbers(old) == _numbers(new)):
            status = "pass"
        elif fails:
            status = "fail"
        message = _compared(old, new)
        if status != "pass" and (ids := desk.excuse(old)):
            status, message = "waived", f"{message} Waived by {ids}."
        out.append(
            Check(
                "baseline", f"{old.measure} on {old.condition}", status, message,
                old.measure, old.condition, old.slice, old.group, detail(old),
            )
        )  # fmt: skip
    return out


def _key(row: Measurement | Shipped) -> tuple[str | None, ...]:
    return row.measure, row.condition, row.slice, row.concept, row.null, row.group


def _pairs(
    rows: tuple[Measurement, ...], shipped: tuple[Shipped, ...]
) -> list[tuple[Shipped, Measurement | None]]:
    """Each shipped headline with the present one of the same place; None where there is none."""
    mine: dict[tuple[str | None, ...], list[Measurement]] = {}
    for row in rows:
        if row.headline:
            mine.setdefault(_key(row), []).append(row)
    return [(old, same.pop(0) if (same := mine.get(_key(old), [])) else None) for old in shipped]


def judged(row: Measurement) -> bool:
    """Whether a headline came to a decision at all."""
    return row.status in ("pass", "fail", "inconclusive")


def _numbers(row: Measurement | Shipped) -> tuple[float, ...]:
    return row.harm, row.se, row.df, row.family


def _against(old: Shipped, new: Measurement | None) -> tuple[float, float]:
    """p-values of 'worse by at most the margin' and 'worse by at least the margin'.

    Both were measured on the same rows, so adding the standard errors in quadrature is cautious.
    With a margin of 0 honest retraining would fail: rows miss the variance between training runs.
    """
    if new is None or not judged(new):
        return math.nan, math.nan
    return pvalues.p_values(
        new.harm - old.harm,
        new.margin,
        math.hypot(new.se, old.se),
        min(new.df, old.df),
        max(new.family, old.family),
    )


def _compared(old: Shipped, new: Measurement | None) -> str:
    where = f"{old.group}: {old.measure} on {old.condition}"
    if new is None or not judged(new):
        return f"{where} was judged when it was shipped and cannot be judged now."
    number = reasons.number
    return (
        f"{where}: harm {number(new.harm)} now, {number(old.harm)} as shipped; "
        f"worse by {number(new.harm - old.harm)}, margin {number(new.margin)}."
    )


def detail(row: Measurement | Shipped) -> str:
    """What tells two rows of one place apart."""
    return ", ".join(filter(None, (row.concept, row.null)))
