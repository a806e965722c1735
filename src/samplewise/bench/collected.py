"""The finished runs of run folders and studies, as the analyses read them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from samplewise.analysis.results import Result
from samplewise.bench.folder import RunFolder
from samplewise.bench.methods import split
from samplewise.bench.study.cache import Row, Rows
from samplewise.bench.study.jobs import FULL, TUNING_SEED
from samplewise.checks import nearest
from samplewise.coresets.parse import divide, parse

__all__ = ["ROWS", "collected", "parameters"]

ROWS = "rows.jsonl"
"""The file of a study's folder that holds its finished runs."""


def collected(paths: Sequence[Path], metric: str = "accuracy") -> list[Result]:
    """The finished runs of run folders of `samplewise train` and folders of studies, in the order given.

    Of a study, `full` is the training of the whole length, and runs that only tune are left out.

    Args:
        paths: of the folders, or of the `rows.jsonl` of a study.
        metric: the result on test data, such as `accuracy` or `loss`.

    Raises:
        ValueError: if a path is neither, has no finished run, or its runs do not have the metric.
    """
    return [one for path in paths for one in _of_one(Path(path), metric)]


def parameters(method: str) -> tuple[str, dict[str, Any]]:
    """The recipe of a method, and all its parameters: defaults too, and the settings of its own run.

    >>> recipe, params = parameters("ucb:keep=0.3@lr=0.1")
    >>> recipe, params["keep"], params["period"], params["lr"]
    ('ucb', 0.3, 10, 0.1)
    """
    spec, own = split(method)
    name, given = divide(spec)
    return name, {**getattr(parse(spec), "params", given), **own}


def _of_one(path: Path, metric: str) -> Iterator[Result]:
    study = path if path.name == ROWS else path / ROWS
    found = list(_of_study(study) if study.is_file() else _of_folder(path))
    if not found:
        raise ValueError(f"{path} has no finished run.")
    known: dict[str, tuple[str, dict[str, Any]]] = {}
    for method, seed, n, values in found:
        if metric not in values:
            has = ", ".join(values)
            raise ValueError(
                f"{path}: its runs have no {metric!r}.{nearest(metric, values)} They have {has}."
            )
        if method not in known:
            known[method] = _parameters(method)
        recipe, params = known[method]
        yield Result(method, recipe, params, seed, float(values[metric]), n)


def _parameters(method: str) -> tuple[str, dict[str, Any]]:
    """The parameters of a method; of one that is not known here, such as the name of a subset, none."""
    try:
        return parameters(method)
    except (ValueError, TypeError, OSError):
        return method, {}


def _of_folder(path: Path) -> Iterator[tuple[str, int, int, dict[str, float]]]:
    for row in RunFolder(path).results():
        values = {key.removeprefix("test_"): row[key] for key in row if key.startswith("test_")}
        yield row["method"], row["seed"], row["n"], values


def _of_study(path: Path) -> Iterator[tuple[str, int, int, dict[str, float]]]:
    first = path.read_text().partition("\n")[0]
    try:
        task = json.loads(first)["task"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: its first line has no task. Remove the line.") from error
    rows: list[Row] = [row for row in Rows(path, task) if row["seed"] < TUNING_SEED]
    whole = max((row["epochs"] for row in rows if row["method"] != FULL), default=0)
    for row in rows:
        if row["method"] != FULL or row["epochs"] == whole:
            yield row["method"], row["seed"], row["n"], row["test"]
