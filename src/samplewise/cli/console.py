"""Where the commands print."""

from rich.console import Console


def terminal() -> Console:
    """Standard output; a pipe has no width to break lines at, so it gets a wide one."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
