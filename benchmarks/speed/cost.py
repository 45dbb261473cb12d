"""What a run costs in seconds and memory, for scripts that measure in a process of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")


def cost(run: Callable[[], Value]) -> tuple[Value, dict[str, float]]:
    """What it gives; seconds of the clock and of all cores, and growth of peak memory in MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, start, work = _status("VmRSS"), time.perf_counter(), time.process_time()
    value = run()
    seconds, work = time.perf_counter() - start, time.process_time() - work
    grown = max(0.0, _status("VmHWM") - before)
    return value, {"seconds": seconds, "work": work, "mb": grown}


def apart(script: str, *arguments: object) -> dict[str, Any]:
    """What a script prints as JSON when it is run with ``--child`` and the arguments."""
    command = [sys.executable, script, "--child", *map(str, arguments)]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found


def _status(what: str) -> float:
    """MB that the system says of this process."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{what}:")[1].split()[0]) / 1024
