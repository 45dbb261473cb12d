"""What a run depends on besides models, data and config."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from ringtest import __version__

_PACKAGES: Final = ("torch", "numpy", "scipy", "scikit-learn", "captum", "seaborn")


def describe(seed: int, device: str) -> dict[str, Any]:
    """Versions, seed, threads and device: with these equal, two runs are identical."""
    import torch

    return {
        "ringtest": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": device,
        "seed": seed,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
