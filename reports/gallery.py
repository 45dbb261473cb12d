"""Rows on which student and teacher were driven furthest apart, drawn for the page."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringtest.measurement import Measurement
from ringtest.reports import view

MOST: Final = 12
"""Examples that the page shows."""
TIMES: Final = 10
"""By how much a difference is enlarged."""


@dataclass(frozen=True)
class Picture:
    """One example, ready for the template."""

    where: str
    row: int
    divergence: float
    teacher: str
    student: str
    images: tuple[str, ...] = ()
    """``data:`` addresses of what was given, what was shown, and their difference."""
    moved: str = ""
    """Which entries were moved, in words."""


def pictures(rows: Iterable[Measurement]) -> list[Picture]:
    """The examples of all rows, at most `MOST`; what cannot be read is left out."""
    found = []
    for row in rows:
        examples = row.params.get("examples")
        for example in examples if isinstance(examples, list) else []:
            try:
                found.append(_picture(view.place(row), example))
            # A report may come from anywhere; a picture is no reason to show nothing.
            except (AttributeError, KeyError, TypeError, ValueError):
                continue
    return found[:MOST]


def _picture(where: str, example: dict[str, Any]) -> Picture:
    seen = example.get("image")
    return Picture(
        where,
        int(example["row"]),
        float(example["divergence"]),
        _said(example["teacher"]),
        _said(example["student"]),
        () if seen is None else _images(seen),
        "" if seen is not None else _moved(example["moved"]),
    )


def _said(output: dict[str, Any]) -> str:
    """What a model answers, in words."""
    if "class" in output:
        return f"class {int(output['class'])} ({view.shown(float(output['probability']))})"
    return ", ".join(view.shown(float(v)) for v in output["values"])


def _moved(entries: list[list[float]]) -> str:
    said = [f"{int(p)}: {view.shown(float(a))} → {view.shown(float(b))}" for p, a, b in entries]
    return "; ".join(said) or "none"


def _images(seen: dict[str, Any]) -> tuple[str, ...]:
    shape = tuple(int(s) for s in seen["shape"])
    before, after = (
        np.frombuffer(base64.b64decode(seen[k]), np.uint8).reshape(shape).astype(np.float64)
        for k in ("before", "after")
    )
    # Grey is no difference.
    difference = np.clip(127.5 + TIMES * (after - before) / 2, 0, 255)
    return tuple(_address(image) for image in (before, after, difference))


def _address(image: NDArray[np.float64]) -> str:
    """A (1 or 3, h, w) image of 0 to 255 as a ``data:`` address."""
    return f"data:image/png;base64,{base64.b64encode(png(image.round().astype(np.uint8))).decode()}"


def png(image: NDArray[np.uint8]) -> bytes:
    """A (1 or 3, h, w) image as PNG: the same bytes on every machine, and no library for it.

    Raises KeyError for another number of channels.
    """
    channels, height, width = image.shape
    kind = {1: 0, 3: 2}[channels]  # grey, RGB
    lines = np.moveaxis(image, 0, -1).reshape(height, -1)
    # Each line begins with its filter: none.
    raw = np.pad(lines, ((0, 0), (1, 0))).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
