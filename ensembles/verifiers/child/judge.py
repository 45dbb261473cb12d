"""The process that runs the tests: a candidate's names are stand-ins that ask the other process.

Nothing of a candidate is executed here, so nothing of it can touch ``assert``, the builtins, the
tests' own functions or the verdict.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import sys
import types
from collections.abc import Iterator
from typing import Any, NoReturn, TypeGuard

from ringtest.ensembles.verifiers.child.confine import limit
from ringtest.ensembles.verifiers.child.wire import (
    MAX_DEPTH,
    Broken,
    Link,
    Unsendable,
    decode,
    encode,
)

_SUSPENDS = 0x20 | 0x80 | 0x200
"""inspect's CO_GENERATOR, CO_COROUTINE and CO_ASYNC_GENERATOR; see ``confine`` on imports."""


class Gone(BaseException):
    """The candidate's process is gone. No Exception: tests must not catch it and go on."""


class Candidate:
    """The other process, and how often the tests made use of it."""

    def __init__(self, link: Link, in_place: bool) -> None:
        self.link, self.in_place = link, in_place
        self.used = 0

    def ask(self, message: dict[str, Any]) -> Any:
        """The answer; what the candidate raised is raised here, as its nearest builtin class."""
        try:
            self.link.send(message)
            answer = self.link.receive()
        except Broken as error:
            raise Gone(str(error)) from None
        if not isinstance(answer, dict):
            raise Gone("no answer")
        if "raised" in answer:
            _raise(answer["raised"])
        return answer

    def value(self, message: dict[str, Any]) -> Any:
        """The value that was asked for: plain data, or a stand-in for anything else."""
        return self.plain(self.ask(message).get("value"))

    def plain(self, coded: Any) -> Any:
        """Decode; what is no plain data ends the run, as the candidate's fault."""
        try:
            return decode(coded, lambda number: Remote(self, number))
        except Broken as error:
            raise Gone(str(error)) from None

    def coded(self, value: Any) -> Any:
        """Encode arguments; Unsendable for what only lives in this process, such as a lambda."""

        def reference(other: Any) -> int:
            if type(other) is Remote:
                return int(object.__getattribute__(other, "_Remote__number"))
            raise Unsendable(f"{type(other).__name__} is no plain data")

        # Deeper than what a candidate can give: no value of its own may look like the tests' fault.
        return encode(value, reference, 2 * MAX_DEPTH)


class Remote:
    """An object of the candidate's: call it, take attributes and elements, go over it.

    It has neither truth nor equality, because those would be the candidate's own word.
    """

    __hash__ = None  # type: ignore[assignment]

    # Two underscores: a candidate's attributes may have any name that people write.
    def __init__(self, candidate: Candidate, number: int) -> None:
        self.__candidate, self.__number = candidate, number

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__candidate.used += 1
        return self.__candidate.value({"of": self.__number, "get": name})

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the candidate's function gives for copies of the arguments."""
        candidate = self.__candidate
        candidate.used += 1
        answer = candidate.ask({"of": self.__number, "call": candidate.coded((arguments, named))})
        if candidate.in_place:
            _write_back(candidate, (arguments, named), answer.get("left"))
        return candidate.plain(answer.get("value"))

    def __getitem__(self, key: Any) -> Any:
        return self.__candidate.value({"of": self.__number, "at": self.__candidate.coded(key)})

    def __iter__(self) -> Iterator[Any]:
        found = self.__candidate.value({"of": self.__number, "all": True})
        if type(found) is not list:
            raise Gone("no list")
        return iter(found)

    def __len__(self) -> int:
        found = self.__candidate.value({"of": self.__number})
        if type(found) is not int:
            raise Gone("no length")
        return found

    def __bool__(self) -> NoReturn:
        raise TypeError("an object of the candidate's has no truth: compare plain data")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("an object of the candidate's has no equality: compare plain data")

    def __ne__(self, other: object) -> NoReturn:
        raise TypeError("an object of the candidate's has no equality: compare plain data")


def main(read: int, write: int, seconds: int, memory: int) -> None:
    """Read the job from standard input, run it, and say how it went on standard output."""
    job = json.loads(sys.stdin.buffer.read())
    out = os.dup(1)
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # what tests print is no message
        os.dup2(empty, number)

    def say(state: str, reason: str = "") -> None:
        body = {"token": job["token"], "state": state, "reason": " ".join(reason.split())[:300]}
        os.write(out, json.dumps(body).encode() + b"\n")

    link = Link(read, write)
    try:
        limit(seconds, memory)
    except (OSError, ValueError, AttributeError) as error:
        say("unconfined", str(error))
        return
    refused = link.receive()["refused"]
    if refused is not None:
        say("unconfined", refused)
        return
    say("ready")
    say(*_outcome(job, Candidate(link, job["in_place"])))


