"""From a matplotlib figure to a small inline SVG that follows the page's colours and fonts.

Figures are drawn with one flat sentinel colour for each meaning. In the SVG these become CSS
variables, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS: Final = {
    "ink": "#010101",
    "muted": "#020202",
    "line": "#030303",
    "paper": "#040404",
    "pass": "#050505",
    "fail": "#060606",
    "open": "#070707",
    "none": "#080808",
    "teacher": "#090909",
    "student": "#0a0a0a",
    "band": "#0b0b0b",
}
"""Sentinels: near-blacks that nothing else draws."""
DASH: Final = {"teacher": (0, (4, 2)), "student": "solid"}
MARKER: Final = {"pass": "o", "fail": "D", "inconclusive": "^", "not_measurable": "x", "error": "x"}
"""Shape of a status; its colour only repeats it."""

_RC: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ringtest",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": COLOURS["ink"],
    "axes.labelsize": 11,
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["line"],
    "axes.linewidth": 1,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "path.simplify": True,
    "path.simplify_threshold": 0.5,
    "axes.unicode_minus": True,
}
PX: Final = 1 / 72
"""Inches of one unit of the SVG: a font of size 11 is 11 px where the figure is not scaled."""


@contextmanager
def style() -> Iterator[None]:
    """Draw with ringtest's settings, whatever the user's are."""
    with mpl.rc_context(), warnings.catch_warnings():
        # The reader's browser has the glyphs that the drawing font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # type: ignore[arg-type, unused-ignore]
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure of so many pixels, apart from pyplot's global state."""
    figure = Figure(figsize=(width * PX, height * PX), dpi=72)
    FigureCanvasAgg(figure)
    return figure


def box(
    figure: Figure, left: float, top: float, width: float, height: float, frame: bool = True
) -> Axes:
    """Axes at a place in pixels from the upper left corner."""
    across, down = (v / PX for v in figure.get_size_inches())
    axes = figure.add_axes(
        (left / across, 1 - (top + height) / down, width / across, height / down)
    )
    axes.set_frame_on(frame)
    return axes


def floor(axes: Axes, value: float, across: bool = False) -> None:
    """Shade what lies below a value, or left of it: what comes without the model's doing."""
    if across:
        axes.axvline(value, color=COLOURS["none"], lw=1, zorder=0.5)
        low, high = axes.get_xlim()
        axes.axvspan(low, min(value, high), color=COLOURS["none"], alpha=0.16, lw=0, zorder=0.4)
        axes.set_xlim(low, high)
        return
    low, high = axes.get_ylim()
    axes.axhspan(low, value, color=COLOURS["none"], alpha=0.16, lw=0, zorder=0.4)
    axes.axhline(value, color=COLOURS["none"], lw=1, zorder=0.5)
    axes.set_ylim(low, high)


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an ``<svg>`` element.

    Args:
        figure: drawn inside :func:`style`.
        name: prefix of every id, unique in the page.
        label: what a reader who cannot see it should hear.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    # matplotlib's sheet is global: it would restyle the whole page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    body = _ids(body.replace("xlink:href", "href"), name)
    body = _compact(body)
    head = (
        f'<svg class="rt-svg" viewBox="{view.group(1) if view else ""}" role="img" '
        f'aria-label="{html.escape(label)}">'
    )
    return f"{head}{body}</svg>"


def unique(*parts: str) -> str:
    """A short id that is the same in every run."""
    return "rt" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _ids(body: str, name: str) -> str:
    """Keep only the ids that are used, with a prefix: a page and a notebook hold many figures."""
    used = list(dict.fromkeys(re.findall(r'(?:url\(|href=")#([^)"]+)', body)))
    short = {old: f"{name}-{i}" for i, old in enumerate(used)}

    def rename(match: re.Match[str]) -> str:
        old = match.group(1)
        return f' id="{short[old]}"' if old in short else ""

    body = re.sub(r' id="([^"]*)"', rename, body)
    return re.sub(r'(url\(|href=")#([^)"]+)', lambda m: f"{m.group(1)}#{short[m.group(2)]}", body)


def _compact(body: str) -> str:
    """Shorter numbers and styles, inside of tags only: what names say is left alone."""
    body = re.sub(r"\s*(<[^>]+>)\s*", lambda match: _compact_tag(match.group(1)), body)
    while "<g></g>" in body or "<g/>" in body:
        body = body.replace("<g></g>", "").replace("<g/>", "")
    return body


def _compact_tag(tag: str) -> str:
    tag = " ".join(tag.split())
    tag = re.sub(
        r"(?<![\w#.-])-?\d+\.\d{2,}", lambda m: f"{float(m.group()):.1f}".removesuffix(".0"), tag
    )
    tag = re.sub(r"font: ([^;\"]*?)([\d.]+px)[^;\"]*", _font, tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", tag)
    for sentinel, variable in _VARIABLES.items():
        tag = tag.replace(sentinel, variable)
    return tag.replace("; ", ";").replace(": ", ":")


_VARIABLES: Final = {sentinel: f"var(--rt-{name})" for name, sentinel in COLOURS.items()}


def _font(match: re.Match[str]) -> str:
    """The size and weight of a font; its family is the page's."""
    heavy = "font-weight:600;" if re.search("bold|[6-9]00", match.group(1)) else ""
    return f"{heavy}font-size:{match.group(2)}"
