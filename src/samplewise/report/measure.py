"""`Measure`: the result of a run that tables and pictures show."""

from dataclasses import dataclass
from math import inf

__all__ = ["ACCURACY", "LOSS", "PEARSON", "Measure", "measure_of"]


@dataclass(frozen=True)
class Measure:
    """A result on the test split.

    Args:
        key: its name in a row.
        label: its name in words, with the unit after a comma.
        digits: after the point.
        higher: whether a higher one is better.
        most: no result is above it.
    """

    key: str
    label: str
    digits: int = 2
    higher: bool = True
    most: float = 100.0

    @property
    def unit(self) -> str:
        """The unit in the label."""
        return self.label.rpartition(", ")[2]

    @property
    def name(self) -> str:
        """The label without its unit."""
        return self.label.rpartition(", ")[0]

    def said(self, value: float, digits: int | None = None) -> str:
        """A value with its unit.

        >>> ACCURACY.said(62.5)
        '62.50 %'
        """
        return f"{value:.{self.digits if digits is None else digits}f} {self.unit}"

    @property
    def header(self) -> str:
        """The label as a header of a table."""
        return self.label.replace(",", "")


ACCURACY = Measure("test_accuracy", "test accuracy, %")
PEARSON = Measure("test_pearson", "test Pearson correlation, %")
"""Of a regression."""
LOSS = Measure("test_loss", "test loss per token, nats", digits=3, higher=False, most=inf)
"""Of a language model."""


def measure_of(metric: str) -> Measure:
    """The measure of the data that `config.json` describes, by its `metric`.

    >>> measure_of("loss").unit
    'nats'
    """
    return {"pearson": PEARSON, "loss": LOSS}.get(metric, ACCURACY)