def _outcome(job: dict[str, Any], candidate: Candidate) -> tuple[str, str]:
    try:
        tree = ast.parse(job["tests"], "tests.py")
        code = compile(tree, "tests.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return "bad", f"no Python: {error}"
    try:
        names = candidate.ask({"source": job["candidate"]})["names"]
        space = _space(tree, names, candidate)
        exec(code, space)
        for name, test in list(space.items()):
            if name.startswith("test") and _own_function(test):
                if why := _not_run(test, 0):
                    return "bad", f"{name}() {why}"
                test()
        if job["entry_point"] is not None:
            check = space.get("check")
            if not _own_function(check):
                return "bad", "an entry point is named, but no function check(candidate)"
            if why := _not_run(check, 1):
                return "bad", f"check() {why}"
            check(_root(candidate, job["entry_point"]))
    except Gone as error:
        return "failed", f"the candidate's process: {error}"
    except Unsendable as error:
        return "bad", f"an argument cannot be handed over: {error}"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
        own = not getattr(error, "of_candidate", False)
        if own and isinstance(error, ImportError | SystemExit | SyntaxError):
            return "bad", said
        return "failed", said
    if not candidate.used:
        return "bad", "they ended without making use of the candidate (classes are not run)"
    return "passed", ""


def _own_function(value: Any) -> TypeGuard[types.FunctionType]:
    return type(value) is types.FunctionType and value.__module__ == "tests"


def _not_run(test: types.FunctionType, given: int) -> str:
    """Why a call of a function would run none of it; empty where it does."""
    if test.__code__.co_flags & _SUSPENDS:
        return "is a coroutine or a generator, which nothing here runs"
    named = test.__code__.co_kwonlyargcount - len(test.__kwdefaults__ or ())
    least = test.__code__.co_argcount - len(test.__defaults__ or ())
    if least > given or named or test.__code__.co_argcount < given:
        return f"must take {given} arguments"
    return ""


def _space(tree: ast.Module, names: Any, candidate: Candidate) -> dict[str, Any]:
    """The tests' own names: of the candidate's only what they use and nobody else provides."""
    space: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
    nodes = list(ast.walk(tree))
    names_used = [node for node in nodes if isinstance(node, ast.Name)]
    wanted = {node.id for node in names_used if isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in names_used if not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for name in sorted(wanted.intersection(n for n in names if type(n) is str)):
        if hasattr(builtins, name) or name.startswith("__"):
            continue
        if name in sys.stdlib_module_names:
            # A candidate's 'math' whose isclose() always agrees is not the tests' math.
            space[name] = __import__(name)
        else:
            space[name] = _root(candidate, name)
            # A constant that the tests read; functions count when they are called.
            candidate.used += type(space[name]) is not Remote and name not in bound
    sys.modules["solution"] = _Solution(candidate)
    return space


def _root(candidate: Candidate, name: str) -> Any:
    return candidate.value({"of": 0, "get": name})


class _Solution(types.ModuleType):
    """``from solution import f``, for tests that import what they test."""

    def __init__(self, candidate: Candidate) -> None:
        super().__init__("solution")
        self.__dict__["_candidate"] = candidate

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        candidate: Candidate = self.__dict__["_candidate"]
        value = _root(candidate, name)
        candidate.used += type(value) is not Remote
        return value


def _raise(raised: Any) -> NoReturn:
    try:
        name, text = raised
        kind = getattr(builtins, name)
        known = isinstance(kind, type) and issubclass(kind, Exception)
        if known and issubclass(kind, StopIteration | StopAsyncIteration):
            # It would end the tests' own loop over map(), without an error (as in PEP 479).
            kind = RuntimeError
    except (TypeError, ValueError, AttributeError):
        raise Gone("no answer") from None
    if not known:  # SystemExit, KeyboardInterrupt: not for tests to catch
        raise Gone(f"raised {name} {text}")
    try:
        error = kind(str(text))
    except TypeError:  # UnicodeDecodeError wants five arguments
        error = ValueError(str(text)) if issubclass(kind, ValueError) else Exception(str(text))
    error.of_candidate = True
    raise error


def _write_back(candidate: Candidate, given: Any, coded: Any) -> None:
    left = candidate.plain(coded)
    if type(left) is not tuple or len(left) != 2:
        raise Gone("no arguments")
    arguments, named = left
    if not (type(arguments) is list or type(arguments) is tuple) or type(named) is not dict:
        raise Gone("no arguments")
    pairs = [*zip(given[0], arguments, strict=False)]
    pairs += [(value, named[name]) for name, value in given[1].items() if name in named]
    for old, new in pairs:
        if type(old) is list and type(new) is list:
            old[:] = new
        elif type(old) in (dict, set) and type(new) is type(old):
            old.clear()
            old.update(new)
