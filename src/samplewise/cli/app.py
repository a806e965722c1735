"""The commands together, and how their errors reach the user: one line, exit code 2."""

import io
import os
import re
import sys
from typing import Annotated

import typer

import samplewise
from samplewise.cli.methods import methods
from samplewise.cli.score import score
from samplewise.cli.select import select
from samplewise.cli.theory import theory
from samplewise.cli.train import train

LONGEST = 1000
"""Letters of an error; the middle of a longer one, which repeats long input, is left out."""

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
        print(f"samplewise {samplewise.__version__}")
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show stops nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(arguments, prog_name="samplewise", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # Whoever read the output is gone; nor may the interpreter find that out once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, ImportError, OSError, MemoryError) as error:
        return _fail(str(error) or type(error).__name__)
    except RuntimeError as error:
        if not re.search("out of memory|allocate memory|DataLoader worker", str(error)):
            raise
        return _fail(
            f"{str(error).strip().splitlines()[0]} Try a smaller --batch-size, --model or --workers."
        )
    except Exception as error:
        # The option parser's own errors; their class lives in click or in typer, by version.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # the help was printed; nothing else is wrong
            return 2
        return _fail(error.format_message())
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    """Fields are named as the user wrote them: `Settings.batch_size` is `--batch-size`."""
    message = re.sub(r"\b(?:Settings|Wanted)\.(\w+)", lambda m: "--" + m[1].replace("_", "-"), message)
    line = " ".join(message.split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST * 3 // 4]} [...] {line[-LONGEST // 4 :]}"
    print(f"error: {line}", file=sys.stderr)
    return 2
