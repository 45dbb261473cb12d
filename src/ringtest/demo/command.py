"""What ``ringtest demo`` does: train, audit, and hold the verdicts against the planted truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ringtest import nulls, reasons
from ringtest.demo import distilled
from ringtest.errors import ReportError
from ringtest.files import FILE, make_folder
from ringtest.report import Report, ReportSet
from ringtest.reports import view

UNLABELLED: Final = "shift.unlabelled."
WATERMARK: Final = "watermark"
"""Name of the condition under which the benchmark's mark is that of another digit."""
WITH, WITHOUT = "with", "without"
"""Folders of the two sets: with the unlabelled inputs, and without."""

_STAGES: Final = {"teacher": (0.0, 0.1), "students": (0.1, 0.4), "audit": (0.4, 0.8)}
"""First and last share of the bar; the rest is writing."""
_NARROW: Final = 110
"""Below this width the worst findings stand below the table instead of in a column."""

Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class Line:
    """One student in the demo's table."""

    name: str
    about: str
    planted: str
    with_: Report
    without: Report

    @property
    def as_planted(self) -> str:
        """yes, no, or open where the audit does not decide."""
        label = self.with_.verdict.label
        if label == "inconclusive":
            return "open"
        return "yes" if label == self.planted else "no"


def run(out: Path, seed: int = 0, quiet: bool = False) -> list[Line]:
    """Train the demo's models, audit them, write both sets of reports and print the table."""
    claim(out)
    from ringtest import demo, road
    from ringtest.data import AuditData
    from ringtest.shift.rewritten import Rewritten

    if not quiet:
        _say(Console(), "Training a teacher of three and six students, auditing them: a minute.")
    with _one_thread(), _bar(quiet) as tell:
        built = demo.build(seed, tell)
        found = road.audit(
            built.teacher,
            built.students,
            AuditData(
                built.inputs,
                built.targets,
                bounds=built.bounds,
                unlabelled=built.production,
                modality="image",
            ),
            seed=seed,
            progress=lambda what, share: tell(f"audit: {view.condition(what)}", share),
            conditions=[] if built.mark is None else [Rewritten(built.mark, WATERMARK)],
            control=built.control,
            config={"demo": True, "command": f"ringtest demo --seed {seed}"},
        )
        assert isinstance(found, ReportSet)
        tell("writing reports", 0.0)
        less = leave_out_unlabelled(found)
        found.save(out / WITH)
        tell("writing reports", 0.5)
        less.save(out / WITHOUT)
    lines = [Line(n, built.about[n], built.truth[n], found[n], less[n]) for n in found]
    show(lines, Console(), out)
    return lines


def leave_out_unlabelled(reports: ReportSet) -> ReportSet:
    """The same audits decided again as if no unlabelled inputs had been given.

    Every condition is drawn and measured by itself, so that without the rows of some, and with
    what these excused judged again, there are exactly the rows of an audit that never looked under
    them; nothing is run a second time. The
    sections ``data`` and ``config`` say what was left out; the fingerprint stays that of the data
    that were looked at.
    """
    return ReportSet({name: _without(report) for name, report in reports.items()})


