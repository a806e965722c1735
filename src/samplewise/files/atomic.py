"""Files that are either whole or absent: a new file takes the name only when all of it is on disk."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["is_partial", "refuse_special", "replacing"]

_ABANDONED = 3600.0
"""Seconds after which a part file nobody writes to is what a killed process left behind."""


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file, readable too, that takes the place of `path` when the block ends without an error.

    Until then it is a hidden file beside it. A process that is killed at any moment, or a machine that
    stops, leaves under the name the old content or the new one, never a part.

    Raises:
        OSError: with the errno of what failed, such as a full disk; the old file is as it was, and no
            other is left behind.
        ValueError: where `path` is a device, a pipe or a socket.
    """
    path = Path(os.path.realpath(path))  # a link stays a link, to a file that is replaced
    refuse_special(path)
    # The process in the name: two that save at once by mistake do not write into each other's file.
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
        why = f"could not be written: {error.strerror or error}. What was there before is as it was"
        raise OSError(error.errno, why, str(path)) from error
    _sync(path.parent)
    _clear(path)


def refuse_special(path: Path) -> None:
    """Raise where a file must not take the place of `path`: a device, a pipe or a socket.

    Raises:
        ValueError: naming it.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path} is a device, a pipe or a socket: name a file that may be written anew.")


def is_partial(path: Path) -> bool:
    """Whether `path` is what a killed process may leave of `replacing`."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def _sync(folder: Path) -> None:
    """Have the new name itself on disk, where the file system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems refuse; the file is whole all the same
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear(path: Path) -> None:
    """Remove the part files of `path` that killed processes left behind long ago."""
    for entry in path.parent.iterdir():
        if is_partial(entry) and entry.name.startswith(f".{path.name}."):
            with suppress(OSError):  # another process may do the same
                if time.time() - entry.stat().st_mtime > _ABANDONED:
                    entry.unlink()
