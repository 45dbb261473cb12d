"""What a student was distilled on, as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ringtest.rows.inputs import Rows


@dataclass(frozen=True)
class Seen:
    """The rows of ``train``, and what stands beside them if they came as AuditData."""

    rows: Rows
    targets: NDArray[Any] | None = None
    groups: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """(m,) values by column."""


def repeated(count: int, n: int) -> str:
    """The warning of exact copies."""
    return (
        f"inputs: {count} of {n} rows repeat an earlier one exactly; "
        "if they are not independent, give them a common value in cluster"
    )


def known_rows(name: str, count: int, n: int) -> str:
    """The warning of rows that were trained on."""
    return f"{name}: {count} of {n} rows stand in train, too"
