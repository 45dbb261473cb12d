"""Debiased CKA of every layer of the teacher with every layer of the student: the heat map."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from ringtest.evidence import Evidence, Gathered
from ringtest.measure import NotMeasurable
from ringtest.measurement import Measurement
from ringtest.moments import Moments, ratio
from ringtest.probes.cka import Prepared, hsic_and_deletions

Pair = tuple[str, str]
"""(layer of the one, layer of the other)."""


def similarities(a: Evidence, b: Evidence, moments: dict[Pair, Moments]) -> dict[Pair, float]:
    """CKA of every layer of ``a`` with every layer of ``b``.

    From running sums over all rows where both layers are narrow, else on the sample of rows.
    Layers without variation are left out.
    """
    out = {}
    for la in a.names:
        for lb in b.names:
            if (la, lb) in moments and moments[la, lb].n:
                cross = moments[la, lb].hsic()
                value = ratio(cross, a.moments[la].hsic(), b.moments[lb].hsic())
            else:
                pa, pb = _prepared(a, la), _prepared(b, lb)
                if pa is None or pb is None:
                    continue
                value = ratio(hsic_and_deletions(pa, pb)[0], pa.own, pb.own)
            out[la, lb] = float(value)
    return out


def _prepared(evidence: Evidence, name: str) -> Prepared | None:
    key = f"centred {name}"
    if key not in evidence.derived:
        try:
            evidence.derived[key] = Prepared(evidence.sample[name])
        except NotMeasurable:
            evidence.derived[key] = None
    found: Prepared | None = evidence.derived[key]
    return found


def rows(gathered: Gathered, members: Sequence[str], student: str) -> list[Measurement]:
    """One context row a layer pair: student to members, and members among each other.

    The latter only where both names are layers of the members. No interval: it is a picture.
    """
    seen = gathered.evidence

    def table(pairs: list[tuple[str, str]]) -> dict[Pair, float]:
        found = defaultdict(list)
        for a, b in pairs:
            for pair, value in similarities(
                seen[a], seen[b], gathered.cross.get((a, b), {})
            ).items():
                found[pair].append(value)
        return {pair: sum(values) / len(values) for pair, values in found.items()}

    band = table(list(combinations(members, 2)))
    first, mine = seen[members[0]], seen[student]
    return [
        Measurement(
            "similarity.cka",
            "probes",
            "clean",
            statistic="cka",
            unit="cka",
            teacher_layer=a,
            student_layer=b,
            teacher=band.get((a, b), math.nan),
            student=value,
            n=gathered.n,
            params={
                "teacher_depth": first.depth(a) if a in first.names else None,
                "student_depth": mine.depth(b),
            },
        )
        for (a, b), value in table([(m, student) for m in members]).items()
    ]
