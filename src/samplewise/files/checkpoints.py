"""Checkpoints: written atomically, with a SHA-256 digest inside, and loaded without running any code."""

import hashlib
import pickle
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from samplewise.files.atomic import replacing

__all__ = ["load", "save"]

# The digest is the comment of the zip archive that torch.save writes. Plain torch.load ignores the comment.
# Without a digest, torch's own reader does not notice a changed byte inside a tensor.
_LABEL = b"samplewise sha256 "
_COMMENT = len(_LABEL) + 64
_CHUNK = 1 << 20


def save(path: str | Path, state: Any) -> None:
    """Write a checkpoint: tensors, numbers, strings, None, and dicts, lists or tuples of them.

    The new file replaces an old one only when it is complete and on disk. Plain
    `torch.load(path, weights_only=True)` can read it too. With several processes, call it on one of them.

    Raises:
        ValueError: if `state` holds an object that `load` would refuse.
        OSError: if the file cannot be written. The old file is then unchanged.
    """
    with replacing(path) as file:
        writer = _Hashed(file)
        torch.save(state, cast(IO[bytes], writer))
        if writer.failure is not None:
            raise writer.failure
        if refused := _foreign(file):
            raise ValueError(
                f"{path} was not written: the state may hold only tensors and plain values, but it holds "
                f"{refused}. Convert a numpy number with float(x) and an array with torch.from_numpy(x). "
                "Save an object as its state_dict()."
            )
        file.seek(-2, 2)
        file.write(_COMMENT.to_bytes(2, "little") + _LABEL + writer.digest.hexdigest().encode())


def load(path: str | Path, map_location: Any = None) -> Any:
    """Read a file that `save` wrote. No code in the file is run.

    Args:
        path: the file.
        map_location: the device for the tensors, as in `torch.load`.

    Raises:
        ValueError: if the file is incomplete or changed, or holds anything but tensors and plain values.
    """
    with Path(path).open("rb") as file:
        if not _is_whole(file):
            raise ValueError(
                f"{path} is damaged, or samplewise.save did not write it: its content does not match the "
                "digest at its end. Use an older checkpoint. To read a file of torch.save, call "
                "torch.load(path, weights_only=True)."
            )
        file.seek(0)
        try:
            refused = _foreign(file)
            file.seek(0)
            if not refused:
                return torch.load(file, map_location=map_location, weights_only=True)
        except (RuntimeError, ValueError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path} cannot be read by torch {torch.__version__}: {error}") from error
    raise ValueError(
        f"{path} may hold only tensors and plain values, but it holds {refused}. No code in the file was "
        "run. Load only files that samplewise.save wrote."
    )


def _foreign(file: BinaryIO) -> str:
    """Names of objects in a checkpoint that are not tensors or plain values. No code is imported or run."""
    file.seek(0)
    return ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file)))


def _is_whole(file: BinaryIO) -> bool:
    """Return whether the content matches the digest in the comment of the archive."""
    end = file.seek(0, 2) - _COMMENT
    if end < 2:
        return False
    file.seek(end - 2)
    if file.read(2) != _COMMENT.to_bytes(2, "little") or file.read(len(_LABEL)) != _LABEL:
        return False
    stored = file.read()
    digest, left = hashlib.sha256(), end - 2
    file.seek(0)
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(b"\0\0")  # the length of the comment was 0 when the digest was computed
    return digest.hexdigest().encode() == stored


class _Hashed:
    """A file for torch to write to. It computes the digest of all bytes and passes them on.

    An exception in `write`, also one from a signal handler, is stored and raised after torch has returned.
    If it went through torch's writer, torch would turn it into another type of error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.failure: BaseException | None = None

    def write(self, content: Any) -> int:
        if self.failure is None:
            try:
                self.digest.update(content)
                self.file.write(content)
            except BaseException as error:
                self.failure = error
        return len(content)

    def flush(self) -> None:
        """Do nothing: `write` does not buffer."""
