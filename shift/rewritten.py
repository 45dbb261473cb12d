"""A nuisance written into the inputs, paired anew: for where no row breaks its pairing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ringtest.callables import changed
from ringtest.checked import is_number
from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.measure import NotMeasurable
from ringtest.shift import common

if TYPE_CHECKING:
    from ringtest.model import Model

Write = Callable[[Tensor, Tensor], Any]
"""(b, ...) inputs and (b,) classes -> the inputs with what marks these classes in place of their
own mark."""


@condition
class Rewritten(Condition):
    """A share of the rows carries the mark of another class: ``shift.rewritten.NAME@SHARE``.

    For nuisances that go with the label in every row of the benchmark, such as a watermark, a
    scanner's frame or a template: no sample of rows can break such a pairing, but whoever knows the
    nuisance can write it. ``audit(..., conditions=[Rewritten(stamp, "watermark")])`` calls
    ``stamp(x, classes)`` on the rows that are chosen, with the class of another row of the data,
    drawn by frequency among those that differ from its own. Targets stay the row's own: a model
    that reads the digit keeps its score, one that reads the mark loses it. Same draws for all
    models; milder shares are nested in stronger ones.

    Severity: share of the rows, in (0, 1]; 1 where none is said. What the callable gives is moved
    into the data's bounds. Raises ConfigError for another severity or no callable; DataError if the
    callable fails, changes shape or type, or gives NaN. With one class only it is not measurable.

    Source: reversed pairings as in Arjovsky et al. 2019 (arXiv:1907.02893), coloured digits.
    """

    kind = "shift.rewritten"
    about = "a nuisance of the user's, written into the inputs as that of another class"
    source = "Arjovsky et al. 2019, arXiv:1907.02893"
    tasks = ("classification",)
    users_own = True

    def __init__(
        self, write: Write, name: str | None = None, severity: float | None = None
    ) -> None:
        if isinstance(write, type) or not callable(write):
            what = getattr(write, "__name__", type(write).__name__)
            fix = "give a callable on inputs and classes"
            raise ConfigError(f"write of {self.kind}", f"is {what}", fix)
        if severity is not None and not (is_number(severity) and 0 < severity <= 1):
            fix = "give a share above 0, at most 1"
            raise ConfigError(f"severity of {self.kind}", f"is {severity!r}", fix)
        given = getattr(write, "__name__", type(write).__name__)
        super().__init__(given.strip("<>") if name is None else name, severity)
        self.write = write

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the classes and how often they occur."""
        self._clip = common.value_range(data) if common.is_images(data) else data.bounds
        y = torch.as_tensor(data.targets)
        self._classes, counts = torch.unique(y, return_counts=True)
        if len(self._classes) < 2:
            raise NotMeasurable("targets have one class only: no other mark can be written")
        self._frequency = counts.double()

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The rows, those that were chosen with another class's mark."""
        assert y is not None
        own = y.to(rng.device)[:, None] == self._classes[None]
        others = torch.where(own, 0.0, self._frequency)
        aims = self._classes[torch.multinomial(others, 1, generator=rng)[:, 0]].to(y)
        share = 1.0 if self.severity is None else self.severity
        taken = common.uniform((x.shape[0],), rng, x) < share
        if not bool(taken.any()):
            return x
        field = f"write of {self.key}"
        marked = changed(lambda z: self.write(z, aims[taken.to(y.device)]), x[taken], rng, field)
        out = x.clone()
        out[taken] = common.inside(marked, marked, self._clip)
        return out
