"""`samplewise analyse retraining`: trainings on each group beside trainings on as many random samples."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from samplewise.bench.folder import RunFolder
from samplewise.checks import require
from samplewise.cli.analyse.common import Force, Out, folder_for, write_json
from samplewise.cli.console import terminal
from samplewise.files.atomic import replacing

if TYPE_CHECKING:
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
        console = terminal()
        console.print(_table(found))
        console.print(", ".join(str(folder / name) for name in FILES), soft_wrap=True, markup=False)


def _table(found: "list[Retrained]") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trained on")
    for header in ("samples", "accuracy, %", "as many random", "difference, points", "seeds"):
        table.add_column(header, justify="right", no_wrap=True)
    for one in found:
        ends = "" if one.low is None or one.high is None else f" ({one.low:+.2f} to {one.high:+.2f})"
        table.add_row(
            one.group, f"{one.samples:,.0f}", f"{one.accuracy:.2f}", f"{one.random:.2f}",
            f"{one.difference:+.2f}{ends}", str(one.seeds),
        )  # fmt: skip
    return table
