"""A verifier that runs unit tests on a candidate's code, outside this process and within limits."""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ringtest.ensembles.verifiers.verify import of_item
from ringtest.errors import ConfigError, DataError

_START = 30.0
"""Seconds for two interpreters to start; a busy machine must not count against a candidate."""
_MAX_LINE = 2**16
_MAX_SOURCE = 10**6
_BOOT = """
import sys, types
for name, path in {packages!r}:
    package = types.ModuleType(name)
    package.__path__ = [path]
    sys.modules[name] = package
from ringtest.ensembles.verifiers.child.{role} import main
main(*map(int, sys.argv[1:]))
"""


class Outcome(NamedTuple):
    """How a run of tests ended."""

    passed: bool
    reason: str
    """Why not, in a line; empty where it passed."""


@dataclass(frozen=True, kw_only=True)
class UnitTests:
    """1 where a candidate's Python code passes an item's tests, else 0. Linux only.

    An item is the source of the tests, or a mapping with it: statements with ``assert``, functions
    ``test...()`` without arguments, or, with an ``entry_point``, a function ``check(candidate)``.
    Tests use the candidate's names directly or from the module ``solution``, and import all else
    that they use.

    Two processes are started for a candidate, with no packages but the standard library. One runs
    the tests and one the candidate; arguments and values go between them as plain data (numbers,
    text, bytes, and lists, tuples, sets and dicts of them; objects can be called and asked for
    attributes and elements, and are neither true nor equal to anything). The verdict is made where
    no line of the candidate runs, and comes back over a pipe of its own with a random token.

    What that gives: a candidate passes only by giving values with which the tests' process itself
    comes to their end. To exit early, to print or forge results, to replace ``assert``, builtins
    or ``__eq__``, to look for tests in frames or modules does not help it. Its process has hard
    limits (CPU, memory, files, wall clock) and a system-call filter: no new processes, no network,
    no signals to others, no opening of files for writing or deleting of files. What it prints goes
    nowhere. Both processes are killed at the end and their empty folder is deleted.

    What it does not give: this is no sandbox against an attacker. Where the kernel has no Landlock
    (Linux before 5.13) a candidate can read every file that the user can read (and, where the
    system lets it, the memory of the user's other processes), so expected answers kept there can
    be found; with it, the standard library and the system's libraries are all it reads. It can see
    names and sizes of files anywhere; it can take the limits' worth of time and memory; a fault in
    the kernel or interpreter is not held back; its functions can keep state between calls. Tests
    that are weak are passed by weak code, and tests that go by the candidate's word (its own helper
    as the reference) can be fooled. For hostile code use a virtual machine, and give
    :func:`verify` the recorded scores. Where there is no system-call filter (another system or
    processor), nothing is run: ConfigError.
    """

    tests: str = "tests"
    """Key of an item under which the tests' source stands."""
    entry_point: str = "entry_point"
    """Key of an item that names what ``check`` is called with; items may lack it."""
    seconds: float = 5.0
    """Wall clock for the candidate and the tests together; then both are killed."""
    cpu_seconds: int = 5
    """CPU time of each of the two processes."""
    memory_mb: int = 512
    """Address space of each of the two processes."""
    workers: int = 2
    """Candidates that :func:`verify` runs at a time."""
    in_place: bool = False
    """Whether lists, dicts and sets handed to the candidate are changed as it changes them. Then
    it can also empty an input from which the tests compute what they expect."""

    def __post_init__(self) -> None:
        """Raises ConfigError for limits that are none."""
        for name, least in (
            ("seconds", 0.0),
            ("cpu_seconds", 1),
            ("memory_mb", 64),
            ("workers", 1),
        ):
            number = getattr(self, name)
            if not least <= number < 10**6 or not number:  # NaN compares false
                raise ConfigError(name, f"is {number}", f"give a number from {least or 'above 0'}")

    def __call__(self, item: Any, candidate: str) -> float:
        """1 or 0; raises what :meth:`run` raises."""
        return float(self.run(item, candidate).passed)

    def run(self, item: Any, candidate: str) -> Outcome:
        """Run an item's tests on one candidate, and say why it did not pass.

        Raises DataError where the tests are at fault (no Python, an import that is missing, no use
        of the candidate, arguments that are no plain data) or the processes do not start;
        ConfigError where the machine cannot confine them.
        """
        _check_machine()
        job = self._job(item, candidate)
        if len(candidate) > _MAX_SOURCE:
            return Outcome(False, f"the code has more than {_MAX_SOURCE} characters")
        with ExitStack() as stack:
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="ringtest-"))
            judge = self._started(stack, home)
            return self._judged(judge, job)

    def _job(self, item: Any, candidate: str) -> dict[str, Any]:
        tests = of_item(item, self.tests)
        for name, text in ((self.tests, tests), ("candidate", candidate)):
            if not isinstance(text, str):
                raise DataError(name, f"is {type(text).__name__}", "give Python source as text")
        entry = None if isinstance(item, str) else item.get(self.entry_point)
        if entry is not None and not (isinstance(entry, str) and entry.isidentifier()):
            raise DataError(self.entry_point, f"is {entry!r}", "give the name of a function")
        return {
            "tests": tests,
            "candidate": candidate,
            "entry_point": entry,
            "in_place": self.in_place,
            "token": secrets.token_hex(16),
        }

    def _started(self, stack: ExitStack, home: str) -> subprocess.Popen[bytes]:
        """The tests' process; that of the candidate is tied to it by two pipes."""
        asked, answered = os.pipe(), os.pipe()
        ends = [*asked, *answered]
        limits = [str(int(self.cpu_seconds)), str(int(self.memory_mb * 2**20))]
        try:
            quiet = subprocess.DEVNULL
            roles = (
                ("judge", answered[0], asked[1], subprocess.PIPE, subprocess.PIPE),
                ("worker", asked[0], answered[1], quiet, quiet),
            )
            begun: list[subprocess.Popen[bytes]] = []
            for role, read, write, source, sink in roles:
                process = subprocess.Popen(
                    [*_interpreter(role), str(read), str(write), *limits],
                    stdin=source,
                    stdout=sink,
                    stderr=quiet,
                    cwd=home,
                    env={"LANG": "C.UTF-8"},
                    pass_fds=(read, write),
                    start_new_session=True,
                )
                stack.callback(_end, process)
                begun.append(process)
        except OSError as error:
            raise DataError(
                "UnitTests", f"could not start a process: {error}", "take fewer workers"
            ) from error
        finally:
            for end in ends:
                os.close(end)
        return begun[0]

    def _judged(self, judge: subprocess.Popen[bytes], job: dict[str, Any]) -> Outcome:
        assert judge.stdin is not None
        try:
            judge.stdin.write(json.dumps(job).encode())
            judge.stdin.close()
        except OSError:
            pass  # it is gone, and will say nothing
        lines = _Lines(judge, job["token"])
        first = lines.next(_START)
        if first is None or first["state"] not in ("ready", "unconfined"):
            raise DataError(
                "UnitTests",
                "the processes did not start",
                "take fewer workers, or more memory_mb",
            )
        if first["state"] == "unconfined":
            raise ConfigError(
                "UnitTests",
                f"this machine cannot confine a candidate ({first['reason']})",
                "run the tests elsewhere and give verify() the recorded scores",
            )
        verdict = lines.next(self.seconds)
        if verdict is None:
            return Outcome(False, lines.why)
        if verdict["state"] == "bad":
            raise DataError(self.tests, verdict["reason"], "mend the tests")
        return Outcome(verdict["state"] == "passed", verdict["reason"])


