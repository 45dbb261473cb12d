"""What rows can be told apart by: columns of the data, and plain descriptors of the inputs.

All of it follows from the data alone, never from what a model makes of them, and no descriptor
knows what it will be used for. A name is the same in every audit, so that a slice which one audit
found by it can be named in another: see :mod:`ringtest.rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks

if TYPE_CHECKING:
    from ringtest.data import AuditData

Column = NDArray[Any]
TARGET: Final = "target"
CLUSTER: Final = "input cluster"
CLUSTERS: Final = 8
"""k-means clusters of the inputs."""
MOST_COLUMNS: Final = 64
"""A wider table is described by its clusters, not column by column."""
_WIDTH: Final = 64
"""Wider rows are projected, by fixed random signs, before they are clustered."""
_BATCH: Final = 4_096


def columns(data: AuditData, clustered: bool = True) -> dict[str, Column]:
    """Name -> (n,) labels or numbers; a name that is taken is qualified by its kind.

    ``target`` (``target.0``, ... where it has several columns), the group columns, the concepts,
    descriptors of the inputs, and ``input cluster``, which takes longest, if ``clustered``.
    """
    found: dict[str, Column] = {}
    for kind, part in (
        (TARGET, _targets(data)),
        ("group", data.groups),
        ("concept", data.concepts),
        ("input", descriptors(data, clustered)),
    ):
        for name, values in part.items():
            found[name if name not in found else f"{kind}.{name}"] = values
    return found


def _targets(data: AuditData) -> dict[str, Column]:
    if data.targets is None:
        return {}
    values = np.asarray(data.targets)
    if values.ndim == 1:
        return {TARGET: values}
    return {f"{TARGET}.{i}": values[:, i] for i in range(values.shape[1])}


def descriptors(data: AuditData, clustered: bool = True) -> dict[str, Column]:
    """What the inputs themselves say of each row, by modality; float64, batch by batch.

    Images: ``brightness`` (mean), ``contrast`` (standard deviation), ``ink`` (share of values
    beyond the middle of the range), ``edges`` (root mean squared step to the next pixel).
    Sequences: ``level``, ``spread`` and ``roughness`` (root mean squared step), and ``length``
    where a mask tells it. Tokens: ``length``. Tables: ``input.0``, ``input.1``, ... All but tokens:
    ``input cluster``.
    """
    x = data.inputs
    out: dict[str, Column] = {}
    names: tuple[str, ...]
    if data.modality == "tokens":
        return {"length": _length(data)}
    if not x.is_floating_point():
        x = x.float()
    if data.modality == "image" and x.ndim == 4:
        middle = _middle(data)
        parts = [_of_images(b, middle) for b in _batches(x)]
        names = ("brightness", "contrast", "ink", "edges")
        out = dict(zip(names, torch.cat(parts).T.numpy(), strict=True))
    elif data.modality == "sequence" and x.ndim == 3:
        mask = data.mask
        counted = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
        pairs = zip(_batches(x), _batches(counted), strict=True)
        parts = [_of_sequences(b, m) for b, m in pairs]
        names = ("level", "spread", "roughness")
        out = dict(zip(names, torch.cat(parts).T.numpy(), strict=True))
        if mask is not None:
            out["length"] = _length(data)
    elif x.ndim == 2 and x.shape[1] <= MOST_COLUMNS:
        out = {f"input.{i}": v for i, v in enumerate(x.double().cpu().numpy().T)}
    return {**out, CLUSTER: clusters(x)} if clustered else out


def clusters(inputs: Tensor) -> NDArray[np.int64]:
    """(n,) the k-means cluster of each row of (n, ...) numbers; 0 for all where rows are too few.

    Features are taken in units of their standard deviation; of more than 64 features, 64 fixed
    random combinations (a Johnson-Lindenstrauss projection) stand for them. Fitted on the sample
    of rows that layers are kept of, with one seed for all audits, so that the same data always have
    the same clusters.
    """
    n = int(inputs.shape[0])
    fitted = torch.from_numpy(blocks.sample_rows(n))
    some = inputs[fitted].reshape(len(fitted), -1).double()
    centre, scale = some.mean(0), some.std(0, correction=0)
    scale = torch.where(scale > 1e-9 * centre.abs(), scale, torch.inf)
    width = some.shape[1]
    turn = None
    if width > _WIDTH:
        signs = torch.randint(2, (width, _WIDTH), generator=blocks.generator(0, CLUSTER))
        turn = (signs.double() * 2 - 1) / _WIDTH**0.5

    def points(rows: Tensor) -> NDArray[np.float64]:
        flat = (rows.reshape(len(rows), -1).double() - centre) / scale
        return np.asarray((flat if turn is None else flat @ turn).cpu().numpy())

    # Imported where it is needed: data are made without it, too.
    from sklearn.cluster import KMeans

    known = points(inputs[fitted])
    count = min(CLUSTERS, len(np.unique(known, axis=0)))
    if count < 2:
        return np.zeros(n, dtype=np.int64)
    model = KMeans(count, n_init=4, random_state=0).fit(known)
    return np.concatenate([model.predict(points(b)) for b in _batches(inputs)]).astype(np.int64)


def _batches(x: Tensor) -> Iterator[Tensor]:
    for part in blocks.parts(len(x), _BATCH):
        yield x[part]


def _middle(data: AuditData) -> float:
    low, high = data.bounds or (float(data.inputs.min()), float(data.inputs.max()))
    return (low + high) / 2


def _of_images(x: Tensor, middle: float) -> Tensor:
    """(b, 4) descriptors of (b, channels, height, width) images."""
    x = x.double().cpu()
    flat = x.flatten(1)
    steps = [x.diff(dim=d).square().flatten(1) for d in (2, 3)]
    moved = torch.cat(steps, 1).mean(1).sqrt() if sum(s.shape[1] for s in steps) else flat[:, 0] * 0
    ink = (flat > middle).double().mean(1)
    return torch.stack([flat.mean(1), flat.std(1, correction=0), ink, moved], 1)


def _of_sequences(x: Tensor, mask: Tensor) -> Tensor:
    """(b, 3) descriptors of (b, length, features) sequences over the steps that count."""
    x, on = x.double().cpu(), mask.double().cpu()[:, :, None]
    width = x.shape[2]
    count = (on.sum((1, 2)) * width).clamp_min(1)
    level = (x * on).sum((1, 2)) / count
    spread = ((x - level[:, None, None]).square() * on).sum((1, 2)).div(count).sqrt()
    both = on[:, 1:] * on[:, :-1]
    steps = (both.sum((1, 2)) * width).clamp_min(1)
    rough = (x.diff(dim=1).square() * both).sum((1, 2)).div(steps).sqrt()
    return torch.stack([level, spread, rough], 1)


def _length(data: AuditData) -> Column:
    """(n,) steps or tokens that count; without a mask, what is no token of the frame."""
    on = data.mask
    if on is None:
        on = ~torch.isin(data.inputs, data.frame_tokens)
    return np.asarray(on.reshape(data.n, -1).sum(1).cpu().numpy(), dtype=np.float64)
