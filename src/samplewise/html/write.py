"""`write`: facts as one HTML file."""

from pathlib import Path

from samplewise.files.atomic import replacing
from samplewise.html.facts import Facts
from samplewise.html.page import page
from samplewise.html.sections import (
    choices,
    comparison,
    first,
    plan,
    redundancy,
    rows,
    samples,
    scores,
    settings,
    training,
)

__all__ = ["render", "write"]

SECTIONS = (first, training, plan, scores, choices, samples, redundancy, comparison, rows, settings)
"""From top to bottom."""


def render(facts: Facts) -> bytes:
    """The page, in UTF-8."""
    return page(facts.title, [part.section(facts) for part in SECTIONS], facts.left_out)


def write(facts: Facts, path: str | Path) -> Path:
    """Write the page. The file is replaced only when all of it is on disk.

    Args:
        facts: what to show.
        path: of the file.

    Returns:
        the path.

    Raises:
        ImportError: if jinja2, vl-convert-python or itables is missing.
        OSError: if the file cannot be written.
    """
    made = render(facts)
    with replacing(path) as file:
        file.write(made)
    return Path(path)
