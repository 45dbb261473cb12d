"""What README, CONTRIBUTING and docs/ tell people to type works, and what they name exists.

Python blocks of a page run in order and share their names. Which names a page finds at its start
follows from the page: one that points at the example of docs/concepts.md goes on from it, any other
has a reader's own models and data. A block whose first line is the path of a file is that file.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from quick import only_under

from ringtest import config, margins
from ringtest.condition import conditions
from ringtest.gates.gate_file import load_policy
from ringtest.measure import measures
from ringtest.reports import console_distilled, distilled

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
MARKDOWN = MarkdownIt("commonmark").enable("table")
EXAMPLE = "docs/concepts.md"

READERS = """
import torch
from torch import nn
import ringtest

torch.manual_seed(0)
network = lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
member_a, member_b, member_c, student = (network() for _ in range(4))
teacher = members = [member_a, member_b, member_c]
inputs, targets = torch.rand(120, *SHAPE), torch.arange(120) % 3
source, traffic = torch.arange(120) // 60, torch.rand(100, *SHAPE) * 0.5
data = ringtest.AuditData(inputs, targets)
"""
"""What a reader has who comes with models and data, whose rows have the shape SHAPE."""

MODELS = """
import torch
from torch import nn
import ringtest

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

def teacher():
    return [build() for _ in range(3)]

def benchmark():
    torch.manual_seed(1)
    return ringtest.AuditData(torch.randn(120, 6), torch.arange(120) % 3)
"""
"""What a reader's audit.toml points at."""


@dataclass(frozen=True)
class Fence:
    """A fenced block: language, the rest of the line behind it, and the text."""

    language: str
    info: str
    text: str

    @property
    def file(self) -> str | None:
        """The path in the first line, if the block is a file."""
        found = re.match(r"# ([\w/]+\.(?:py|toml))\n", self.text)
        return found.group(1) if found else None


def tokens(page: str) -> list[Token]:
    return MARKDOWN.parse((ROOT / page).read_text("utf-8"))


def inline(page: str) -> Iterator[Token]:
    for token in tokens(page):
        yield from token.children or ()


def fences(page: str) -> list[Fence]:
    """All fenced blocks of a page, in order."""
    found = [t for t in tokens(page) if t.type == "fence"]
    parts = [(*t.info.split(maxsplit=1), "", "")[:2] for t in found]
    return [Fence(*part, t.content) for part, t in zip(parts, found, strict=True)]


def readers(page: str) -> str:
    """The reader's models and data: images where a page is about them, else a quicker table."""
    images = any("is_images" in f.text for f in fences(page))
    return READERS.replace("SHAPE", "(1, 6, 6)" if images else "(36,)")


def files(page: str) -> dict[str, str]:
    """The Python files that a page holds."""
    return {f.file: f.text for f in fences(page) if f.language == "python" and f.file}


def program(page: str) -> list[Fence]:
    """What of a page runs, with the output that is shown for it."""
    return [
        f
        for f in fences(page)
        if (f.language == "python" and not f.info and not f.file) or f.info == "output"
    ]


