"""What measures say on which no verdict rests: one harm a specimen, statistic and place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.validity import audits, cache, kept
from benchmarks.validity.specimens import World
from benchmarks.validity.worlds import load
from ringtest import AuditData, compare, evidence, road, stages
from ringtest.case import Case
from ringtest.cells.store import Store
from ringtest.compare import Failure, Paired
from ringtest.condition import Condition, Kind, conditions
from ringtest.evidence import Evidence, Wanted
from ringtest.likeness import Likeness
from ringtest.measure import Measure, ModelMeasure, PairMeasure, measures
from ringtest.model import evaluating

PLACES: Final = {
    "clean": "clean",
    "noise": "noise.input@0.3",
    "off support": "shift.off_support.noise@3",
}
"""Name -> condition. Under noise targets hold; off support is read what needs none."""
TODAY: Final = ("similarity.cka", "similarity.neighbours", "outputs.agreement",
                "probe.slice_transfer")  # fmt: skip
"""Judged measures that are read at the same places, to be compared with."""
EACH: Final = 10
"""Specimens of a world and truth that a measure is read on."""
FEWER: Final = {
    "probe.mlp": 2, "similarity.layer_matching": 2,
    "probe.logistic": 4, "probe.v_information": 4, "probe.code_length": 4, "probe.mdl": 4,
    "structure.entanglement": 4, "usage.attribution": 4, "usage.sensitivity": 4,
    "usage.infidelity": 4,
    "attack.minimal": 2, "attack.minimal_l2": 2, "certify.smoothing": 2,
}  # fmt: skip
"""Of those that take longest, the first so many, and at one place alone."""
ONE_PLACE: Final = {"similarity.layer_matching": "off support"}
"""Where that is not ``clean``."""
WHOLE: Final = ("similarity.layer_matching",)
"""Measures of all layers; the others are shown the last hidden layer alone."""
STATISTICS: Final = {
    "structure.effective_rank": {"participation ratio": "^participation", "entropy": "^entropy"},
    "structure.redundancy": {"R^2 from other units": r"^R\^2", "share of copies": "^share"},
    "structure.entanglement": {"concept": r"^\S+ lost", "the rest": "of the rest lost"},
    "probe.slice_matrix": {"cosine": "^mean cosine"},
    "probe.condition_matrix": {"cosine": "^mean cosine", "clean probe": r"^[aR]\S+ .*: clean -> n"},
}
"""Name -> pattern in a reading's statistic and slice; what none of them finds is left out."""


