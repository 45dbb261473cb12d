"""Unit tests run on candidates: honest ones pass, and no planted cheat does.

The cheats do no harm even where the filter would not hold: signals are of number 0, which only
asks whether one may be sent, and forks are few. Then the candidate passes, and its test fails.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringtest.ensembles.verifiers import UnitTests, unit_tests, verify
from ringtest.ensembles.verifiers.child import confine, wire
from ringtest.errors import ConfigError, DataError

FILTERS = Path("/proc/sys/kernel/seccomp/actions_avail")
"""Where the kernel says that it filters system calls."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux"
    or platform.machine() not in ("x86_64", "aarch64")
    or not FILTERS.exists()
    or "errno" not in FILTERS.read_text(),
    reason="the runner needs the system-call filter of Linux",
)

TESTS = """
assert f(1) == 2
def test_more():
    assert [f(x) for x in range(5)] == [1, 2, 3, 4, 5]
"""
RIGHT = "def f(x):\n    return x + 1\n"
QUICK = UnitTests(seconds=1, cpu_seconds=1, memory_mb=128)


def children() -> set[int]:
    """Processes that descend from this one, by number."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, grown = {os.getpid()}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return found


def started(folder: Path) -> set[str]:
    """Processes that run a candidate or its tests in a folder, also those that left their parent.

    Other tests, in other processes, may run some of their own.
    """
    found = set()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"verifiers.child" in line.read_bytes():
                where = os.readlink(line.with_name("cwd"))  # noqa: PTH115 - it may be deleted
                found |= {line.parent.name} if where.startswith(str(folder)) else set()
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test: no process, no folder, no module of a candidate, no file descriptor."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = children(), started(tmp_path), set(sys.modules), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    yield
    assert children() <= before[0]
    assert started(tmp_path) <= before[1]
    assert list(tmp_path.iterdir()) == []
    assert not {"solution", "tests"} & (set(sys.modules) - before[2])
    assert len(os.listdir("/proc/self/fd")) == before[3]  # noqa: PTH208


# -- honest candidates ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tests", "candidate"),
    [
        (TESTS, RIGHT),
        ("from solution import f\nassert f(1) == 2", RIGHT),
        ("import solution\ndef test_it():\n    assert solution.f(1) == 2", RIGHT),
        ("assert LIMIT == 3", "LIMIT = 3"),
        ("assert f(a=[1, (2, 3)], b={'k': {1}}) == {'k': {1}, 'a': [1, (2, 3)]}",
         "def f(a, b):\n    return {**b, 'a': a}"),
        ("assert f() == (None, True, -(10**5000), 1.5, 2j, 'é\\ud800', b'x', {1}, frozenset({2}))",
         "def f():\n    return (\n"
         "        None, True, -(10**5000), 1.5, 2j, 'é\\ud800', b'x', {1}, frozenset({2}))"),
        ("assert type(f()) is bool", "def f():\n    return True"),
        ("import math\nassert math.isnan(f()[0]) and f()[1] == math.inf",
         "def f():\n    return [float('nan'), float('inf')]"),
        ("s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2 and len(s) == 1 and s[0] == 1",
         "class Stack:\n    def __init__(self): self.all = []\n"
         "    def push(self, x): self.all.append(x)\n    def pop(self): return self.all.pop()\n"
         "    def __len__(self): return len(self.all)\n"
         "    def __getitem__(self, i): return self.all[i]"),
        ("assert list(f(3)) == [0, 1, 2] and 2 in f(3)",
         "def f(n):\n    yield from range(n)"),
        ("try:\n    f()\nexcept ValueError as e:\n    assert str(e) == 'no'\n"
         "else:\n    assert False",
         "class Own(ValueError): pass\ndef f():\n    raise Own('no')"),
        ("assert f('bab') == {'b': 2, 'a': 1}",
         "from collections import Counter\ndef f(s):\n    return Counter(s)"),
        ("assert f([3, 1, 2]) == 3",
         "import heapq, re, random, decimal, datetime, functools, string, threading\n"
         "def f(x):\n    found = []\n"
         "    t = threading.Thread(target=lambda: found.append(max(x)))\n"
         "    t.start(); t.join()\n    return found[0]"),
        ("x = [1]\nf(x)\nassert x == [1]", "def f(x):\n    x.append(2)"),
        ("assert f(1) == 2", "print('passed ' * 10**5)\ndef f(x):\n    return x + 1"),
    ],
)  # fmt: skip
def test_what_is_right_passes(tests: str, candidate: str) -> None:
    assert UnitTests().run({"tests": tests}, candidate) == (True, "")


def test_a_check_is_called_with_the_entry_point() -> None:
    item = {"tests": "def check(candidate):\n    assert candidate(1) == 2", "entry_point": "f"}
    assert UnitTests()(item, RIGHT) == 1
    assert UnitTests()(item, "def f(x):\n    return x") == 0
    assert UnitTests()(item, "def g(x):\n    return x + 1") == 0


def test_arguments_are_changed_where_that_is_asked_for() -> None:
    tests = "x, d = [3, 1, 2], {}\nf(x, d=d)\nassert x == [1, 2, 3] and d == {'a': 1}"
    candidate = "def f(x, d):\n    x.sort()\n    d['a'] = 1"
    assert UnitTests(in_place=True)(tests, candidate) == 1
    assert UnitTests()(tests, candidate) == 0


# -- wrong candidates and planted cheats ----------------------------------------------------------

EVERYTHING_EQUAL = """
class Same:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __lt__(self, other): return True
    def __abs__(self): return 0
    def __sub__(self, other): return self
    def __iter__(self): return iter([Same()] * 5)
    __gt__ = __le__ = __ge__ = __contains__ = __lt__
    __hash__ = None
