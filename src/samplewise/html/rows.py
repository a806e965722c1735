"""The rows of the table of samples: of all samples those that matter most, and why each is there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from samplewise.coresets.table import ScoreTable
from samplewise.html.facts import Run
from samplewise.html.picks import main_column, suspects
from samplewise.rng import generator

__all__ = ["MOST", "Selected", "selected"]

MOST = 10_000
"""Rows of all runs together."""
_SHARES = (("hardest", 0.4), ("suspected label", 0.2), ("never used", 0.2), ("easiest", 0.1))
"""What matters, from the most to the least, and the share of the rows for it. The rest is drawn."""
_DIGITS = "%.5g"


@dataclass(frozen=True)
class Selected:
    """Rows of the table.

    Attributes:
        heads: of the columns.
        numeric: for each column whether it holds numbers.
        rows: of text, numbers and None.
        n: the samples they were taken from, over all runs.
    """

    heads: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Any]]
    n: int


def selected(runs: Sequence[Run], most: int = MOST) -> Selected:
    """The rows that matter most of all runs, as many of each."""
    tables = [(run, run.table) for run in runs if run.table is not None]
    scores = list(dict.fromkeys(name for _, table in tables for name in table.columns))
    labelled = any(table.labels is not None for _, table in tables)
    heads = ["id", "why", *["run"] * (len(tables) > 1), *["class"] * labelled, "times selected", *scores]
    rows: list[list[Any]] = []
    for run, table in tables:
        for kind, ids in _reasons(table, run.predicts, most // len(tables)):
            rows.extend(_rows(run, table, kind, ids, len(tables) > 1, labelled, scores))
    numeric = [head not in ("why", "run", "class") for head in heads[: len(heads) - len(scores)]]
    numeric += [True] * len(scores)
    return Selected(heads, numeric, rows, sum(len(table) for _, table in tables))


def _reasons(table: ScoreTable, predicts: bool, most: int) -> Iterator[tuple[str, Int64[np.ndarray, " k"]]]:
    """Positions in the table, each once, with the reason."""
    n = len(table)
    free = np.ones(n, dtype=bool)
    if n > most:
        order = _orders(table, predicts)
        for kind, share in _SHARES:
            found = order.get(kind, np.empty(0, dtype=np.int64))
            taken = found[free[found]][: round(share * most)]
            free[taken] = False
            yield kind, taken
    rest = np.flatnonzero(free)
    left = max(0, most - (n - len(rest)))
    if len(rest) > left:
        drawn = torch.randperm(len(rest), generator=generator(0, "report rows"))[:left].numpy()
        yield "drawn", np.sort(rest[drawn])
    else:
        yield "all samples" if len(rest) == n else "drawn", rest


def _orders(table: ScoreTable, predicts: bool) -> dict[str, Int64[np.ndarray, " k"]]:
    """For each reason the positions, those that fit best first."""
    found = {"never used": np.flatnonzero(table.times_selected.numpy() == 0)}
    main = main_column(table)
    if main is not None:
        values = table.columns[main].double().numpy()
        known = np.flatnonzero(np.isfinite(values))
        ranked = known[np.argsort(-values[known], kind="stable")]
        found |= {"hardest": ranked, "easiest": ranked[::-1]}
    ranking = suspects(table, predicts)
    if ranking is not None:
        # The ids of a table ascend.
        found["suspected label"] = np.searchsorted(table.ids.numpy(), ranking.ids.numpy())
    return found


def _rows(
    run: Run,
    table: ScoreTable,
    why: str,
    at: Int64[np.ndarray, " k"],
    named: bool,
    labelled: bool,
    scores: Sequence[str],
) -> Iterator[list[Any]]:
    rows = torch.from_numpy(at)
    columns: list[Sequence[Any]] = [table.ids[rows].tolist(), [why] * len(at)]
    if named:
        columns.append([run.name] * len(at))
    if labelled:
        labels = None if table.labels is None else table.labels[rows].tolist()
        columns.append([None] * len(at) if labels is None else [run.class_name(label) for label in labels])
    columns.append(table.times_selected[rows].tolist())
    for name in scores:
        values = table.columns.get(name)
        columns.append([None] * len(at) if values is None else [_short(v) for v in values[rows].tolist()])
    for row in zip(*columns, strict=True):
        yield list(row)


def _short(value: float) -> float | int | None:
    """Five digits are enough to sort by, and keep the file small."""
    if isinstance(value, int):
        return value
    return float(_DIGITS % value) if np.isfinite(value) else None
