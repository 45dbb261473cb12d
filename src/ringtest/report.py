"""Report and ReportSet: a verdict with everything it rests on, saved, loaded and re-decided."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from ringtest.decision import Scope, Verdict
from ringtest.errors import Exit, ReportError
from ringtest.files import (
    FILE,
    PAGE,
    folder_name,
    load_json,
    make_folder,
    write_atomically,
    write_json,
)
from ringtest.integrity import SCHEMA_VERSION, SECTIONS, check_decision, parse, sealed
from ringtest.measurement import Direction, Measurement, Null
from ringtest.policy import Gate, Policy
from ringtest.verdict import decide

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


class Report:
    """What the audit of one student found.

    The one content is :attr:`data`, the JSON object of ``report.json``; everything else is read
    off it, so that a loaded report and a fresh one cannot differ.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        """Take a report's JSON object; raises ReportError if it cannot be trusted."""
        self.data = data
        self.policy, self.rows = parse(data)
        try:
            self.verdict: Verdict = decide(
                self.rows, self.policy, data["verdict"].get("scope", "full"), data["student"]
            )
            check_decision(data, self.rows, self.verdict)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A value of another type than ours: decide() is total on rows of the schema only.
            raise ReportError("report", f"is not of the schema ({error})", "audit again") from error

    @classmethod
    def build(
        cls, rows: list[Measurement], policy: Policy, scope: Scope, **sections: Any
    ) -> Report:
        """Decide rows and freeze them, with the other sections, into a report."""
        decided = decide(rows, policy, scope, sections["student"])
        data: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "verdict": decided.as_dict(),
            "policy": policy.as_dict(),
            "measurements": [r.as_dict() for r in decided.rows],
            **sections,
        }
        return cls(sealed(data, SECTIONS))

    @property
    def student(self) -> str:
        """Name of the audited student."""
        return str(self.data["student"])

    def frame(self) -> pd.DataFrame:
        """Tidy frame, one row a measurement; columns are the fields of Measurement.

        Numbers are floats (NaN where there is none), ``n`` and ``family`` integers. ``status``,
        ``direction`` and ``null`` are categories; those of ``status`` are ordered, so that sorting
        puts what fails on top and context at the end.
        """
        return tidy(self.verdict.rows)

    def plot(self, kind: str, ax: Axes | None = None, *, measure: str | None = None) -> Axes:
        """Draw what the report found; returns the matplotlib axes.

        Args:
            kind: ``layers``: what is decodable over relative depth (or the CKA of layers);
                ``conditions``: score or agreement by condition and severity;
                ``groups``: harm over margin of every judged row, the margin at 1;
                ``band``: similarity to the members, against the members to each other.
            ax: axes to draw on; None: a new figure of a fitting size.
            measure: id of the measure to draw instead of the kind's first that the report holds.

        Raises RingtestError for an unknown kind, and where the report lacks what it draws.
        """
        from ringtest.reports import plots

        return plots.plot(self, kind, measure, ax)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``report.json`` and ``report.html`` into a folder; returns the folder.

        Each file appears whole or not at all.
        """
        from ringtest import reports

        # Drawn before anything is written: what cannot be drawn leaves nothing behind.
        return self._write(folder, reports.html(self))

    def _write(self, folder: str | os.PathLike[str], page: str) -> Path:
        target = make_folder(folder)
        write_json(target / FILE, self.data)
        write_atomically(target / PAGE, page)
        return target

    def _repr_html_(self) -> str:
        from ringtest import reports

        return reports.html_fragment(self)

    def __repr__(self) -> str:
        """One line: student, label, strength."""
        strength = "-" if self.verdict.strength is None else f"{self.verdict.strength:.2f}"
        return f"<Report {self.student}: {self.verdict.label}, strength {strength}>"


class ReportSet(Mapping[str, Report]):
    """Reports of several students of one teacher, by name."""

    def __init__(self, reports: Mapping[str, Report]) -> None:
        """Take at least one report by student name."""
        if not reports:
            raise ReportError("report set", "it holds no report", "audit at least one student")
        self._reports = dict(reports)

    def __getitem__(self, name: str) -> Report:
        """The report of one student."""
        return self._reports[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the students."""
        return iter(self._reports)

    def __len__(self) -> int:
        """Number of students."""
        return len(self._reports)

    def frame(self) -> pd.DataFrame:
        """All measurements as in :meth:`Report.frame`, the student's name first, as ``name``."""
        return tidy_named({name: r.verdict.rows for name, r in self.items()})

    def plot(self, kind: str, *, measure: str | None = None) -> NDArray[np.object_]:
        """Draw every student as :meth:`Report.plot` does, in panels on common axes.

        Args:
            kind: ``layers``, ``conditions``, ``groups`` or ``band``.
            measure: id of the measure to draw instead of the first that a report holds.

        Returns:
            Axes (students,), in the order of the set. The panel of a student whose report lacks
            what is drawn says so.

        Raises RingtestError for an unknown kind, and where all reports lack what it draws.
        """
        from ringtest.reports import plots

        return plots.plot_set(self, kind, measure)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``FOLDER/NAME/report.{json,html}`` for each and ``FOLDER/report.html`` for all."""
        from ringtest import reports

        pages = {name: reports.html(report) for name, report in self.items()}
        whole = reports.html_set(self)
        target = make_folder(folder)
        for name, report in self.items():
            report._write(target / folder_name(name), pages[name])
        write_atomically(target / PAGE, whole)
        return target

    def _repr_html_(self) -> str:
        from ringtest import reports

        return reports.html_set_fragment(self)

    def __repr__(self) -> str:
        """The label of every student."""
        labels = ", ".join(f"{n}: {r.verdict.label}" for n, r in self.items())
        return f"<ReportSet {labels}>"


_SEVEREST_FIRST: Final = (
    "fail",
    "error",
    "not_measurable",
    "inconclusive",
    "pass",
    "context",
)


def tidy(rows: Sequence[Measurement]) -> pd.DataFrame:
    """One line a row, with the types that a notebook can sort and group by."""
    import pandas as pd

    frame = pd.DataFrame([vars(r) for r in rows], columns=[f.name for f in fields(Measurement)])
    order = {"status": _SEVEREST_FIRST, "direction": get_args(Direction), "null": get_args(Null)}
    for name, categories in order.items():
        frame[name] = pd.Categorical(frame[name], categories, ordered=name == "status")
    return frame.astype({"severity": float})


def tidy_named(rows: Mapping[Any, Sequence[Measurement]]) -> pd.DataFrame:
    """The same of several students, whose name stands first, as ``name``."""
    found = tidy([row for of_student in rows.values() for row in of_student])
    names = [name for name, of_student in rows.items() for _ in of_student]
    found.insert(0, "name", names)
    return found


def load_report(path: str | os.PathLike[str]) -> Report | ReportSet:
    """Read ``report.json``, or a folder that holds one or a folder per student.

    Raises ReportError if a file is missing, truncated, of a newer schema, or was altered: a stored
    verdict is believed only if deciding its rows again gives the very same.
    """
    target = Path(path)
    if target.is_dir():
        inside = sorted(target.glob(f"*/{FILE}"))
        if (target / FILE).is_file():
            if inside:
                # Judging either alone could pass what the other would fail.
                raise ReportError(
                    str(path), f"holds {FILE} and reports in subfolders", "name the one you mean"
                )
            return load_json(target / FILE, Report)
        if inside:
            found = {}
            for r in (load_json(file, Report) for file in inside):
                if r.student in found:
                    raise ReportError(
                        str(path), f"holds two reports of {r.student!r}", "remove one"
                    )
                found[r.student] = r
            _check_complete(str(path), found)
            return ReportSet(found)
        raise ReportError(str(path), f"holds no {FILE}", "give the folder that an audit wrote")
    if not target.is_file():
        raise ReportError(str(path), "is not there", "give the folder that an audit wrote")
    return load_json(target, Report)


def _check_complete(path: str, found: dict[str, Report]) -> None:
    """Every report of a set names all students: raise if one of them is missing."""
    named = {str(name) for r in found.values() for name in r.data["config"].get("students") or ()}
    missing = sorted(named - found.keys())
    if missing:
        raise ReportError(path, f"lacks the report of {', '.join(missing)}", "audit again")
    first, *others = found.values()
    for other in others:
        if any(other.data[k] != first.data[k] for k in ("config", "policy", "task")):
            raise ReportError(
                path,
                f"{first.student} and {other.student} are of different audits",
                "audit all students together",
            )


def gate(
    report: Report | ReportSet | str | os.PathLike[str],
    policy: Policy | str | os.PathLike[str] | None = None,
    baseline: Report | ReportSet | str | os.PathLike[str] | None = None,
) -> Exit:
    """Re-decide a report and return its exit code; of a set, the worst student's.

    Args:
        report: a report, a set, or where one was saved.
        policy: judge by this, or by this gate.toml, instead of the policy stored in the report.
        baseline: the report of what was shipped, or where it was saved: nothing may be worse.

    Raises ReportError for a stored report that cannot be trusted, or a baseline that cannot be
    compared, ConfigError for a policy that cannot be used. ``ringtest.gates.gating.judge`` gives
    the whole decision.
    """
    from ringtest.gates.gating import judge

    return judge(report, policy, baseline).exit_code


def redecide(
    report: Report, policy: Policy | None = None, elsewhere: frozenset[str | Gate] = frozenset()
) -> Verdict:
    """The verdict on a report's rows under another policy; see :func:`ringtest.verdict.decide`."""
    rules = policy or report.policy
    return decide(report.rows, rules, report.verdict.scope, report.student, elsewhere)
