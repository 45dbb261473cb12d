"""Numbers in sentences: shares, differences of shares and their intervals have one form."""

from __future__ import annotations


def number(value: float, digits: int, sign: str = "") -> str:
    """A number with so many digits behind the point; what rounds to 0 has no minus.

    >>> number(-0.04, 1), number(-0.04, 1, "+"), number(1.25, 2, "+")
    ('0.0', '+0.0', '+1.25')
    """
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def percent(share: float, digits: int = 0) -> str:
    """A share.

    >>> percent(0.5034, 1)
    '50.3 %'
    """
    return f"{number(100 * share, digits)} %"


def percents(low: float, high: float, digits: int = 0) -> str:
    """An interval of a share.

    >>> percents(0.48, 0.526, 1)
    '48.0 to 52.6 %'
    """
    return f"{number(100 * low, digits)} to {percent(high, digits)}"


def points(value: float) -> str:
    """A difference of shares in points, without the word.

    >>> points(0.034)
    '+3.4'
    """
    return number(100 * value, 1, "+")


def confidence(level: float) -> str:
    """A level of intervals, as exact as it was given.

    >>> confidence(0.95), confidence(0.999)
    ('95 %', '99.9 %')
    """
    return f"{100 * level:g} %"
