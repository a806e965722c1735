"""The versions of samplewise, torch and Python that made a file."""

import platform

__all__ = ["VERSION", "versions"]

VERSION = "0.2.0"
"""Of samplewise. It stands in the code, because a checkout on PYTHONPATH has no package metadata."""


def versions() -> dict[str, str]:
    """What made a table, a subset or a run."""
    import torch  # here, so that `samplewise --version` does not wait for it

    return {"samplewise": VERSION, "torch": str(torch.__version__), "python": platform.python_version()}
