"""``ringtest gate``, apart from the other commands: it must start fast, without pydantic or models.

A gate of 5,000 rows is to take less than half a second from start to end.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    """Decide a saved report again, print and write what was decided, and return its exit code.

    Args:
        path: report.json or its folder.
        policy: gate.toml.
        baseline: report.json, or its folder, of what was shipped.
        files: format of :func:`ringtest.reports.render` -> file to write.
        annotate: print GitHub's workflow commands, too.
    """
    wanted = {form: file for form, file in (files or {}).items() if file is not None}
    try:
        for file in wanted.values():
            _clear(file, policy)
        gated = _judge(path, policy, baseline)
    except RingtestError as error:
        if annotate:
            from ringtest.reports.writers.github import command

            print(command("error", "ringtest gate: error (exit code 2)", str(error)), flush=True)
        raise
    with _muted(annotate):
        reports.terminal_gate(gated, Console())
    if annotate:
        print(reports.render(gated, "github"), end="", flush=True)
    for form, file in wanted.items():
        write_atomically(make_folder(file.parent) / file.name, reports.render(gated, form))
    for name, verdict in gated.verdicts.items():
        for check in verdict.checks:
            if check.status == "error":
                raise ReportError(
                    f"{path}: {check.kind} {check.name}", f"{check.message} (student {name!r})"
                )
    return gated.exit_code


def _judge(path: Path, policy: Path | None, baseline: Path | None) -> Gated:
    rules = None
    if policy is not None:
        from ringtest.gates.gate_file import load_policy

        rules = load_policy(policy)
    return judge(path, rules, baseline)


def _clear(file: Path, policy: Path | None) -> None:
    """Remove what an earlier run wrote: if this one fails, nobody must take it for this one's."""
    if file.name == FILE or (policy is not None and file.resolve() == policy.resolve()):
        raise ReportError(str(file), "would be overwritten", "name another file for the output")
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise ReportError(str(file), str(error.strerror), "name a file") from error


@contextmanager
def _muted(wanted: bool) -> Iterator[None]:
    """Keep GitHub from reading workflow commands out of the names in a report."""
    if not wanted:
        yield
        return
    word = secrets.token_hex(16)
    print(f"::stop-commands::{word}", flush=True)
    yield
    print(f"::{word}::", flush=True)
