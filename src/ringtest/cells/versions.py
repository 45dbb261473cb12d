"""Versions of code: digests of the sources that decide what a measure or a condition gives."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any, Final

from torch import fx, nn

_OURS: Final = "ringtest"
_NOWHERE: Final = "__main__"
"""A script or a notebook: what a class calls there may be redefined at any time."""


class Versions:
    """Versions of classes and modules at one moment: each module is looked at once."""

    def __init__(self) -> None:
        """Nothing is read before it is asked for."""
        self._seen: dict[str, tuple[str, tuple[str, ...]] | None] = {}

    def of_class(self, cls: type, *modules: str) -> str | None:
        """Digest of the code behind a class: its modules, and what they import.

        Args:
            cls: a measure or a condition.
            modules: further modules of ringtest on which its results rest.

        Returns:
            Hex digest over every module of ringtest, and of the package of the class, that is
            imported directly or not; None if a source cannot be told (a script, a notebook), or if
            a class was made by a function whose variables it holds.
        """
        own = {c.__module__ for c in cls.__mro__} - {"builtins", "typing", "abc"}
        if any(map(_encloses, cls.__mro__)):
            return None
        if any(module == _NOWHERE or self._look(module) is None for module in own):
            return None
        return self.of_modules(own | set(modules))

    def of_modules(self, modules: Iterable[str]) -> str:
        """Digest of modules and all that they import from their packages: sources, loaded code.

        A source may have been edited since it was loaded: what runs is told by its code objects.
        """
        found = sorted(self.closure(modules).items())
        return digest(f"{name} {version}" for name, version in found)

    def closure(self, modules: Iterable[str]) -> dict[str, str]:
        """Module name -> digest, of these modules and of what they import from their packages."""
        waiting = list(modules)
        roots = {_OURS, *(name.partition(".")[0] for name in waiting)}
        found: dict[str, str] = {}
        while waiting:
            name = waiting.pop()
            seen = None if name in found else self._look(name)
            if seen is not None:
                found[name] = seen[0]
                waiting += [i for i in seen[1] if i.partition(".")[0] in roots]
        return found

    def _look(self, name: str) -> tuple[str, tuple[str, ...]] | None:
        """Digest of a module and what it imports; None if it has no source."""
        if name not in self._seen:
            text = source(name)
            self._seen[name] = (
                None if text is None else (digest([text, _loaded(name)]), _imports(text, name))
            )
        return self._seen[name]


def source(name: str) -> str | None:
    """Source of a module as it stands on the disk; None where there is none."""
    try:
        module = sys.modules.get(name)
        spec = None if module is not None else importlib.util.find_spec(name)
        file = getattr(module, "__file__", None) or getattr(spec, "origin", None)
        return Path(file).read_text("utf-8") if file and file.endswith(".py") else None
    except (ImportError, OSError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _imports(text: str, name: str) -> tuple[str, ...]:
    """Full names of what a source imports when it runs; some are attributes, not modules."""
    module = sys.modules.get(name)
    package = getattr(module, "__package__", None) or name.rpartition(".")[0]
    found: list[str] = []
    for node in _running(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            inner = [f"{base}.{alias.name}" for alias in node.names]
            modules = [n for n in inner if source(n) is not None]
            # The package itself counts only for names that it holds: ours imports nothing.
            found += modules if len(modules) == len(inner) else [*modules, base]
    return tuple(dict.fromkeys(found))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        parts: list[ast.AST] = [child]
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            parts = list(child.orelse)
        for part in parts:
            yield part
            yield from _running(part)


def _loaded(name: str) -> str:
    """Digest of the functions and classes of a module as they are in memory."""
    module = sys.modules.get(name)
    if module is None:
        return ""
    values = vars(module).values()
    own = [v for v in values if getattr(v, "__module__", None) == name]
    return digest(_bytecode(v) if isinstance(v, type) else _of_function(v) for v in own)


def of_module(module: nn.Module) -> str:
    """Digest of the code that a model runs, besides its weights: classes, their sources, options.

    torch's own classes are told by its version. Those of a script or a notebook have no source that
    could be relied on: they are told by their code objects.
    """
    classes = {c for m in module.modules() for c in type(m).__mro__}
    parts = [repr(module)]
    for cls in sorted(classes, key=lambda c: (c.__module__, c.__qualname__)):
        if cls.__module__.partition(".")[0] in ("builtins", "torch"):
            continue
        text = "" if cls.__module__ == _NOWHERE else source(cls.__module__) or ""
        parts += [cls.__module__, cls.__qualname__, text, _bytecode(cls)]
    parts += [m.code for m in module.modules() if isinstance(m, fx.GraphModule)]
    return digest(_without_addresses(part) for part in parts)


def _bytecode(cls: type) -> str:
    codes = {name: _of_function(value) for name, value in vars(cls).items()}
    # Others leave notes on a class (copying an instance does), which change nothing.
    return "\n".join(f"{name} {code}" for name, code in codes.items() if code)


def of_callable(value: Any) -> str:
    """Digest of a function's code and of what it holds, or of a callable object's.

    It tells two functions of one name apart. What they call by name is not looked into.
    """
    inner = _inside(value)
    cells = getattr(inner, "__closure__", None) or ()
    held = [getattr(value, name, None) for name in ("__self__", "args", "keywords")]
    held += [getattr(inner, name, None) for name in ("__defaults__", "__kwdefaults__")]
    held += [getattr(cell, "cell_contents", None) for cell in cells]
    held += [getattr(value, "__dict__", None)]
    names = [str(getattr(inner, name, "")) for name in ("__module__", "__qualname__")]
    code = _of_function(value) or _bytecode(type(value))
    return digest(_without_addresses(part) for part in (code, *names, *map(repr, held)))


def _encloses(cls: type) -> bool:
    """Whether a method holds variables of the function that made its class."""
    codes = [getattr(_inside(value), "__code__", None) for value in vars(cls).values()]
    # What super() holds is the class itself.
    return any(isinstance(c, CodeType) and set(c.co_freevars) - {"__class__"} for c in codes)


def _inside(value: Any) -> Any:
    for name in ("__func__", "fget", "func", "__wrapped__"):
        value = getattr(value, name, None) or value
    return value


def _of_function(value: Any) -> str:
    """Code of a function, method or property under its decorators; "" for anything else."""
    code = getattr(_inside(value), "__code__", None)
    return _of_code(code) if isinstance(code, CodeType) else ""


def _of_code(code: CodeType) -> str:
    def constant(value: Any) -> str:
        if isinstance(value, CodeType):
            return _of_code(value)
        # The order of a set differs from process to process.
        return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)

    constants = [constant(value) for value in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _without_addresses(text: str) -> str:
    """What a function or an object without a name of its own is printed as holds its address."""
    return _ADDRESS.sub("at", text)


_ADDRESS: Final = re.compile(r"at 0x[0-9a-f]+")


def digest(parts: Iterable[str]) -> str:
    """Hex SHA-256 over texts, each apart from the next."""
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{len(part)}:{part}".encode())
    return found.hexdigest()
