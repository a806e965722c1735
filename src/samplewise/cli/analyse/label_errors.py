"""`samplewise analyse label-errors`: which labels may be wrong, and how many injected ones a score finds."""

from pathlib import Path
from typing import Annotated

import typer

from samplewise.checks import require
from samplewise.cli.analyse.common import Force, Methods, Out, Sources, read_sources
from samplewise.cli.analyse.images import ClassNames, Data, Limit, Without, images_of


def label_errors(
    sources: Sources,
    method: Methods = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="A column to rank by. Repeat the option.", show_default="every score"),
    ] = None,
    lowest: Annotated[
        list[str] | None,
        typer.Option(
            help="A column whose low values are suspected. Repeat the option.",
            show_default="as the method says",
        ),
    ] = None,
    noise_from: Annotated[
        Path | None,
        typer.Option(
            help="The wrong labels: a run folder with the same data, seeds and --label-noise, or a file with "
            "a truth value for each sample (.npy, or .npz with `wrong`).",
            show_default="the --label-noise of the training itself",
        ),
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            help="Rank by cleanlab, too, with these probabilities of every class, (n, C): .npy, or .npz with "
            "`probabilities`. For one table.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="The number of suspects to print.", min=0)] = 10,
    data: Data = None,
    limit: Limit = None,
    class_names: ClassNames = None,
    without: Without = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Rank samples by how likely their label is wrong.

    If the wrong labels are known, show the precision and recall of every score. They are known for a training
    with --label-noise. The file suspects-NAME.parquet has the rank of each sample, 0 for the most suspected.
    If the images are known, suspects-NAME.png shows the first of every ranking.
    """
    require("matplotlib", "report")
    from samplewise.cli.analyse.answers.label_errors import answer

    found = read_sources(sources, method)
    pictured = [None if without else images_of(source, data, limit, class_names) for source in found]
    answer(found, pictured, by or (), lowest or (), noise_from, probabilities, top, out, force)