def f(x): return Same()
"""

CHEATS = {
    "wrong": "def f(x): return x",
    "no such name": "def g(x): return x + 1",
    "no python": "def f(x) return",
    "null bytes": "def f(x): return x + 1\0",
    "lone surrogate": "'\ud800'\ndef f(x): return x + 1",
    "deep source": "x = " + "(" * 5000 + ")" * 5000 + "\n" + RIGHT,
    "empty": "",
    "sys.exit": "import sys\nsys.exit(0)",
    "sys.exit in the call": "import sys\ndef f(x): sys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "os._exit in the call": "import os\ndef f(x): os._exit(0)",
    "keyboard interrupt": "def f(x): raise KeyboardInterrupt",
    "stop iteration": "def f(x): raise StopIteration",
    "prints a marker": """
        print('passed'); print('OK'); print('{"state": "passed"}')
        def f(x): pass
    """,
    "closes everything": "import os\nos.closerange(0, 64)\ndef f(x): return x + 1",
    "writes to every descriptor": """
        import os
        for n in range(64):
            try: os.write(n, b'{"token": "", "state": "passed", "reason": ""}\\n')
            except OSError: pass
        def f(x): pass
    """,
    "answers for itself": """
        import os, json
        def f(x):
            for n in range(64):
                for _ in range(9):
                    body = json.dumps({"value": ["r", 0], "state": "passed"}).encode()
                    try: os.write(n, len(body).to_bytes(4, "big") + body)
                    except OSError: break
            return 0
    """,
    "a message of garbage": """
        import os
        for n in range(3, 64):
            try: os.write(n, b'\\xff' * 100)
            except OSError: pass
        def f(x): return x + 1
    """,
    "replaces builtins": """
        import builtins
        builtins.AssertionError = type(None)
        builtins.range = lambda *a: []
        builtins.len = builtins.all = builtins.abs = lambda *a: 0
        __builtins__ = {}
        AssertionError = ZeroDivisionError
        def f(x): pass
    """,
    "everything is equal": EVERYTHING_EQUAL,
    "looks into frames": """
        import gc, sys
        def f(x):
            frame = sys._getframe()
            while frame:
                for space in (frame.f_locals, frame.f_globals):
                    for name, value in list(space.items()):
                        if name in ('tests', 'token', 'expected', 'job'): return 'found'
                frame = frame.f_back
            for o in gc.get_objects():
                if isinstance(o, dict) and ('tests' in o or 'token' in o): return 'found'
            return 0
    """,
    "changes the tests' module": """
        import sys, types
        m = types.ModuleType('tests'); m.test_more = lambda: None
        sys.modules['tests'] = sys.modules['__main__'] = m
        def test_more(): pass
        def f(x): return 0
    """,
    "says it is the tests": "def test_more(): pass\ndef check(c): pass\ndef f(x): return 0",
    "deep value": "def f(x):\n    y = []\n    for _ in range(200): y = [y]\n    return y",
    "endless value": "def f(x):\n    y = []\n    y.append(y)\n    return y",
    "huge value": "def f(x): return 'x' * 10**7",
    "memory hog": "x = bytearray(2**32)\n" + RIGHT,
    "many small objects": "x = []\ndef f(_):\n    while True: x.append('y' * 10**7)",
    "answers in place of its process": """
        import ringtest.ensembles.verifiers.child.worker as worker
        names = ['f', 'test_more', 'check', 'AssertionError', 'range', '__builtins__', '__name__']
        def answer(asked, module, kept, keep):
            return {'names': names, 'value': True, 'left': None, 'state': 'passed'}
        worker._answer = answer
    """,
    "raises in place of its process": """
        import ringtest.ensembles.verifiers.child.worker as worker
        kinds = iter(['quit', 'SystemExit', 'ExceptionGroup', 'object', None, 5])
        def answer(*a): return {'raised': [next(kinds), '0']}
        def f(x): worker._answer = answer
    """,
    "traces": """
        import sys, threading
        def trace(frame, event, arg):
            for name in ('answer', 'asked', 'value'):
                if name in frame.f_locals: frame.f_locals[name] = {'value': True}
            return trace
        sys.settrace(trace); threading.settrace(trace); sys.setprofile(trace)
        def f(x): return 0
    """,
    "at exit": """
        import atexit, os, threading, time
        def forge():
            for n in range(64):
                try: os.write(n, b'{"token": "", "state": "passed", "reason": ""}\\n')
                except OSError: pass
        def later():
            while threading.main_thread().is_alive(): time.sleep(.001)
            forge()
        atexit.register(forge)
        threading.Thread(target=later).start()
        def f(x): return 0
    """,
    "an int of its own": """
        class Two(int):
            def __eq__(self, other): return True
            def __index__(self): return 2
            __hash__ = None
        def f(x): return Two(0)
    """,
    "very deep value": "def f(x):\n    d = {}\n    for _ in range(10**5): d = {1: d}\n    return d",
    "crashes": "import ctypes\nctypes.string_at(1)\n" + RIGHT,
    "recursion": "def f(x): return f(x)",
}  # fmt: skip

SLOW = {
    "hangs": "while True: pass",
    "hangs in the call": "def f(x):\n    while True: pass",
    "sleeps": "import time\ntime.sleep(100)",
    "ignores signals": """
        import signal, time
        for n in range(1, 64):
            try: signal.signal(n, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: time.sleep(1)
    """,
    "prints endlessly": "while True: print('passed' * 1000)",
    "reads its input": "import sys, time\nassert sys.stdin.read() == ''\ntime.sleep(100)",
    "floods the pipe": """
        import os
        while True:
            for n in range(3, 64):
                try: os.write(n, b'x' * 1000)
                except OSError: pass
    """,
    "forks and forks": """
        import os, time
        for _ in range(5):
            try: os.fork()
            except OSError: pass
        time.sleep(100)
    """,
    "threads without end": """
        import threading, time
        while True:
            try: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
            except RuntimeError: time.sleep(.01)
    """,
    "never answers": "import os, time\ndef f(x):\n    os.closerange(0, 3)\n    time.sleep(100)",
}


@pytest.mark.parametrize("name", CHEATS)
def test_no_cheat_passes(name: str) -> None:
    begun = time.monotonic()
    passed, reason = QUICK.run(TESTS, textwrap.dedent(CHEATS[name]))
    assert not passed
    assert reason
    assert "\n" not in reason
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("name", SLOW)
def test_what_does_not_end_is_ended(name: str) -> None:
    begun = time.monotonic()
    limited = UnitTests(seconds=0.25, cpu_seconds=1, memory_mb=128)
    assert not limited.run(TESTS, textwrap.dedent(SLOW[name])).passed
    assert time.monotonic() - begun < 2.5


def test_the_limit_of_cpu_time_holds_without_the_clock() -> None:
    passed, reason = UnitTests(seconds=100, cpu_seconds=1).run(TESTS, "while True: pass")
    assert not passed
    assert "process ended" in reason


CALLS = {
    "forks": "os.fork() or os._exit(0)",
    "forks in a helper": "subprocess.run(['/bin/true'])",
    "forks by posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "multiprocessing": "multiprocessing.Process(target=print).start()",
    "becomes another program": "os.execve('/bin/true', ['true'], {'LD_PRELOAD': 'x.so'})",
    "kills its parent": "os.kill(os.getppid(), 0)",
    "kills its parent's group": "os.killpg(os.getppid(), 0)",
    "kills all": "os.kill(-1, 0)",
    "kills by thread": "call('tgkill', os.getppid(), os.getppid(), 0)",
    "kills by descriptor": "os.pidfd_open(os.getppid())",
    "signals over a pipe": "fcntl.fcntl(0, 8, os.getppid())",
    "leaves its group": "os.setsid()",
    "raises its limits": "resource.setrlimit(resource.RLIMIT_CPU, (999, 999))",
    "connects": "socket.socket()",
    "connects to itself": "socket.socketpair()",
    "writes here": "open('here', 'w').write('x')",
    "makes a folder": "os.mkdir('here')",
    "writes to its own memory by file": "open('/proc/self/mem', 'r+b')",
    "writes to no file": "os.memfd_create('x')",
    "shares memory": "shared_memory.SharedMemory(create=True, size=10)",
    "opens by another call": "call('openat2', -100, b'/etc/passwd', bytes(24), 24)",
    "attaches to its parent": "call('ptrace', 16, os.getppid(), 0, 0)",
    "reads its parent": "call('process_vm_readv', os.getppid(), 0, 0, 0, 0, 0)",
    "queues calls": "call('io_uring_setup', 1, bytes(200))",
    "a world of its own": "call('unshare', 0x10000000)",
    "a program in the kernel": "call('bpf', 0, bytes(200), 200)",
    "opens itself to others": "call('prctl', 4, 1, 0, 0, 0)",
    "another root": "os.chroot('.')",
    "goes first": "os.nice(-5)",
}
NUMBERS = {
    "x86_64": {"tgkill": 234, "openat2": 437, "ptrace": 101, "process_vm_readv": 310,
               "io_uring_setup": 425, "unshare": 272, "bpf": 321, "prctl": 157},
    "aarch64": {"tgkill": 131, "openat2": 437, "ptrace": 117, "process_vm_readv": 270,
                "io_uring_setup": 425, "unshare": 97, "bpf": 280, "prctl": 167},
}  # fmt: skip


def attempts(changes: Iterable[str]) -> str:
    """A candidate whose allowed() tells which of the changes it could make, by their places."""
    lines = "".join(f"    lambda: {change},\n" for change in changes)
    return (
        textwrap.dedent("""
        import ctypes, fcntl, multiprocessing, os, resource, shutil, socket, subprocess
        from multiprocessing import shared_memory
        libc = ctypes.CDLL(None, use_errno=True)
        def call(name, *arguments):
            if libc.syscall(numbers[name], *arguments) < 0 and ctypes.get_errno() == 1:
                raise PermissionError
        def allowed():
            found = []
            for i, attempt in enumerate(tries):
                try: attempt()
                except (PermissionError, ValueError): continue
                except OSError: pass
                found.append(i)
            return found
    """)
        + f"numbers = {NUMBERS[platform.machine()]}\ntries = [\n{lines}]\n"
    )


def test_calls_to_the_system_are_refused() -> None:
    assert UnitTests().run("assert allowed() == [], allowed()", attempts(CALLS.values())) == (
        True,
        "",
    )


def test_files_elsewhere_are_left_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("elsewhere")
    kept = home / "kept"
    kept.write_text("as it was")
    changes = (
        f"open({str(kept)!r}, 'w')", f"open({str(kept)!r}, 'a').write('x')",
        f"open({str(home / 'new')!r}, 'x')", f"os.remove({str(kept)!r})",
        f"os.rename({str(kept)!r}, {str(home / 'new')!r})", f"os.mkdir({str(home / 'new')!r})",
        f"os.symlink('a', {str(home / 'new')!r})", f"os.truncate({str(kept)!r}, 0)",
        f"os.chmod({str(kept)!r}, 0)", f"os.utime({str(kept)!r}, (0, 0))",
        f"shutil.rmtree({str(home)!r})", f"os.open({str(home)!r}, os.O_TMPFILE | os.O_WRONLY)",
    )  # fmt: skip
    assert UnitTests().run("assert allowed() == [], allowed()", attempts(changes)) == (True, "")
    assert [p.name for p in home.iterdir()] == ["kept"]
    assert kept.read_text() == "as it was"
    assert kept.stat().st_mtime > 10**9


@pytest.mark.skipif(not confine.landlock(), reason="this kernel does not limit what is read")
def test_expected_answers_on_disk_and_in_memory_cannot_be_read(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    answers = tmp_path_factory.mktemp("answers") / "answers.json"
    answers.write_text("[2]")
    reads = (
        f"open({str(answers)!r})", f"os.listdir({str(answers.parent)!r})", "os.listdir('/')",
        "open(f'/proc/{os.getppid()}/mem', 'rb')", "open(f'/proc/{os.getppid()}/environ')",
        "open(f'/proc/{os.getppid()}/cmdline')", "open('/etc/passwd')",
        f"open('/proc/self/root' + {str(answers)!r})",
    )  # fmt: skip
    assert UnitTests().run("assert allowed() == [], allowed()", attempts(reads)) == (True, "")


def test_the_processes_are_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGTEST_SECRET", "x")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    secret = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(secret, True)
    candidate = """
        import os, sys
        def environment(): return sorted(os.environ)
        def here(): return os.listdir('.')
        def descriptors(): return sum(os.path.exists(f'/proc/self/fd/{n}') for n in range(64))
        def packages(): return sorted({'numpy', 'ringtest.errors', 'site'} & set(sys.modules))
        def numpy():
            try: import numpy
            except ImportError: return 'absent'
        def status():
            with open('/proc/self/status') as f:
                return dict(line.split(':', 1) for line in f)
        def others():
            # What the process of the tests holds in memory, which has the same parent
            found = []
            for n in range(os.getpid() - 50, os.getpid() + 50):
                try:
                    with open(f'/proc/{n}/stat') as f: line = f.read()
                    parent = int(line.rpartition(')')[2].split()[1])
                    if parent == os.getppid() and n != os.getpid():
                        with open(f'/proc/{n}/mem', 'rb') as f: found.append(n)
                except OSError: pass
            return found
    """
    tests = """
        assert set(environment()) <= {'LANG', 'LC_CTYPE'}, environment()
        assert here() == []
        assert descriptors() == 5
        assert packages() == [] and numpy() == 'absent'
        assert status()['Seccomp'].strip() == '2' and status()['NoNewPrivs'].strip() == '1'
        assert int(status()['CapEff'], 16) == 0 and int(status()['CapPrm'], 16) == 0
        assert others() == []
    """
    try:
        found = UnitTests().run(textwrap.dedent(tests), textwrap.dedent(candidate))
    finally:
        os.close(secret)
    assert found == (True, "")


def test_nothing_of_a_candidate_is_run_here() -> None:
    tests = f"import os\nassert where() not in ({os.getpid()}, os.getpid())"
    assert UnitTests().run(tests, "import os\ndef where(): return os.getpid()") == (True, "")


def test_a_candidate_does_not_lend_the_tests_its_own_modules() -> None:
    # The tests forgot 'import math'; the candidate's agrees with everything.
    tests = "assert math.isclose(f(1), 2) and abs(f(1) - 2) < 1e-9 and len([f(1)]) == 1"
    candidate = """
        class math:
            isclose = staticmethod(lambda *a: True)
        def abs(x): return 0
        def len(x): return 1
        def f(x): return {}
    """
    assert UnitTests()(tests, textwrap.dedent(candidate).format(0)) == 0
    assert UnitTests()(tests, textwrap.dedent(candidate).format("x + 1")) == 1


@pytest.mark.parametrize("error", ["StopIteration", "GeneratorExit", "StopAsyncIteration"])
def test_raising_does_not_end_the_loops_of_tests(error: str) -> None:
    tests = "assert all(map(lambda x: f(x) == x + 1, range(5)))"
    assert UnitTests()(tests, f"def f(x): raise {error}") == 0


def test_an_emptied_argument_is_no_reference() -> None:
    tests = "x = [3, 1]\nassert f(x) == sorted(x)"
    assert UnitTests()(tests, "def f(x):\n    x.clear()\n    return []") == 0


# -- tests that are at fault ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("", "without making use"),
        ("assert True", "without making use"),
        ("def check(candidate):\n    assert candidate(1) == 2", "without making use"),
        ("def helper():\n    assert f(1) == 2", "without making use"),
        ("class Test:\n    def test_f(self):\n        f(1)", "without making use"),
        ("assert f(1) ==", "no Python"),
        ("import no_such_module\nassert f(1) == 2", "ModuleNotFoundError"),
        ("assert f(1) == 2\nimport sys\nsys.exit(0)", "SystemExit"),
        ("assert f(lambda: 1) == 2", "cannot be handed over"),
        ("try:\n    f(object())\nexcept Exception:\n    pass", "cannot be handed over"),
        ("async def test_f():\n    assert f(1) == 3", "coroutine"),
        ("def test_f():\n    yield\n    assert f(1) == 3", "generator"),
        ("def test_f(fixture):\n    assert f(1) == 3", "must take 0 arguments"),
        ({"tests": "assert f(1) == 2", "entry_point": "f"}, "no function check"),
        ({"tests": "assert f(1) == 2", "entry_point": "f()"}, "entry_point: is"),
        ({"tests": "def check():\n    pass", "entry_point": "f"}, "must take 1 arguments"),
        ({"other": ""}, "tests: is missing"),
        (3, "tests: is int"),
    ],
)  # fmt: skip
def test_tests_at_fault_are_an_error_and_no_wrong_candidate(tests: Any, said: str) -> None:
    with pytest.raises(DataError, match="item 0, sample 0: ") as error:
        verify(UnitTests(), [tests], [[RIGHT]])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_candidates_are_run_in_parallel_and_in_their_places() -> None:
    nap = "import time\ntime.sleep(.4)\n"
    wrong = nap + "def f(x): return x"
    begun = time.monotonic()
    found = verify(
        UnitTests(workers=4), [TESTS, TESTS], [[nap + RIGHT, wrong], [wrong, nap + RIGHT]]
    )
    assert time.monotonic() - begun < 1.5
    assert found.tolist() == [[1, 0], [0, 1]]


# -- machines and settings ------------------------------------------------------------------------


def test_no_filter_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # The processes import the folder's own code: a stand-in of it for another processor.
    source = Path(confine.__file__).read_text().replace("os.uname().machine", "'sparc'")
    boot = unit_tests._BOOT.replace(
        "from ringtest.ensembles.verifiers.child.{role}",
        f"import ringtest.ensembles.verifiers.child.confine as c\nexec({source!r}, c.__dict__)\n"
        "from ringtest.ensembles.verifiers.child.{role}".replace("{", "{{").replace("}", "}}")
        .replace("{{role}}", "{role}"),
    )  # fmt: skip
    monkeypatch.setattr(unit_tests, "_BOOT", boot)
    with pytest.raises(ConfigError, match=r"cannot confine a candidate .*sparc"):
        verify(UnitTests(), [TESTS], [[RIGHT]])


def test_elsewhere_than_on_linux_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="cannot limit a candidate's process on darwin"):
        UnitTests()(TESTS, RIGHT)


def test_a_runner_that_does_not_start_is_no_wrong_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DataError, match="did not start"):
        UnitTests()(TESTS, RIGHT)
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    with pytest.raises(DataError, match="could not start"):
        UnitTests()(TESTS, RIGHT)


@pytest.mark.parametrize(
    "options",
    [{"seconds": 0}, {"seconds": float("nan")}, {"seconds": -1}, {"cpu_seconds": 0},
     {"memory_mb": 1}, {"workers": 0}, {"seconds": float("inf")}],
)  # fmt: skip
def test_limits_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        UnitTests(**options)


@pytest.mark.parametrize(
    "coded", [3, "x", [], ["l"], ["l", 3], ["q", 1], ["i", 5], ["s", 1], ["d", [[1]]], {"a": 1},
              ["S", [["l", []]]], ["f", "x"], ["b", "zz"], ["r", "0"], ["i", "0x"], ["c", "1"]]
)  # fmt: skip
def test_what_is_no_plain_data_is_no_value(coded: Any) -> None:
    with pytest.raises(wire.Broken):
        wire.decode(coded, lambda number: number)
