"""The files that a study writes beside its rows: verdicts, table, the rows as Parquet, and pictures."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samplewise.bench import files
from samplewise.bench.judge import paired
from samplewise.bench.judge.paired import ALPHA
from samplewise.bench.study import beside, claims_table, pictures, table
from samplewise.bench.study.cache import Row
from samplewise.bench.study.results import Results
from samplewise.checks import require
from samplewise.files.atomic import replacing

__all__ = ["FILES", "document", "flat", "needs", "write"]

FILES = ("verdicts.json", "table.md", "rows.parquet", *pictures.PICTURES)
"""All of them. A picture that has nothing to show is not there."""


def needs() -> None:
    """Raise if a package that writes the files is missing, before the runs."""
    require("pyarrow", "scores")
    require("matplotlib", "report")
    paired.needs()


def write(folder: Path, results: Results, rows: Iterable[Row]) -> list[Path]:
    """Write all files, each atomically. They hold what the finished runs say.

    Returns:
        their paths.
    """
    paths = [folder / name for name in FILES]
    files.write_json(paths[0], document(results))
    with replacing(paths[1]) as file:
        parts = table.markdown(results), claims_table.markdown(results), beside.markdown(results)
        file.write("\n".join(part.strip() + "\n" for part in parts if part).encode())
    _parquet(paths[2], rows, results.task)
    return [*paths[:3], *pictures.draw(results, folder)]


def document(results: Results) -> dict[str, Any]:
    """The results as JSON: everything that the table prints. A number that is not finite is null."""
    said = {
        "about_the_task": results.about_the_task,
        "training_too_long": results.gains is False,
        "alpha": ALPHA,
        "family": list(results.verdicts),
        "in_words": table.in_words(results),
        "notes": table.notes(results),
    }
    found: dict[str, Any] = files.plain(said | asdict(results) | {"claims": claims_table.documents(results)})
    return found


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with one level of columns, such as `best_test_accuracy`, without its curve.

    >>> flat({"seed": 0, "best": {"epoch": 2, "test": {"loss": 0.5}}, "curve": []})
    {'seed': 0, 'best_epoch': 2, 'best_test_loss': 0.5}
    """
    columns: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            columns |= {f"{key}_{name}": part for name, part in flat(value).items()}
        elif key != "curve":
            columns[key] = value
    return columns


def _parquet(path: Path, rows: Iterable[Row], task: str) -> None:
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    found = [flat(row) for row in rows]
    names = dict.fromkeys(name for row in found for name in row)
    made = pa.table({name: _of_one_type([row.get(name) for row in found]) for name in names})
    made = made.replace_schema_metadata({"samplewise": json.dumps({"task": task})})
    with replacing(path) as file:
        parquet.write_table(made, file, write_page_checksum=True)


def _of_one_type(values: list[Any]) -> list[Any]:
    """A column as text if a part of it is text: the version of a method in a file is a digest."""
    if not any(isinstance(value, str) for value in values):
        return values
    return [None if value is None else str(value) for value in values]
