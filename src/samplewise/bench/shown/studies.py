"""A study on disk as facts: its verdicts, its ladder, its methods."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samplewise.bench import files
from samplewise.bench.judge import Verdict
from samplewise.bench.study import pictures, table
from samplewise.bench.study.axes import Axis
from samplewise.bench.study.results import Line, Results
from samplewise.html.facts import Comparison, Spent

__all__ = ["VERDICTS", "comparison", "read_results", "study_folders"]

VERDICTS, ROWS = "verdicts.json", "rows.jsonl"
_STAGES = {"scoring and selecting": True, "training and data": False}


def study_folders(path: Path) -> list[Path]:
    """The folders of a study with verdicts: the path, or those of its scales and parts.

    Raises:
        ValueError: if a folder has runs but no verdicts yet.
    """
    found = sorted(file.parent for file in path.rglob(VERDICTS))
    unfinished = sorted(file.parent for file in path.rglob(ROWS) if not file.with_name(VERDICTS).exists())
    if unfinished:
        raise ValueError(
            f"{unfinished[0]} has {ROWS} but no {VERDICTS}: its study was stopped. Continue it with "
            "`samplewise bench`, which writes the verdicts."
        )
    return found


def read_results(folder: Path) -> Results:
    """What `verdicts.json` of a folder says, without claims and published numbers.

    Raises:
        ValueError: if the file is damaged.
    """
    file = folder / VERDICTS
    document = files.read_json(file)
    try:
        lines = tuple(_line(line) for line in document["lines"])
        return Results(
            lines=lines,
            axis=Axis(**document["axis"]),
            machines=tuple(document["machines"]),
            **{
                name: document[name]
                for name in ("name", "question", "delta", "epochs", "n", "seeds", "tuned", "tuning_cost")
            },
            **{name: document[name] for name in ("missing", "gains", "enough", "task")},
            names=document.get("names", {}),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{file} is damaged: {error}. Write it again with `samplewise bench`, which trains only what is "
            "missing."
        ) from error


def _line(document: Mapping[str, Any]) -> Line:
    """A line as it was before it became JSON, in which a number that is not finite is null."""
    found = dict(document)
    for part in ("results", "best"):
        found[part] = {name: (_float(mean), spread) for name, (mean, spread) in found[part].items()}
    found["seconds"] = _float(found["seconds"])
    found["curve"] = tuple((cost, _float(value)) for cost, value in found["curve"])
    found["verdict"] = None if found["verdict"] is None else _verdict(found["verdict"])
    found["beside"] = {axis: _verdict(verdict) for axis, verdict in found["beside"].items()}
    return Line(**found)


def _verdict(document: Mapping[str, Any]) -> Verdict:
    found: dict[str, Any] = {
        key: float("nan") if value is None and key != "bootstrap" else value
        for key, value in document.items()
    }
    for part in ("interval", "bootstrap"):
        if found[part] is not None:
            found[part] = tuple(map(_float, found[part]))
    return Verdict(**found)


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def comparison(results: Results, folder: Path) -> Comparison:
    """A study as the report shows it."""
    columns = table.main_columns(results)
    lines = [*results.of("method"), *results.of("control"), *results.of("ladder")]
    return Comparison(
        title=table.heading(results),
        said=[sentence for sentence in (pictures.said(results), table.in_words(results)) if sentence],
        result=pictures.label(results, "test"),
        higher=results.axis.sign > 0,
        points=pictures.points(results, "method"),
        full=pictures.points(results, "ladder"),
        controls=pictures.points(results, "control"),
        curves=pictures.curves_of(results),
        curves_result=pictures.label(results, "validation"),
        differences=pictures.differences(results),
        delta=results.delta,
        heads=[column.header for column in columns],
        rows=[[column.cell(line) for column in columns] for line in lines],
        notes=[*table.notes(results), f"Folder: {folder}."],
        spent=list(_spent(results)),
        unit="wall clock of full training, %",
    )


def _spent(results: Results) -> Iterator[Spent]:
    """A study keeps the share of scoring and selecting, and no other stage."""
    for line in results.of("method"):
        shares = {
            name: 100 * line.seconds * (line.overhead if selecting else 1 - line.overhead)
            for name, selecting in _STAGES.items()
        }
        realised = None if line.seconds != line.seconds else 1 - line.seconds
        yield Spent(results.shown(line.name), 1 - line.cost, realised, shares)
