"""`samplewise analyse agreement`: how far scores of methods and seeds agree."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from samplewise.checks import Range, check_arguments, nearest, require
from samplewise.cli.analyse.common import (
    Force,
    Methods,
    Out,
    Source,
    Sources,
    folder_for,
    read_sources,
    show,
    stems,
    write_json,
)
from samplewise.cli.console import terminal
from samplewise.coresets.choose import ranked_column
from samplewise.coresets.table import ScoreTable
from samplewise.files.atomic import replacing
from samplewise.files.columns import naming
from samplewise.report.drawing import grid

if TYPE_CHECKING:
    from rich.table import Table

    from samplewise.analysis.agreement import Agreement, Scores

FILES = ("agreement.json", "agreement.png")
COUNTS = "times_selected"


def agreement(
    sources: Sources,
    method: Methods = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of the tables, or times_selected. Repeat the option.",
            show_default="every recorded method; else every column",
        ),
    ] = None,
    keep: Annotated[
        list[float] | None,
        typer.Option(help="A share at which choices are compared. Repeat it.", show_default="0.1 to 0.9"),
    ] = None,
    at: Annotated[float, typer.Option(help="The share of the heat map of common samples.")] = 0.3,
    out: Out = None,
    force: Force = False,
) -> None:
    """Compare scores in pairs: rank correlation, and the samples that both choose beside chance.

    Columns of one name in several runs are the seeds of one method.
    """
    check_arguments("Wanted", _Wanted, {"keep": tuple(keep or (0.5,)), "at": at})
    require("matplotlib", "report")
    require("scipy", "analysis")
    from samplewise.analysis.agreement import KEEPS, score_agreement
    from samplewise.analysis.pictures.agreement import draw

    scores = list(_scores(read_sources(sources, method), column or ()))
    groups = [one.group for one in scores]
    scores.sort(key=lambda one: groups.index(one.group))  # the seeds of a method side by side
    found = score_agreement(scores, tuple(sorted({*keep})) if keep else KEEPS)
    with folder_for("agreement", out, force, FILES) as folder:
        write_json(folder / FILES[0], _content(found))
        with replacing(folder / FILES[1]) as file:
            draw(found, file, at)
        show(_table(found, terminal().width), _said(found), [folder / name for name in FILES])


class _Wanted:
    keep: tuple[Annotated[float, Range(0, 1, open_low=True)], ...]
    at: Annotated[float, Range(0, 1, open_low=True)]


def _scores(sources: Sequence[Source], columns: Sequence[str]) -> "Iterator[Scores]":
    """The scores of all tables. A column of several tables is one method in several runs."""
    from samplewise.analysis.agreement import Scores

    named = stems(sources)
    wanted = [_columns(source, columns) for source in sources]
    for source, stem, names in zip(sources, named, wanted, strict=True):
        for name in names:
            values = _values(source.table, name)
            # Only static methods can choose from their column; others keep the highest scores.
            chosen = partial(_subset, source.table, name) if name in _static(source.table) else None
            if source.seed is None:
                run = stem if sum(name in other for other in wanted) > 1 else None
                yield Scores(name, source.table.ids, values, chosen, run)
            else:
                group = source.method if len(names) == 1 else f"{source.method}: {name}"
                yield Scores(group, source.table.ids, values, chosen, f"seed {source.seed}")


def _values(table: ScoreTable, name: str) -> Tensor:
    """A column, high where the method keeps the sample: of some methods it is a rank, 0 for the first."""
    if name == COUNTS:
        return table.times_selected.double()
    values = table[name].double()
    ranked = name in _static(table) and ranked_column(table.policy(name)) in ("rank", "order")
    return -values if ranked else values


def _subset(table: ScoreTable, name: str, keep: float) -> np.ndarray:
    return table.subset(name, keep=keep).ids.numpy()


def _static(table: ScoreTable) -> set[str]:
    """The columns that are the final score of a static method, from all samples."""
    whole = len(table) == table.provenance.get("n", len(table)) and len(table) == int(table.ids[-1]) + 1
    methods = {*table.provenance.get("methods", ())} - {*table.provenance.get("unfinished", ())}
    if not whole or table.provenance.get("combined") == "spread":
        return set()
    return {name for name in methods if name in table.columns and bool(torch.isfinite(table[name]).any())}


def _columns(source: Source, wanted: Sequence[str]) -> list[str]:
    table = source.table
    if wanted:
        with naming(source.path):
            for name in wanted:
                if name != COUNTS and name not in table.columns:
                    has = ", ".join([*table.columns, COUNTS])
                    raise ValueError(
                        f"--column {name}: no such column.{nearest(name, table.columns)} Columns: {has}."
                    )
        return list(wanted)
    return [name for name in table.provenance.get("methods", ()) if name in table.columns] or (
        list(table.columns) or [COUNTS]
    )


def _content(found: "Agreement") -> dict[str, Any]:
    return {
        "samples": found.n,
        "names": found.names,
        "spearman": found.spearman.tolist(),
        "pairs": list(found.rows()),
    }


def _table(found: "Agreement", width: int) -> "list[Table]":
    """The means of both kinds of pairs at each share."""
    title = "means over pairs: Spearman, and the common part of the chosen samples at each keep"
    rows = []
    for label, within in (("seeds of one method", True), ("different methods", False)):
        shared = np.atleast_1d(found.mean(found.shared, within))
        if np.isfinite(shared).all():
            correlation = float(found.mean(found.spearman, within))
            rows.append([label, f"{correlation:.3f}", *(f"{share:.2f}" for share in shared)])
    k = len(found.names)
    chance = found.shared_by_chance[:, np.triu(np.ones((k, k), dtype=bool), 1)].mean(1)
    rows.append(["random sets", "0", *(f"{share:.2f}" for share in chance)])
    return grid(["pairs", "Spearman", *(f"{keep:g}" for keep in found.keeps)], rows, width, title)


def _said(found: "Agreement") -> str:
    """How far the scores agree, in a sentence."""
    k = len(found.names)
    said = f"{found.n:,} samples are in all tables, with {k} scores."
    known = {(i, j): float(found.spearman[i, j]) for i in range(k) for j in range(i)}
    known = {pair: value for pair, value in known.items() if np.isfinite(value)}
    if not known:
        return f"{said} No pair has a correlation, because scores are all equal."
    i, j = max(known, key=known.__getitem__)
    return (
        f"{said} {found.names[j]} and {found.names[i]} agree most (Spearman {known[i, j]:.2f}); the lowest "
        f"correlation of a pair is {min(known.values()):.2f}."
    )
