"""What ``ringtest.ensemble`` found: rows by student, saved and loaded; there is no verdict."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ringtest.errors import ReportError, close_to
from ringtest.files import (
    check_writable,
    folder_name,
    load_json,
    make_folder,
    read_json,
    too_long,
    write_atomically,
    write_json,
)
from ringtest.integrity import check_version, digest, measurement, sealed
from ringtest.measurement import Measurement
from ringtest.report import tidy_named

if TYPE_CHECKING:
    import pandas as pd

FILE: Final = "ensemble.json"
PAGE: Final = "ensemble.html"
KIND: Final = "ensemble"
SCHEMA_VERSION: Final = 1
SECTIONS: Final = (
    "schema_version",
    "kind",
    "measurements",
    "subjects",
    "data",
    "config",
    "environment",
    "integrity",
    "timing",
)
_AGAIN: Final = "run ringtest ensemble again"
_SAID: Final = ("sentence", "words")
"""Params that hold a sentence for people."""
_SAMPLES: Final = ("ensemble.waterfall", "candidates")
"""Whose sentence is that of members otherwise: its mean member is a single sample."""
_ORDER: Final = ("diversity", "texts", "waterfall", "selection", "verifier", "budget")
"""What is told first: was there anything, where is the student, whose is the gain, what next."""


class EnsembleReport:
    """What was found of an ensemble, and of each student beside it.

    The one content is :attr:`data`, the JSON object of ``ensemble.json``.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        """Take the JSON object; raises ReportError if it is none of ours, or was altered."""
        self.data = data
        self.students: dict[str | None, list[Measurement]] = _parse(data)
        """Rows by name of the student; None: no student was given."""

    @classmethod
    def build(
        cls, students: Mapping[str | None, Sequence[Measurement]], **sections: Any
    ) -> EnsembleReport:
        """Freeze rows with the other sections."""
        named = [(name, row) for name, rows in students.items() for row in rows]
        data: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "measurements": [{"name": name, "row": row.as_dict()} for name, row in named],
            **sections,
        }
        return cls(sealed(data, SECTIONS))

    @property
    def rows(self) -> list[Measurement]:
        """All rows; of several students one after another."""
        return [row for rows in self.students.values() for row in rows]

    def frame(self) -> pd.DataFrame:
        """Tidy frame, one row a measurement, as that of a Report; the student's name first."""
        return tidy_named(self.students)

    def words(self) -> str:
        """What was found, a sentence a line."""
        from ringtest.reports import view

        several = len(self.students) > 1
        lines: dict[str, None] = {}
        for name, rows in self.students.items():
            for row in sorted(rows, key=_place):
                about = f"{view.student(name)}: " if several and math.isfinite(row.student) else ""
                if (row.measure, row.condition) == _SAMPLES:
                    about += "recorded samples: "
                for said in (row.params.get(k) for k in _SAID):
                    if said:
                        lines[about + str(said)] = None
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``ensemble.json`` and ``ensemble.html`` into a folder; returns the folder.

        Of several students the page is that of the first; each other has a page of its own,
        ``ensemble-NAME.html``. Each file appears whole or not at all. What an audit wrote there
        stays, pages of an earlier run go; an ensemble.json that is none of ours is refused.
        """
        target = Path(folder)
        before = check_place(target, self.students)
        names = _files(self.students)
        pages = dict(zip(names, map(self.page, self.students), strict=True))
        make_folder(target)
        write_json(target / FILE, self.data)
        for file, page in pages.items():
            write_atomically(target / file, page)
        for file in before:
            if file not in pages:
                with suppress(OSError):
                    (target / file).unlink()
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EnsembleReport:
        """Read ``ensemble.json``, or a folder that holds one.

        Raises ReportError if it is missing, truncated, of a newer schema, or was altered.
        """
        file = Path(path)
        file = file / FILE if file.is_dir() else file
        if not file.is_file():
            raise ReportError(str(file), "is not there", _AGAIN)
        return load_json(file, cls, _AGAIN)

    def about(self, student: str | None = None) -> dict[str, Any]:
        """Facts for the head of a page: members, student, items, task, seed, versions."""
        data, config = self.data, self.data["config"]
        rows, recorded = data["data"]["rows"], data["data"]["recorded"]
        facts: dict[str, Any] = {
            "members": [m["name"] for m in data["subjects"]["members"]],
            "student": student,
            "task": config.get("task") if rows else None,
            "rows": rows["n"] if rows else None,
        }
        for key in ("answers", "candidates"):
            found = (recorded or {}).get(key)
            if found:
                counts = {k: f"{v:,}" for k, v in found.items() if type(v) is int}
                facts[f"recorded {key}"] = counts
        facts |= {"seed": config.get("seed"), "ringtest": data["environment"]["ringtest"]}
        return {k: v for k, v in facts.items() if v not in (None, [])}

    def page(self, student: str | None = None) -> str:
        """The page about one student, or of the ensemble alone."""
        from ringtest import reports

        return reports.ensemble_html(self._of(student), self.about(student))

    def _of(self, student: str | None) -> list[Measurement]:
        if student not in self.students:
            known = [str(name) for name in self.students if name is not None]
            raise ReportError("student", f"{student!r} is not in it", close_to(str(student), known))
        return self.students[student]

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.words().split("\n"))
        return f"<div><strong>What did you distil?</strong>{said}</div>"

    def __repr__(self) -> str:
        """The words of it."""
        names = ", ".join(str(n) for n in self.students if n is not None) or "no student"
        return f"<EnsembleReport {names}, {len(self.rows)} rows>\n{self.words()}"


def _place(row: Measurement) -> int:
    measure = row.measure.removeprefix("ensemble.")
    return _ORDER.index(measure) if measure in _ORDER else len(_ORDER)


def check_place(folder: Path, students: Collection[str | None] = ()) -> list[str]:
    """Pages that an earlier run wrote there.

    Raises ReportError where the folder cannot be written, where ensemble.json would replace what is
    none of ours, and for names of students that make no names of files.
    """
    check_writable(folder)
    for name in students:
        if name is not None and too_long(name):
            raise ReportError("student", f"{name[:40]!r} makes no file name", "rename it")
    taken: dict[str, str] = {}
    for name, page in zip(students, _files(students), strict=True):
        first = taken.setdefault(page.lower(), str(name))
        if first != str(name):
            what = f"{first!r} and {name!r} give one file name"
            raise ReportError("student", what, "rename one of them")
    file = folder / FILE
    if not file.exists():
        return []
    fix = "name another folder, or remove the file"
    try:
        data = read_json(file, fix)
        if data["kind"] != KIND:
            raise ValueError("another kind")
        return _files(dict.fromkeys(entry["name"] for entry in data["measurements"]))
    except (ReportError, LookupError, TypeError, ValueError) as error:
        what = f"holds an {FILE} of unknown origin"
        raise ReportError(f"output folder {folder}", what, fix) from error


def _files(students: Iterable[str | None]) -> list[str]:
    """Names of the pages: the first student's, or that of none, is the folder's."""
    return [
        PAGE if i == 0 else f"ensemble-{folder_name(str(name))}.html"
        for i, name in enumerate(students)
    ]


def _parse(data: Any) -> dict[str | None, list[Measurement]]:
    """Check the form, and give the rows by student."""
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ReportError("kind", "is not that of an ensemble's report", _AGAIN)
    check_version(data, SCHEMA_VERSION, _AGAIN)
    if data.keys() != set(SECTIONS):
        odd = sorted(data.keys() ^ set(SECTIONS))
        raise ReportError("report", f"lacks or adds {', '.join(odd)}", _AGAIN)
    found: dict[str | None, list[Measurement]] = {}
    try:
        for i, entry in enumerate(data["measurements"]):
            name, row = entry["name"], measurement(i, entry["row"])
            if not (name is None or isinstance(name, str)) or row.headline:
                raise ValueError(f"row {i}: is judged, or has no name")
            found.setdefault(name, []).append(row)
        if not found or data["integrity"] != {"sha256": digest(data)}:
            raise ValueError("the content differs from its digest")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ReportError("report", f"is not of the schema ({error})", _AGAIN) from error
    return found
