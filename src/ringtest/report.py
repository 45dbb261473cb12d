"""Report and ReportSet: a verdict with everything it rests on, saved, loaded and re-decided."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ringtest import verdict as verdicts
from ringtest.errors import Exit, ReportError
from ringtest.measurement import STATUSES, Measurement
from ringtest.policy import Policy
from ringtest.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION: Final = 1
FILE: Final = "report.json"
_SECTIONS: Final = (
    "schema_version",
    "student",
    "task",
    "verdict",
    "policy",
    "subjects",
    "data",
    "measurements",
    "not_measured",
    "config",
    "environment",
    "integrity",
    "timing",
)


class Report:
    """What the audit of one student found.

    The one content is :attr:`data`, the JSON object of ``report.json``; everything else is read
    off it, so that a loaded report and a fresh one cannot differ.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        """Take a report's JSON object; raises ReportError if it cannot be trusted."""
        self.data = data
        self.policy, self.rows = _parse(data)
        try:
            self.verdict: Verdict = verdicts.decide(
                self.rows, self.policy, data["verdict"].get("scope", "full")
            )
            _check_decision(data, self.rows, self.verdict)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A value of another type than ours: decide() is total on rows of the schema only.
            raise ReportError("report", f"is not of the schema ({error})", "audit again") from error

    @classmethod
    def build(
        cls, rows: list[Measurement], policy: Policy, scope: verdicts.Scope, **sections: Any
    ) -> Report:
        """Decide rows and freeze them, with the other sections, into a report."""
        decided = verdicts.decide(rows, policy, scope)
        data: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "verdict": decided.as_dict(),
            "policy": policy.as_dict(),
            "measurements": [r.as_dict() for r in decided.rows],
            **sections,
        }
        # A round trip through JSON, so that what is in memory is what will be read back.
        data = json.loads(json.dumps(data, allow_nan=False))
        data["integrity"] = {"sha256": _digest(data)}
        return cls({k: data[k] for k in _SECTIONS})

    @property
    def student(self) -> str:
        """Name of the audited student."""
        return str(self.data["student"])

    def frame(self) -> pd.DataFrame:
        """Tidy frame, one row a measurement; columns are the fields of Measurement."""
        import pandas as pd

        return pd.DataFrame([vars(r) for r in self.verdict.rows])

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``report.json`` and ``report.html`` into a folder; returns the folder.

        Each file appears whole or not at all.
        """
        from ringtest import reports

        target = make_folder(folder)
        write_atomically(target / FILE, json.dumps(self.data, indent=1, allow_nan=False) + "\n")
        write_atomically(target / "report.html", reports.html(self))
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
        """All measurements, with the student's name in a column ``name``."""
        import pandas as pd

        frames = [r.frame().assign(name=name) for name, r in self.items()]
        return pd.concat(frames, ignore_index=True)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``FOLDER/NAME/report.{json,html}`` for each and ``FOLDER/report.html`` for all."""
        from ringtest import reports

        target = make_folder(folder)
        for name, report in self.items():
            report.save(target / folder_name(name))
        write_atomically(target / "report.html", reports.html_set(self))
        return target

    def _repr_html_(self) -> str:
        from ringtest import reports

        return reports.html_set_fragment(self)

    def __repr__(self) -> str:
        """The label of every student."""
        labels = ", ".join(f"{n}: {r.verdict.label}" for n, r in self.items())
        return f"<ReportSet {labels}>"


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
            return _load(target / FILE)
        if inside:
            found = {}
            for r in map(_load, inside):
                if r.student in found:
                    raise ReportError(
                        str(path), f"holds two reports of {r.student!r}", "remove one"
                    )
                found[r.student] = r
            return ReportSet(found)
        raise ReportError(str(path), f"holds no {FILE}", "give the folder that an audit wrote")
    if not target.is_file():
        raise ReportError(str(path), "is not there", "give the folder that an audit wrote")
    return _load(target)


def gate(report: Report | ReportSet | str | os.PathLike[str], policy: Policy | None = None) -> Exit:
    """Re-decide a report and return its exit code; of a set, the worst student's.

    Args:
        report: a report, a set, or where one was saved.
        policy: judge by this instead of the policy stored in the report.

    Raises ReportError for a stored report that cannot be trusted.
    """
    loaded = report if isinstance(report, Report | ReportSet) else load_report(report)
    reports = list(loaded.values()) if isinstance(loaded, ReportSet) else [loaded]
    codes = [redecide(r, policy).exit_code for r in reports]
    for code in (Exit.ERROR, Exit.FAIL, Exit.INCONCLUSIVE):
        if code in codes:
            return code
    return Exit.PASS


def redecide(report: Report, policy: Policy | None = None) -> Verdict:
    """The verdict on a report's rows under another policy."""
    return verdicts.decide(report.rows, policy or report.policy, report.verdict.scope)


def folder_name(student: str) -> str:
    """A student's name as a folder name."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in student).strip(".")
    return safe or "student"


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Create a folder for output; raises ReportError in words if that is not possible."""
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(
            f"output folder {target}", str(error.strerror), "name a folder that can be written"
        ) from error
    return target


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees all of it or the old one."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ReportError(
            str(path), str(error.strerror), "free space or name another folder"
        ) from error


