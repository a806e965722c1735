"""What the lines of a run folder hold, each with its range, and the check when they are read back."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from samplewise.checks import Range, check_arguments

__all__ = ["ConfigData", "EpochRow", "Look", "ResultRow", "ScoringRow", "check_curve", "check_rows"]

Count = Annotated[int, Range(0)]
Amount = Annotated[float, Range(0)]
Percent = Annotated[float, Range(0, 100)]


class ConfigData:
    """What `config.json` says of the data."""

    name: str
    train: Annotated[int, Range(1)]


class Look:
    """An epoch of a model and its accuracy."""

    epoch: Annotated[int, Range(1)]
    epochs: Annotated[int, Range(1)]
    test_accuracy: Percent
    seconds: Amount


class EpochRow(Look):
    """A line of `curves.jsonl`: where a run stood after an epoch."""

    method: str
    seed: Count
    test_loss: float
    samples_backpropagated: Count
    training_forwards: Count
    scoring_forwards: Count
    proxy_scoring_forwards: Count
    proxy_share: Annotated[float | None, Range(0)]
    cost: Amount
    cost_share: Amount
    cpu_seconds: Amount
    cost_without_scoring: Amount
    seconds_without_scoring: Amount


class ResultRow(EpochRow):
    """A line of `results.jsonl`: a finished run."""

    n: Annotated[int, Range(1)]
    best_accuracy: Percent
    promised: Annotated[float, Range()]
    realised: Annotated[float | None, Range()]
    baseline: Literal["given", "estimated", "not measured"]
    overhead: Amount
    seconds_data: Amount
    seconds_scoring: Amount
    seconds_selecting: Amount
    seconds_training: Amount


def check_curve(curve: Any, kind: type[Look], epochs: Iterable[int], whole: int) -> None:
    """Hold the curve of a run under way against `kind`, and against the epochs after which it is tested."""
    if not isinstance(curve, list) or not all(isinstance(row, dict) for row in curve):
        raise ValueError("the curve must be a list of rows")
    check_rows("the curve", kind, curve, ("epoch",))
    told, due = [(row["epoch"], row["epochs"]) for row in curve], [(epoch, whole) for epoch in epochs]
    if told != due:
        raise ValueError(f"the curve must be of (epoch, epochs) {due}, got {told}")


class ScoringRow:
    """A line of `scoring.jsonl`: a finished scoring run; `methods` says what each is charged."""

    seed: Count
    epochs: Count
    cost: Amount
    seconds: Amount


def check_rows(
    where: Path | str, kind: type, rows: Iterable[Mapping[str, Any]], key: tuple[str, ...]
) -> None:
    """Hold rows against what `kind` declares, and refuse two with the same values of `key`.

    Raises:
        ValueError: that names the place and the field.
    """
    names = get_type_hints(kind)
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        if missing := [name for name in names if name not in row]:
            raise ValueError(f"{where} is damaged: a row has no {missing[0]!r}.")
        try:
            check_arguments("row", kind, dict(row))
        except ValueError as error:
            raise ValueError(f"{where} is damaged: {error}") from error
        values = tuple(row[name] for name in key)
        if values in seen:
            said = ", ".join(f"{name} {value}" for name, value in zip(key, values, strict=True))
            raise ValueError(
                f"{where} is damaged: two rows are of {said}. Two commands may have written it: remove one "
                "row, or start again with another --out."
            )
        seen.add(values)