def _without(report: Report) -> Report:
    def kept(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [i for i in items if not str(i["condition"]).startswith(UNLABELLED)]

    names = ", ".join(report.data["data"]["unlabelled"])
    note = f"unlabelled: left out and decided again without running: {names}"
    seconds = {
        key: value
        for key, value in report.data["timing"].get("seconds", {}).items()
        if not key.startswith(UNLABELLED)
    }
    data = report.data["data"]
    return Report.build(
        nulls.without_elsewhere(report.rows),
        report.policy,
        report.verdict.scope,
        student=report.student,
        task=report.data["task"],
        subjects=report.data["subjects"],
        data={**data, "unlabelled": {}, "warnings": [*data["warnings"], note]},
        not_measured=kept(report.data["not_measured"]),
        config={**report.data["config"], "left_out": f"{UNLABELLED}*"},
        environment=report.data["environment"],
        timing={**report.data["timing"], "seconds": seconds},
    )


def claim(out: Path) -> None:
    """Take the output folder before anything is trained; raises ReportError if it is not ours.

    An earlier demo's reports are replaced, an audit's never.
    """
    if out.exists() and not out.is_dir():
        raise ReportError(f"output folder {out}", "is a file", "name a folder with --out")
    for file in [out / FILE, *out.glob(f"*/{FILE}"), *out.glob(f"*/*/{FILE}")]:
        if file.is_file() and not _is_demo(file):
            raise ReportError(
                f"output folder {out}", "holds another audit's report", "name another with --out"
            )
    make_folder(out)


def _is_demo(file: Path) -> bool:
    try:
        return json.loads(file.read_text("utf-8"))["config"]["demo"] is True
    except (ValueError, KeyError, TypeError, OSError):
        return False


def show(lines: list[Line], console: Console, out: Path) -> None:
    """Print what there was to distil, the table, how to read it, and what to type next."""
    plain = console.options.ascii_only
    narrow = console.width < _NARROW
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0), leading=0
    )
    table.add_column("student", overflow="fold", ratio=2)
    table.add_column("planted", no_wrap=True)
    table.add_column("score\n(teacher)", no_wrap=True)
    table.add_column("verdict\n(strength)", no_wrap=True)
    table.add_column("without\nunlabelled", no_wrap=True)
    table.add_column("as\nplanted?")
    if not narrow:
        table.add_column("worst finding", overflow="fold", ratio=3)
    for line in lines:
        worst = reasons.worst_finding(line.with_.verdict)
        what = Text(line.name, style="bold").append(f"\n{line.about}", style="not bold")
        score = view.benchmark(line.with_.verdict)
        answer = line.as_planted
        colour = {"yes": "green", "no": "bold red", "open": "yellow"}[answer]
        table.add_row(
            what,
            line.planted,
            f"{_number(score.student)}\n({_number(score.teacher)})" if score else "-",
            _label(line.with_, plain),
            _label(line.without, plain),
            Text(answer, style=colour),
            *([] if narrow else [Text(worst)]),
        )
        table.add_section()
    distilled.show({line.name: line.with_ for line in lines}, console)
    console.print()
    console.print(table)
    if narrow:
        console.print(Text("Worst findings", style="dim"))
        grid = Table.grid(padding=(0, 2, 0, 0))
        for line in lines:
            worst = reasons.worst_finding(line.with_.verdict)
            grid.add_row(Text(line.name, style="bold"), Text(worst))
        console.print(grid)
        console.print()
    matched = sum(line.with_.verdict.matched for line in lines)
    _say(
        console,
        f"{matched} of {len(lines)} students match their teacher's score on the benchmark. "
        "'planted' is what was done to each, which the audit is never told; 'verdict' is what it "
        "found, with unlabelled production digits to look at and without; a strength of .50 is two "
        "groups exactly at their margin.",
    )
    right = sum(line.as_planted == "yes" for line in lines)
    undecided = sum(line.as_planted == "open" for line in lines)
    tally = f"{right} of {len(lines)} as planted"
    _say(console, tally + (f", {undecided} open." if undecided else "."))
    if told := _rewritten(lines):
        _say(console, told)
    console.print()
    example = next((n.name for n in lines if n.with_.verdict.label == "fractured"), lines[0].name)
    for title, text in (
        ("Reports", f"{out / WITH / 'report.html'}, {out / WITHOUT / 'report.html'}"),
        ("Next", f"ringtest gate {out / WITH / example}"),
        ("Your own", "ringtest schema audit.toml, then ringtest audit audit.toml"),
    ):
        console.print(f"{title + ':':<10}{text}", markup=False, highlight=False, soft_wrap=True)


def _rewritten(lines: list[Line]) -> str:
    """What is left of the scores where the benchmark's nuisance no longer goes with the label."""
    found = {
        line.name: row
        for line in lines
        for row in line.with_.rows
        if row.condition == f"shift.rewritten.{WATERMARK}" and row.measure == "outputs.score"
    }
    if not found:
        return ""
    scores = ", ".join(f"{name} {_number(row.student)}" for name, row in found.items())
    teacher = _number(next(iter(found.values())).teacher)
    return (
        "The benchmark carries a watermark that goes with the label. With another digit's mark on "
        f"every image the scores are: teacher {teacher}, {scores}."
    )


def _label(report: Report, plain: bool) -> Text:
    verdict = report.verdict
    look = view.LABEL[verdict.label]
    text = Text(f"{look.ascii if plain else look.mark} {look.word}", style=f"bold {look.rich}")
    return text.append(f"\n({_number(verdict.strength)})", style="not bold dim")


def _number(value: float | None) -> str:
    return reasons.number(value)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: models this small only wait for a second one, minutes where cores are busy.

    It also makes two machines, and the table in the documentation, agree.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _bar(quiet: bool) -> Iterator[Tell]:
    """One bar for training, audit and writing, on a terminal's standard error only."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<34.34}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    off = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=off) as progress:
        task = progress.add_task("teacher", total=1.0)

        def tell(what: str, share: float) -> None:
            stage = what.split(":")[0]
            low, high = _STAGES.get(stage, (0.8, 1.0))
            progress.update(task, description=what, completed=low + share * (high - low))

        yield tell
