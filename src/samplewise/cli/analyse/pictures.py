"""`samplewise analyse keep`, `heat` and `published`: finished runs beside one another."""

from pathlib import Path
from typing import Annotated

import typer

from samplewise.checks import require
from samplewise.cli.analyse.common import Force, Out

Runs = Annotated[
    list[Path], typer.Argument(help="Run folders of `samplewise train`, and folders of studies.")
]
Metric = Annotated[str, typer.Option(help="The result on test data: accuracy, loss, ...")]


def keep(runs: Runs, out: Out = None, force: Force = False) -> None:
    """Draw test accuracy against keep: a line for each method that was run with several shares."""
    require("matplotlib", "report")
    from samplewise.cli.analyse.answers.pictures import keep

    keep(runs, out, force)


def heat(
    runs: Runs,
    x: Annotated[str, typer.Option(help="The parameter of the columns, such as T, keep or lr.")],
    y: Annotated[str, typer.Option(help="The parameter of the rows.")],
    recipe: Annotated[
        str | None, typer.Option(help="The method.", show_default="the only one that has both")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only runs with this value of another parameter: `beta=0.9`. Repeat the option."),
    ] = None,
    metric: Metric = "accuracy",
    out: Out = None,
    force: Force = False,
) -> None:
    """Draw a heat map over two parameters of a method: the mean over seeds in each cell."""
    require("matplotlib", "report")
    from samplewise.cli.analyse.answers.pictures import heat

    heat(runs, x, y, recipe, where or (), metric, out, force)


def published(
    numbers: Annotated[
        Path,
        typer.Argument(
            help="Published numbers: the folder of a study whose file has them, or TOML: [[published]] with "
            "method, value, source, and perhaps setting, name and spread."
        ),
    ],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders and folders of studies.", show_default="the folder of the study"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Compare differences to this method, such as full, in place of the numbers.",
            show_default="the `reference` of the file, full in a study, or none",
        ),
    ] = None,
    metric: Metric = "accuracy",
    out: Out = None,
    force: Force = False,
) -> None:
    """Compare published numbers with ours: a table, and a picture with both."""
    require("matplotlib", "report")
    require("scipy", "analysis")
    from samplewise.cli.analyse.answers.pictures import published

    published(numbers, runs or (), reference, metric, out, force)
