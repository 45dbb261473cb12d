"""The judged rows: member test off support, difference in differences elsewhere, structure."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np

from ringtest import compare, margins
from ringtest.compare import Failure, Paired
from ringtest.condition import Condition
from ringtest.largest import Drift, Seen, certified_row
from ringtest.likeness import Likeness
from ringtest.measure import Measure, ModelMeasure, PairMeasure
from ringtest.measurement import Measurement
from ringtest.nulls import (
    Drifting,
    Standing,
    at_chance,
    band,
    band_width,
    drift_null,
    minus_constant,
    off_support_rows,
)
from ringtest.structural import speaks, structured, unless_unstructured


@dataclass
class Judge(Standing):
    """Collects, for one student, what the headlines rest on, and builds them at the end.

    The rules are those of ``docs/design.md``, "Inference"; the numbers are those of ``margins``.
    """

    unseen: str = ""
    """Why models cannot be looked at off support; empty if they can."""
    rows: list[Measurement] = field(default_factory=list)
    _clean: dict[str, Likeness | Failure] = field(default_factory=dict)
    _off: dict[str, list[tuple[Condition, Likeness | Failure]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _certified: dict[tuple[str, Drifting], list[Seen]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _entries: dict[str, Measure] = field(default_factory=dict)
    _auc: dict[str, float] = field(default_factory=dict)
    _certifies: dict[str, bool] = field(default_factory=dict)

    # -- what is seen, condition by condition ---------------------------------------------------

    def elsewhere(self, condition: Condition, auc: float) -> None:
        """How well an unlabelled set is told from the benchmark, mean over members."""
        self._auc[condition.key] = auc

    def certify(self, condition: Condition, kept: float, moved: bool) -> None:
        """What share of their outputs the members keep (``moved``: 1 - movement instead)."""
        least = 1.0 - margins.CERTIFIED_MOVEMENT if moved else margins.CERTIFIED_SHARE
        self._certifies[condition.key] = kept >= least

    def see_likeness(
        self, entry: PairMeasure, condition: Condition, found: Likeness | Failure
    ) -> None:
        """A similarity under one condition."""
        if entry.group not in margins.BAND_GROUPS or condition.role not in entry.on:
            return
        self._entries[entry.id] = entry
        match condition.role:
            case "clean":
                self._clean[entry.id] = found
                if self.embedding and entry.group == "function":
                    self.rows.append(self._fidelity(entry, found))
            case "off_support":
                self._off[entry.id].append((condition, found))
            case "unlabelled":
                self.rows += [
                    self._elsewhere_row(entry, condition, found, of) for of in self.drifts
                ]
            case "certified" if self._certifies.get(condition.key) and entry.group != "function":
                for of in self.drifts:
                    drift = self._drift(
                        entry, found, of, True, self.drift_floor("certified", entry.group, of)
                    )
                    # Where members do not agree nothing is said, and nothing else is excused.
                    if drift != _NO_AGREEMENT:
                        seen = (condition.name or condition.key, drift)
                        self._certified[entry.id, of].append(seen)
            case _:
                pass

    def see_readings(
        self, entry: ModelMeasure, condition: Condition, found: list[Paired] | Failure
    ) -> list[Paired] | Failure:
        """Readings of student and members under one condition; returns those that stay context."""
        if entry.group is None or condition.role not in entry.on:
            return found  # what was asked for besides stays context
        self._entries[entry.id] = entry
        if condition.role == "certified" and self._certifies.get(condition.key):
            self._see_certified(entry, condition, found)
        asked = condition.role == "invariance" and entry.group == "invariance"
        if condition.role != "clean" and not asked:
            return found
        self.rows += self._structural(entry, condition, found)
        return [] if isinstance(found, Failure) else [p for p in found if not speaks(entry, p)]

    # -- what is judged ---------------------------------------------------------------------------

    def headlines(self) -> list[Measurement]:
        """All judged rows of the student, and the context rows that explain what is not judged."""
        out = list(self.rows)
        # Groups that are judged elsewhere: there no band is needed. Transformations that a teacher
        # certifies may be too mild to tell anything, so they excuse from nothing.
        compared = {
            r.group for r in out if r.headline and r.condition.startswith("shift.unlabelled")
        }
        for entry in self._entries.values():
            for of in ("members", "references"):
                found = self._certified.get((entry.id, of))
                out += [certified_row(self, entry, found, of)] if found else []
        for name, seen in self._off.items():
            entry = self._entries[name]
            assert isinstance(entry, PairMeasure)
            out += off_support_rows(self, entry, seen, compared)
        return out + [self._unseen_row(e) for e in self._entries.values() if self._lacks(e)]

    def _lacks(self, entry: Measure) -> bool:
        return bool(self.unseen) and entry.group in margins.BAND_GROUPS and entry.id in self._clean

    def _unseen_row(self, entry: Measure) -> Measurement:
        """Whoever chose what is stored did not choose what is tested: it is missing, not passed."""
        return compare.failed_row(
            entry,
            "shift.off_support",
            Failure("not_measurable", self.unseen),
            group=entry.group,
            headline=True,
            required=True,
            null="paired",
            margin=self.floor("off support", str(entry.group)),
        )

    def _fidelity(self, entry: PairMeasure, found: Likeness | Failure) -> Measurement:
        """The benchmark of an embedding model: fidelity to the members, held against their own."""
        fields = {"group": "benchmark", "headline": True, "required": True, "null": "paired"}
        if isinstance(found, Failure):
            return compare.failed_row(entry, "clean", found, margin=margins.BENCHMARK, **fields)
        band = found.members or found.references
        delta = found.student - band if band else minus_constant(found.student, 1.0)
        return compare.row(
            entry,
            "clean",
            delta,
            band.value if band else 1.0,
            found.student.value,
            seed=self.seed,
            margin=margins.BENCHMARK,
            statistic="fidelity",
            **fields,
        )

    def _structural(
        self, entry: ModelMeasure, condition: Condition, found: list[Paired] | Failure
    ) -> list[Measurement]:
        """Benchmark, slice transfer, twins, the user's invariances: beside the mean member."""
        assert entry.group is not None
        margin = margins.BENCHMARK if entry.group == "benchmark" else margins.STRUCTURE[entry.group]
        judged = {"group": entry.group, "headline": True, "required": True, "null": "paired"}
        if isinstance(found, Failure):
            return [compare.failed_row(entry, condition.id, found, margin=margin, **judged)]
        rows = []
        for p in found:
            if not speaks(entry, p):
                continue
            made = compare.row(
                entry,
                condition.id,
                p.delta,
                p.teacher,
                p.reading.estimate.value,
                seed=self.seed,
                margin=margin,
                statistic=p.reading.statistic,
                concept=p.reading.concept,
                slice=p.reading.slice,
                teacher_layer=p.teacher_layer,
                student_layer=p.reading.layer,
                reason=p.reading.reason,
                params=compare.over_control(entry, p, self.seed),
                **judged,
            )
            if entry.group == "twins" and self.embedding:
                made = replace(made, headline=False, required=False, reason=_NO_TWINS)
            rows.append(unless_unstructured(entry, made))
        if entry.group == "slice transfer" and any(r.headline and r.measured for r in rows):
            # Columns without large enough slices do not block where another column is judged.
            rows = [r if r.measured else replace(r, headline=False, required=False) for r in rows]
        return rows

    def _drift(
        self,
        entry: PairMeasure,
        there: Likeness | Failure,
        of: Drifting,
        paired: bool,
        floor: float,
    ) -> Drift | Failure:
        """How much more the student drifts from the members than they drift from each other.

        In the form of the evidence in which that lies least beyond its margin.
        """
        here = self._clean.get(entry.id, Failure("error", "clean data were not measured"))
        for side in (here, there):
            if isinstance(side, Failure):
                return side
        assert isinstance(here, Likeness)
        assert isinstance(there, Likeness)
        drifts = []
        for at_home, away in zip(here.forms, there.forms, strict=False):
            band_here, band_there = band(at_home, of), band(away, of)
            if band_here is None or band_there is None:
                return Failure("context", _DRIFT_UNKNOWN)
            # Members that do not agree there do not say how to drift. Answers are another matter:
            # where all members give one answer, chance would do so, too.
            if entry.group != "function" and (at_chance(at_home) or at_chance(away)):
                continue
            gap_here, gap_there = at_home.student - band_here, away.student - band_there
            drifts.append(
                Drift(
                    gap_there - gap_here if paired else gap_there.minus_independent(gap_here),
                    band_there.value - band_here.value,
                    away.student.value - at_home.student.value,
                    # Another member, too, drifts more or less than these do.
                    band_width(str(entry.group), np.subtract(away.left_out, at_home.left_out)),
                    away.form,
                )
            )
        if not drifts:
            return _NO_AGREEMENT
        if not math.isfinite(drifts[0].delta.value):
            return drifts[0]  # what could not be measured as it is stays unmeasured
        return max(drifts, key=lambda d: d.delta.value + max(floor, d.width))

    def _elsewhere_row(
        self, entry: PairMeasure, condition: Condition, found: Likeness | Failure, of: Drifting
    ) -> Measurement:
        """Difference in differences on one unlabelled set."""
        assert entry.group is not None
        floor = self.drift_floor("elsewhere", entry.group, of)
        fields = {
            "group": entry.group,
            "null": drift_null(self, of),
            "margin": floor,
            "statistic": f"drift of {entry.statistic}",
            **self.layers_of(entry),
        }
        drift = self._drift(entry, found, of, False, floor)
        judged = {"headline": True, "required": True}
        if isinstance(drift, Failure):
            if drift.status == "context":
                return compare.failed_row(entry, condition.id, drift, **fields)
            return compare.failed_row(entry, condition.id, drift, **fields, **judged)
        fields["margin"] = max(floor, drift.width)
        made = compare.row(
            entry,
            condition.id,
            drift.delta,
            drift.members,
            drift.student,
            seed=self.seed,
            params=drift.params,
            **fields,
            **judged,
        )
        auc = self._auc.get(condition.key, math.nan)
        # `not (auc >= limit)`: an AUC that could not be measured is no shift either.
        if not (auc >= margins.ELSEWHERE_AUC):
            reason = (
                f"No shift: {condition.id} cannot be told from the benchmark (AUC "
                f"{auc:.2f}, at least {margins.ELSEWHERE_AUC:.2f} is needed), so it is context."
            )
            if math.isnan(auc):
                if not self.layers.teacher:
                    reason = (
                        f"Whether {condition.id} is elsewhere cannot be seen from outputs alone."
                    )
                else:
                    reason = f"Whether {condition.id} is elsewhere could not be measured."
            made = replace(made, headline=False, required=False, reason=reason)
        return made

    def _see_certified(
        self, entry: ModelMeasure, condition: Condition, found: list[Paired] | Failure
    ) -> None:
        name = condition.name or condition.key
        if isinstance(found, Failure):
            self._certified[entry.id, "members"].append((name, found))
            return
        for p in found:
            if not speaks(entry, p):
                continue
            if entry.group == "invariance" and not structured(entry, p.teacher):
                continue
            seen = Drift(p.delta, p.teacher, p.reading.estimate.value)
            self._certified[entry.id, "members"].append((name, seen))


_NO_TWINS = (
    "An embedding is output and last hidden layer in one: rows with one output have one code, "
    "so twins are context."
)
_NO_AGREEMENT = Failure(
    "context",
    "The members agree with each other no more than by chance there: differences are context.",
)
_DRIFT_UNKNOWN = (
    "With a single teacher its members' own drift is unknown: differences are context "
    "unless references are given."
)
