"""The user's invariances: transformations of inputs that should not change the output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import DataError, close_to

if TYPE_CHECKING:
    from ringtest.model import Model


@condition
class Invariance(Condition):
    """The user's callable ``data.invariances[name]``, applied to every block.

    Its result is checked but not clipped: what it returns is what should not change the output.
    """

    kind = "shift.invariance"
    about = "a transformation that, the user says, does not change the output"
    role = "invariance"
    users_own = True

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """One instance for each invariance."""
        return [cls(name) for name in data.invariances or ()]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Look the callable up. Raises DataError if the data have none of that name."""
        known = data.invariances or {}
        if self.name is None or self.name not in known:
            raise DataError(self._field, "is not given", close_to(str(self.name), known))
        self._function = known[self.name]

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The transformed inputs.

        Raises DataError if the callable fails, changes the shape or turns floats to tokens or back,
        or gives NaN or infinity.
        """
        seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
        devices = [x.device] if x.device.type == "cuda" else []
        # A callable that draws from torch's global state sees the block's seed, the same for every
        # model, and leaves the state as it was; one that works in place gets a copy.
        with torch.no_grad(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            try:
                changed = self._function(x.clone())
            except Exception as error:
                raise DataError(
                    self._field, f"raised {type(error).__name__}: {error}", "mend it"
                ) from error
        return self._checked(changed, x)

    @property
    def _field(self) -> str:
        return f"invariances[{self.name!r}]"

    def _checked(self, changed: object, x: Tensor) -> Tensor:
        if not isinstance(changed, Tensor) or changed.shape != x.shape:
            got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise DataError(
                self._field, f"gave {got} for inputs of shape {tuple(x.shape)}", "keep the shape"
            )
        if changed.is_floating_point() != x.is_floating_point():
            raise DataError(self._field, f"turned {x.dtype} into {changed.dtype}", "keep the type")
        if changed.is_floating_point() and not bool(changed.isfinite().all()):
            rows = int((~changed.isfinite()).reshape(len(changed), -1).any(dim=1).sum())
            raise DataError(self._field, f"gave NaN or infinity in {rows} rows", "mend it")
        return changed.detach().to(x.device, x.dtype)
