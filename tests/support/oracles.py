"""Other people's implementations, which the tests compare with."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import Any
from unittest import mock

import pytest


def oracle(name: str) -> Any:
    """A module of ``oracles.txt``; where it is missing the test is skipped, but never in CI.

    What the module warns of as it is imported is its own affair.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "RINGTEST_ORACLES" in os.environ:  # `make test` has installed them
            return importlib.import_module(name)
        return pytest.importorskip(name, reason=f"{name} comes with oracles.txt (make venv)")


def dcor() -> Any:
    """The package dcor without its compiler.

    On import it compiles its algorithms for two single variables, which takes numba, 200 MB and a
    minute. Those for more variables, which ringtest is compared with, are numpy.
    """
    absent = mock.MagicMock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", absent)
        patch.setitem(sys.modules, "numba.types", absent.types)
        return oracle("dcor")
