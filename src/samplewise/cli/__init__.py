"""The `samplewise` command."""

import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for bad input, 130 when interrupted."""
    if "torch" not in sys.modules:
        # Read once, when torch is loaded: its threads sleep while they wait instead of spinning, which
        # takes the cores from the threads that work where another process is busy too.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