class _Lines:
    """Messages of the tests' process, each with the token, within a time."""

    def __init__(self, process: subprocess.Popen[bytes], token: str) -> None:
        assert process.stdout is not None
        self._end, self._token, self._rest = process.stdout.fileno(), token, b""
        self.why = ""
        """Why there was no next one."""

    def next(self, seconds: float) -> dict[str, Any] | None:
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(max(1, int(left * 1000))):
                self.why = f"timeout: no result within {seconds:g} s"
                return None
            part = os.read(self._end, _MAX_LINE)
            if not part or len(self._rest) > _MAX_LINE:
                self.why = "the tests' process ended without a result (limit of CPU or memory)"
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        if not secrets.compare_digest(str(found.get("token")), self._token):
            self.why = "a result without the token"
            return None
        return found


def _check_machine() -> None:
    try:
        import resource  # noqa: F401 - asked only whether it is there
    except ImportError:
        limits = False
    else:
        limits = sys.platform == "linux" and bool(sys.executable)
    if not limits:
        raise ConfigError(
            "UnitTests",
            f"cannot limit a candidate's process on {sys.platform}",
            "run the tests on Linux and give verify() the recorded scores",
        )


def _interpreter(role: str) -> list[str]:
    """Python without the user's packages, environment and folder, and the code of a role."""
    here = Path(__file__).resolve().parent
    packages = [
        ("ringtest", str(here.parent.parent)),
        ("ringtest.ensembles", str(here.parent)),
        ("ringtest.ensembles.verifiers", str(here)),
        ("ringtest.ensembles.verifiers.child", str(here / "child")),
    ]
    boot = _BOOT.format(packages=packages, role=role)
    return [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", boot]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its group, and leave neither it nor its pipes."""
    try:
        # Not yet waited for, so the number is still its own.
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
