"""What the table of advice needs to be read: what stops methods from paying, what rows assume."""

from collections.abc import Mapping, Sequence

from samplewise.advice.result import Row

__all__ = ["notes_on"]

_MUCH = 0.3
"""Loading is worth a note from this share of a step on."""
_SLOW = 0.5
"""So is a step of a quarter of the rows, from this share of a whole one on."""


def notes_on(step: Mapping[str, float], narrow: Mapping[int, float], rows: Sequence[Row]) -> list[str]:
    """What would stop methods from paying, and what the rows assume.

    Args:
        step: seconds of the parts of an ordinary step.
        narrow: seconds of a training step by its rows, ascending.
        rows: of the table.
    """
    notes, loading = [], step["loading"] / sum(step.values())
    if loading >= _MUCH:
        notes.append(
            f"Loading takes {100 * loading:.0f} % of a step: only methods that choose before an epoch save "
            "it."
        )
    whole = max(narrow)
    quarter = min(narrow, key=lambda size: abs(size - whole / 4))
    share = narrow[quarter] / narrow[whole]
    if quarter < whole and share >= _SLOW:
        notes.append(
            f"A step of {quarter} rows takes {100 * share:.0f} % of one of {whole}: narrow batches save "
            "little. Larger batches help."
        )
    if any(row.assumed for row in rows):
        notes.append(
            "~: the number of rows depends on losses. It is that of a small stand-in task, and not in the "
            "interval."
        )
    return notes
