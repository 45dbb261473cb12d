"""Registries of measures and conditions: a decorator adds an entry, a duplicate id is an error."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from ringtest.errors import ConfigError, close_to


class Named(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """Unique name."""


N = TypeVar("N", bound=Named)


class Registry(Generic[N]):
    """Entries by id.

    Importing an area registers what it provides; :meth:`load` imports all areas and the packages
    of others that declare an entry point in the group ``ringtest``.
    """

    _loaded = False

    def __init__(self, kind: str) -> None:
        """``kind`` is what an entry is called in messages, such as ``measure``."""
        self.kind = kind
        self._entries: dict[str, N] = {}

    def add(self, entry: N) -> N:
        """Register an entry. Raises ConfigError on a duplicate id.

        A second copy of a module (``probes.linear`` beside ``ringtest.probes.linear``) is the usual
        reason for a duplicate.
        """
        if entry.id in self._entries:
            raise ConfigError(
                f"{self.kind} {entry.id!r}",
                "is registered twice",
                "import areas as ringtest.<area>, never from the root folder",
            )
        self._entries[entry.id] = entry
        return entry

    def __getitem__(self, name: str) -> N:
        """The entry of an id; ConfigError with the closest names if there is none."""
        self.load()
        if name not in self._entries:
            raise ConfigError(
                f"{self.kind} {name!r}", "is not known", close_to(name, sorted(self._entries))
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[N]:
        """All entries by id, areas loaded: the order of imports must not show in a report."""
        self.load()
        return iter([self._entries[name] for name in sorted(self._entries)])

    @classmethod
    def load(cls) -> None:
        """Import everything that registers itself."""
        if Registry._loaded:
            return
        Registry._loaded = True
        try:
            for area in ("shift", "perturb", "probes", "ensembles"):
                package = importlib.import_module(f"ringtest.{area}")
                # Every module of an area: a new measure or condition is a new file, no more.
                for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                    importlib.import_module(module.name)
            for entry in entry_points(group="ringtest"):
                entry.load()
        except BaseException:
            # A registry loaded in part would leave measures out without a word.
            Registry._loaded = False
            raise
