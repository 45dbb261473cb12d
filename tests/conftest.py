"""What all tests share: the Hypothesis profile, and fixtures that stand in for an audit."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# Deadlines are flaky on a shared machine; derandomised runs fail for everybody or for nobody.
settings.register_profile(
    "ringtest",
    deadline=None,
    derandomize=True,
    max_examples=int(os.environ.get("RINGTEST_EXAMPLES", "25")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ringtest")

LONGEST = (
    "test_docs.py",
    "test_notebook.py",
    "test_measure_contract.py",
    "test_road.py",
    "test_usage_contract.py",
    "test_demo_models.py",
    "test_bad_input.py",
)
"""Files that take longest. Begun last, one would run on while the other workers have nothing."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; `make` tells xdist to keep this order."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture
def rng() -> np.random.Generator:
    """Numbers that are the same on every run."""
    return np.random.default_rng(20240)


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Audits write an empty page."""
    import quick

    with quick.undrawn():
        yield


@pytest.fixture
def asked_alone() -> Iterator[None]:
    """Audits look at clean rows, and under what a cell or the user asks for."""
    import quick

    with quick.only_under():
        yield


@pytest.fixture
def few() -> Iterator[None]:
    """Audits look under a few conditions of each sort."""
    import quick

    with quick.only_under(*quick.FEW):
        yield


@pytest.fixture(scope="session")
def seen():
    """Build the evidence of one model from the rows of its layers."""
    from ringtest.evidence import Evidence

    def make(
        rows,
        outputs=None,
        *,
        name="model",
        score=None,
        predictions=None,
        clean=None,
        beside=None,
    ):
        layers = rows if isinstance(rows, dict) else {"last": rows}
        layers = {k: torch.as_tensor(v) for k, v in layers.items()}
        count = next(iter(layers.values())).shape[0]
        outputs = torch.zeros(count, 2) if outputs is None else torch.as_tensor(outputs)
        if outputs.ndim == 1:
            outputs = outputs[:, None]
        return Evidence(
            name, tuple(layers), outputs, layers, score, predictions, clean=clean, beside=beside
        )

    return make


@pytest.fixture(scope="session")
def setting():
    """Build what a measure may know: ``setting(inputs, targets, task=..., cluster=..., ...)``."""
    from ringtest import tasks
    from ringtest.condition import Clean
    from ringtest.data import AuditData
    from ringtest.measure import Setting

    def make(inputs, targets=None, task="classification", condition=None, shared=None, **more):
        if targets is None and task != "embedding":
            targets = np.arange(len(inputs)) % 2
        data = AuditData(torch.as_tensor(inputs), targets, **more)
        made = tasks.make(task, data)
        rows = np.arange(data.n)
        at = Setting(data, made, condition or Clean(), rows, data.cluster, 0)
        at.shared.update(shared or {})
        return at

    return make
