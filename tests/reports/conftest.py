"""Fake reports by name, each built once."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    """A helper beside this file: in importlib mode a test folder is no package."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"reports_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_load("seen")
_load("fake_rows")
ROWS = _load("fake_ensemble")
FAKES = _load("fakes")


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The module of builders."""
    return FAKES


@pytest.fixture(scope="session")
def ensembles() -> ModuleType:
    """The module of builders of rows on the ensemble."""
    return ROWS


@pytest.fixture(scope="session", params=sorted(FAKES.EVERY))
def report(request: pytest.FixtureRequest):
    """Every fake report in turn."""
    return FAKES.EVERY[request.param]()


@pytest.fixture(scope="session")
def page():
    """Page of a report, drawn once for each content."""
    from ringtest import reports

    drawn: dict[str, str] = {}

    def draw(report) -> str:
        key = report.data["integrity"]["sha256"]
        if key not in drawn:
            drawn[key] = reports.html(report)
        return drawn[key]

    return draw
