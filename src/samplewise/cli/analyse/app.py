"""The sub-commands of `samplewise analyse`."""

import typer

from samplewise.cli.analyse.agreement import agreement
from samplewise.cli.analyse.gradients import gradients
from samplewise.cli.analyse.groups import groups
from samplewise.cli.analyse.label_errors import label_errors
from samplewise.cli.analyse.leaving import leaving
from samplewise.cli.analyse.pictures import heat, keep, published
from samplewise.cli.analyse.retraining import retraining

analyse = typer.Typer(
    name="analyse", help="Ask score tables and run folders what selection did.", no_args_is_help=True
)


@analyse.callback()
def _options() -> None:
    """Ask score tables and run folders what selection did."""


analyse.command("label-errors")(label_errors)
analyse.command()(agreement)
analyse.command()(gradients)
analyse.command()(groups)
analyse.command()(heat)
analyse.command()(keep)
analyse.command()(leaving)
analyse.command()(published)
analyse.command()(retraining)
