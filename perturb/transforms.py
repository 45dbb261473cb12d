"""Image transforms of other libraries as conditions: torchvision's, or any callable like them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.callables import changed, row_by_row
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.perturb.callables import Changed
from ringtest.perturb.scale import is_positive

if TYPE_CHECKING:
    from ringtest.model import Model

MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels of an image -> its mode in Pillow."""


@condition
class Transform(Changed):
    """Inputs as a transform changes them, the same for all models: ``perturb.transform.NAME``.

    ``Transform(transforms.GaussianBlur(3), severity=1)`` calls it on the (b, channels, height,
    width) of a block, which torchvision takes too: it then draws *once for the block*. With
    ``per_row=True`` it is called on one image (channels, height, width) after the other, with draws
    of its own for each: a loop, for what takes no batch or has to draw for each row. With
    ``pil=True`` it is given a ``PIL.Image`` for each row, of 256 levels between the data's bounds,
    and may give an image or a tensor; the rounding to 256 levels is part of the condition.

    The severity is a label and is not handed over: a transform has its strength already. Several of
    them make a curve, with its area, by :meth:`curve`. Global random states of torch, numpy and
    Python are seeded (for each block, or each row) and put back.

    Args:
        function: inputs -> inputs of the same shape and type.
        name: completes the id; None: the callable's own.
        severity: how strong it is, above 0, in a unit of yours.
        per_row: whether it takes one row at a time.
        pil: whether it takes Pillow's images, one at a time.

    Raises ConfigError, when made, for what is no callable or severity; DataError if the callable
    fails, changes shape or type, or gives NaN or infinity, and for ``pil`` on what are no images
    with bounds.
    """

    kind = "perturb.transform"
    about = "inputs as a transform of the user's changes them, row by row if asked"

    def __init__(
        self,
        function: Callable[[Any], Any],
        name: str | None = None,
        severity: float | None = None,
        *,
        per_row: bool = False,
        pil: bool = False,
    ) -> None:
        if severity is not None and not is_positive(severity):
            fix = "give a number above 0, or leave it out"
            raise ConfigError(f"severity of {self.kind}", f"is {severity!r}", fix)
        super().__init__(function, name, severity)
        self.per_row, self.pil = per_row or pil, pil

    @classmethod
    def curve(
        cls,
        functions: Any,
        name: str,
        *,
        per_row: bool = False,
        pil: bool = False,
    ) -> list[Self]:
        """One condition for each severity, for ``audit(..., conditions=[*Transform.curve(...)])``.

        Args:
            functions: severity, above 0 -> callable.
            name: completes the id.
            per_row: as above.
            pil: as above.

        Raises ConfigError for an empty mapping, and as above.
        """
        if not isinstance(functions, Mapping) or not functions:
            problem = (
                "are none" if isinstance(functions, Mapping) else f"are {type(functions).__name__}"
            )
            fix = "give a dict severity -> callable"
            raise ConfigError(f"functions of {cls.kind}.{name}", problem, fix)
        return [cls(f, name, s, per_row=per_row, pil=pil) for s, f in functions.items()]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the bounds; check what Pillow needs."""
        super().fit(subjects, data, rng)
        if self.pil:
            _check_pil(data, self.key)

    @property
    def _strength(self) -> tuple[float, ...]:
        return ()

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The changed inputs."""
        if not self.per_row:
            return super().batch(model, x, y, rng)
        field = f"function of {self.key}"
        one = self._of_image if self.pil else self.function
        with torch.no_grad():
            found = changed(lambda z: row_by_row(one, z, field), x, rng, field)
        return self._inside(found)

    def _of_image(self, row: Tensor) -> Any:
        """(channels, height, width) by way of an image; what is no image is handed on."""
        from PIL import Image

        assert self._bounds is not None, "fit has checked it"
        low, high = self._bounds
        levels = ((row.cpu().double() - low) / (high - low) * 255).round().clamp(0, 255)
        array = levels.to(torch.uint8).movedim(0, -1).numpy()
        mode = MODES[array.shape[-1]]
        made = self.function(Image.fromarray(array[..., 0] if mode == "L" else array))
        if not isinstance(made, Image.Image):
            return made
        # A grey image of a coloured one, say.
        back: NDArray[Any] = np.array(made.convert(mode), dtype=np.float32)
        back = back[..., None] if back.ndim == 2 else back
        return low + torch.from_numpy(back).movedim(-1, 0) / 255 * (high - low)


def _check_pil(data: AuditData, key: str) -> None:
    """Images with bounds and as many channels as Pillow knows."""
    shape = tuple(data.inputs.shape)
    if data.modality != "image" or not data.inputs.is_floating_point() or shape[1] not in MODES:
        fix = f"{key} with pil=True is for images of 1, 3 or 4 channels"
        raise DataError("inputs", f"are {data.modality} of shape {shape}", fix)
    if data.bounds is None:
        raise DataError("bounds", f"are missing, and {key} with pil=True needs them", "give them")
