"""One command at a time in a run folder, or on a file that a command writes."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["LOCK", "InUseError", "file_alone", "folder_alone", "free_folder_alone"]

LOCK = ".lock"
"""The file in a run folder that the command at work holds locked; the system unlocks it when that ends."""


class InUseError(ValueError):
    """Another command holds the lock."""


@contextmanager
def folder_alone(folder: Path) -> Iterator[Path]:
    """Hold a folder for this command; it is made if it is missing, and removed again if it stays empty.

    Raises:
        InUseError: where another command, of this process or another one, holds it.
        ValueError: where the folder cannot be made or written.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file: name a folder.")
    with _alone(folder / LOCK, folder):
        yield folder


@contextmanager
def free_folder_alone(propose: Callable[[], Path]) -> Iterator[Path]:
    """Hold the first folder that `propose` gives and that no other command has taken meanwhile."""
    with ExitStack() as stack:
        folder = None
        while folder is None:
            with suppress(InUseError):
                folder = stack.enter_context(folder_alone(propose()))
        yield folder


@contextmanager
def file_alone(path: Path) -> Iterator[Path]:
    """Hold a file that is to be written; what killed writers left of it is removed. See `folder_alone`."""
    real = Path(os.path.realpath(path))
    with _alone(real.with_name(f".{real.name}{LOCK}"), path):
        for entry in real.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(real.name)}\.\d+\.partial", entry.name):
                entry.unlink(missing_ok=True)
        yield path


@contextmanager
def _alone(file: Path, out: Path) -> Iterator[None]:
    made = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
    lock = FileLock(file, timeout=0)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InUseError(
            f"{out} is in use by another samplewise command. Wait until that ends, or choose another --out."
        ) from None
    except OSError as error:
        _remove(made)
        raise ValueError(f"--out {out} cannot be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # before it is unlocked: whoever opened it in between sees that it is gone
        lock.release()
        _remove(made)


def _remove(folders: list[Path]) -> None:
    """Remove those of the folders that are empty, the deepest first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
