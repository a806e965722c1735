"""Numbers as text, as all sections write them."""

from math import isfinite

__all__ = ["number", "percent", "plural", "seconds"]


def percent(share: float | None, digits: int = 1) -> str:
    """A share as percent; `not measured` for None.

    >>> percent(0.125), percent(None)
    ('12.5 %', 'not measured')
    """
    return "not measured" if share is None or not isfinite(share) else f"{100 * share:.{digits}f} %"


def number(value: float) -> str:
    """A number with four digits, and thousands with commas.

    >>> number(12345.0), number(0.012345), number(float("nan"))
    ('12,345', '0.01235', '-')
    """
    if not isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def seconds(value: float) -> str:
    """Seconds with a unit that a reader knows.

    >>> seconds(0.25), seconds(90.0), seconds(7200.0)
    ('0.25 s', '1.5 min', '2.0 h')
    """
    if value >= 3600:
        return f"{value / 3600:.1f} h"
    return f"{value / 60:.1f} min" if value >= 60 else f"{value:.2g} s" if value < 10 else f"{value:.0f} s"


def plural(count: int, word: str) -> str:
    """A count and its word.

    >>> plural(1, "run"), plural(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{count:,} {word}{'s' * (count != 1)}"