def drawn(known: pd.DataFrame, scale: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """The sample: `EACH` specimens of each world and truth, and further inconclusive ones.

    Of these as many fractured and half as many sound. Members' own architecture and others in turn,
    and families in turn within each. Columns are added: ``rank``, from 0, and ``base``, False for
    the further ones, which count only among the inconclusive.
    """
    rng = np.random.default_rng(seed)
    most, out = scale * EACH, []
    for (_, truth), mine in known.groupby(["world", "truth"], sort=True):
        first = _in_turn(mine, rng)[: int(most)]
        rest = mine[(mine["label"] == "inconclusive") & ~mine.index.isin(first)]
        step = 2 if truth == "sound" else 1
        more = _in_turn(rest, rng)[: int(most / step)]
        ranks = [*range(len(first)), *range(0, step * len(more), step)]
        base = [True] * len(first) + [False] * len(more)
        out.append(known.loc[[*first, *more]].assign(rank=ranks, base=base))
    return pd.concat(out)


def _in_turn(frame: pd.DataFrame, rng: np.random.Generator) -> list[Any]:
    """Index of all rows: own and other architectures in turn, and families in turn within each."""
    kinds = [_families_in_turn(mine, rng) for _, mine in frame.groupby("own", sort=True)]
    return _alternate(kinds)


def _families_in_turn(frame: pd.DataFrame, rng: np.random.Generator) -> list[Any]:
    queues = [
        [mine.index[i] for i in rng.permutation(len(mine))]
        for _, mine in frame.groupby("family", sort=True)
    ]
    return _alternate([queues[i] for i in rng.permutation(len(queues))])


def _alternate(queues: Sequence[Sequence[Any]]) -> list[Any]:
    longest = max((len(q) for q in queues), default=0)
    return [q[i] for i in range(longest) for q in queues if i < len(q)]


@dataclass(frozen=True)
class Asked:
    """Specimens of one world with their rank: a measure is read on the ranks below its number."""

    world: str
    ranks: Mapping[str, float]
    scale: float = 1.0
    """Factor on all numbers: more of it costs time in proportion."""

    def of(self, entry: Measure) -> list[str]:
        """Names of those that a measure is read on."""
        least = self.scale * FEWER.get(entry.id, EACH)
        return [name for name, rank in self.ranks.items() if rank < least]


def harms(asked: Asked) -> list[dict[str, Any]]:
    """Lines ``world, name, measure, statistic, place, harm, reason``, from the store if known."""
    world = load(asked.world)
    case = case_of(world, asked)
    found: list[dict[str, Any]] = []
    store = Store(cache.FOLDER / "cells" / world.name)
    looks = _looks(case)
    names = {place: f"readings-{place.replace(' ', '-')}-{asked.scale:g}" for place in looks}
    keys = {place: _key(case, asked, place) for place in looks}
    cells = {place: store.read(names[place], keys[place]) for place in looks}
    clean: dict[str, Evidence] = {}
    with evaluating(case.models):
        for place, condition in looks.items():
            lines = cells[place]
            if lines is None or (place == "clean" and None in cells.values()):
                gathered = evidence.gather(
                    condition, case.models, [], case.data, case.task, _WANTED, case.seed
                )
                for name, shown in gathered.evidence.items():
                    shown.clean = clean.get(name)
                clean = clean or gathered.evidence
                if lines is None:
                    lines = _read(case, asked, place, looks, gathered)
                    store.write(names[place], keys[place], lines)
            found += [{"world": world.name, "place": place, **line} for line in lines]
    return found


_WANTED: Final = Wanted(outcomes=True, sample=True, layers=True, model=True, teacher=True)


def case_of(world: World, asked: Asked) -> Case:
    """An audit of the specimens, the group column being a concept, too."""
    models = audits.models(world)
    data = AuditData(*world.data, concepts=dict(world.audit["groups"]), **world.audit)
    return road.prepare(
        list(cache.teacher(world).values()), {n: models[n] for n in asked.ranks}, data, world.task
    )


def _looks(case: Case) -> dict[str, Condition]:
    """The conditions of the places."""
    made = [c for kind in conditions if _here(kind, case) for c in kind.make.defaults(case.data)]
    known = {c.key: c for c in made}
    return {place: known[key] for place, key in PLACES.items()}


def _here(kind: Kind, case: Case) -> bool:
    wanted = {key.split("@")[0] for key in PLACES.values()}
    return kind.id in wanted and case.task.name in kind.make.tasks


def entries(case: Case, place: str, looks: Mapping[str, Condition]) -> list[Measure]:
    """What is read at a place: all that is not read by default, and what is judged today."""
    return [e for e in measures if _asked(e, case, place, looks)]


def _asked(entry: Measure, case: Case, place: str, looks: Mapping[str, Condition]) -> bool:
    if entry.default and entry.id not in TODAY:
        return False
    if entry.id in FEWER and place != ONE_PLACE.get(entry.id, "clean"):
        return False
    if place == "clean":
        return "clean_pair" not in entry.needs and _applies(entry, case, looks[place])
    # Models are run again on unchanged rows alone.
    if entry.needs & {"model", "gradients"} or not _applies(entry, case, looks[place]):
        return False
    # What needs no targets is read farther away.
    return place == "off support" or not _applies(entry, case, looks["off support"])


def _applies(entry: Measure, case: Case, condition: Condition) -> bool:
    return entry.applies(condition, case.data, case.task)


def _read(
    case: Case,
    asked: Asked,
    place: str,
    looks: Mapping[str, Condition],
    gathered: evidence.Gathered,
) -> list[dict[str, Any]]:
    at = stages.setting(case, looks[place], gathered)
    last = replace(gathered, evidence={n: last_layer(e) for n, e in gathered.evidence.items()})
    out = []
    for entry in entries(case, place, looks):
        some = replace(case, students={n: case.students[n] for n in asked.of(entry)})
        shown = gathered if entry.id in WHOLE else last
        content = stages.compute(some, entry, shown, at)
        for name, model in some.students.items():
            for statistic, harm, reason in harms_of(entry, content, some, model.name):
                out.append(
                    {
                        "name": name, "measure": entry.id, "statistic": statistic,
                        "harm": harm, "reason": reason,
                    }
                )  # fmt: skip
    return out


def last_layer(shown: Evidence) -> Evidence:
    """The same with the last hidden layer alone."""
    name = shown.names[-1]
    clean = None if shown.clean is None else last_layer(shown.clean)
    return replace(shown, names=(name,), sample={name: shown.last}, clean=clean, derived={})


def harms_of(
    entry: Measure, content: Mapping[str, Any], case: Case, student: str
) -> Iterable[tuple[str, float, str]]:
    """Statistic, harm and, for NaN, the reason.

    Of several concepts and slices the mean; of several forms of the evidence the kindest, as where
    headlines are judged.
    """
    sign = -1.0 if entry.direction == "higher" else 1.0
    if isinstance(entry, PairMeasure):
        like = content[student]
        if isinstance(like, Likeness):
            gaps = [f.student.value - f.members.value for f in like.forms if f.members]
            return [(entry.statistic, min(sign * g for g in gaps), "")]
        return [(entry.statistic, float("nan"), _bare(like, student))]
    assert isinstance(entry, ModelMeasure)
    found = compare.pair(content, [m.name for m in case.members], student)
    parts = STATISTICS.get(entry.id, {"": ""})
    if isinstance(found, Failure):
        return [(part, float("nan"), _bare(found, student)) for part in parts]
    return [(part, *_mean(found, pattern, sign)) for part, pattern in parts.items()]


def _mean(found: list[Paired], pattern: str, sign: float) -> tuple[float, str]:
    mine = [p for p in found if re.search(pattern, f"{p.reading.statistic} {p.reading.slice}")]
    known = [sign * p.delta.value for p in mine if not p.reading.reason]
    why = next((p.reading.reason for p in mine if p.reading.reason), "no reading")
    return (fmean(known), "") if known else (float("nan"), why)


def _bare(why: Failure, student: str) -> str:
    """The reason without the name of the specimen, so that equal ones can be counted."""
    return why.reason.removeprefix(f"{student}: ")


def _key(case: Case, asked: Asked, place: str) -> str:
    """Everything that decides lines: rows, models, code, and what is asked of whom."""
    parts = [case.data.fingerprint, str(case.seed), kept.code(), cache.code(__file__)]
    parts += [f"{m.name}={m.weights_hash}" for m in case.models]
    parts += [place, PLACES[place], repr(sorted(asked.ranks.items())), repr(asked.scale)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