def run(page: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a page; whatever output it shows must have been printed by the block before it."""
    printed = ""
    for block in program(page):
        if block.info == "output":
            said = set(map(masked, printed.splitlines()))
            wrong = [
                x for x in block.text.splitlines() if x not in ("", "...") and masked(x) not in said
            ]
            assert not wrong, f"{page} shows {wrong}; printed was:\n{printed}"
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(block.text, page, "exec"), names)
        printed = out.getvalue()
    return names


def masked(line: str) -> str:
    """A line without its numbers, which another machine may round otherwise."""
    return " ".join(re.sub(r"-?\d[\d.,]*(e-?\d+)?", "#", line).split())


def process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, which finds what lies in a folder first."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


# -- Python ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """The names of the example in docs/concepts.md, run once."""
    return run(EXAMPLE, {})


JUDGED = ("shift.certified", "shift.invariance", "shift.off_support.*", "shift.unlabelled")
"""Conditions that a verdict rests on. Pages that go on from the example are run under these alone,
others only under what they ask for themselves: what more an audit reads they do not show."""


def test_the_example_shows_what_it_says(example: dict[str, Any]) -> None:
    verdict = example["report"].verdict
    assert verdict.label == "fractured"
    assert verdict.matched
    attacked = example["report"].frame().query("condition == 'attack.pgd'")
    assert len(attacked)
    assert (attacked.harm < 0).all()
    shown = [b.text for b in program(EXAMPLE) if b.info == "output"]
    quoted = re.search(r"^> (.*?)\n\n", (ROOT / EXAMPLE).read_text("utf-8"), re.DOTALL | re.M)
    # The sentence that the page takes apart is one of those that it shows.
    assert quoted
    assert quoted.group(1).replace("\n> ", " ") in shown[0]


def test_the_first_part_of_the_example_says_what_is_quoted(example: dict[str, Any]) -> None:
    report = example["report"]
    section = distilled.section(report.verdict.rows, report.verdict)
    assert section is not None
    (steps,) = section.waterfalls
    found = re.findall(r"(?:^> .*\n)+", (ROOT / EXAMPLE).read_text("utf-8"), re.M)
    quoted = {masked(lines.replace("> ", "")) for lines in found}
    assert {masked(section.headline), masked(console_distilled.way(steps))} <= quoted


@pytest.mark.parametrize("page", [p for p in PAGES if p != EXAMPLE and program(p) and not files(p)])
def test_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                     request: pytest.FixtureRequest) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    looks: tuple[str, ...] = ()
    if "concepts.md#an-example" in (ROOT / page).read_text("utf-8"):
        names.update(request.getfixturevalue("example"))
        looks = JUDGED
    else:
        exec(readers(page), names)
    with only_under(*(("*",) if page == "README.md" else looks)):
        run(page, names)
    if page == "README.md":
        rows = names["report"].frame()
        assert {"benchmark", "function", "slice transfer"} <= set(rows.group[rows.headline])
        assert rows.condition.str.startswith("shift.unlabelled.production").any()
        assert (tmp_path / "audit" / "report.html").is_file()


def test_what_is_not_run_says_why() -> None:
    for page in PAGES:
        for f in fences(page):
            if f.language == "python" and f.info:
                assert re.fullmatch(r"no-run: \S+( \S+){2,}", f.info), (page, f.info)


ADDING = [p for p in PAGES if any("/" in name for name in files(p))]
"""Pages with files that go into an area."""
ADDED = {
    found.group(1): page
    for page in ADDING
    for text in files(page).values()
    if (found := re.search(r'^    (?:id|kind) = "(.*)"', text, re.M))
}
"""Ids of the measures and conditions that the pages add, each with its page."""


def test_added_files_keep_their_contracts(tmp_path: Path) -> None:
    """Each dropped into its area and nothing else; then the page's own commands and snippets."""
    # Links are followed: a package with its areas inside, as it is installed.
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "ringtest", tmp_path / "ringtest", ignore=ignore)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    chosen, paths = [], []
    for page in ADDING:
        for name, text in files(page).items():
            (tmp_path / "ringtest" / name).write_text(text)
        commands = [
            c for f in fences(page) for c in re.findall(r"^\$ pytest (\S+) -k (\S+)", f.text)
        ]
        assert commands, page
        paths += [path for path, _ in commands]
        chosen += [name for _, name in commands]
        shown = Path("tests") / f"test_{Path(page).stem.replace('-', '_')}.py"
        mine = next(name for name, where in ADDED.items() if where == page)
        blocks = "\n".join(b.text for b in program(page))
        check = f"assert report.frame()[['measure', 'condition']].eq({mine!r}).any(axis=None)"
        (tmp_path / shown).write_text(
            f"{readers(page)}{blocks}\ndef test_shown_in_a_report():\n    {check}\n"
        )
        paths.append(str(shown))
    chosen += [*ADDED, "severities", "shown_in_a_report"]
    select = " or ".join(dict.fromkeys(chosen))
    done = process(
        tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *paths,
        "-k", select, "-rA",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ADDED:
        assert re.search(rf"^PASSED .*{re.escape(name)}", done.stdout, re.M), name
    shown_in = re.findall(r"^PASSED .*test_shown_in_a_report", done.stdout, re.M)
    assert len(shown_in) == len(ADDING)


def test_entry_points_of_the_pages_register(tmp_path: Path) -> None:
    """The same files as packages of somebody else's, declared as the pages declare them."""
    for page in ADDING:
        (table,) = [tomllib.loads(f.text) for f in fences(page) if f.file == "pyproject.toml"]
        for name, module in table["project"]["entry-points"]["ringtest"].items():
            (text,) = [t for path, t in files(page).items() if Path(path).stem == module]
            (tmp_path / f"{module}.py").write_text(text)
            info = tmp_path / f"{module}-1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
            (info / "entry_points.txt").write_text(f"[ringtest]\n{name} = {module}\n")
    listing = "from ringtest.measure import measures; from ringtest.condition import conditions"
    done = process(
        tmp_path, "-c", f"{listing}; print(*(e.id for r in (measures, conditions) for e in r))"
    )
    assert done.returncode == 0, done.stderr
    for page in ADDING:
        mine = [name for name, where in ADDED.items() if where == page]
        assert mine[0] in done.stdout.split(), done.stdout


# -- commands and files ----------------------------------------------------------------------------

COMMANDS = """
import contextlib, io, json, sys
from ringtest.cli import main
done = []
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(line.split()[1:])
        except SystemExit as stop:
            code = stop.code
    done.append([line, int(code or 0), err.getvalue()])
print(json.dumps(done))
"""


def commands(page: str) -> list[str]:
    """``$ ringtest`` lines of the README, and of blocks elsewhere that are marked ``run``."""
    return [
        line.removeprefix("$ ").split("#")[0].strip()
        for f in fences(page)
        if f.language in ("console", "sh") and (page == "README.md" or f.info == "run")
        for line in f.text.splitlines()
        if line.startswith("$ ringtest ")
    ]


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)])
def test_commands_run(page: str, tmp_path: Path) -> None:
    """In order, on the TOML and Python files of the page; an unnamed TOML is audit.toml."""
    from safetensors.torch import save_file

    for f in fences(page):
        if f.language == "toml":
            (tmp_path / (f.file or "audit.toml")).write_text(f.text)
    for name, text in files(page).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "data.py").write_text("from models import benchmark\n")
    names: dict[str, Any] = {}
    exec(MODELS, names)
    save_file(names["build"]().state_dict(), tmp_path / "student.safetensors")
    done = process(tmp_path, "-c", COMMANDS, json.dumps(commands(page)))
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    for line, code, errors in results:
        assert code in ({0, 1, 3} if line.split()[1] == "gate" else {0}), (line, errors)
        assert "Traceback" not in errors
    if page == "README.md":
        every = {"layers", "plan", "audit", "ensemble", "gate", "measures", "conditions", "schema"}
        assert every <= {line.split()[1] for line, _, _ in results}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        code = "".join(t.content for t in tokens(page) if t.type in ("fence", "code_block"))
        for target in re.findall(r"^(?:\$ )?make (\S+)", code, re.M):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page, target)


