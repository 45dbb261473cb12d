"""Limits and a system-call filter that a process puts on itself, and cannot take off again.

Linux on x86-64 and 64-bit ARM. The filter is a list of what is allowed (seccomp, mode 2, see
``man 2 seccomp``); all else fails with EPERM: no new processes or programs, no sockets, no signals
to others, no opening of files for writing, no deleting or renaming, no raising of limits. Where
the kernel has Landlock (``man 7 landlock``), reading is limited to the interpreter's own library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
from collections.abc import Sequence
from typing import Any

# Not pathlib, platform or inspect: two processes start for every candidate, and most of what that
# takes is imports.
_ARCHES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# name: (x86-64, aarch64); None where there is no such call
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # files, for reading: the standard library is imported while a candidate runs
    "read": (0, 63), "readv": (19, 65), "pread64": (17, 67), "write": (1, 64), "writev": (20, 66),
    "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79), "stat": (4, None),
    "lstat": (6, None), "statx": (332, 291), "lseek": (8, 62), "getdents64": (217, 61),
    "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "poll": (7, None), "ppoll": (271, 73),
    "select": (23, None), "pselect6": (270, 72),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216),
    "brk": (12, 214), "madvise": (28, 233),
    # its own signals, threads and time
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "futex": (202, 98),
    "set_robust_list": (273, 99), "rseq": (334, 293), "set_tid_address": (218, 96),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "getrusage": (98, 165), "times": (100, 153),
    # who and where it is
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getrandom": (318, 278),
    "getrlimit": (97, 163), "sysinfo": (99, 179), "uname": (63, 160),
    "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_OPEN, _OPENAT, _FCNTL, _CLONE, _CLONE3 = (2, None), (257, 56), (72, 25), (56, 220), (435, 435)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0x400000
"""Flags of a file opened for writing; the last is __O_TMPFILE."""
_FCNTL_ALLOWED = (1, 2, 3, 1030)
"""F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC; F_SETOWN would send signals to others."""
_CLONE_THREAD = 0x10000

_ALLOW, _REFUSE, _ABSENT = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_READABLE = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo",
    "/dev/null", "/dev/zero", "/dev/urandom", "/proc/self", ".",
)  # fmt: skip
"""What the interpreter and its libraries read, beside the standard library and the own folder."""
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Numbers of Landlock's calls, the same for all processors."""
_PDEATHSIG, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVS = 1, 4, 22, 38


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def limit(seconds: int, memory: int) -> None:
    """Limits of CPU seconds, bytes of address space, of files and of cores.

    The process is killed when its parent dies, and its memory is closed to others of the user.
    Hard limits, which only a privileged process can raise; :func:`confine` takes privileges away.
    """
    import resource

    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    libc = _libc()
    _checked(libc.prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "PR_SET_PDEATHSIG")
    _checked(libc.prctl(_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE")


def confine() -> None:
    """Give up all privileges and every system call that is not needed to compute.

    Raises OSError where the kernel or the machine does not offer the filter.
    """
    if _machine() not in _ARCHES or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no system-call filter for {_machine()}")
    libc = _libc()
    _checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    # Root without capabilities: it cannot raise limits, nor read the memory of other processes.
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _checked(libc.capset(header, none), "capset")
    if landlock():
        _read_only(libc, [*sys.path, *_READABLE])
    code = _filter(*_ARCHES[_machine()])
    program = _Program(len(code) // 8, code)
    _checked(libc.prctl(_SECCOMP, 2, ctypes.byref(program), 0, 0), "PR_SET_SECCOMP")


def landlock() -> bool:
    """Whether the kernel can limit what a process reads."""
    return int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)) > 0


def _read_only(libc: Any, paths: Sequence[str]) -> None:
    """Files and folders outside these can no longer be read, nor the memory of other processes."""
    handled = struct.pack("Q", _READ_FILE | _READ_DIR)
    rules = libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    _checked(min(rules, 0), "landlock_create_ruleset")
    for path in paths:
        try:
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # not every system has all of them
            continue
        access = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)  # noqa: PTH112 - see above
        rule = struct.pack("=Qi", access, beneath)
        _checked(libc.syscall(_ADD_RULE, rules, 1, rule, 0), "landlock_add_rule")
        os.close(beneath)
    _checked(libc.syscall(_RESTRICT_SELF, rules, 0), "landlock_restrict_self")
    os.close(rules)


def _filter(arch: int, column: int) -> bytes:
    """The program, 8 bytes an instruction: code, jump if true, jump if false, operand."""
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),  # the architecture: 32-bit calls have other numbers
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),  # the number of the call
    ]

    def when(call: tuple[int | None, int | None], then: list[tuple[int, int, int, int]]) -> None:
        number = call[column]
        if number is not None:
            steps.append((_EQUAL, 0, len(then), number))
            steps.extend(then)

    for call in _ALLOWED.values():
        when(call, [(_RETURN, 0, 0, _ALLOW)])
    last: list[tuple[int, int, int, int]] = [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    for call, place in ((_OPEN, 1), (_OPENAT, 2)):
        when(call, [_argument(place), (_ANY_BIT, 1, 0, _WRITING), *last])
    when(_CLONE, [_argument(0), (_ANY_BIT, 0, 1, _CLONE_THREAD), *last])
    # Its flags lie in memory, which a filter cannot read; libc falls back to clone.
    when(_CLONE3, [(_RETURN, 0, 0, _ABSENT)])
    known = len(_FCNTL_ALLOWED)
    fcntl = [(_EQUAL, known - 1 - i, int(i == known - 1), c) for i, c in enumerate(_FCNTL_ALLOWED)]
    when(_FCNTL, [_argument(1), *fcntl, *last])
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _argument(place: int) -> tuple[int, int, int, int]:
    """Load the low half of an argument; flags and commands are 32 bits."""
    return (_LOAD, 0, 0, 16 + 8 * place)


def _machine() -> str:
    return os.uname().machine


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
