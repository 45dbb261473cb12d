"""Ask a verifier of every candidate, or take the scores that it gave earlier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ringtest.ensembles.candidates import even
from ringtest.errors import ConfigError, DataError, RingtestError
from ringtest.progress import Progress, bar

Verifier = Callable[[Any, Any], float]
"""Called with an item and one candidate for it; gives [0, 1], higher for what it believes."""

_WINDOW = 64
"""Candidates a worker has before it at a time: futures of all of them would fill memory."""


class Rejected(Exception):
    """Raised by a verifier to say 'this candidate is refused': counted as 0.

    Any other exception of a verifier is an error, because a verifier that fails says nothing.
    """


def verify(
    verifier: Verifier | ArrayLike,
    items: Sequence[Any],
    candidates: Sequence[Sequence[Any]],
    *,
    progress: Progress | bool = False,
    workers: int | None = None,
) -> NDArray[np.float64]:
    """(item, sample) scores of all candidates, higher for what the verifier believes.

    Args:
        verifier: called as ``verifier(item, candidate)``, gives a number in [0, 1]; or the
            (item, sample) scores that one gave earlier, which may be any finite numbers.
        items: what is asked about; as many as there are rows of candidates.
        candidates: (item, sample), the same number of samples for each item.
        progress: True for a progress bar, False for none, or a callable.
        workers: threads that call the verifier. Default: what the verifier names as its
            ``workers``, else one, since a callable need not bear two calls at once.

    Raises DataError, with the item and the sample, where the verifier fails, or gives something
    that is not a number in [0, 1]; for no items, no samples, or rows of unequal length.
    ConfigError for fewer than one worker.
    """
    shape = _shape(items, candidates)
    if not callable(verifier):
        return _recorded(verifier, shape)
    if workers is None:
        workers = getattr(verifier, "workers", 1)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError("workers", f"is {workers!r}", "give a whole number from 1")
    call: Verifier = verifier
    scores = np.full(shape, np.nan)

    def ask(cell: tuple[int, int]) -> tuple[tuple[int, int], float]:
        i, j = cell
        return cell, _asked(call, items[i], candidates[i][j], f"item {i}, sample {j}")

    cells = iter(np.ndindex(shape))
    pool = ThreadPoolExecutor(workers) if workers > 1 else None
    try:
        with bar(progress) as say:
            done = 0
            while window := list(islice(cells, _WINDOW * workers)):
                found: Iterator[tuple[tuple[int, int], float]]
                found = map(ask, window) if pool is None else pool.map(ask, window)
                for cell, score in found:
                    scores[cell] = score
                    done += 1
                    say("verifying candidates", done / scores.size)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return scores


def of_item(item: Any, key: str) -> Any:
    """What a verifier needs of an item: the value of a key, or the item where it is no mapping.

    Raises DataError for a mapping without the key.
    """
    if not isinstance(item, Mapping):
        return item
    if key not in item:
        raise DataError(key, "is missing in the item", "add it, or name another key")
    return item[key]


def _shape(items: Sequence[Any], candidates: Sequence[Sequence[Any]]) -> tuple[int, int]:
    if not len(items):
        raise DataError("items", "there are none", "give at least one")
    if len(items) != len(candidates):
        raise DataError(
            "candidates",
            f"has {len(candidates)} rows for {len(items)} items",
            "give one row for each item",
        )
    samples = even("candidates", candidates)
    if samples < 0:
        fix = "give (item, sample), also for one sample"
        raise DataError("candidates", "item 0 has no list of samples", fix)
    if not samples:
        raise DataError("candidates", "there are no samples", "give at least one")
    return len(items), samples


def _recorded(scores: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    try:
        found = np.array(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            "verifier",
            f"is neither callable nor an array of numbers ({type(scores).__name__})",
            "give verifier(item, candidate) or (item, sample) scores",
        ) from None
    if found.shape != shape:
        raise DataError(
            "verifier",
            f"recorded scores of shape {found.shape} for candidates of shape {shape}",
            "give one score for each candidate",
        )
    if not np.isfinite(found).all():
        i, j = np.argwhere(~np.isfinite(found))[0]
        raise DataError(
            "verifier",
            f"item {i}, sample {j}: the recorded score is {found[i, j]}",
            "score it again",
        )
    return found


def _asked(verifier: Verifier, item: Any, candidate: Any, where: str) -> float:
    try:
        score = verifier(item, candidate)
    except Rejected:
        return 0.0
    except ConfigError:  # of the machine or the verifier's settings, and of no candidate
        raise
    except RingtestError as error:
        raise DataError(
            "verifier", f"{where}: {error.field}: {error.problem}", error.fix
        ) from error
    except Exception as error:
        raise DataError(
            "verifier",
            f"{where}: raised {type(error).__name__}: {error}",
            "mend it, or raise ringtest.ensembles.verifiers.Rejected for what it refuses",
        ) from error
    if not isinstance(score, bool | int | float | np.bool_ | np.integer | np.floating):
        raise DataError(
            "verifier", f"{where}: gave {type(score).__name__}", "give a number in [0, 1]"
        )
    if not 0 <= float(score) <= 1:  # NaN compares false
        raise DataError("verifier", f"{where}: gave {score}", "give a number in [0, 1]")
    return float(score)
