"""The `samplewise` command."""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for bad input, 130 when interrupted."""
    try:
        from samplewise.checks import require

        for module in ("typer", "rich", "filelock"):
            require(module, "cli")
        from samplewise.cli.app import call
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # loading torch takes seconds
        return 130
    return call(sys.argv[1:] if arguments is None else arguments)
