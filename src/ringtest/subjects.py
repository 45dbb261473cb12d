"""What a model may be given as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ringtest.data import AuditData
from ringtest.errors import ConfigError, SubjectError, close_to
from ringtest.model import Model, Role
from ringtest.sources import loading, ways
from ringtest.sources.estimators import Estimator, is_estimator
from ringtest.sources.stored import Stored
from ringtest.tasks import AnyTask
from ringtest.trial import prepare


@dataclass(frozen=True)
class Given:
    """The object that stands for a model, and what its user says of it."""

    object: Any
    """nn.Module, callable on batches, or Stored."""
    gradients: bool = True
    """False: they mean nothing (rounded weights, say), and are not asked for."""
    single: bool = False
    """It is one model, whatever its heads look like."""
    version: str | None = None
    """What tells two states of a model apart that has no weights to be hashed."""


class Subject:
    """A model as a user names it: an object, or where to load it from.

    Args:
        model: nn.Module, callable on batches, fitted scikit-learn estimator, or None if it is to
            be loaded.
        load: ``module:callable`` that gives a module (or, for a teacher, a list of them).
        factory: ``module:callable`` that gives a module without weights, with ``weights``.
        weights: safetensors file for the factory's module, or a state_dict saved by torch.
        hf: folder or id of a Hugging Face checkpoint, or of a PEFT adapter.
        dtype: its floats: ``auto`` (as saved, the default), ``float32``, ``bfloat16``, ``float16``.
        exported: file of a torch.export program (.pt2).
        evidence: .npz file of outputs and layers (:func:`ringtest.save_evidence`).
        where: folder beside which modules and files are looked up.
        gradients: False for a model whose gradients mean nothing; it is then audited without.
        single: True for one model that is taken for an ensemble by its heads.
        version: text that tells two states of a plain callable apart, in the place of the hash of
            its weights.

    Raises ConfigError unless exactly one way is named, and for values of another type.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        load: str | None = None,
        factory: str | None = None,
        weights: str | Path | None = None,
        hf: str | Path | None = None,
        dtype: str | None = None,
        exported: str | Path | None = None,
        evidence: str | Path | None = None,
        where: str | Path | None = None,
        gradients: bool = True,
        single: bool = False,
        version: str | None = None,
    ) -> None:
        given = {
            "model": model,
            "load": load,
            "factory": factory,
            "weights": weights,
            "hf": hf,
            "dtype": dtype,
            "exported": exported,
            "evidence": evidence,
        }
        self._way = ways.check("subject", given)
        self._value = given[self._way]
        _check_types(
            {**given, "where": where, "gradients": gradients, "single": single, "version": version}
        )
        self._weights, self._dtype = weights, dtype
        self._where = None if where is None else Path(where)
        self.gradients = gradients
        self.single = single
        self.version = version

    def resolve(self, field: str, task: str = "classification") -> Any:
        """The object itself: module, list of modules, callable, or Stored.

        Args:
            field: name for messages, such as ``student``.
            task: decides what a checkpoint is loaded as.
        """
        place = field if self._way == "model" else f"{field}.{self._way}"
        if self._way == "load":
            return loading.call(place, self._value, self._where)
        if self._way == "factory":
            module = loading.call(place, self._value, self._where)
            if not isinstance(module, nn.Module):
                raise SubjectError(place, f"gave a {type(module).__name__}", "return an nn.Module")
            return loading.load_weights(f"{field}.weights", module, self._file(self._weights))
        if self._way == "hf":
            from ringtest.sources import huggingface

            return huggingface.load(place, str(self._value), self._where, task, self._dtype)
        if self._way == "exported":
            from ringtest.sources import exported

            return exported.load(place, self._file(self._value))
        if self._way == "evidence":
            return Stored.load(place, self._file(self._value))
        return self._value

    def _file(self, name: Any) -> Path:
        """A file, looked up beside the config file."""
        return Path(name) if self._where is None else self._where / name


def teacher(given: Any, task: AnyTask, data: AuditData, layers: Any = "auto") -> list[Model]:
    """The members of a teacher: one model, or a list of them."""
    _check_wanted(layers)
    given = resolved("teacher", given, task)
    if isinstance(given, list):
        if not given:
            raise SubjectError("teacher", "is an empty list", "give at least one member")
        named = {f"teacher[{i}]": m for i, m in enumerate(given)}
    else:
        named = {"teacher": given}
    return [_prepared(name, "member", m, task, data, layers) for name, m in named.items()]