def claim(
    folder: str | os.PathLike[str],
    identity: dict[str, Any],
    students: list[str] | None,
    fresh: bool = False,
) -> None:
    """Refuse a folder that holds another audit's report, before anything is computed.

    Args:
        folder: where a report is to be written.
        identity: what makes an audit the same: task, data and teacher.
        students: names if a set is to be written, None for a single report.
        fresh: replace whatever is there.

    Raises ReportError.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise ReportError(f"output folder {target}", "is a file", "name a folder")
    make_folder(target)
    if not os.access(target, os.W_OK):
        raise ReportError(f"output folder {target}", "cannot be written", "name another folder")
    files = (
        [target / FILE] if students is None else [target / folder_name(s) / FILE for s in students]
    )
    if students is not None and len(set(files)) < len(files):
        raise ReportError("student", "two names give one folder name", "rename one of them")
    there = [target / FILE, *target.glob(f"*/{FILE}")]
    for file in there:
        if fresh or not file.is_file():
            continue
        fix = "name another folder, or replace it with fresh=True (--fresh)"
        try:
            known = json.loads(file.read_text("utf-8"))["config"]["identity"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ReportError(
                f"output folder {target}", "holds a report of unknown origin", fix
            ) from error
        if known != identity or file not in files:
            raise ReportError(f"output folder {target}", "belongs to another audit", fix)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove the reports that an earlier audit left in a folder: none outlives its audit."""
    target = Path(folder)
    for file in [target / FILE, *target.glob(f"*/{FILE}")]:
        file.unlink(missing_ok=True)
        file.with_name("report.html").unlink(missing_ok=True)
    (target / "report.html").unlink(missing_ok=True)


def _load(path: Path) -> Report:
    def refuse(constant: str) -> float:
        raise ReportError(
            str(path), f"holds {constant}, which no report of ours does", "audit again"
        )

    try:
        data = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    except (ValueError, OSError) as error:
        raise ReportError(str(path), f"cannot be read ({error})", "audit again") from error
    try:
        return Report(data)
    except ReportError as error:
        raise ReportError(f"{path}: {error.field}", error.problem, error.fix) from error


def _parse(data: Any) -> tuple[Policy, list[Measurement]]:
    """Check the form of a report and give its policy and rows."""
    if not isinstance(data, dict) or not data:
        raise ReportError("report", "is empty or no JSON object", "audit again")
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ReportError("schema_version", f"is {version!r}, not a whole number", "audit again")
    if version > SCHEMA_VERSION:
        raise ReportError(
            "schema_version", f"is {version}, newer than {SCHEMA_VERSION}", "update ringtest"
        )
    missing = [s for s in _SECTIONS if s not in data]
    if missing:
        raise ReportError("report", f"lacks {', '.join(missing)}", "audit again")
    if not isinstance(data["verdict"], dict):
        raise ReportError("verdict", "is no JSON object", "audit again")
    try:
        policy = Policy.from_dict(data["policy"])
        rows = [_row(i, r) for i, r in enumerate(data["measurements"])]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ReportError(
            "measurements", f"are not of the schema ({error})", "audit again"
        ) from error
    if not rows:
        raise ReportError("measurements", "are empty", "audit again")
    return policy, rows


def _row(index: int, values: Any) -> Measurement:
    row = Measurement.from_dict(values)
    if row.status not in STATUSES:
        raise ValueError(f"row {index}: status {row.status!r}")
    for name in ("teacher", "student", "delta", "harm", "se", "df", "margin", "p_fail", "p_pass"):
        value = getattr(row, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"row {index}: {name} is {value!r}")
        if row.headline and row.status in ("pass", "fail", "inconclusive") and math.isnan(value):
            raise ValueError(f"row {index}: {name} is null in a judged row")
    return row


def _check_decision(data: dict[str, Any], rows: list[Measurement], again: Verdict) -> None:
    """Raise if the stored decision is not what the stored rows say under the stored policy."""
    fix = "it was altered or made by another version; audit again"
    for i, (row, decided) in enumerate(zip(rows, again.rows, strict=True)):
        if row.status != decided.status:
            raise ReportError(
                f"measurements[{i}].status", f"is {row.status}, the row says {decided.status}", fix
            )
        for name in ("p_fail", "p_pass", "margin") if row.headline else ():
            old, new = getattr(row, name), getattr(decided, name)
            same = math.isclose(old, new, rel_tol=1e-6, abs_tol=1e-12)
            if not same and not (math.isnan(old) and math.isnan(new)):
                raise ReportError(f"measurements[{i}].{name}", f"is {old}, the row says {new}", fix)
    stored, decided_now = data["verdict"], json.loads(json.dumps(again.as_dict()))
    for key in decided_now.keys() | stored.keys():
        # Wording may improve between versions; what was decided may not change.
        if key not in ("reasons", "settle") and stored.get(key) != decided_now.get(key):
            raise ReportError(f"verdict.{key}", "differs from deciding the rows again", fix)
    if data["integrity"] != {"sha256": _digest(data)}:
        raise ReportError("integrity", "the content differs from its digest", fix)


def _digest(data: dict[str, Any]) -> str:
    """Digest of everything but the timing, which differs between identical runs."""
    content = {k: v for k, v in data.items() if k not in ("timing", "integrity")}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