def test_toml_is_ours(tmp_path: Path) -> None:
    """gate.toml as it stands; an audit.toml that shows a part, with the README's for the rest."""
    (whole,) = [
        f.text for f in fences("README.md") if f.language == "toml" and "[teacher]" in f.text
    ]
    for page in PAGES:
        for f in fences(page):
            if f.language == "toml" and f.file in ("gate.toml", "audit.toml"):
                path = tmp_path / f.file
                path.write_text(
                    f.text if f.file == "gate.toml" or "[teacher]" in f.text else whole + f.text
                )
                if f.file == "gate.toml":
                    assert load_policy(path).hash
                else:
                    assert config.load(path).data


# -- names, links, numbers -------------------------------------------------------------------------


def slugs(page: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for opened, heading in pairwise(tokens(page)):
        if opened.type == "heading_open":
            text = "".join(c.content for c in heading.children or ()).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for token in inline(page):
        target = str(token.attrs.get("href", token.attrs.get("src", "")))
        if not target or re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), (page, target)
        if anchor:
            assert anchor in slugs(str(path.resolve().relative_to(ROOT))), (page, target)


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page: str) -> None:
    """Measures and conditions in backticks are registered, or added by a page."""
    known = {e.id for r in (measures, conditions) for e in r} | set(ADDED)
    families = {name.split(".")[0] for name in known if "." in name}
    named = (
        "shift.unlabelled",
        "shift.certified",
        "shift.invariance",
        "shift.strongest",
        "shift.rewritten",
    )  # and then a name
    averaged = ("shift.off_support",)
    for token in inline(page):
        name = token.content.split("@")[0]
        if token.type != "code_inline" or not re.fullmatch(r"\w+(\.[\w*]+)+", name):
            continue
        # ensemble.json is a file, and no measure of the family ensemble.
        if name.split(".")[0] in families and not name.endswith((".json", ".html")):
            found = any(fnmatchcase(k, name) for k in known) or name in averaged
            # Splits of a column: its name and value stand behind the kind.
            split = any(name.startswith(f"{k}.") for k in known if k.startswith("shift.split."))
            assert found or split or name.rpartition(".")[0] in named, (page, name)


