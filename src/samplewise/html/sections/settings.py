"""Configuration and versions, as tables of names and values."""

from collections.abc import Iterator, Mapping
from typing import Any

from samplewise.html.blocks import Block, Grid, Heading, Section, Words
from samplewise.html.facts import Facts

__all__ = ["section"]

_LONGEST = 600
"""Letters of a value."""


def section(facts: Facts) -> Section:
    """Everything that a run was started with."""
    return Section("settings", "Configuration and versions", list(_blocks(facts)))


def _blocks(facts: Facts) -> Iterator[Block]:
    for name, values in facts.settings:
        yield Heading(name)
        yield Grid(["name", "value"], [[key, _text(value)] for key, value in values.items()], True)
    if not facts.settings:
        yield Words("No configuration is known.", "note")


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        found = ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items())
    elif isinstance(value, list | tuple):
        found = ", ".join(map(_text, value)) or "none"
    else:
        found = str(value)
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]} ..."
