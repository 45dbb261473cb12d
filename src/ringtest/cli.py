"""The command line. Heavy imports stay inside the commands: help and the gate must start fast."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from ringtest import __version__
from ringtest.errors import Exit, Interrupted, RingtestError

app = typer.Typer(
    name="ringtest",
    help="Audits whether a distilled student model kept the inside of its teacher.",
    epilog="Start with `ringtest demo`. Exit codes: 0 passed or finished, 1 failed, "
    "2 error, 3 inconclusive, 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEBUG: Final = "--debug"
_Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="audit.toml", show_default=False)]
_Seed = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Replaces the seed of CONFIG.", show_default=False),
]
_Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Else CONFIG without its suffix.", show_default=False),
]
_Pattern = Annotated[
    str,
    typer.Argument(
        metavar="[GLOB]",
        help="Only ids that match; of a single one all it says.",
        show_default=False,
    ),
]
_File = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the decision there, too.", show_default=False),
]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only what was found.")]


class _Stop(Exception):
    """Ctrl-C with more to say than that it was pressed; Typer keeps no message of that one."""


@contextmanager
def _stoppable() -> Iterator[None]:
    """A polite kill (SIGTERM) is like Ctrl-C: what is kept is said, and nothing is left behind."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: who started it there looks after signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; no traceback unless ``--debug`` is given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    try:
        code = app(
            args=[a for a in given if a != DEBUG], prog_name="ringtest", standalone_mode=False
        )
    except (Exception, SystemExit) as error:
        if debug:
            traceback.print_exc()
        return _say(error)
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    if code == Exit.INTERRUPTED:
        _line("interrupted: reports are written whole or not at all; the same command starts again")
    return int(code or Exit.PASS)


def _say(error: BaseException) -> Exit:
    """Tell in one line what went wrong."""
    if isinstance(error, RingtestError):
        _line(f"error: {error}")
    elif isinstance(error, _Stop):
        _line(f"interrupted: {error}")
        return Exit.INTERRUPTED
    elif isinstance(error, typer.Abort):
        return Exit.INTERRUPTED
    elif isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        # Whoever read our output is gone, which rich turns into SystemExit; without this, Python
        # would complain once more on closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif hasattr(error, "format_message"):
        # A usage error. Its class is typer's own or click's, by typer's version.
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "ringtest"
        _line(f"error: {error.format_message()} See: {where} --help")
    elif isinstance(error, SystemExit):
        # A user's module that ends the process must never end it with a pass.
        _line(f"error: sys.exit({error.code!r}) was called by a module that was loaded; remove it")
    else:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        _line(f"error: unexpected {text}; add {DEBUG} to see where, and report it")
    return Exit.ERROR


def _line(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr)


def _finish(code: Exit) -> NoReturn:
    raise typer.Exit(int(code))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ringtest {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command; ``main`` reads ``--debug`` wherever it stands."""
    del version, debug
    if context.invoked_subcommand is None:
        print(context.get_help())
        _finish(Exit.ERROR)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the reports go.", show_default=True)
    ] = Path("ringtest-demo"),
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Decides every draw.")] = 0,
    quiet: _Quiet = False,
) -> None:
    """Train a teacher and six students on digits, audit them, and compare with what was planted."""
    from ringtest.demo import command

    command.run(out, seed, quiet)


@app.command()
def plan(config: _Config, out: _Out = None, seed: _Seed = None, quiet: _Quiet = False) -> None:
    """Show what an audit would measure and what it costs, by a timed trial of one block of rows."""
    from ringtest.commands import audits as commands

    commands.plan(config, out, seed, quiet)


@app.command()
def audit(
    config: _Config,
    out: _Out = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Compute all anew; replace the report of another audit."),
    ] = False,
    seed: _Seed = None,
    quiet: _Quiet = False,
) -> None:
    """Compare student and teacher, or go on; 0 when it finished, whatever it found."""
    from ringtest.commands import audits as commands

    with _stoppable():
        try:
            commands.audit(config, out, fresh, seed, quiet)
        except Interrupted as stop:
            options = ["--out", str(out)] if out is not None else []
            options += ["--seed", str(seed)] if seed is not None else []
            again = shlex.join(["ringtest", "audit", str(config), *options])
            goes_on = f"`{again}` goes on there"
            starts = "it holds the report of another audit, so --fresh starts over"
            raise _Stop(f"{stop}; {goes_on if stop.resumable else starts}") from None


@app.command()
def ensemble(config: _Config, out: _Out = None, seed: _Seed = None, quiet: _Quiet = False) -> None:
    """Ask whether a teacher's members, or what was recorded of them, are worth distilling."""
    from ringtest.commands import ensembles as commands

    with _stoppable():
        commands.ensemble(config, out, seed, quiet)


@app.command()
def gate(
    report: Annotated[
        Path,
        typer.Argument(metavar="REPORT", help="report.json or its folder", show_default=False),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="gate.toml; else the audit's own.", show_default=False),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT", help="What was shipped: nothing may be worse.", show_default=False
        ),
    ] = None,
    junit: _File = None,
    markdown: _File = None,
    sarif: _File = None,
    json: _File = None,
    annotations: Annotated[
        bool, typer.Option("--annotations", help="Print GitHub's workflow commands, too.")
    ] = False,
) -> None:
    """Decide a saved report again: 0 pass, 1 fail, 2 error, 3 inconclusive; the worst student."""
    from ringtest.commands import gate as gate_command

    files = {"junit": junit, "markdown": markdown, "sarif": sarif, "gate": json}
    _finish(gate_command.gate(report, policy, baseline, files, annotations))


@app.command()
def slices(
    report: Annotated[
        Path,
        typer.Argument(metavar="REPORT", help="report.json or its folder", show_default=False),
    ],
) -> None:
    """Print the slices that an audit found, as slices and gates for an audit.toml."""
    from ringtest import reports
    from ringtest.report import load_report

    print(reports.render(load_report(report), "slices"), end="")


@app.command()
def layers(config: _Config) -> None:
    """List the layers of every model, and why they are read or passed over."""
    from ringtest.commands import audits as commands
    from ringtest.commands import listings

    listings.show_layers(commands.prepare(config))


@app.command()
def measures(pattern: _Pattern = "*") -> None:
    """List all measures: what they say, their range, and what they cannot see."""
    from ringtest.commands import listings

    listings.show_measures(pattern)


@app.command()
def conditions(pattern: _Pattern = "*") -> None:
    """List all conditions: the ways in which models are looked at."""
    from ringtest.commands import listings

    listings.show_conditions(pattern)


@app.command()
def schema(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]", help="audit.toml, report.json or another", show_default=False
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of every file, of audit.toml to ensemble.json, or of one of them."""
    from ringtest.commands import audits as commands

    print(commands.schema(file))


if __name__ == "__main__":
    raise SystemExit(main())
