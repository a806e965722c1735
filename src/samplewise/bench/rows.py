"""Schemas of the rows in a run folder, and their check when a file is read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from samplewise.checks import Range, check_arguments

__all__ = [
    "AnyEpoch",
    "ConfigData",
    "EpochRow",
    "LanguageEpochRow",
    "LanguageResultRow",
    "NumbersEpochRow",
    "NumbersResultRow",
    "ResultRow",
    "ScoringRow",
    "TestedEpoch",
    "ValidatedEpoch",
    "check_curve",
    "check_rows",
]

Count = Annotated[int, Range(0)]
Amount = Annotated[float, Range(0)]
Percent = Annotated[float, Range(0, 100)]
Correlation = Annotated[float, Range(-100, 100)]


class ConfigData:
    """The entry `data` of `config.json`."""

    name: str
    train: Annotated[int, Range(1)]
    metric: str = "accuracy"
    """The result that tables and pictures show. Only runs on texts have it."""


class AnyEpoch:
    """The state of a run after an epoch."""

    epoch: Annotated[int, Range(1)]
    epochs: Annotated[int, Range(1)]
    seconds: Amount


class TestedEpoch(AnyEpoch):
    """The test of a model after an epoch."""

    test_accuracy: Percent


class ValidatedEpoch(AnyEpoch):
    """The test on the validation split after an epoch."""

    validation_accuracy: Percent
    cost: Amount
    cpu_seconds: Amount


class CountedEpoch(AnyEpoch):
    """What every line of `curves.jsonl` holds.

    `cpu_seconds` is the time of its training by `machine.clock`: on an accelerator the wall clock.
    """

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


class EpochRow(CountedEpoch, TestedEpoch):
    """A line of `curves.jsonl`: a run after one of its epochs."""

    test_top5_accuracy: Annotated[float | None, Range(0, 100)] = None
    """Only with more than 5 classes. Rows of earlier versions do not have it."""


class NumbersEpochRow(CountedEpoch):
    """The same of a regression."""

    test_pearson: Correlation
    test_spearman: Correlation


class LanguageEpochRow(CountedEpoch):
    """The same of a language model. With several sources, each has a `test_loss_SOURCE`, too."""


class _Finished:
    """What a line of `results.jsonl` has beside the last epoch."""

    n: Annotated[int, Range(1)]
    promised: Annotated[float, Range()]
    realised: Annotated[float | None, Range()]
    baseline: Literal["given", "estimated", "not measured"]
    overhead: Amount
    seconds_data: Amount
    seconds_scoring: Amount
    seconds_selecting: Amount
    seconds_training: Amount
    energy_joules: Amount = 0.0
    """Only with `--energy`, where the machine tells it."""


class ResultRow(EpochRow, _Finished):
    """A line of `results.jsonl`: a finished run."""

    best_accuracy: Percent


class LanguageResultRow(LanguageEpochRow, _Finished):
    """The same of a language model. A row counts the tokens that trained, and those that carried a loss."""

    best_loss: float
    tokens: Count
    tokens_trained: Count


class NumbersResultRow(NumbersEpochRow, _Finished):
    """The same of a regression."""

    best_pearson: Correlation


def check_curve(curve: Any, kind: type[AnyEpoch], epochs: Iterable[int], whole: int) -> None:
    """Check the rows of an unfinished run's curve against `kind`, and their epochs against `epochs`.

    Args:
        curve: the rows.
        kind: the schema of a row.
        epochs: the epochs that must be in the curve.
        whole: the number of epochs of the run.
    """
    if not isinstance(curve, list) or not all(isinstance(row, dict) for row in curve):
        raise ValueError("the curve must be a list of rows")
    check_rows("the curve", kind, curve, ("epoch",))
    found, due = [(row["epoch"], row["epochs"]) for row in curve], [(epoch, whole) for epoch in epochs]
    if found != due:
        raise ValueError(f"the (epoch, epochs) of the curve must be {due}, got {found}")


class ScoringRow:
    """A line of `scoring.jsonl`: a finished scoring run. `methods` holds the cost of each method."""

    seed: Count
    epochs: Count
    cost: Amount
    seconds: Amount


def check_rows(
    where: Path | str, kind: type, rows: Iterable[Mapping[str, Any]], key: tuple[str, ...]
) -> None:
    """Check rows against the schema `kind`. No two rows may have the same values of `key`.

    A field with a default may be absent.

    Raises:
        ValueError: if a row does not fit. The error names `where` and the field.
    """
    names = get_type_hints(kind)
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        if missing := [name for name in names if name not in row and not hasattr(kind, name)]:
            raise ValueError(f"{where} is damaged: a row has no {missing[0]!r}.")
        try:
            check_arguments("row", kind, dict(row))
        except ValueError as error:
            raise ValueError(f"{where} is damaged: {error}") from error
        values = tuple(row[name] for name in key)
        if values in seen:
            which = ", ".join(f"{name} {value}" for name, value in zip(key, values, strict=True))
            raise ValueError(
                f"{where} is damaged: two rows have {which}. Two commands may have written it. Remove one "
                "row, or start again with another --out."
            )
        seen.add(values)
