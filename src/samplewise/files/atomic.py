"""Atomic writing: a new file replaces the old one only when all of it is on disk."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["is_partial", "refuse_special", "replacing"]

_ABANDONED = 3600.0
"""Age in seconds after which a partial file counts as left behind by a killed process."""


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file for writing and reading. It replaces `path` when the block ends without an error.

    Until then it is a hidden file in the same folder. If the process is killed or the machine stops, `path`
    holds the complete old content or the complete new content.

    Raises:
        OSError: if writing fails, such as on a full disk. The errno is that of the failure. The old file is
            unchanged, and no partial file is left.
        ValueError: if `path` is a device, a pipe or a socket.
    """
    path = Path(os.path.realpath(path))  # a symbolic link stays; the file it points to is replaced
    refuse_special(path)
    # The process id is in the name, so two processes that save at once do not write into one file.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            with partial.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        why = f"could not be written: {error.strerror or error}. The old file is unchanged"
        raise OSError(error.errno, why, str(path)) from error
    _sync(path.parent)
    _clear(path)


def refuse_special(path: Path) -> None:
    """Raise if `path` must not be replaced by a file.

    Raises:
        ValueError: if `path` is a device, a pipe or a socket.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(
            f"the path to write must be a regular file, but {path} is a device, a pipe or a socket. Choose "
            "another path."
        )


def is_partial(path: Path) -> bool:
    """Return whether `path` is a partial file of `replacing`, as a killed process leaves it."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def _sync(folder: Path) -> None:
    """Flush the folder entry to disk, if the system supports it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems do not support it; the file itself is complete
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear(path: Path) -> None:
    """Remove old partial files of `path` that killed processes left behind."""
    for entry in path.parent.iterdir():
        if is_partial(entry) and entry.name.startswith(f".{path.name}."):
            with suppress(OSError):  # another process may remove it at the same time
                if time.time() - entry.stat().st_mtime > _ABANDONED:
                    entry.unlink()
