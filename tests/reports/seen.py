"""What a reader sees of a page or a terminal."""

import io
import re
from html import unescape

from rich.console import Console


def words(html: str) -> str:
    """What a reader sees of a piece of a page."""
    return " ".join(unescape(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", html, flags=re.DOTALL)).split())


def part(html: str) -> str:
    """The section of a page."""
    return html.split('id="distilled"')[1].split("</section>")[0]


def printed(show, *given, width=120, encoding="utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with stream:
        show(*given, Console(file=stream, width=width))
        stream.flush()
        return stream.buffer.getvalue().decode(encoding)
