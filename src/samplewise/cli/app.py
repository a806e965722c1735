"""The commands together, and how their errors reach the user: one line, exit code 2."""

import re
import sys
from importlib import metadata
from typing import Annotated

import typer

from samplewise.cli.methods import methods
from samplewise.cli.score import score
from samplewise.cli.select import select
from samplewise.cli.theory import theory
from samplewise.cli.train import train

app = typer.Typer(
    name="samplewise",
    help="Data selection for training: which samples are worth it, and what that saves.",
    no_args_is_help=True,
    add_completion=False,
)
app.command()(train)
app.command()(score)
app.command()(select)
app.command()(methods)
app.add_typer(theory)


def _version(wanted: bool) -> bool:
    if wanted:
        print(f"samplewise {metadata.version('samplewise')}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Data selection for training: which samples are worth it, and what that saves."""


def call(arguments: list[str]) -> int:
    """Run the app and turn what the user can mend into one line on stderr."""
    try:
        code = app(arguments, prog_name="samplewise", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except (ValueError, ImportError, OSError) as error:
        return _fail(str(error))
    except Exception as error:
        # The option parser's own errors; their class lives in click or in typer, by version.
        if not hasattr(error, "format_message"):
            raise
        return _fail(error.format_message())
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    """Fields are named as the user wrote them: `Settings.batch_size` is `--batch-size`."""
    message = re.sub(r"\b(?:Settings|Wanted)\.(\w+)", lambda m: "--" + m[1].replace("_", "-"), message)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