def tables(page: str) -> Iterator[list[list[str]]]:
    """Rows of cells of each table."""
    rows: list[list[str]] = []
    for token, content in pairwise(tokens(page)):
        match token.type:
            case "table_open":
                rows = []
            case "tr_open":
                rows.append([])
            case "th_open" | "td_open":
                rows[-1].append(content.content)
            case "table_close":
                yield rows


@pytest.mark.parametrize("page", PAGES)
def test_groups_exist(page: str) -> None:
    """A table of groups names those of the verdict."""
    for head, *rows in tables(page):
        if head[0] == "group":
            names = {n.strip() for r in rows for n in r[0].split("(")[0].split(",")}
            assert names <= {"benchmark", *margins.GROUPS}, (page, names)


def test_margins_are_those_of_the_code() -> None:
    (rows,) = [t for t in tables("docs/choosing-margins.md") if t[0][0] == "group"]
    clean = {"benchmark": margins.BENCHMARK, **margins.STRUCTURE}
    held = (clean, margins.OFF_SUPPORT, margins.UNLABELLED, margins.CERTIFIED, margins.REFERENCES)
    for group, *cells, _unit in rows[1:]:
        expected = [table.get(group) for table in held]
        assert [float(c) if c else None for c in cells] == expected, group
    assert {r[0] for r in rows[1:]} == {"benchmark", *margins.GROUPS}


def test_lower_floors_are_those_of_the_code() -> None:
    """What is left blank is the floor of the first table."""
    own = "the members' own architecture"
    (rows,) = [t for t in tables("docs/choosing-margins.md") if t[0][0] == own]
    head = [where.replace("against ", "") for where in rows[0][1:]]
    assert set(head) == margins.OWN_FLOORS.keys()
    assert {r[0] for r in rows[1:]} == {g for held in margins.OWN_FLOORS.values() for g in held}
    for group, *cells in rows[1:]:
        for where, cell in zip(head, cells, strict=True):
            shown = float(cell) if cell else margins.FLOORS[where][group]
            assert shown == {**margins.FLOORS[where], **margins.OWN_FLOORS[where]}[group]
            assert shown <= margins.FLOORS[where][group]
