"""The sub-commands of `samplewise analyse`."""

import typer

analyse = typer.Typer(
    name="analyse", help="Ask score tables and run folders what selection did.", no_args_is_help=True
)


@analyse.callback()
def _options() -> None:
    """Ask score tables and run folders what selection did."""
