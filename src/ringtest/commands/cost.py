"""What an audit costs, in numbers and in words."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

Parts = defaultdict[str, float]
"""Name of a part -> what it takes."""


def _parts() -> Parts:
    return defaultdict(float)


@dataclass
class Cost:
    """Estimates for the cells of a plan that are not in the output folder yet."""

    forward: Parts = field(default_factory=_parts)
    """Seconds of running models, by kind of condition."""
    measures: Parts = field(default_factory=_parts)
    """Seconds of reading what was seen, by measure."""
    pages: float = 0.0
    """Seconds of drawing the reports."""
    memory: Parts = field(default_factory=_parts)
    """Bytes, by what takes them; empty where the system does not tell."""
    disk: int = 0
    """Bytes of all cells."""
    there: int = 0
    """Cells that the output folder has."""
    keepable: int = 0
    """Cells that can be kept there at all."""
    untimed: dict[str, str] = field(default_factory=dict)
    """Conditions that could not be tried, and why."""

    @property
    def seconds(self) -> float:
        """The whole audit."""
        return sum(self.forward.values()) + sum(self.measures.values()) + self.pages

    def lines(self, cells: int) -> list[str]:
        """The same in words; ``cells`` is the number of all cells."""
        time_ = (
            f"Time: about {_duration(self.seconds)} on this machine: models "
            f"{_duration(sum(self.forward.values()))}{_most(self.forward)}, measures "
            f"{_duration(sum(self.measures.values()))}{_most(self.measures)}, "
            f"reports {_duration(self.pages)}."
        )
        found = [time_]
        if self.there:
            found.append(f"Cells in the output folder already: {self.there} of {cells}.")
        if self.memory:
            falling = sorted(self.memory.items(), key=lambda part: -part[1])
            parts = ", ".join(f"{name} {_bytes(size)}" for name, size in falling if size)
            found.append(f"Memory: about {_bytes(sum(self.memory.values()))}: {parts}.")
        kept = "all cells" if self.keepable == cells else f"{self.keepable} of {cells} cells"
        found.append(f"Disk: about {_bytes(self.disk)} for {kept} that are kept.")
        found += [f"Could not be tried, so not counted: {k}: {v}." for k, v in self.untimed.items()]
        return found


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(size: float) -> str:
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}" if size < 10 else f"{size:.0f} {unit}"
    return f"{size / 1000:.1f} GB"


def _most(parts: Parts) -> str:
    """What takes the largest part, if there is more than one."""
    if len(parts) < 2:
        return ""
    name, value = max(parts.items(), key=lambda part: part[1])
    return f" (most of it {name}, {_duration(value)})"
