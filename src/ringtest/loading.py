"""Objects and weights from outside: ``module:callable``, factories, safetensors."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from ringtest.errors import ConfigError, RingtestError, SubjectError, close_to


def call(field: str, spec: str, where: Path | None = None) -> Any:
    """Call ``module:callable`` without arguments and return what it gives.

    Args:
        field: name for messages, such as ``teacher.load``.
        spec: ``module:callable``; the module is looked up beside the config file too.
        where: folder of the config file.
    """
    function = find(field, spec, where)
    try:
        # A loader may import what lies beside it only when it is called.
        with _importable(where):
            return function()
    except RingtestError:
        raise
    except Exception as error:
        raise ConfigError(
            field, f"{spec} raised {type(error).__name__}: {error}", "mend it"
        ) from error


def find(field: str, spec: str, where: Path | None = None) -> Callable[[], Any]:
    """The callable that ``module:callable`` names. Raises ConfigError with the closest names."""
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise ConfigError(field, f"{spec!r} is not module:callable", "write e.g. models:teacher")
    with _importable(where):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and module_name.split(".")[0] == error.name.split(".")[0]:
                beside = f" beside {where}" if where else ""
                raise ConfigError(
                    field, f"module {module_name!r} is not there", f"put it{beside} or install it"
                ) from error
            raise ConfigError(field, f"{module_name}: {error}", "install what it needs") from error
        except Exception as error:
            raise ConfigError(
                field, f"importing {module_name} raised {type(error).__name__}: {error}", "mend it"
            ) from error
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            known = [n for n in vars(target) if not n.startswith("_")]
            raise ConfigError(field, f"{module_name} has no {part!r}", close_to(part, known))
        target = getattr(target, part)
    if not callable(target):
        raise ConfigError(field, f"{spec} is a {type(target).__name__}", "name a callable")
    found: Callable[[], Any] = target
    return found


@contextmanager
def _importable(where: Path | None) -> Iterator[None]:
    """The config's folder first on the path, and no stale module of one of its names."""
    if where is None:
        yield
        return
    folder = str(where.resolve())
    sys.path.insert(0, folder)
    for name, module in list(sys.modules.items()):
        # Two audits in one process may each have a models.py of their own.
        origin = getattr(module, "__file__", None)
        beside = where / f"{name}.py"
        if origin and beside.is_file() and Path(origin).resolve() != beside.resolve():
            del sys.modules[name]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def load_weights(field: str, module: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Load a safetensors file into a module, strictly; nothing else is ever unpickled.

    Raises SubjectError for a missing file, another format, or names and shapes that differ.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(path)
    if not file.is_file():
        near = [p.name for p in file.parent.glob("*")] if file.parent.is_dir() else []
        raise SubjectError(field, f"{file} is not there", close_to(file.name, near))
    try:
        state = load_file(file)
    except (SafetensorError, ValueError, OSError) as error:
        raise SubjectError(
            field,
            f"{file.name} is no safetensors file ({error})",
            "save it with safetensors.torch.save_file; pickles are not loaded",
        ) from error
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise SubjectError(
            field,
            f"{file.name} does not fit: missing {missing[:3]}, unknown {unknown[:3]}",
            "save the state_dict of the module that the factory builds",
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise SubjectError(
                field,
                f"{file.name}: {name} is {tuple(value.shape)}, "
                f"the module has {tuple(own[name].shape)}",
                "use the factory that the weights were trained with",
            )
    module.load_state_dict(state)
    return module
