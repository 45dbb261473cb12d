"""What ``ringtest ensemble`` does."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ringtest import config as configs
from ringtest.commands import audits


def ensemble(path: Path, out: Path | None, seed: int | None, quiet: bool) -> None:
    """Look at the ensemble of a configuration file, write what was found and print it."""
    asked = audits.understood(configs.load_ensemble(path), path, seed)

    from ringtest import ensemble_report, ensembling, reports

    given = asked.arguments
    folder = path.with_suffix("") if out is None else out
    # Before a verifier is asked of every sample, which may take hours
    ensemble_report.check_place(folder)
    found = ensembling.ensemble(
        **{k: v for k, v in given.items() if k not in ("references", "cells")},
        recorded=asked.recorded(not quiet),
        out=folder,
        progress=not quiet,
        config={
            "file": asked.config.as_dict(),
            "command": f"ringtest ensemble {path.name} --seed {given['seed']}",
        },
    )
    console = Console()
    if quiet:
        print(found.words())
        return
    for name, rows in found.students.items():
        reports.terminal_ensemble(rows, found.about(name), console)
    told = f"Found: {folder / 'ensemble.html'}"
    first, *others = found.students
    if others:
        told += f" of {first}, and a page of each other student beside it"
    console.print(told, markup=False, highlight=False, soft_wrap=True)
