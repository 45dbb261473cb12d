"""(d) Would more than the last hidden layer help? CKA at several depths, and their mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.validity import audits
from benchmarks.validity.audits import VIEWS, Chunk
from benchmarks.validity.cases import Case
from benchmarks.validity.pool import each
from benchmarks.validity.statistics import auroc, spearman
from benchmarks.validity.steps import Truths
from benchmarks.validity.worlds import load
from ringtest import evidence
from ringtest.evidence import Evidence, Wanted
from ringtest.measure import NotMeasurable
from ringtest.model import evaluating
from ringtest.probes.cka import Prepared, compare

DEPTHS: Final = {"first": 0.0, "middle": 0.5, "last": 1.0}
"""Relative depths; of a network with one hidden layer all three are one."""
PLACES = ("off_support", "certified", "unlabelled")
WORLDS = ("digits-cnn", "diamonds", "mnist1d-cnn")
EACH = 3
"""Specimens of a family and architecture."""


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths
) -> dict[str, pd.DataFrame]:
    """AUROC and Spearman of CKA at each depth, of its mean and of the worst, by place and world."""
    counted = {(c.truth.world, c.truth.name) for c in cases if c.counts}
    here = [w for w in WORLDS if any(w == world for world, _ in counted)]
    jobs = [
        c
        for w in here
        for c in audits.chunks(load(w), [n for b in load(w).batches for n in b.names[:EACH]])
    ]
    lines = [line for found in each(pool, "layers", _harms, jobs) for line in found]
    frame = pd.DataFrame([x for x in lines if (x["world"], x["name"]) in counted])
    known = [truths[w, n] for w, n in zip(frame["world"], frame["name"], strict=True)]
    frame = frame.assign(
        truth=[t.truth for t in known], fall=[t.fall for t in known],
        planted=[t.planted for t in known],
    )  # fmt: skip
    frame["mean of three"] = frame[list(DEPTHS)].mean(axis=1)
    frame["worst of three"] = frame[list(DEPTHS)].max(axis=1)
    out = []
    for (place, world), rows in frame.groupby(["place", "world"], sort=False):
        told = rows[rows["truth"] != "grey"]
        bad = (told["truth"] == "fractured").to_numpy()
        line: dict[str, Any] = {"place": place, "world": world}
        for column in (*DEPTHS, "mean of three", "worst of three"):
            line[column] = auroc(told[column].to_numpy(), bad)
        measured = rows[~rows["planted"]]
        for column in ("last", "mean of three"):
            ranks = spearman(measured[column].to_numpy(), measured["fall"].to_numpy())
            line[f"{column}, Spearman"] = ranks
        out.append(line)
    table = pd.DataFrame(out)
    mean = table.groupby("place", sort=False).mean(numeric_only=True).reset_index()
    return {
        "CKA at several depths, mean over worlds": mean.round(3),
        "CKA at several depths, by world": table.round(3),
    }


def _harms(chunk: Chunk) -> list[dict[str, Any]]:
    """Harm of every student at every depth: the mean off support, the largest drift elsewhere."""
    world = load(chunk.world)
    made = audits.viewed(world, chunk, audits.case(world, chunk), VIEWS["members"])
    gaps: dict[str, list[dict[str, dict[str, float]]]] = defaultdict(list)
    with evaluating(made.models):
        for stage in made.plan.stages:
            role = stage.condition.role
            if role != "clean" and role not in PLACES:
                continue
            seen = evidence.gather(
                stage.condition, made.models, [], made.data, made.task, Wanted(layers=True),
                made.seed,
            ).evidence  # fmt: skip
            # What a student is called in evidence is longer than its name here.
            students = {n: seen[m.name] for n, m in made.students.items()}
            members = {m.name: seen[m.name] for m in made.members}
            gaps[role].append(_gaps(members, students))
    (clean,) = gaps.pop("clean")
    out = []
    for place, conditions in gaps.items():
        for name in chunk.students:
            line: dict[str, Any] = {"world": chunk.world, "name": name, "place": place}
            for depth in DEPTHS:
                values = np.array([c[name][depth] for c in conditions])
                off = place == "off_support"
                line[depth] = values.mean() if off else (values - clean[name][depth]).max()
            out.append(line)
    return out


def _gaps(
    members: dict[str, Evidence], students: dict[str, Evidence]
) -> dict[str, dict[str, float]]:
    """Student -> depth -> how far it lies below the members' likeness to each other."""
    out: dict[str, dict[str, float]] = {name: {} for name in students}
    for depth, at in DEPTHS.items():
        of_members = [_prepared(shown, at) for shown in members.values()]
        theirs = [_likeness(a, b) for a, b in combinations(of_members, 2)]
        for name, shown in students.items():
            own = _prepared(shown, at)
            mine = [_likeness(own, m) for m in of_members]
            out[name][depth] = float(np.mean(theirs) - np.mean(mine))
    return out


def _prepared(shown: Evidence, at: float) -> Prepared | None:
    name = min(shown.names, key=lambda n: abs(shown.depth(n) - at))
    try:
        return Prepared(shown.sample[name])
    except NotMeasurable:
        return None


def _likeness(a: Prepared | None, b: Prepared | None) -> float:
    return float("nan") if a is None or b is None else compare(a, b).value