def students(given: Any, task: AnyTask, data: AuditData, layers: Any = "auto") -> dict[str, Model]:
    """The students by name; a single one is called ``student``."""
    given = resolved("student", given, task)
    if given is None:
        raise SubjectError("student", "is missing", "give the model that is to be shipped")
    if isinstance(given, list):
        raise SubjectError("student", "is a list", "give one model, or a dict name -> student")
    if not isinstance(given, dict):
        return {"student": _prepared("student", "student", given, task, data, layers)}
    if not given:
        raise SubjectError("student", "is an empty dict", "give at least one student")
    twice = [n for n, count in Counter(map(str, given)).items() if count > 1]
    if twice:
        raise SubjectError("student", f"has two names that read {twice[0]!r}", "rename one")
    return {
        str(name): _prepared(f"student {name!r}", "student", m, task, data, layers)
        for name, m in given.items()
    }


def _prepared(
    name: str, role: Role, given: Any, task: AnyTask, data: AuditData, layers: Any
) -> Model:
    """A model ready to be looked at."""
    one = resolved(name, given, task)
    if not isinstance(one, Given):
        one = Given(one)
    model = one.object
    version = one.version
    if is_estimator(model):
        model = Estimator(name, model, task)
        version = version or model.version
    if isinstance(model, Stored):
        version = version or model.digest
    return prepare(
        name,
        role,
        model,
        task,
        data,
        layers,
        gradients=one.gradients,
        version=version,
        single=one.single,
    )


def _check_types(given: Mapping[str, Any]) -> None:
    """Raise ConfigError for an argument of a Subject that is of another type."""
    for name, value in given.items():
        if name == "model" or value is None:
            continue
        if name in ("load", "factory"):
            fits, fix = isinstance(value, str), "write module:callable"
        elif name in ("gradients", "single"):
            fits, fix = isinstance(value, bool), "give True or False"
        elif name in ("dtype", "version"):
            fits, fix = isinstance(value, str), "give text"
        else:
            fits, fix = isinstance(value, str | Path), "give a path"
        if not fits:
            raise ConfigError(f"subject.{name}", f"is {value!r}", fix)


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
                "'auto' is not offered: how copies are taught would decide the label",
                "give a list of honest models of the student's kind, or leave it out",
            )
        raise ConfigError("references", f"is {given!r}", "give a list of models")
    if not isinstance(given, list | tuple | nn.ModuleList):
        given = [given]
    found = [
        _prepared(f"reference[{i}]", "reference", m, task, data, layers)
        for i, m in enumerate(given)
    ]
    for model in found:
        if model.layers is None:
            raise SubjectError(model.name, "shows only its outputs", "give it as an nn.Module")
        if model.stored is not None:
            raise SubjectError(
                model.name,
                "is stored evidence",
                "a reference is looked at off support: give it whole",
            )
    return found


def controls(given: Any, task: AnyTask, data: AuditData) -> list[Model]:
    """Students distilled from a teacher that was never trained; none for None.

    Only their outputs are read, so any layers will do, and so will stored evidence.
    """
    given = resolved("control", given, task)
    if given is None:
        return []
    if isinstance(given, str | dict):
        fix = "give the model, or a list of models"
        raise ConfigError("control", f"is a {type(given).__name__}", fix)
    if not isinstance(given, list):
        return [_prepared("control", "control", given, task, data, "auto")]
    if not given:
        raise SubjectError("control", "is an empty list", "give at least one, or leave it out")
    named = {f"control[{i}]": m for i, m in enumerate(given)}
    return [_prepared(name, "control", m, task, data, "auto") for name, m in named.items()]


def check_layers(wanted: Any, models: Sequence[Model]) -> None:
    """Raise SubjectError for a pattern that matches nowhere, or a model in which none matches."""
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
    for model in models:
        # Read at its last hidden layer alone, a model would be compared with less than was asked.
        found = model.layers
        if found is not None and found.known and set(patterns) <= set(found.unmatched):
            raise SubjectError(
                "layers",
                f"none of {', '.join(map(repr, patterns))} is a module of {model.name}",
                f"add names of its own, such as {', '.join(found.known[:4])}",
            )


def resolved(field: str, given: Any, task: AnyTask) -> Any:
    """What a Subject names: a Given, or several models as a list or dict; else what was given."""
    if isinstance(given, Subject):
        found = given.resolve(field, task.name)
        if isinstance(found, Subject):
            return resolved(field, found, task)
        wrap = partial(Given, gradients=given.gradients, single=given.single, version=given.version)
        if isinstance(found, dict):
            return {name: m if isinstance(m, Subject) else wrap(m) for name, m in found.items()}
        if isinstance(found, list | tuple | nn.ModuleList):
            return [m if isinstance(m, Subject) else wrap(m) for m in found]
        return None if found is None else wrap(found)
    return list(given) if isinstance(given, tuple | nn.ModuleList) else given
