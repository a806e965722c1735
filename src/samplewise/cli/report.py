"""`samplewise report`: runs and studies as one HTML file."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from samplewise.bench.lock import file_alone
from samplewise.checks import require
from samplewise.cli.console import terminal
from samplewise.cli.files import refuse_existing

_NAME = "report.html"
_NEEDS = (("jinja2", "html"), ("vl_convert", "html"), ("pyarrow", "scores"))


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, folders of studies, and Parquet files of scores."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The HTML file.", show_default="report.html in the first folder"),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Show samples of this method's run. Repeat the option.", show_default="all but full"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The seed of these runs.", min=0, show_default="the lowest of each method"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The samples, as for `samplewise train`, if the data were moved.",
            show_default="the --data of the run folder",
        ),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="A vector for each sample, .npy (n, d): finds nearest neighbours.")
    ] = None,
    without: Annotated[bool, typer.Option("--no-samples", help="Do not read the data: ids only.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write what runs and studies found as one HTML file that needs no network.

    It has the verdict, results against cost, what was saved, curves, the plan over time, scores, samples to
    look at, and a table that sorts, filters and exports CSV.
    """
    for module, extra in _NEEDS:
        require(module, extra)
    from samplewise.bench.shown.read import Wanted, facts_of
    from samplewise.cli.analyse.arrays import read_array
    from samplewise.html.write import write

    first = runs[0]
    path = out if out is not None else (first if first.is_dir() else first.parent) / _NAME
    if not path.parent.is_dir():
        # Also a folder that is misspelled: nothing is made where nobody looks.
        raise ValueError(f"{path.parent} is not a folder. Make it first, or choose another --out.")
    refuse_existing(path, force)
    vectors = None if features is None else read_array(features, "--features", "features")
    if vectors is not None and (vectors.ndim != 2 or not np.isfinite(vectors).all()):
        raise ValueError(
            f"--features must have shape (n, d) and finite numbers, got {vectors.dtype}{list(vectors.shape)}."
        )
    wanted = Wanted(method or (), seed, data, vectors, without)
    facts = facts_of(runs, wanted, path.parent)
    with file_alone(path):
        refuse_existing(path, force)
        write(facts, path)
    console = terminal()
    for sentence in (sentence for one in facts.comparisons for sentence in one.said):
        console.print(sentence, soft_wrap=True, markup=False)
    size = path.stat().st_size / 1e6
    console.print(f"{path}: {size:.1f} MB. It needs no network.", soft_wrap=True, markup=False)
