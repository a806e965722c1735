"""`samplewise analyse leaving`: which samples leave the plan first, last and never, and which come back."""

from typing import Annotated

import typer

from samplewise.checks import require
from samplewise.cli.analyse.common import Force, Methods, Out, Sources, read_sources
from samplewise.cli.analyse.images import ClassNames, Data, Limit, Without


def leaving(
    sources: Sources,
    method: Methods = None,
    data: Data = None,
    limit: Limit = None,
    class_names: ClassNames = None,
    without: Without = False,
    periods: Annotated[int, typer.Option(help="The most periods in which samples leave.", min=1, max=30)] = 6,
    examples: Annotated[int, typer.Option(help="Images of each period.", min=1, max=30)] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the drawn images.", min=0)] = 0,
    out: Out = None,
    force: Force = False,
) -> None:
    """Show which samples leave the plan when, from trainings with --history.

    A sample leaves for good in the epoch of the first selection after the last one that took it. For every
    run there is a table with a row for each sample (leaving-RUN.parquet), a picture with the shares of the
    classes, and, if the images are known, one with drawn images of every period.
    """
    require("matplotlib", "report")
    from samplewise.cli.analyse.answers.leaving import answer

    found = read_sources(sources, method)
    answer(found, data, limit, class_names, without, periods, examples, seed, out, force)
