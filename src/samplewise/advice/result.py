"""`Advice`: what each method would cost, as rows, a table and a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from samplewise.data.html import html_table

__all__ = ["HEADS", "Advice", "Row"]

HEADS = (
    "method",
    "scoring",
    "s an epoch",
    "saved",
    "95 % interval",
    "scores",
    "a step",
    "needs",
    "it takes back",
)
"""The headers of the printed table."""
_TAKES = 0.02
"""Smaller parts of ordinary training are not named."""


@dataclass(frozen=True)
class Row:
    """A method with one way of scoring.

    Args:
        method: its name.
        scoring: how it scores: `full`, `bf16`, `half`, `first=K`, `at=MODULE`, `every=2`; empty if it scores
            nothing.
        seconds: predicted, of an epoch: the mean over the training.
        saved: share of the seconds of ordinary training that it saves.
        low: of the interval of `saved`.
        high: of the interval of `saved`.
        parts: seconds of an epoch: loading, training, scoring, selecting, the scoring run.
        trained: rows that train, in shares of all.
        takes_back: what takes back a part of `1 - trained`, in shares of ordinary training. `saved` is
            `1 - trained` less the sum of these.
        assumed: whether the number of rows depends on losses. Then it is that of a stand-in task.
        state_bytes: of its memory for all samples; None if it is not known.
        step_bytes: what the largest step keeps for its backward: activations.
        needs: what it needs besides losses.
        lacks: of this, what forward and data do not give.
    """

    method: str
    scoring: str
    seconds: float
    saved: float
    low: float
    high: float
    parts: Mapping[str, float]
    trained: float
    takes_back: Mapping[str, float]
    assumed: bool
    state_bytes: int | None
    step_bytes: int
    needs: tuple[str, ...]
    lacks: tuple[str, ...]

    @property
    def name(self) -> str:
        """The method, with its scoring."""
        return f"{self.method} ({self.scoring})" if self.scoring else self.method

    @property
    def hindrance(self) -> str:
        """What takes back most of the saving that the left-out rows promise; empty if nothing does."""
        what, share = max(self.takes_back.items(), key=lambda item: item[1])
        return f"{what}: {100 * share:.0f} points" if share >= _TAKES else ""

    def cells(self) -> tuple[str, ...]:
        """The row of the printed table."""
        lacking = [f"{need} (missing)" if need in self.lacks else need for need in self.needs]
        return (
            self.method,
            self.scoring,
            f"{self.seconds:.3g}",
            f"{'~' * self.assumed}{_percent(self.saved)}",
            f"{_percent(self.low)} to {_percent(self.high)}",
            "" if self.state_bytes is None else _bytes(self.state_bytes),
            _bytes(self.step_bytes),
            ", ".join(lacking),
            self.hindrance,
        )


@dataclass(frozen=True, repr=False)
class Advice:
    """What each method would cost: time, never accuracy.

    Args:
        rows: methods, the fastest first.
        step: seconds of the parts of an ordinary step: loading, forward, backward, optimizer.
        narrow: seconds of a training step by its rows.
        n: number of samples.
        batch_size: of a step.
        epochs: length of the training that is predicted.
        rounds: number of measurements of each kind.
        took: seconds that the measuring took.
        left_out: for each method and scoring option that is not in the rows, the reason.
        notes: what else to know.
    """

    rows: tuple[Row, ...]
    step: Mapping[str, float]
    narrow: Mapping[int, float]
    n: int
    batch_size: int
    epochs: int
    rounds: int
    took: float
    left_out: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def best(self) -> Row:
        """The fastest method that the forward and the data have all for."""
        return next(row for row in self.rows if not row.lacks)

    @property
    def sentence(self) -> str:
        """The result in words."""
        best = self.best
        if best.saved <= 0 or best.method == "full":
            said = "the cheapest is ordinary training (full); nothing saves time"
        else:
            said = (
                f"the cheapest is {best.name}, with {best.seconds:.3g} s an epoch; nothing saves more than "
                f"{_percent(best.saved)} of the time ({_percent(best.low)} to {_percent(best.high)})"
            )
        return f"On this machine, with this model, {said}. This predicts time, never accuracy."

    def table(self) -> list[dict[str, Any]]:
        """A dict for each row, with all its numbers."""
        return [asdict(row) | {"hindrance": row.hindrance} for row in self.rows]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values for JSON."""
        kept = ("n", "batch_size", "epochs", "rounds", "took")
        found = {name: getattr(self, name) for name in kept}
        found |= {"step": dict(self.step), "narrow": {str(k): v for k, v in self.narrow.items()}}
        found |= {"left_out": dict(self.left_out), "notes": list(self.notes)}
        return found | {"rows": self.table(), "sentence": self.sentence}

    def text(self) -> str:
        """The measured step, the table, the notes and the sentence."""
        cells = [HEADS, *(row.cells() for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(HEADS))]
        lines = [_line(row, widths) for row in cells]
        return "\n".join([self.step_in_words, "", *lines, "", *self.remarks, self.sentence])

    @property
    def step_in_words(self) -> str:
        """How long an ordinary step takes, and its parts."""
        whole = sum(self.step.values())
        parts = ", ".join(f"{name} {100 * part / whole:.0f} %" for name, part in self.step.items())
        return f"A step of {self.batch_size} rows takes {1000 * whole:.3g} ms: {parts}."

    @property
    def remarks(self) -> list[str]:
        """The notes, and what was left out."""
        left = [f"Left out: {name}: {reason}" for name, reason in self.left_out.items()]
        return [*self.notes, *left]

    def __repr__(self) -> str:
        best = self.best
        return f"Advice({len(self.rows)} rows, fastest {best.name}: {_percent(best.saved)} saved)"

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        table = html_table([row.cells() for row in self.rows], HEADS, self.sentence)
        said = html_table([(line,) for line in (self.step_in_words, *self.remarks)])
        return table + said


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = range(2, 7)
    placed = (
        cell.rjust(width) if i in right else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(placed).rstrip()


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-0 %", "0 %")


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
