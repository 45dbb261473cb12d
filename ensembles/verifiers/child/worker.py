"""The process that runs a candidate: it answers what the tests' process asks of it.

It never sees the tests nor what they expect; only arguments come in and values go out.
"""

from __future__ import annotations

import builtins
import itertools
import sys
import types
from typing import Any

from ringtest.ensembles.verifiers.child.confine import confine, limit
from ringtest.ensembles.verifiers.child.wire import Broken, Link, decode, encode

MAX_ITEMS = 100_000
"""Elements that are taken of an iterator; an endless one has to end somewhere."""


def main(read: int, write: int, seconds: int, memory: int) -> None:
    """Answer until the other side is gone."""
    link = Link(read, write)
    try:
        limit(seconds, memory)
        confine()
    except (OSError, ValueError, AttributeError) as error:
        link.send({"refused": str(error)})
        return
    link.send({"refused": None})
    module = types.ModuleType("solution")
    kept: list[Any] = [module]

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    while True:
        asked = link.receive()
        try:
            answer = _answer(asked, module, kept, keep)
        except BaseException as error:
            # SystemExit too: a candidate that leaves has not answered.
            answer = {"raised": [_builtin(error), _said(error)]}
        try:
            link.send(answer)
        except Broken as error:  # too long; where the other side is gone, this fails as well
            link.send({"raised": ["ValueError", str(error)]})


def _answer(asked: dict[str, Any], module: types.ModuleType, kept: list[Any], keep: Any) -> Any:
    if "source" in asked:
        sys.modules[module.__name__] = module
        exec(compile(asked["source"], "solution.py", "exec"), module.__dict__)
        return {"names": [str(name) for name in module.__dict__]}
    target = kept[asked["of"]]
    if "get" in asked:
        return {"value": encode(getattr(target, asked["get"]), keep)}
    if "call" in asked:
        arguments, named = decode(asked["call"], kept.__getitem__)
        value = encode(target(*arguments, **named), keep)
        return {"value": value, "left": encode((arguments, named), keep)}
    if "at" in asked:
        return {"value": encode(target[decode(asked["at"], kept.__getitem__)], keep)}
    if "all" in asked:
        return {"value": encode(list(itertools.islice(target, MAX_ITEMS)), keep)}
    return {"value": encode(len(target))}


def _builtin(error: BaseException) -> str:
    """The name of the nearest builtin class of an error: the tests know no other."""
    for kind in type(error).__mro__:
        name = str(kind.__name__)
        if getattr(builtins, name, None) is kind:
            return name
    return "Exception"


def _said(error: BaseException) -> str:
    try:
        return str(error)[:300]
    except BaseException:
        return ""
