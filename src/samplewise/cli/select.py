"""`samplewise select`: a coreset out of a file of scores, as a file that `train --subset` takes."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from samplewise.bench.lock import file_alone
from samplewise.bench.settings import Normalize
from samplewise.bench.tables import training_files
from samplewise.checks import Range, checked
from samplewise.cli import options
from samplewise.cli.console import terminal
from samplewise.cli.files import refuse_existing
from samplewise.cli.options import option
from samplewise.cli.output import Output
from samplewise.coresets.rows import write_rows
from samplewise.coresets.table import ScoreTable
from samplewise.files.columns import naming
from samplewise.policy import Policy, Weighting
from samplewise.recipes.tdds import published
from samplewise.subset import Subset

_SHOWN = 100
"""Classes whose shares are printed."""


@checked
@dataclass(frozen=True)
class Wanted:
    """The options that are about the choice."""

    keep: Annotated[float | None, Range(0, 1, open_low=True)]
    balance: bool | None
    weights: Weighting | None
    normalize: Normalize | None
    seed: Annotated[int | None, Range(0)]


def recorded(ctx: Any, incomplete: str) -> list[str]:
    """The methods in the file of scores that a word begins; none where there is no such file yet."""
    files = [*ctx.args, ctx.params["scores"]]  # among the args where an option still lacks its value
    try:
        provenance = ScoreTable.read(files[0]).provenance
    except (TypeError, ValueError, OSError, ImportError):
        return []
    return [name for name in provenance.get("methods", ()) if name.startswith(incomplete)]


def select(
    scores: Annotated[Path, typer.Argument(help="Scores, as `samplewise score` writes them.")],
    method: Annotated[str, typer.Option(help="One of the recorded methods.", autocompletion=recorded)],
    out: Annotated[
        Path | None, option("The subset's file. Only --explain needs none.", "--out", "-o")
    ] = None,
    keep: Annotated[
        float | None, typer.Option(help="The share kept.", show_default="what was recorded")
    ] = None,
    balance: Annotated[bool | None, typer.Option("--balance", help="Choose inside each class.")] = None,
    weights: Annotated[
        Weighting | None,
        typer.Option(help="How the samples are weighted.", show_default="what the method does"),
    ] = None,
    normalize: Annotated[
        Normalize | None, typer.Option(help="mean1 divides the weights by their mean.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the random draws, if the method draws.", show_default="the recording's"),
    ] = None,
    rows: Annotated[
        str | None,
        option(
            "Write the chosen rows of these training data into the file, with all columns and the weight: a "
            "Parquet file, or a folder of them."
        ),
    ] = None,
    explain: Annotated[
        list[int] | None, option("Say why this sample is kept or dropped. Repeat the option for several.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Choose a coreset by the scores in a file of `samplewise score`."""
    wanted, output = Wanted(keep, balance, weights, normalize, seed), Output(quiet, as_json)
    if out is None and (rows is not None or not explain):
        raise ValueError("--out must name the file to write. Only --explain without --rows needs none.")
    sources = None if rows is None else training_files(rows)
    with nullcontext() if out is None else file_alone(out):
        _refuse(out, force, [scores, *(sources or ())])
        table = ScoreTable.read(scores)
        with naming(scores):
            subset = table.subset(method, **vars(wanted))
            told = [table.explain(method, one, **vars(wanted)) for one in explain or ()]
        if out is not None and sources is None:
            subset.to_parquet(out, table)
        weight = None if out is None or sources is None else write_rows(subset, sources, out)
    with output.working():
        for line in _lines(subset, table, table.policy(method)) if out is not None else ():
            terminal().print(line, soft_wrap=True, markup=False)
        if out is not None:
            for one in told:
                terminal().print(str(one), soft_wrap=True, markup=False)
    said = "\n".join(map(str, told)) if out is None else _said(subset, table, out, weight)
    output.end(said, lambda: _document(subset, out) | {"explained": [one.as_dict() for one in told]})


def _refuse(out: Path | None, force: bool, read: Sequence[Path]) -> None:
    """Raise if the file must not be written."""
    if out is None:
        return
    refuse_existing(out, force)
    for source in read:
        if out.exists() and source.exists() and out.samefile(source):
            what = "the file of scores" if source is read[0] else "a file of the data"
            raise ValueError(f"--out must not be {what}, got {out}. Choose another file.")


def _said(subset: Subset, table: ScoreTable, out: Path, column: str | None) -> str:
    """What was chosen, in a sentence."""
    said = subset.provenance
    balanced = ", by class" * bool(said["balance"])
    weighted = "no weights" if subset.weights is None else f"weights {subset.weighting}"
    rows = "" if column is None else f". The rows have all columns of the data, and {column}"
    return f"{out}: {len(subset):,} of {len(table):,} samples by {said['method']}{balanced}, {weighted}{rows}"


def _document(subset: Subset, out: Path | None) -> dict[str, Any]:
    keys = ("method", "policy", "keep", "k", "n", "balance", "weights", "normalize", "draw_seed", "scoring")
    return {"file": out} | {key: subset.provenance.get(key) for key in keys}


def _lines(subset: Subset, table: ScoreTable, policy: Policy) -> list[str]:
    """How many samples of each class were chosen, and where the scores come from."""
    said, lines = subset.provenance, []
    if table.labels is not None:
        classes, sizes = torch.unique(table.labels, return_counts=True)
        counts = table.labels[subset.ids].bincount(minlength=int(classes[-1]) + 1)[classes]
        shares = zip(classes[:_SHOWN].tolist(), counts.tolist(), sizes.tolist(), strict=False)
        more = f" and {len(classes) - _SHOWN} more classes" if len(classes) > _SHOWN else ""
        lines.append("per class: " + ", ".join(f"{c}: {k}/{m}" for c, k, m in shares) + more)
    runs = said.get("runs")
    seeds = f"{len(runs)} runs, {said.get('combined')}" if runs else f"seed {said.get('seed')}"
    lines.append(f"recorded with {said.get('model')}, {said.get('epochs')} epochs, {seeds}")
    return lines + _note(policy, float(said["keep"]))


def _note(policy: Policy, keep: float) -> list[str]:
    """TDDS has published settings for each share. Note it if the scores were made for another share."""
    params = policy.params
    if policy.name != "tdds" or params["T"] is not None or keep == params["keep"]:
        return []
    made, asked = (published(share, params["data"]) for share in (params["keep"], keep))
    if made == asked:
        return []
    share = f"{params['keep']:g}"
    return [
        f"note: these scores were made for keep={share} (published: T={made[0]}, window={made[1]}); for "
        f"keep={keep:g} it is T={asked[0]}, window={asked[1]}: score again with tdds:keep={keep:g}"
    ]
