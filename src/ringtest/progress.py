"""The progress of whatever takes longer than a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float], None]
"""Called with what is being looked at and the share that is done, 0 to 1."""

_FORMAT = "{desc:<34.34} {bar} {percentage:3.0f}% {elapsed}"


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
        yield lambda _what, _share: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=100, disable=None, delay=1, leave=False, bar_format=_FORMAT) as shown:

        def tell(what: str, share: float) -> None:
            shown.set_description_str(what, refresh=False)
            shown.update(100 * share - shown.n)

        yield tell
