"""What averaging gains in log loss: Wood's exact split for KL, and Jensen's gap apart from it.

Two ways to average have two gains. For the *normalised geometric mean* (the mean of logits) the
gain over the mean member is a diversity that needs no targets and is exact (Wood et al. 2023,
arXiv:2301.03962): mean cross entropy - cross entropy of the mean = mean KL(mean || member). For the
*arithmetic mean* of probabilities, which ringtest's teachers are, no such term exists: its gain is
Jensen's gap of the logarithm at the target, and is not called diversity here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ringtest.ensembles.measured import Measured, Units, nothing
from ringtest.ensembles.table import Table, as_targets, log_normaliser, normalised
from ringtest.errors import DataError
from ringtest.estimate import Array, row_mean

_CHUNK: Final = 1 << 21


@dataclass(frozen=True)
class LogLoss:
    """Cross entropies in nats, lower is better, and what averaging gains."""

    member: Measured
    """Mean over members."""
    geometric: Measured
    """Of the normalised geometric mean."""
    diversity: Measured
    """Wood's: ``member`` - ``geometric`` = mean KL(geometric mean || member), at least 0. It needs
    no targets, and is the members' variance where they are trainings of one and the same kind."""
    arithmetic: Measured
    """Of the mean probability."""
    jensen_gap: Measured
    """``member`` - ``arithmetic``, at least 0."""


def log_loss(table: Table, units: Units = None) -> LogLoss:
    """The split of one ensemble; without targets the diversity alone."""
    bare = np.flatnonzero(np.isneginf(table.log_normaliser))
    gain = -table.log_normaliser
    if bare.size:
        diversity = nothing(f"at item {bare[0]} every class has probability 0 for some member")
    else:
        diversity = Measured(row_mean(gain, units))
    if table.of_target is None:
        none = nothing("there are no targets")
        return LogLoss(none, none, diversity, none, none)
    p = table.of_target
    mean = p.mean(0)
    nil = np.argwhere((p == 0).T)
    arithmetic = (
        nothing(f"at item {np.argmax(mean == 0)} all members give the target probability 0")
        if (mean == 0).any()
        else Measured(row_mean(-np.log(mean), units))
    )
    if nil.size:
        item, member = nil[0]
        none = nothing(
            f"member {member} gives the target of item {item} probability 0: infinite log loss"
        )
        return LogLoss(none, none, diversity, arithmetic, none)
    each = -np.log(p).mean(0)
    return LogLoss(
        Measured(row_mean(each, units)),
        # The geometric mean at the target, normalised; its support holds the target.
        Measured(row_mean(each - gain, units)),
        diversity,
        arithmetic,
        Measured(row_mean(np.maximum(each + np.log(mean), 0.0), units)),
    )


@dataclass(frozen=True)
class Split:
    """Expected log loss of a geometric-mean ensemble = bias + variance - diversity, in nats."""

    loss: Measured
    """Mean over trials of the ensemble's cross entropy."""
    bias: Measured
    """Mean over members of the cross entropy of each member's centroid over trials."""
    variance: Measured
    """Mean over members and trials of KL(centroid || member)."""
    diversity: Measured
    """Mean over trials of Wood's diversity."""


def split(trials: Any, targets: Any, units: Units = None) -> Split:
    """Bias, variance and diversity, where every member was trained several times.

    Args:
        trials: (T, M, n, C) probabilities of member m in trial t, T at least 2: one trial cannot
            tell bias from variance.
        targets: (n,) classes.
        units: (n,) code of the independent unit of each item, or None.

    Raises:
        DataError: shapes, probabilities or targets are wrong.

    Source: Wood et al. 2023, the bias-variance-diversity decomposition, for KL.
    """
    try:
        given = np.asarray(trials)
    except (TypeError, RuntimeError, ValueError) as error:
        fix = "give all trials the same members, items and classes"
        raise DataError("trials", "are no array", fix) from error
    if given.ndim != 4 or given.shape[0] < 2 or given.shape[1] < 1 or given.shape[3] < 2:
        raise DataError(
            "trials",
            f"of shape {given.shape}",
            "give (trial, member, item, class) with two trials and classes or more",
        )
    t, m, n, classes = given.shape
    if not n:
        raise DataError("trials", "no items", "give at least one")
    y = as_targets(targets, n, classes, 0)
    out = np.empty((4, n))
    step = max(1, _CHUNK // (t * m * classes))
    for low in range(0, n, step):
        rows = slice(low, min(low + step, n))
        out[:, rows] = _terms(given[:, :, rows], y[rows], low)
    bad = np.flatnonzero(~np.isfinite(out).all(0))
    if bad.size:
        none = nothing(f"at item {bad[0]} a probability of 0 makes a log loss infinite")
        return Split(none, none, none, none)
    return Split(*(Measured(row_mean(row, units)) for row in out))


def _terms(block: Any, y: Any, first: int) -> Array:
    """(4, b) loss, bias, variance and diversity of each item of (T, M, b, C)."""
    t, m, b, classes = block.shape
    flat = normalised(block.reshape(t * m, b, classes), first)
    with np.errstate(divide="ignore"):
        logs = np.log(flat).reshape(t, m, b, classes)
    by_member, by_trial = log_normaliser(logs.mean(0)), log_normaliser(logs.mean(1))
    each = -logs[:, :, np.arange(b), y].mean((0, 1))
    variance, diversity = -by_member.mean(0), -by_trial.mean(0)
    with np.errstate(invalid="ignore"):
        return np.stack([each - diversity, each - variance, variance, diversity])
