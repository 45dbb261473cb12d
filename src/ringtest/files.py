"""Output folders and files: each file appears whole or not at all, no report outlives its audit."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from ringtest.errors import ReportError

FILE: Final = "report.json"
PAGE: Final = "report.html"


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
    # Nothing is made yet: an audit that fails leaves no trace.
    nearest = next(p for p in (target, *target.absolute().parents) if p.exists())
    if not os.access(nearest, os.W_OK) or not nearest.is_dir():
        raise ReportError(f"output folder {target}", "cannot be written", "name another folder")
    files = (
        [target / FILE] if students is None else [target / folder_name(s) / FILE for s in students]
    )
    for name in students or ():
        made = folder_name(name)
        if len(made.encode()) > 200 or made in (FILE, PAGE):
            raise ReportError("student", f"{name[:40]!r} makes no folder name", "rename it")
    if students is not None and len({str(f).lower() for f in files}) < len(files):
        raise ReportError("student", "two names give one folder name", "rename one of them")
    there = [target / FILE, *target.glob(f"*/{FILE}")]
    for file in there:
        if fresh or not file.is_file():
            continue
        fix = "name another folder, or replace it with fresh=True (--fresh)"
        known = _identity(file)
        if known is None:
            raise ReportError(f"output folder {target}", f"holds a {FILE} of unknown origin", fix)
        if known != identity or file not in files:
            raise ReportError(f"output folder {target}", "belongs to another audit", fix)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove the reports that an earlier audit left in a folder: none outlives its audit.

    Files of the same name that no audit wrote stay where they are.
    """
    target = Path(folder)
    ours = [f for f in (target / FILE, *target.glob(f"*/{FILE}")) if _identity(f) is not None]
    for file in ours:
        file.unlink(missing_ok=True)
        file.with_name(PAGE).unlink(missing_ok=True)
    if ours:
        (target / PAGE).unlink(missing_ok=True)


def _identity(file: Path) -> dict[str, Any] | None:
    """What a stored report was an audit of; None for a file that no audit wrote."""
    try:
        data = json.loads(file.read_text("utf-8"))
        found = data["config"]["identity"] if "integrity" in data else None
    except (ValueError, KeyError, TypeError, OSError):
        return None
    return found if isinstance(found, dict) else None
