"""`samplewise analyse retraining`: trainings on each group beside trainings on as many random samples."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samplewise.bench.folder import RunFolder
from samplewise.checks import require
from samplewise.cli.analyse.common import Force, Out, folder_for, show, write_json
from samplewise.cli.console import terminal
from samplewise.files.atomic import replacing
from samplewise.report.drawing import grid

if TYPE_CHECKING:
    from rich.table import Table

    from samplewise.analysis.retraining import Retrained

FILES = ("retraining.json", "retraining.png")


def retraining(
    folders: Annotated[
        list[Path], typer.Argument(help="Run folders of the commands that `analyse groups` printed.")
    ],
    out: Out = None,
    force: Force = False,
) -> None:
    """Compare trainings on each group with trainings on as many random samples, seed by seed."""
    require("matplotlib", "report")
    require("scipy", "analysis")
    from samplewise.analysis.pictures.retraining import draw
    from samplewise.analysis.retraining import compare_retraining

    found = compare_retraining([row for path in folders for row in RunFolder(path).results()])
    with folder_for("retraining", out, force, FILES) as folder:
        write_json(folder / FILES[0], {"groups": [asdict(one) for one in found]})
        with replacing(folder / FILES[1]) as file:
            draw(found, file)
        show(_table(found, terminal().width), _said(found), [folder / name for name in FILES])


def _said(found: "list[Retrained]") -> str:
    """Which group differs most from random samples, in a sentence."""
    best, worst = (pick(found, key=lambda one: one.difference) for pick in (max, min))
    if best is worst:
        return f"Training on {best.group} gives {best.difference:+.2f} points beside as many random samples."
    return (
        f"Beside as many random samples, training on {best.group} gives the most ({best.difference:+.2f} "
        f"points) and on {worst.group} the least ({worst.difference:+.2f})."
    )


def _table(found: "list[Retrained]", width: int) -> "list[Table]":
    headers = ("trained on", "samples", "accuracy, %", "as many random", "difference, points", "seeds")
    rows = []
    for one in found:
        ends = "" if one.low is None or one.high is None else f" ({one.low:+.2f} to {one.high:+.2f})"
        numbers = f"{one.samples:,.0f}", f"{one.accuracy:.2f}", f"{one.random:.2f}"
        rows.append((one.group, *numbers, f"{one.difference:+.2f}{ends}", str(one.seeds)))
    return grid(headers, rows, width)
