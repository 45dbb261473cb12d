"""Output folders and files: each file appears whole or not at all, no report outlives its audit."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from ringtest.errors import ReportError

FILE: Final = "report.json"
PAGE: Final = "report.html"
CELLS: Final = "cells"
"""Folder of what a finished or interrupted audit need not compute again."""
LOCK: Final = ".lock"
_TEMPORARY: Final = ".tmp"
T = TypeVar("T")


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


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file so that a reader sees all of it or the old one.

    Args:
        path: the file.
        content: text, or bytes.
        durable: wait until the disk has it. Not needed for what is checked when it is read.

    Raises ReportError, in words, for a full disk or a folder that cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY, delete=False
        ) as file:
            try:
                file.write(data)
                file.flush()
                if durable:
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


LARGEST: Final = 1 << 29
"""Bytes of a report.json that is read at all; one of ours has some hundred bytes a row."""


def read_json(path: Path, again: str = "audit again") -> Any:
    """What a report's file says: JSON without NaN, infinities and keys that stand twice.

    Args:
        path: the file.
        again: what is to be done about a file that cannot be read.

    Raises ReportError.
    """

    def refuse(constant: str) -> float:
        raise ReportError(str(path), f"holds {constant}, which no report of ours does", again)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            raise ReportError(str(path), "names a key twice", again)
        return made

    try:
        if path.stat().st_size > LARGEST:
            raise ReportError(str(path), f"has more than {LARGEST:,} bytes", again)
        return json.loads(path.read_text("utf-8"), parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        raise ReportError(str(path), f"cannot be read ({error})", again) from error


def load_json(path: Path, make: Callable[[Any], T], again: str = "audit again") -> T:
    """What ``make`` says of a report's file; raises ReportError, which names it, if it refuses."""
    data = read_json(path, again)
    try:
        return make(data)
    except ReportError as error:
        raise ReportError(f"{path}: {error.field}", error.problem, error.fix) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ReportError(str(path), f"cannot be read ({error})", again) from error


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a report's file, atomically."""
    write_atomically(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


@contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a folder for output and hold it alone; what a killed process left half written goes.

    Raises ReportError if another audit holds it. The lock dies with its process. A folder made
    here in which nothing came to stand is taken away again.
    """
    from filelock import FileLock, Timeout

    target = Path(folder)
    new = not target.exists()
    make_folder(target)
    lock = FileLock(target / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ReportError(
            f"output folder {target}",
            "another audit is writing there",
            "wait until it has ended, or name another folder",
        ) from None
    except OSError as error:
        raise ReportError(
            f"output folder {target}", str(error.strerror or error), "name another folder"
        ) from error
    try:
        for pattern in (f".*{_TEMPORARY}", f"*/.*{_TEMPORARY}"):
            for file in target.glob(pattern):
                if file.name.startswith((f".{FILE}.", f".{PAGE}.")) or file.parent.name == CELLS:
                    file.unlink(missing_ok=True)
        yield target
    finally:
        with suppress(OSError):
            if new:
                _take_away(target)
        lock.release()


def _take_away(folder: Path) -> None:
    """Remove a folder in which nothing came to stand; it is still held."""
    cells = folder / CELLS
    if cells.is_dir() and not any(cells.iterdir()):
        cells.rmdir()
    if [p.name for p in folder.iterdir()] == [LOCK]:
        (folder / LOCK).unlink()
        folder.rmdir()


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
    check_writable(target)
    files = _files(target, students)
    for name in students or ():
        if too_long(name) or folder_name(name) in (FILE, PAGE):
            raise ReportError("student", f"{name[:40]!r} makes no folder name", "rename it")
    if students is not None and len({str(f).lower() for f in files}) < len(files):
        raise ReportError("student", "two names give one folder name", "rename one of them")
    for file in () if fresh else _reports(target):
        fix = "name another folder, or replace it with fresh=True (--fresh)"
        known = _identity(file)
        if known is None:
            raise ReportError(f"output folder {target}", f"holds a {FILE} of unknown origin", fix)
        if known != identity or file not in files:
            raise ReportError(f"output folder {target}", "belongs to another audit", fix)


def check_writable(target: Path) -> None:
    """Raise ReportError for a folder that cannot be made or written; nothing is made yet."""
    try:
        if target.exists() and not target.is_dir():
            raise ReportError(f"output folder {target}", "is a file", "name a folder")
        nearest = next(p for p in (target, *target.absolute().parents) if p.exists())
        writable = nearest.is_dir() and os.access(nearest, os.W_OK)
    except OSError as error:  # a name that is too long
        shown = str(target)[:60]
        raise ReportError(f"output folder {shown}", str(error.strerror), "name another") from error
    if not writable:
        raise ReportError(f"output folder {target}", "cannot be written", "name another folder")


def too_long(student: str) -> bool:
    """Whether a student's name makes no name of a file or folder."""
    return len(folder_name(student).encode()) > 200


def is_free(folder: str | os.PathLike[str], identity: dict[str, Any]) -> bool:
    """Whether a folder holds no report but those of this very audit."""
    return all(_identity(file) == identity for file in _reports(Path(folder)))


def sweep(folder: str | os.PathLike[str], students: list[str] | None) -> None:
    """Remove what an earlier audit left beside the reports just written: none outlives its audit.

    Afterwards, not before: a disk that is full leaves the old ones whole. Files of the same name
    that no audit wrote stay where they are.

    Args:
        folder: where the reports were written.
        students: names if a set was written, None for a single report.
    """
    target = Path(folder)
    for file in _reports(target):
        if file not in _files(target, students) and _identity(file) is not None:
            file.unlink(missing_ok=True)
            # The page of the folder itself is the new set's.
            if file.parent != target:
                file.with_name(PAGE).unlink(missing_ok=True)


def _files(folder: Path, students: list[str] | None) -> list[Path]:
    """Where the reports of an audit stand."""
    if students is None:
        return [folder / FILE]
    return [folder / folder_name(s) / FILE for s in students]


def _reports(folder: Path) -> list[Path]:
    return [f for f in (folder / FILE, *folder.glob(f"*/{FILE}")) if f.is_file()]


def _identity(file: Path) -> dict[str, Any] | None:
    """What a stored report was an audit of; None for a file that no audit wrote."""
    try:
        data = json.loads(file.read_text("utf-8"))
        found = data["config"]["identity"] if "integrity" in data else None
    except (ValueError, KeyError, TypeError, OSError):
        return None
    return found if isinstance(found, dict) else None
