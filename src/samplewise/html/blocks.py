"""What a section consists of: sentences, tables, charts, pictures of samples. The template draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from samplewise.html.facts import Picture

__all__ = [
    "NO_RUN",
    "Block",
    "Chart",
    "Gallery",
    "Grid",
    "Heading",
    "Item",
    "Numbers",
    "Rows",
    "Section",
    "Words",
]


@dataclass(frozen=True)
class Words:
    """A paragraph. `kind` is `lead` (large), `text`, or `note` (small)."""

    text: str
    kind: str = "text"


NO_RUN = Words(
    "No run with scores of single samples is given. Studies keep none: give run folders of samplewise train.",
    "note",
)
"""What a section about runs says without any."""


@dataclass(frozen=True)
class Heading:
    """A heading inside a section, such as the name of a run."""

    text: str


@dataclass(frozen=True)
class Numbers:
    """A few large numbers, each with a few words below it."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Grid:
    """A small table of text. The first column is words; the others are numbers, unless all are `words`."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart of Vega-Lite, and the sentence below it, which says what it shows."""

    spec: Mapping[str, Any]
    said: str


@dataclass(frozen=True)
class Item:
    """A sample with its id and a few words; without a picture only these."""

    picture: Picture | None
    lines: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """Samples side by side."""

    title: str
    said: str
    items: Sequence[Item]


@dataclass(frozen=True)
class Rows:
    """The table that sorts, filters and exports CSV.

    Attributes:
        heads: the names of the columns.
        numeric: for each column whether it holds numbers.
        data: the rows; None is an empty cell.
        file: the name of the CSV file, without its ending.
    """

    heads: Sequence[str]
    numeric: Sequence[bool]
    data: Sequence[Sequence[Any]]
    file: str


Block = Words | Heading | Numbers | Grid | Chart | Gallery | Rows


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading, and what is in it."""

    anchor: str
    heading: str
    blocks: Sequence[Block] = field(default_factory=tuple)
