"""The store: one file a cell (measure x condition), so that an audit goes on where it ended.

A cell is a line of JSON with its key and the SHA-256 of what follows, then a deflated safetensors
file: arrays bit by bit, and the structure around them as JSON. Nothing is ever unpickled. A cell
of another key, or altered, or cut short, counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ringtest.compare import Failure
from ringtest.estimate import Estimate
from ringtest.files import make_folder, write_atomically
from ringtest.likeness import Likeness
from ringtest.measure import Reading
from ringtest.measurement import Measurement

FORMAT: Final = 1
"""Raised whenever a file of an older version would be misread."""
SUFFIX: Final = ".cell"
_TYPES: Final = {t.__name__: t for t in (Estimate, Reading, Failure, Likeness, Measurement)}
_STRUCTURE: Final = "structure"


class Unstorable(TypeError):
    """Something that a cell cannot hold, such as an object of a plug-in's own."""


class Store:
    """The cells of one output folder, read and written by name and key."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made when the first cell is written."""
        self.folder = folder
        self.kept: set[str] = set()
        """Names of the cells that were found or written and need not be computed again."""

    def read(self, name: str, key: str | None) -> Any:
        """Content of a cell; None if it is missing, of another key or not whole."""
        body = self._body(name, key)
        if body is None:
            return None
        try:
            content = unpack(body)
        except (KeyError, TypeError, ValueError, zlib.error, SafetensorError):
            return None
        self.kept.add(name)
        return content

    def has(self, name: str, key: str | None) -> bool:
        """Whether :meth:`read` would find the cell."""
        return self._body(name, key) is not None

    def write(self, name: str, key: str | None, content: Any) -> None:
        """Keep a cell; what has no key, or cannot be held exactly, is left to be computed again.

        Raises ReportError, in words, if the disk is full or the folder cannot be written.
        """
        if key is None:
            return
        try:
            body = pack(content)
        except Unstorable:
            return
        make_folder(self.folder)
        head = json.dumps({"key": key, "sha256": hashlib.sha256(body).hexdigest()})
        # A cell is checked when it is read: waiting for the disk each time would buy nothing.
        write_atomically(self._path(name), head.encode() + b"\n" + body, durable=False)
        self.kept.add(name)

    def clear(self) -> None:
        """Remove all cells."""
        for file in self.folder.glob(f"*{SUFFIX}"):
            file.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        """A file name that people can read; the digest keeps apart what reads alike."""
        readable = re.sub(r"[^A-Za-z0-9.@_-]", "-", name)[:100]
        return self.folder / f"{readable}.{hashlib.sha256(name.encode()).hexdigest()[:8]}{SUFFIX}"

    def _body(self, name: str, key: str | None) -> bytes | None:
        path = self._path(name)
        try:
            if key is None or not path.is_file():
                return None
            head, _, body = path.read_bytes().partition(b"\n")
            said = json.loads(head)
        except (OSError, ValueError):
            return None
        return body if said == {"key": key, "sha256": hashlib.sha256(body).hexdigest()} else None


def pack(content: Any) -> bytes:
    """Plain values, numeric arrays and ringtest's own results as bytes.

    Raises Unstorable for anything else.
    """
    arrays = _Arrays()
    text = json.dumps(_encode(content, arrays)).encode()
    arrays.named[_STRUCTURE] = np.frombuffer(text, dtype=np.uint8)
    # Outcomes take few values: deflated, they need a small part of their eight bytes a row.
    return zlib.compress(save(arrays.named), 1)


def unpack(body: bytes) -> Any:
    """Inverse of :func:`pack`, bit by bit."""
    arrays = load(zlib.decompress(body))
    return _decode(json.loads(arrays.pop(_STRUCTURE).tobytes()), arrays)


class _Arrays:
    """The arrays of a cell, each of equal ones once."""

    def __init__(self) -> None:
        self.named: dict[str, NDArray[Any]] = {}
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def name(self, array: NDArray[Any]) -> str:
        """Name of an array in the file."""
        digest = hashlib.blake2b(array.tobytes(), digest_size=16).digest()
        name = self._names.setdefault((array.dtype.str, array.shape, digest), str(len(self.named)))
        self.named.setdefault(name, array)
        return name


def _encode(value: Any, arrays: _Arrays) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return {"float": value.hex()}
    if kind is list:
        return [_encode(v, arrays) for v in value]
    if kind is tuple:
        return {"tuple": [_encode(v, arrays) for v in value]}
    if kind is dict:
        return {"dict": [[_encode(k, arrays), _encode(v, arrays)] for k, v in value.items()]}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        name = arrays.name(np.ascontiguousarray(value).reshape(value.shape))
        return {"array" if kind is np.ndarray else "scalar": name}
    if _TYPES.get(kind.__name__) is kind:
        parts = {f.name: _encode(getattr(value, f.name), arrays) for f in fields(kind)}
        return {kind.__name__: parts}
    raise Unstorable(f"{kind.__module__}.{kind.__qualname__}")


def _decode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_decode(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    match kind:
        case "float":
            return float.fromhex(inside)
        case "tuple":
            return tuple(_decode(v, arrays) for v in inside)
        case "dict":
            return {_decode(k, arrays): _decode(v, arrays) for k, v in inside}
        case "array":
            return arrays[inside]
        case "scalar":
            return arrays[inside][()]
    return _TYPES[kind](**{name: _decode(v, arrays) for name, v in inside.items()})
