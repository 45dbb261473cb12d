"""Tables of the command line: the plan, the layers of models, the catalogues."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from ringtest import inference, margins
from ringtest.capture import Layers
from ringtest.case import Case
from ringtest.commands.cost import Cost
from ringtest.condition import conditions
from ringtest.discovery import SILENT
from ringtest.measure import Measure, measures
from ringtest.model import Model
from ringtest.registry import N, Registry

ROW_SD: Final = {
    "outputs.score": 0.3,
    "outputs.agreement": 0.4,
    "outputs.consistency": 0.5,
    "similarity.cka": 0.4,
    "similarity.neighbours": 0.65,
    "probe.slice_transfer": 0.25,
    "structure.twin_spread": 1.2,
    "structure.invariance_spread": 0.4,
}
"""Assumed standard error of a headline times the root of its rows. For the score: one row in ten is
answered differently, sqrt(.1 x .9). Else what four in five judged rows of the validity bench stay
below."""


@dataclass(frozen=True)
class Need:
    """Rows that one margin asks for."""

    measure: str
    where: str
    margin: float
    rows: int
    """So many settle it, if the student is as good as its teacher."""
    have: int


def needs(case: Case) -> list[Need]:
    """Rows that show, with power .8, that a student without any harm lies within each margin."""
    tables = {
        "clean": ("benchmark", {"benchmark": margins.BENCHMARK, **margins.STRUCTURE}),
        "unlabelled": ("each unlabelled set", _floors(case, "elsewhere")),
        "certified": ("certified", _floors(case, "certified")),
        "off_support": ("off support", _floors(case, "off support")),
    }
    found = []
    for role, (where, table) in tables.items():
        stages = [s for s in case.plan.stages if s.condition.role == role]
        read = {entry.id: entry for s in stages for entry in s.measures}
        for entry in read.values():
            margin = table.get(entry.group or "")
            # A function is judged by itself on certified sets, by its members elsewhere.
            twice = role == "certified" and entry.id == "outputs.agreement"
            if margin is None or entry.id not in ROW_SD or twice:
                continue
            rows = inference.needed_n(0.0, margin, ROW_SD[entry.id], 1, margins.ALPHA) or 0
            have = min(s.rows for s in stages)
            found.append(Need(entry.id, where, margin, max(rows, margins.MIN_N), have))
    return found


def _floors(case: Case, where: str) -> dict[str, float]:
    """The floors that it takes to pass: the lower ones, where both kinds are given."""
    theirs = {m.architecture for m in case.members}
    own = any({m.architecture} == theirs for m in case.students.values())
    # Off support the wide floors of another architecture can only be failed.
    own = own or where == "off support"
    return {**margins.FLOORS[where], **(margins.OWN_FLOORS[where] if own else {})}


def show_plan(case: Case, cost: Cost, leaks: Iterable[str] = ()) -> None:
    """Print the cells, what they cost, the rows that the margins need, and what was noticed."""
    console, plan = Console(), case.plan
    table = _table("condition", "scope", "rows", "measures")
    families: dict[tuple[str, str, str, str], dict[str, None]] = defaultdict(dict)
    for stage in plan.stages:
        at = stage.condition
        names = ", ".join(sorted(entry.id for entry in stage.measures))
        which = at.name or ("" if at.severity is None else f"{at.severity:g}")
        families[at.kind, at.scope, f"{stage.rows:,}", names][which] = None
    for (kind, scope, rows, names), which_ones in families.items():
        title = Text(kind).append(f"\n{', '.join(which_ones)}".rstrip(), style="dim")
        table.add_row(title, scope, rows, Text(names))
    console.print(table)
    _note(
        console,
        f"{plan.cells} cells (measure x condition) under {len(plan.stages)} conditions; "
        f"{len(case.models)} models, {plan.passes:,} forward passes of a block of 256 rows. "
        "Attacks come on top.",
    )
    for line in cost.lines(plan.cells):
        _note(console, line)
    wanted = needs(case)
    if wanted:
        rows_table = _table("margin of", "on", "margin", "rows needed", "rows given", right=2)
        for need in wanted:
            style = "" if need.have >= need.rows else "bold red"
            given = Text(f"{need.have:,}", style=style)
            rows_table.add_row(
                need.measure, need.where, f"{need.margin:g}", f"{need.rows:,}", given
            )
        console.print(rows_table)
        _note(
            console,
            "Rows needed: a student with no harm passes at alpha = .05 with power .8, if one "
            "output in ten differs (standard error sqrt(.1 x .9 / n)) and if similarities vary as "
            f"on the validity bench ({ROW_SD['similarity.cka']:g} / sqrt(n) for CKA, "
            f"{ROW_SD['similarity.neighbours']:g} / sqrt(n) for neighbours). "
            "With a harm of half the margin it takes four times as many.",
        )
    for left in plan.not_measured:
        _note(console, f"Not measured: {left['measure']} on {left['condition']}: {left['reason']}.")
    for warning in dict.fromkeys([*case.data.warnings, *leaks]):
        _note(console, f"Note: {warning}.")


def show_layers(case: Case) -> None:
    """Print the layers of every model: which are read, which not, and why."""
    console = Console()
    shown: dict[str | None, str] = {}
    for model in case.models:
        console.print()
        twin = shown.get(model.architecture) if model.architecture is not None else None
        console.print(Text(model.name, style="bold").append(_size(model), style="not bold"))
        if twin is not None:
            _note(console, f"Built like {twin}: the same layers.")
            continue
        shown[model.architecture] = model.name
        if model.layers is None:
            what = "the evidence holds no layers"
            if model.stored is None:
                what = "no module that owns parameters is called"
            _note(console, f"Only outputs can be seen: {what}.")
            continue
        table = _table("layer", "shape read", "parameters", "why", right=2)
        for layer in model.layers.picked:
            own = ""
            if model.module is not None and layer.at == "output":
                own = f"{_parameters(model.module, layer.module):,}"
            table.add_row(Text(layer.name), f"(n, {layer.width})", own, layer.why)
        console.print(table)
        if model.module is None:
            continue
        for reason, names in passed_over(model.module, model.layers).items():
            _note(console, f"Passed over, {reason}: {', '.join(names)}.")


def passed_over(module: nn.Module, layers: Layers) -> dict[str, list[str]]:
    """Modules before the head that are not read, by reason."""
    stated = dict(text.split(": ", 1) for text in layers.left_out)
    read = {layer.module for layer in layers.picked if layer.at == "output"}
    by_hand = any(layer.why == "asked for" for layer in layers.picked)
    found: dict[str, list[str]] = defaultdict(list)
    for name in layers.known:
        if name in read:
            continue
        outer = next((r for r in read if name.startswith(f"{r}.")), None)
        if name in stated:
            reason = stated[name]
        elif by_hand:
            reason = "not asked for"
        elif outer is not None:
            reason = f"inside {outer}, which is read as a whole"
        elif any(other.startswith(f"{name}.") for other in layers.known):
            reason = "a container whose contents are read"
        elif isinstance(module.get_submodule(name), SILENT):
            reason = "changes nothing"
        else:
            reason = "itself the last hidden layer"
        found[reason].append(name)
    return dict(found)


def show_measures(pattern: str = "*") -> None:
    """Print the catalogue of measures, or of those whose ids match; of a single one all it says."""
    console = Console()
    table = _table("measure", "what it says", lines=True)
    chosen = _chosen(measures, pattern)
    for entry in chosen:
        low, high = entry.range
        table.add_row(
            _card(
                entry.id,
                f"{entry.direction} is better",
                f"{low:g} to {high:g}",
                f"area {entry.area}",
                *_judges(entry),
                *([] if entry.default else [_when(entry)]),
            ),
            _card(
                entry.about,
                f"cannot see: {_words(entry.invariant_to) or '-'}",
                f"needs: {_words(entry.needs)}",
                f"source: {entry.source or '-'}",
                head="",
            ),
        )
    console.print(table)
    if len(chosen) == 1:
        _explain(console, type(chosen[0]))
    _note(
        console,
        "Cannot see: maps of a representation that leave the measure as it is. 'linear' are all "
        "invertible linear maps, 'orthogonal' rotations, 'scale' one factor for all units.",
    )


def show_conditions(pattern: str = "*") -> None:
    """Print the catalogue of conditions, or of those that match; of a single one all it says."""
    console = Console()
    table = _table("condition", "how models are looked at", lines=True)
    chosen = _chosen(conditions, pattern)
    for kind in chosen:
        # The clean condition belongs to no area: its module stands in the shared ground.
        package = kind.make.__module__.split(".")
        area = package[1] if len(package) > 2 else "-"
        table.add_row(
            _card(kind.id, f"area {area}"),
            _card(
                kind.about,
                f"scope: {kind.scope}; used for: {kind.role.replace('_', ' ')}",
                f"source: {kind.source or '-'}",
                head="",
            ),
        )
    console.print(table)
    if len(chosen) == 1:
        _explain(console, chosen[0].make)
    _note(
        console,
        "Scope: 'shared' is one changed input for all models, 'own' is made for each model with "
        "the same start and budget, 'pair' is made from teacher and student together. What is used "
        "for 'context' is reported and not judged.",
    )


def _when(entry: Measure) -> str:
    return "told of recordings" if "recorded" in entry.needs else "read when asked for"


def _judges(entry: Measure) -> list[str]:
    """Which group it speaks for and what that tolerates, by what the student is held against."""
    if entry.margin is None:
        return ["context only"]
    low, high = entry.margin
    tolerated = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return [f"judges {entry.group}", f"margin {tolerated}"]


def _chosen(registry: Registry[N], pattern: str) -> list[N]:
    """Entries whose ids match a glob. ConfigError with the closest names where none does."""
    return [e for e in registry if fnmatchcase(e.id, pattern)] or [registry[pattern]]


def _explain(console: Console, made: type) -> None:
    """The docstring: shapes, units, range, error and source. Paragraphs fold with the console."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", inspect.getdoc(made) or "").replace("``", "")
    # A line that is indented, such as an argument, stays a line.
    console.print(Text(re.sub(r"(?<=\S)\n(?=\S)", " ", text), style="not bold"))
    console.print()


def _card(title: str, *lines: str, head: str = "bold") -> Text:
    """A title, and dim lines beneath it."""
    text = Text(title, style=head)
    for line in lines:
        text.append(f"\n{line}", style="not bold dim")
    return text


def _table(*columns: str, right: int | None = None, lines: bool = False) -> Table:
    """A table that fits its console: names stay whole, texts fold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    table.leading = 1 if lines else 0
    for i, name in enumerate(columns):
        numeric = name == "rows" or (right is not None and i >= right and name != "why")
        table.add_column(
            name,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric or (i == 0 and lines),
        )
    return table


def _note(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _size(model: Model) -> str:
    return f"  {model.parameters:,} parameters; {', '.join(model.capabilities)}"


def _parameters(module: nn.Module, name: str) -> int:
    return sum(p.numel() for p in module.get_submodule(name).parameters())
