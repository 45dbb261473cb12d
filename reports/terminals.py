"""What every printer of a terminal shares: looks, tables, and what to do where only ASCII goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from ringtest.reports import view

if TYPE_CHECKING:
    from rich.console import Console


def plain(console: Console) -> bool:
    """True if only ASCII can be shown."""
    return console.options.ascii_only


@contextmanager
def writable(console: Console) -> Iterator[None]:
    """Where only ASCII can be written, names of other alphabets become question marks."""
    if not plain(console):
        yield
        return
    with console.capture() as captured:
        yield
    text = captured.get().replace("−", "-").replace("–", "-").replace("→", "->")
    console.out(text.encode("ascii", "replace").decode(), highlight=False, end="")


def look(shown: view.Look, ascii_only: bool) -> Text:
    """A word and its mark, in its colour."""
    mark = shown.ascii if ascii_only else shown.mark
    return Text(f"{mark} {shown.word}", style=f"bold {shown.rich}")


def table(ascii_only: bool) -> Table:
    """An empty table with a head and no frame."""
    lines = box.ASCII2 if ascii_only else box.SIMPLE_HEAD
    return Table(box=lines, pad_edge=False, header_style="dim", expand=False, padding=(0, 1, 0, 0))
