"""The text of `--shares`: how a budget is divided among groups."""

from typing import Any

from samplewise.checks import nearest
from samplewise.coresets.parse import items
from samplewise.groups import Groups

__all__ = ["CLASSES", "plain", "shares_of"]

CLASSES = "label"
"""The word of `--groups` for the classes."""
_WORDS: dict[str, tuple[str, ...]] = {
    "sizes": (),
    "temperature": ("temperature",),
    "online": ("rate", "explore"),
}
_FORM = "sizes, temperature, online:rate=0.5 or NAME=SHARE,NAME=SHARE"


def shares_of(written: str | None) -> dict[str, Any]:
    """The arguments of `sw.Groups` that a text gives.

    Args:
        written: `sizes`, `temperature` or `online`, with parameters after a colon; or a number for each
            group. None: by the sizes.

    Raises:
        ValueError: for another text, and for a parameter that is unknown or out of its range.

    >>> shares_of("online:rate=0.5"), shares_of("web=0.7,my code=0.3")
    ({'shares': 'online', 'rate': 0.5}, {'shares': {'web': 0.7, 'my code': 0.3}})
    """
    if written is None:
        return {}
    word, _, rest = written.partition(":")
    said = f"--shares {written}"
    if word in _WORDS:
        given = _pairs(rest, said)
        for key in given:
            if key not in _WORDS[word]:
                takes = f"takes {' and '.join(_WORDS[word])}" if _WORDS[word] else "takes no parameters"
                raise ValueError(f"{said:.200}: {word} {takes}, got {key!r}.{nearest(key, _WORDS[word])}")
        found = {"shares": word, **given}
        try:
            Groups((), **found)
        except ValueError as error:
            raise ValueError(plain(error)) from None
        return found
    if "=" not in written or not (numbers := _pairs(written, said)):
        raise ValueError(f"--shares must be {_FORM}, got {written!r:.80}.{nearest(word, _WORDS)}")
    for name, share in numbers.items():
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise ValueError(f"{said:.200}: the share of {name} must be a number, got {share!r:.80}.")
    return {"shares": numbers}


def plain(error: Exception) -> str:
    """An error of `sw.Groups` with the names of the options."""
    said = str(error)
    for name, option in (("Groups.shares", "--shares"), ("Groups.of", "--groups"), ("Groups.", "--shares: ")):
        said = said.replace(name, option)
    return said


def _pairs(written: str, said: str) -> dict[str, Any]:
    """The pairs of `NAME=VALUE,NAME=VALUE`."""
    found: dict[str, Any] = {}
    for key, value in items(written, said, _FORM):
        if key in found:
            raise ValueError(f"{said:.200}: {key} is given twice. Give it once.")
        found[key] = value
    return found
