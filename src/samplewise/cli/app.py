"""All commands, and how their errors reach the user: one line, exit code 2."""

import io
import os
import re
import sys
from typing import Annotated

import typer

import samplewise
from samplewise.checks import nearest
from samplewise.cli.commands import Commands

LONGEST = 1000
"""The most letters of an error. Of a longer one, which repeats long input, the middle is left out."""

app = typer.Typer(
    name="samplewise",
    cls=Commands,
    help="Select the samples that are worth training on, and measure what that saves.",
    no_args_is_help=True,
)


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
    """Select the samples that are worth training on, and measure what that saves."""


def call(arguments: list[str]) -> int:
    """Run the app. An error that the user can fix becomes one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that it cannot show stops nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(arguments, prog_name="samplewise", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # The reader of the output is gone. Without this, the interpreter reports it again at its end.
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
        return _fail(_choices(error.format_message()))
    return code if isinstance(code, int) else 0


def _choices(message: str) -> str:
    """The parser's error about an option with choices, worded as all other errors."""
    found = re.fullmatch(r".*?'(--[\w-]+).*?: .*?'(.*)' is not one of (.+)\.", message, re.DOTALL)
    if found is None:
        return message
    option, got, known = found.groups()
    meant = nearest(got, re.findall(r"'(.*?)'", known))
    return f"{option} must be one of {known}, got {got!r}.{meant}"


def _fail(message: str) -> int:
    """Fields are named as the user wrote them: `Settings.batch_size` is `--batch-size`."""
    message = re.sub(
        r"\b(?:Settings|Wanted|LrShape|advise)\.(\w+)", lambda m: "--" + m[1].replace("_", "-"), message
    )
    line = " ".join(re.sub(r"\bSpec\.(\w+)", r"\1", message).split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST * 3 // 4]} [...] {line[-LONGEST // 4 :]}"
    print(f"error: {line}", file=sys.stderr)
    return 2
