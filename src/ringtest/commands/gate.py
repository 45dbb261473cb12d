"""``ringtest gate``, apart from the other commands: it must start fast, without pydantic or models.

A gate of 5,000 rows is to take less than half a second from start to end.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from ringtest import reports
from ringtest.errors import Exit, ReportError, RingtestError
from ringtest.files import FILE, make_folder, write_atomically
from ringtest.gates.gating import Gated, judge


def gate(
    path: Path,
    policy: Path | None = None,
    baseline: Path | None = None,
    files: Mapping[str, Path | None] | None = None,
    annotate: bool = False,
) -> Exit:
    """Decide a saved report again, write and print what was decided, and return its exit code.

    All or nothing: where something cannot be written or printed, no file is left that says what
    the exit code does not.

    Args:
        path: report.json or its folder.
        policy: gate.toml.
        baseline: report.json, or its folder, of what was shipped.
        files: format of :func:`ringtest.reports.render` -> file to write.
        annotate: print GitHub's workflow commands, too.
    """
    wanted = {form: file for form, file in (files or {}).items() if file is not None}
    written: list[Path] = []
    try:
        _clear(list(wanted.values()), list(_inputs(path, policy, baseline)))
        gated = judge(path, policy, baseline)
        texts = {file: reports.render(gated, form) for form, file in wanted.items()}
        said = _said(gated, annotate)
        for file, text in texts.items():
            written.append(make_folder(file.parent) / file.name)
            write_atomically(written[-1], text)
        _print(said)
    except BaseException as error:
        for file in written:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        if annotate and isinstance(error, Exception):
            from ringtest.reports.writers.github import command

            with suppress(OSError, RingtestError):
                _print(command("error", "ringtest gate: error (exit code 2)", str(error)) + "\n")
        raise
    for name, verdict in gated.verdicts.items():
        for check in verdict.checks:
            if check.status == "error":
                raise ReportError(
                    f"{path}: {check.kind} {check.name}", f"{check.message} (student {name!r})"
                )
    return gated.exit_code


def _inputs(path: Path, policy: Path | None, baseline: Path | None) -> Iterator[Path]:
    """Every file that is read."""
    for given in (path, baseline):
        if given is not None:
            yield given
            yield from (given / FILE, *given.glob(f"*/{FILE}")) if given.is_dir() else ()
    if policy is not None:
        yield policy


def _clear(files: list[Path], inputs: list[Path]) -> None:
    """Remove what an earlier run wrote: if this one fails, nobody must take it for this one's.

    Nothing is removed before it is known that all of it is ours to write.
    """
    read = {os.path.realpath(file) for file in inputs}
    places = [os.path.realpath(file) for file in files]
    for file, place in zip(files, places, strict=True):
        fix = "name another file for the output"
        if file.name == FILE or place in read:
            raise ReportError(str(file), "would be overwritten", fix)
        if places.count(place) > 1:
            raise ReportError(str(file), "would be written twice", fix)
        # A device, say, or a link to who knows what.
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise ReportError(str(file), "is no plain file", "name a file")
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise ReportError(str(file), str(error.strerror), "name a file") from error


def _said(gated: Gated, annotate: bool) -> str:
    """What is printed: the decision, then the annotations."""
    console = Console()
    # Even nothing is written, which a full disk refuses.
    with _told(), console.capture() as captured:
        reports.terminal_gate(gated, console)
    text = captured.get()
    if annotate or os.environ.get("GITHUB_ACTIONS"):
        # GitHub must not read workflow commands out of the names in a report.
        word = secrets.token_hex(16)
        text = f"::stop-commands::{word}\n{text}::{word}::\n"
    return text + (reports.render(gated, "github") if annotate else "")


def _print(text: str) -> None:
    """Print what the terminal's encoding can say of it."""
    stream = sys.stdout
    if stream is None:
        raise ReportError("standard output", "is closed", "open it, or redirect it to a file")
    encoding = stream.encoding or "utf-8"
    with _told():
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


@contextmanager
def _told() -> Iterator[None]:
    """What keeps the output from being written, in one line."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader's own doing; the command line knows it
    except OSError as error:
        # What is left in the buffer would be complained about once more at the end.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReportError("standard output", str(error.strerror), "free space there") from error
