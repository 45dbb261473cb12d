"""torch.export programs (.pt2) as modules whose layers can be read.

``torch.export.load`` alone would run what a stranger put into a file: pickled weights, constants
and sample inputs, compiled libraries, calls of any function below ``torch``. All that is looked
for, with torch's own reader, before torch loads anything. A program that passes is arithmetic as
far as we can tell; it stays a program.
"""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.export.unflatten import InterpreterModule

from ringtest.blocks import BLOCK
from ringtest.errors import SubjectError, close_to
from ringtest.sources.loading import first_line

_OPERATOR: Final = re.compile(
    r"torch\.ops\.(aten|prim|prims|higher_order|quantized|quantized_decomposed)\.\w+(\.\w+)?"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pos|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.[a-z]\w*|torch\.sym_\w+"
)
"""What the nodes of a program may call."""
_EXPRESSION: Final = re.compile(
    # Symbols and numbers, quoted or not, keywords, classes of sympy; possessive, so linear.
    r"(?>'(?:[a-z]+\d+|[\d.e+-]+)'|[a-z]+=|[a-z]+\d+|[A-Z]\w*|\d\.\d|[\d\s()+\-*/,<>=&|~])*+"
)
"""Sizes of tensors are read by sympy, which would evaluate whatever Python is written there."""
_HOW: Final = "torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))"


def load(field: str, path: Path) -> nn.Module:
    """The program of a file as a module, in evaluation mode.

    Its submodules are called as in the module that was exported, so layers can be hooked. Where
    that cannot be built, the plain graph is given, which shows outputs only.

    Args:
        field: name for messages, such as ``student.exported``.
        path: file written by ``torch.export.save``.

    Raises SubjectError for a file that is missing, broken, of an older form, holds code, or takes
    only batches of one size.
    """
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.pt2")] if path.parent.is_dir() else []
        raise SubjectError(field, f"{path} is not there", close_to(path.name, near))
    # Read once: what is looked at is what is loaded.
    content = path.read_bytes()
    fix = "save it again with torch.export.save of this version of torch"
    try:
        with _quiet():
            suspect = next(_suspects(content), None)
            if suspect is not None:
                raise SubjectError(
                    field, f"{path.name} {suspect}, which is not loaded", "export plain tensors"
                )
            program = torch.export.load(io.BytesIO(content))
            module = _module(program)
    except SubjectError:
        raise
    except Exception as error:
        raise SubjectError(
            field, f"{path.name} is no program that can be loaded ({first_line(error)})", fix
        ) from error
    _check_batch(field, path.name, program)
    found = Exported(module, program)
    for part in found.modules():
        part.training = False  # a flat graph refuses eval()
    return found


class Exported(nn.Module):
    """A program that may be called by position or by the names of its inputs.

    It stands in the place of the program's root, so that modules are called what they were.
    """

    def __init__(self, program: nn.Module, source: torch.export.ExportedProgram) -> None:
        super().__init__()
        self._program = (program,)  # not registered: its modules would get a prefix
        self._modules = program._modules
        self._parameters, self._buffers = program._parameters, program._buffers
        self._non_persistent_buffers_set = program._non_persistent_buffers_set
        positions, keywords = source.call_spec.in_spec.children()
        count = positions.num_children
        self.names = tuple(str(n) for n in source.graph_signature.user_inputs[:count])
        self.keywords = frozenset(keywords.context or ())

    def forward(self, *args: Any, **inputs: Any) -> Any:
        """What the program gives; what it does not take (token types, say) is left out."""
        (program,) = self._program
        if args:
            return program(*args)
        missing = [n for n in self.names if n not in inputs]
        if missing:
            raise TypeError(f"the program takes {', '.join(self.names)}; the inputs lack {missing}")
        keywords = {k: v for k, v in inputs.items() if k in self.keywords}
        return program(*(inputs[n] for n in self.names), **keywords)


