"""What a model may be given as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from torch import nn

from ringtest import loading
from ringtest.data import AuditData
from ringtest.errors import ConfigError, SubjectError, close_to
from ringtest.model import Model
from ringtest.tasks import AnyTask
from ringtest.trial import prepare

_LATER: Final = ("hf", "exported")


class Subject:
    """A model as a user names it: an object, or where to load it from.

    Args:
        model: nn.Module, callable on batches, or None if it is to be loaded.
        load: ``module:callable`` that gives a module (or, for a teacher, a list of them).
        factory: ``module:callable`` that gives a module without weights, with ``weights``.
        weights: safetensors file for the factory's module.
        hf: Hugging Face checkpoint folder or id (comes with a later version).
        exported: torch.export program (comes with a later version).
        where: folder beside which modules and files are looked up.

    Raises ConfigError unless exactly one way is named.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        load: str | None = None,
        factory: str | None = None,
        weights: str | Path | None = None,
        hf: str | None = None,
        exported: str | Path | None = None,
        where: str | Path | None = None,
    ) -> None:
        ways = {"model": model, "load": load, "factory": factory, "hf": hf, "exported": exported}
        given = [k for k, v in ways.items() if v is not None]
        if len(given) != 1:
            raise ConfigError(
                "subject",
                f"names {' and '.join(given) or 'no model'}",
                "give one of load, factory (with weights), hf, exported",
            )
        for way in ("load", "factory"):
            if ways[way] is not None and not isinstance(ways[way], str):
                raise ConfigError(f"subject.{way}", f"is {ways[way]!r}", "write module:callable")
        for way in _LATER:
            if ways[way] is not None:
                raise ConfigError(f"subject.{way}", "comes with a later version", "use load")
        if weights is not None and factory is None:
            raise ConfigError(
                "subject.weights", "needs a factory", "add factory = 'module:callable'"
            )
        if factory is not None and weights is None:
            raise ConfigError("subject.factory", "needs weights", "add weights, or use load")
        self._model, self._load, self._factory, self._weights = model, load, factory, weights
        self._where = None if where is None else Path(where)

    def resolve(self, field: str) -> Any:
        """The object itself: module, list of modules, or callable."""
        if self._load is not None:
            return loading.call(f"{field}.load", self._load, self._where)
        if self._factory is not None:
            assert self._weights is not None
            module = loading.call(f"{field}.factory", self._factory, self._where)
            if not isinstance(module, nn.Module):
                raise SubjectError(
                    f"{field}.factory", f"gave a {type(module).__name__}", "return an nn.Module"
                )
            path = Path(self._weights)
            if self._where is not None and not path.is_absolute():
                path = self._where / path
            return loading.load_weights(f"{field}.weights", module, path)
        return self._model


def teacher(given: Any, task: AnyTask, data: AuditData, layers: Any = "auto") -> list[Model]:
    """The members of a teacher: one model, or a list of them."""
    _check_wanted(layers)
    given = resolved("teacher", given)
    if isinstance(given, nn.ModuleList):
        given = list(given)
    if isinstance(given, list | tuple):
        if not given:
            raise SubjectError("teacher", "is an empty list", "give at least one member")
        named = [(f"teacher[{i}]", resolved(f"teacher[{i}]", m)) for i, m in enumerate(given)]
    else:
        named = [("teacher", given)]
    return [prepare(name, "member", m, task, data, layers) for name, m in named]


def students(given: Any, task: AnyTask, data: AuditData, layers: Any = "auto") -> dict[str, Model]:
    """The students by name; a single one is called ``student``."""
    given = resolved("student", given)
    if given is None:
        raise SubjectError("student", "is missing", "give the model that is to be shipped")
    if isinstance(given, list | tuple | nn.ModuleList):
        raise SubjectError("student", "is a list", "give one model, or a dict name -> student")
    if isinstance(given, dict):
        if not given:
            raise SubjectError("student", "is an empty dict", "give at least one student")
        twice = [n for n, count in Counter(map(str, given)).items() if count > 1]
        if twice:
            raise SubjectError("student", f"has two names that read {twice[0]!r}", "rename one")
        return {
            str(name): prepare(
                f"student {name!r}",
                "student",
                resolved(f"student {name!r}", m),
                task,
                data,
                layers,
            )
            for name, m in given.items()
        }
    return {"student": prepare("student", "student", given, task, data, layers)}


def _check_wanted(wanted: Any) -> None:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise ConfigError("layers", f"is {wanted!r}", 'give "auto", or names and globs of modules')


def references(given: Any, task: AnyTask, data: AuditData, layers: Any = "auto") -> list[Model]:
    """Independently trained, honest models of the student's kind; none for None."""
    if given is None:
        return []
    if isinstance(given, str):
        if given == "auto":
            raise ConfigError(
                "references",
                "'auto' waits until the validity bench has found the recipe of reference copies",
                "give a list of honest models of the student's kind, or leave it out",
            )
        raise ConfigError("references", f"is {given!r}", "give a list of models")
    if not isinstance(given, list | tuple | nn.ModuleList):
        given = [given]
    found = [
        prepare(f"reference[{i}]", "reference", resolved(f"reference[{i}]", m), task, data, layers)
        for i, m in enumerate(given)
    ]
    for model in found:
        if model.layers is None:
            raise SubjectError(model.name, "shows only its outputs", "give it as an nn.Module")
    return found


def check_layers(wanted: Any, models: Sequence[Model]) -> None:
    """Raise SubjectError for a pattern that matches in no model at all."""
    if wanted == "auto":
        return
    patterns = [wanted] if isinstance(wanted, str) else wanted
    for pattern in patterns:
        with_layers = [m for m in models if m.layers is not None]
        if all(m.layers is not None and pattern in m.layers.unmatched for m in with_layers):
            known = dict.fromkeys(n for m in with_layers if m.layers for n in m.layers.known)
            raise SubjectError(
                "layers", f"{pattern!r} is no module before the head", close_to(pattern, known)
            )


def resolved(field: str, given: Any) -> Any:
    """What a Subject names, or the object itself."""
    return given.resolve(field) if isinstance(given, Subject) else given
