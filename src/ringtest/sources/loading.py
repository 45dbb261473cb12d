"""Objects and weights from outside: ``module:callable``, factories, weights; never a pickle."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from ringtest.errors import ConfigError, RingtestError, SubjectError, close_to

_COLOURS: Final = re.compile("\x1b\\[[0-9;]*m")
_ADVICE: Final = re.compile(r"\.? Please ")


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
    """Load a state_dict into a module, strictly.

    Args:
        field: name for messages, such as ``student.weights``.
        module: where the weights belong.
        path: a safetensors file; or ``.pt``, ``.pth``, ``.bin`` with a state_dict, or a dict that
            holds one as ``state_dict``, read by torch's unpickler that builds tensors alone.

    Raises SubjectError for a missing file, another format, or names and shapes that differ.
    """
    file = Path(path)
    if not file.is_file():
        near = [p.name for p in file.parent.glob("*")] if file.parent.is_dir() else []
        raise SubjectError(field, f"{file} is not there", close_to(file.name, near))
    read = _torch_state if file.suffix in (".pt", ".pth", ".bin") else _safetensors_state
    state = read(field, file)
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise SubjectError(
            field,
            f"{file.name} does not fit: missing {missing[:3]}, unknown {unknown[:3]}",
            "save the state_dict of the module that the factory builds",
        )
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape != own[name].shape:
            raise SubjectError(
                field,
                f"{file.name}: {name} is {tuple(value.shape)}, "
                f"the module has {tuple(own[name].shape)}",
                "use the factory that the weights were trained with",
            )
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())[-200:]
        raise SubjectError(
            field, f"{file.name} does not fit: {why}", "save the module's own state_dict"
        ) from error
    return module


def _safetensors_state(field: str, file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, ValueError, OSError) as error:
        raise SubjectError(
            field,
            f"{file.name} is no safetensors file ({error})",
            "save it with safetensors.torch.save_file, or name a state_dict's file .pt",
        ) from error


def _torch_state(field: str, file: Path) -> dict[str, Any]:
    fix = "save module.state_dict() with safetensors.torch.save_file"
    if TorchVersion(torch.__version__) < "2.6":
        # Until then its careful unpickler could be talked into running code (CVE-2025-32434).
        raise SubjectError(field, f"torch {torch.__version__} reads pickles unsafely", fix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle that it then refuses
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SubjectError(
            field, f"{file.name} is no file of tensors alone ({first_line(error)})", fix
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not found:
        raise SubjectError(field, f"{file.name} holds no state_dict", fix)
    return {str(k): v for k, v in found.items()}


def read_json(field: str, path: Path) -> Any:
    """What a JSON file says. Raises SubjectError."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SubjectError(field, f"{path} is no JSON file ({error})", "save it again") from error


def first_line(error: BaseException) -> str:
    """What another library's error says first, without its advice and colours."""
    text = _COLOURS.sub("", str(error)).strip()
    # Of a refused pickle, torch tells first how to read it all the same.
    _, told, why = text.partition("WeightsUnpickler error:")
    lines = [line.strip() for line in (why if told else text).splitlines() if line.strip()]
    return _ADVICE.split((lines or [type(error).__name__])[0])[0][:200]


def library(field: str, name: str, extra: str = "hf") -> Any:
    """Import a library of an extra. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            field, f"needs {name}, which is not installed", f"pip install 'ringtest[{extra}]'"
        ) from error


def offline() -> bool:
    """Whether the environment forbids asking a hub. Its client reads that only when imported."""
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def no_safetensors(field: str, folder: Path, name: str) -> NoReturn:
    """Refuse a folder without safetensors. Raises SubjectError, naming the pickle it has."""
    pickled = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pt")))
    also = f", only {pickled[0]}, a pickle" if pickled else ""
    raise SubjectError(
        field,
        f"{folder} holds no {name}{also}",
        "load it once where you trust it, and save_pretrained() it again: pickles are not loaded",
    )
