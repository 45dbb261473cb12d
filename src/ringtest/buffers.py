"""What a module keeps of its inputs (observers, running statistics), put back as it was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

_MOST: Final = 2**24
"""Numbers in a buffer that is copied; statistics are small, packed weights are not copied."""


@contextmanager
def restored(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Hold observers still; afterwards every buffer of the state is as it was found.

    Buffers outside of the state (caches of positions) are left alone: attributes that we do not
    know may tell of their length.
    """
    found = [
        (module, name, buffer, buffer.detach().clone())
        for module in modules
        if not isinstance(module, torch.jit.ScriptModule)
        for name, buffer in module._buffers.items()
        if buffer is not None
        and name not in module._non_persistent_buffers_set
        and not buffer.is_meta
        and buffer.numel() <= _MOST
    ]
    try:
        for module, name, _, _ in found:
            hold: Any = getattr(module, "disable_observer", None)
            if name == "observer_enabled" and callable(hold):
                hold()
        yield
    finally:
        for module, name, buffer, copy in found:
            if module._buffers.get(name) is not buffer:
                module._buffers[name] = buffer
            _put_back(buffer, copy)


def _put_back(buffer: Tensor, copy: Tensor) -> None:
    if buffer.shape == copy.shape and torch.equal(buffer, copy):
        return
    # Buffers that were made under inference mode change nowhere else.
    with torch.inference_mode():
        buffer.resize_(copy.shape).copy_(copy)
