"""A terminal of 80 columns, and what must hold of what is printed there."""

import re

WIDTH = {"FORCE_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}
"""The environment in which a command prints as in such a terminal."""


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def no_digit_is_lost(text: str) -> None:
    """No cell ends in an ellipsis, and no line of a table is wider than the terminal."""
    assert "…" not in text
    inside = False
    for line in text.splitlines():
        inside = (inside and bool(line.strip())) or "───" in line
        assert not inside or len(line) <= 80, line
