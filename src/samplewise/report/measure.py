"""`Measure`: the result of a run that tables and pictures show."""

from dataclasses import dataclass

__all__ = ["ACCURACY", "PEARSON", "Measure"]


@dataclass(frozen=True)
class Measure:
    """A result on the test split.

    Args:
        key: its name in a row.
        label: its name in words, with the unit.
    """

    key: str
    label: str

    @property
    def header(self) -> str:
        """The label as a header of a table."""
        return self.label.replace(",", "")


ACCURACY = Measure("test_accuracy", "test accuracy, %")
PEARSON = Measure("test_pearson", "test Pearson correlation, %")
"""Of a regression."""
