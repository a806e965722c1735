"""Locks: only one command at a time may use a run folder or write an output file."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["LOCK", "InUseError", "file_alone", "folder_alone", "free_folder_alone"]

LOCK = ".lock"
"""The lock file in a run folder. The system releases the lock when the command ends."""


class InUseError(ValueError):
    """Another command uses the folder or file."""


@contextmanager
def folder_alone(folder: Path) -> Iterator[Path]:
    """Lock a folder for this command. It is created if missing, and removed at the end if it is empty.

    Raises:
        InUseError: if another command, in this process or another one, holds the lock.
        ValueError: if the folder cannot be created or written.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must be a folder, but {folder} is a file. Choose another --out.")
    with _locked(folder / LOCK, folder):
        yield folder


@contextmanager
def free_folder_alone(propose: Callable[[], Path]) -> Iterator[Path]:
    """Lock the first folder that `propose` returns and that no other command uses."""
    with ExitStack() as stack:
        folder = None
        while folder is None:
            with suppress(InUseError):
                folder = stack.enter_context(folder_alone(propose()))
        yield folder


@contextmanager
def file_alone(path: Path) -> Iterator[Path]:
    """Lock a file that will be written, and remove its partial files. Raises as `folder_alone`."""
    real = Path(os.path.realpath(path))
    with _locked(real.with_name(f".{real.name}{LOCK}"), path):
        for entry in real.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(real.name)}\.\d+\.partial", entry.name):
                entry.unlink(missing_ok=True)
        yield path


@contextmanager
def _locked(file: Path, out: Path) -> Iterator[None]:
    made = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
    lock = FileLock(file, timeout=0)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InUseError(
            f"{out} is in use by another samplewise command. Wait until it ends, or choose another --out."
        ) from None
    except OSError as error:
        _remove(made)
        raise ValueError(f"--out {out} cannot be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # before the release: a command that opened it meanwhile sees that it is deleted
        lock.release()
        _remove(made)


def _remove(folders: list[Path]) -> None:
    """Remove the empty folders, deepest first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
