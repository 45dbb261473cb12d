"""pytest plugin, found by its entry point: audits in tests, and their verdicts in the summary.

It is loaded by every pytest run of whoever installed ringtest, so it imports nothing but pytest
until a test asks for an audit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from ringtest.report import Report, ReportSet

_VERDICTS: Final = pytest.StashKey[list[str]]()
_LONGEST: Final = 120
"""Bytes of a test's id that are kept in the name of its folder: the last ones tell most."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--ringtest-out DIR`` and the ini option ``ringtest_policy``."""
    parser.getgroup("ringtest", "ringtest").addoption(
        "--ringtest-out",
        metavar="DIR",
        help="keep the audits of ringtest_audit in DIR/NAME; default: below pytest's cache",
    )
    parser.addini(
        "ringtest_policy",
        "gate.toml by which the fixture assert_sound judges (default: as the report says)",
        type="string",
        default="",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the verdicts of the run."""
    config.stash[_VERDICTS] = []


@pytest.fixture(scope="session")
def ringtest_audit(request: pytest.FixtureRequest) -> Callable[..., Report | ReportSet]:
    """Audit as ``ringtest.audit(teacher, student, data, ...)`` does; returns the report.

    The cells are kept, below pytest's cache or in ``--ringtest-out DIR``, so that the next run
    computes only what has changed. The folder bears the test's name; where several tests share an
    audit, or a test makes several, ``name="..."`` gives it one of its own. The verdict is shown
    in the terminal's summary. There is no progress bar unless ``progress=True``.
    """
    folders = _Folders(_root(request))
    verdicts = request.config.stash[_VERDICTS]

    def audit(
        teacher: Any, student: Any, data: Any, *, name: str | None = None, **options: Any
    ) -> Report | ReportSet:
        import ringtest

        if options.get("out") is None:
            options["out"] = folders.take(name)
        options.setdefault("progress", False)
        report = ringtest.audit(teacher, student, data, **options)
        verdicts.extend(_lines(report, Path(options["out"])))
        return report

    return audit


@pytest.fixture(scope="session")
def assert_sound(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``ringtest.testing.assert_sound`` with the policy of the ini option ``ringtest_policy``."""
    config = request.config
    file = config.getini("ringtest_policy")
    beside = config.inipath.parent if config.inipath else config.rootpath

    def check(report: Any, policy: Any = None) -> None:
        __tracebackhide__ = True
        from ringtest import testing

        testing.assert_sound(report, policy or (beside / file if file else None))

    return check


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line a student."""
    if verdicts := config.stash[_VERDICTS]:
        terminalreporter.section("ringtest")
        for line in verdicts:
            terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its verdicts to the process that writes the summary."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["ringtest"] = session.config.stash[_VERDICTS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the verdicts of a worker; one that crashed has none."""
    node.config.stash[_VERDICTS] += getattr(node, "workeroutput", {}).get("ringtest", [])


def _root(request: pytest.FixtureRequest) -> Path:
    """Where audits are kept; workers side by side each have a place of their own."""
    given: str | None = request.config.getoption("--ringtest-out")
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    if given:
        root = request.config.invocation_params.dir / given
    elif cache is not None:
        root = cache.mkdir("ringtest")
    else:
        factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        root = factory.mktemp("ringtest")
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return root / worker if worker else root


class _Folders:
    """Names the folder of each audit of a run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.taken: dict[str, int] = {}

    def take(self, name: str | None) -> Path:
        """The folder of the next audit, without last time's report: the cells stay."""
        from ringtest.files import FILE, PAGE, sweep

        folder = self.root / self._name(name)
        # It may be of other weights, and the audit would refuse to replace it.
        sweep(folder, [])
        if not (folder / FILE).exists():
            (folder / PAGE).unlink(missing_ok=True)
        return folder

    def _name(self, name: str | None) -> str:
        if name is not None:
            return _readable(name)
        # "tests/test_models.py::test_small (call)": set by pytest, also while fixtures are made.
        test = os.environ.get("PYTEST_CURRENT_TEST", "audit").rpartition(" (")[0] or "audit"
        made = _readable(test)
        count = self.taken[made] = self.taken.get(made, 0) + 1
        return made if count == 1 else f"{made}-{count}"


def _readable(name: str) -> str:
    """A folder name of bounded size; where it leaves something out, a digest tells it apart."""
    from hashlib import sha256

    from ringtest.files import folder_name

    made = folder_name(name).encode("utf-8", "replace")[-_LONGEST:].decode("utf-8", "ignore")
    if made == name:
        return made
    return f"{made}-{sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _lines(report: Report | ReportSet, folder: Path) -> list[str]:
    from ringtest.report import Report

    single = [report] if isinstance(report, Report) else list(report.values())
    return [
        f"{r.student}: {r.verdict.label}"
        + ("" if r.verdict.strength is None else f", strength {r.verdict.strength:.2f}")
        + f" ({folder / 'report.html'})"
        for r in single
    ]
