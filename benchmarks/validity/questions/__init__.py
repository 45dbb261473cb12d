"""The open questions about nulls and floors, one file each: what was tried, and what it showed.

Each file has ``answer(pool, cases, truths) -> {title: table}``, and may have ``draw(tables, out)``
for a picture of them; `docs/validity.md` draws the conclusions. The letters are those of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

from benchmarks.validity import report
from benchmarks.validity.cases import Case
from benchmarks.validity.questions import copies
from benchmarks.validity.steps import Truths

QUESTIONS = {
    "a": ("kin",),
    "b": ("copies",),
    "c": ("single",),
    "d": ("conditions", "layers"),
    "e": ("distilled",),
    "f": ("unlabelled",),
    "g": ("structure",),
    "h": ("joint",),
    "i": ("domain",),
    "j": ("dictionary",),
    "k": ("measures",),
    "l": ("grades",),
}
"""Letter -> modules of this folder."""


def train(pool: ProcessPoolExecutor | None, worlds: Sequence[str]) -> None:
    """Train what questions need besides the specimens."""
    copies.train(pool, worlds)


def answer(
    pool: ProcessPoolExecutor | None, cases: Sequence[Case], truths: Truths, out: Path
) -> None:
    """Answer all questions; writes question-LETTER.md, and pictures."""
    for letter, names in QUESTIONS.items():
        found = {}
        for name in names:
            module = import_module(f"{__name__}.{name}")
            mine = module.answer(pool, cases, truths)
            if hasattr(module, "draw"):
                module.draw(mine, out)
            found |= mine
        report.write(out / f"question-{letter}.md", found)
