"""Messages between the process of the tests and that of the candidate: plain data only.

Decoding makes builtin types and nothing else, so whatever a candidate's process writes is at most
a value: no class of its own, no ``__eq__`` that agrees with everything, reaches the tests.
"""

from __future__ import annotations

import json
import os
from typing import Any

MAX_MESSAGE = 4 * 2**20
"""Bytes of a message; a longer one breaks the link."""


MAX_DEPTH = 50
"""How deep containers nest."""


class Unsendable(BaseException):
    """A value is no plain data: nothing of builtin types.

    No Exception: tests must not catch it and go on.
    """


class Broken(Exception):
    """The other side is gone, or wrote what is no message."""


class Link:
    """Messages over a pair of pipes, each a length of four bytes and JSON."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write

    def send(self, message: Any) -> None:
        """Raises Broken where the other side is gone or the message is too long."""
        body = json.dumps(message).encode()
        if len(body) > MAX_MESSAGE:
            raise Broken("a message is too long")
        left = memoryview(len(body).to_bytes(4, "big") + body)
        try:
            while left:
                left = left[os.write(self._write, left) :]
        except OSError as error:
            raise Broken(str(error)) from None

    def receive(self) -> Any:
        """Raises Broken where the other side is gone, or for what is no message."""
        length = int.from_bytes(self._exactly(4), "big")
        if length > MAX_MESSAGE:
            raise Broken("a message is too long")
        try:
            return json.loads(self._exactly(length))
        except (ValueError, RecursionError):
            raise Broken("no message") from None

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = os.read(self._read, min(count - len(parts), 2**16))
            except OSError as error:
                raise Broken(str(error)) from None
            if not part:
                raise Broken("the process ended")
            parts += part
        return bytes(parts)


def encode(value: Any, reference: Any = None, depth: int = MAX_DEPTH) -> Any:
    """Plain data as JSON that keeps its types; of subclasses, what they are in the base.

    Args:
        value: None, bool, int, float, complex, str, bytes, or a list, tuple, set or dict of these.
        reference: called with anything else, gives its stand-in. Default: Unsendable is raised.
        depth: how deep containers may nest.
    """
    if depth < 0:
        raise Unsendable("containers nest too deep")

    def each(values: Any) -> list[Any]:
        return [encode(v, reference, depth - 1) for v in values]

    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        return ["i", hex(int.__index__(value))]
    if isinstance(value, float):
        return ["f", float.__repr__(value)]
    if isinstance(value, complex):
        return ["c", repr(value.real), repr(value.imag)]
    if isinstance(value, str):
        return ["s", str.__str__(value)]
    if isinstance(value, bytes | bytearray):
        return ["b", bytes(value).hex()]
    for kind, mark in ((list, "l"), (tuple, "t"), (set, "S"), (frozenset, "F")):
        if isinstance(value, kind):
            return [mark, each(value)]
    if isinstance(value, dict):
        return ["d", [each(pair) for pair in value.items()]]
    if reference is None:
        raise Unsendable(f"{type(value).__name__} is no plain data")
    return ["r", reference(value)]


def decode(coded: Any, referred: Any, depth: int = MAX_DEPTH) -> Any:
    """What :func:`encode` was given; ``referred`` makes something of a stand-in.

    Raises Broken for anything that ``encode`` does not write.
    """
    if coded is None or coded is True or coded is False:
        return coded

    def each(values: Any) -> list[Any]:
        return [decode(v, referred, depth - 1) for v in values]

    if depth < 0:
        raise Broken("containers nest too deep")

    try:
        mark, body = coded[0], coded[1]
        if mark in ("l", "t", "S", "F"):
            kinds: dict[str, Any] = {"l": list, "t": tuple, "S": set, "F": frozenset}
            return kinds[mark](each(body))
        if mark == "d":
            return dict(map(each, body))
        if mark == "i":
            return int(body, 16)
        if mark == "f":
            return float(body)
        if mark == "c":
            return complex(float(body), float(coded[2]))
        if mark == "s" and type(body) is str:
            return body
        if mark == "b":
            return bytes.fromhex(body)
        if mark == "r" and type(body) is int:
            return referred(body)
    except (TypeError, ValueError, LookupError, RecursionError):
        raise Broken("no plain data") from None
    raise Broken("no plain data")
