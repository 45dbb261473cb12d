"""The progress of whatever takes longer than a second."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float], None]
"""Called with what is being looked at and the share that is done, 0 to 1."""

_FORMAT = "{desc:<34.34} {bar} {percentage:3.0f}% {elapsed}"


def part(say: Progress, low: float, high: float) -> Progress:
    """Progress of a part of the work, which lies between two shares of all of it."""
    return lambda what, share: say(what, low + (high - low) * share)


def silent(_what: str, _share: float) -> None:
    """Progress that nobody is told of."""


@contextmanager
def bar(progress: Progress | bool) -> Iterator[Progress]:
    """A bar for whoever looks at a terminal or a notebook; nothing elsewhere.

    Args:
        progress: True for a bar of our own, False for none, or a callable that is told instead.
    """
    if callable(progress):
        yield progress
        return
    if not progress:
        yield silent
        return
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        # A notebook without ipywidgets shows a bar of text, which is not worth a warning.
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm

    # None: no bar where output goes to a file; a notebook is no terminal, but somebody looks at it.
    off = False if _in_notebook() else None
    with tqdm(total=100, disable=off, delay=1, leave=False, bar_format=_FORMAT) as shown:

        def tell(what: str, share: float) -> None:
            shown.set_description_str(what, refresh=False)
            shown.update(100 * share - shown.n)

        yield tell


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs us; IPython is asked only if it is there already."""
    get = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get is None else get()
    return shell is not None and "IPKernelApp" in shell.config