def _module(program: torch.export.ExportedProgram) -> nn.Module:
    """Nested as it was, or flat where torch cannot nest it."""
    try:
        module = torch.export.unflatten(program)
    except Exception:
        return program.module()
    kinds, called = _kinds(program), _called(program)
    for name, child in module.named_modules():
        kind = kinds.get(name.split("@")[0])
        parts = child._modules
        if name and name not in called and parts and all(n.isdigit() for n in parts):
            kind = nn.ModuleList  # which is never called itself
        if kind is not None and type(child) is InterpreterModule:
            # It keeps its graph; discovery, architecture and pooling then know it for what it was.
            child.__class__ = _worn(kind)  # type: ignore[assignment]
    return module


def _kinds(program: torch.export.ExportedProgram) -> dict[str, type[nn.Module]]:
    """Submodules of torch.nn in the exported module, by their names."""
    found = {}
    for node in program.graph.nodes:
        for path, kind in node.meta.get("nn_module_stack", {}).values():
            text = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
            torch_kind = getattr(nn, text.rpartition(".")[2], None)
            if text.startswith("torch.nn.modules.") and isinstance(torch_kind, type):
                found[path] = torch_kind
    return found


def _called(program: torch.export.ExportedProgram) -> set[str]:
    """Names of submodules in whose forward a node of the program stands."""
    stacks = (node.meta.get("nn_module_stack", {}) for node in program.graph.nodes)
    return {path.split("@")[0] for stack in stacks for path, _ in stack.values()}


def _worn(kind: type[nn.Module]) -> type[nn.Module]:
    """An interpreted module that passes for one of torch.nn."""
    body = {"extra_repr": lambda _: "", "__qualname__": kind.__qualname__}
    return type(kind.__name__, (InterpreterModule, kind), body)


def _check_batch(field: str, file: str, program: torch.export.ExportedProgram) -> None:
    names = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        value = node.meta.get("val") if node.op == "placeholder" and node.name in names else None
        rows: Any = value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else None
        if isinstance(rows, torch.SymInt):
            bounds = program.range_constraints.get(rows.node.expr)
            if bounds is None or bounds.upper >= BLOCK:
                continue
            rows = bounds.upper
        if rows is not None:
            raise SubjectError(
                field,
                f"{file} takes {node.name} in batches of {rows} rows at most, not of {BLOCK}",
                f"export it with a dynamic batch axis: {_HOW}",
            )


def _suspects(content: bytes) -> Iterator[str]:
    """What in an archive could run code, in words; the reader is the one that torch uses."""
    from torch.export.pt2_archive._package import PT2ArchiveReader

    with PT2ArchiveReader(io.BytesIO(content)) as archive:
        for name in archive.get_file_names():
            if name.startswith("data/aotinductor/"):
                yield "holds a compiled library"
            elif name.startswith("data/sample_inputs/"):
                # torch would fall back to an unrestricted pickle.
                try:
                    torch.load(io.BytesIO(archive.read_bytes(name)), weights_only=True)
                except Exception:
                    yield "holds sample inputs that are no plain tensors"
            elif name.startswith(("data/weights/", "data/constants/")):
                if name.endswith(".pt"):
                    yield "holds pickled weights"
                elif name.endswith("_config.json"):
                    yield from _pickles(json.loads(archive.read_bytes(name)))
            elif name.startswith("models/"):
                yield from _calls(json.loads(archive.read_bytes(name)))


def _pickles(config: dict[str, Any]) -> Iterator[str]:
    for name, entry in config["config"].items():
        is_object = str(entry["path_name"]).startswith(("custom_obj_", "opaque_obj_"))
        if entry["use_pickle"] is not False or is_object:
            yield f"holds {name!r} as a pickle"


def _calls(value: Any) -> Iterator[str]:
    """Operators and expressions anywhere in a program."""
    if isinstance(value, list):
        for item in value:
            yield from _calls(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "target" and isinstance(item, str) and "inputs" in value:
                if not _OPERATOR.fullmatch(item):
                    yield f"calls {item!r}"
            elif key == "expr_str" and not _EXPRESSION.fullmatch(str(item)):
                yield f"holds the expression {item!r}"
            else:
                yield from _calls(item)


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch tells of old forms by warnings, and of failures by whole tracebacks in its log."""
    logs = [logging.getLogger(name) for name in ("torch.export", "torch._export")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
