"""Checkpoints: written whole or not at all, with a digest inside, and read without running anything."""

import hashlib
import pickle
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from samplewise.files.atomic import replacing

__all__ = ["load", "save"]

# The comment of the zip archive that torch.save makes: plain torch.load does not look at it, and torch's
# own reader does not notice a changed byte inside a tensor.
_LABEL = b"samplewise sha256 "
_COMMENT = len(_LABEL) + 64
_CHUNK = 1 << 20


def save(path: str | Path, state: Any) -> None:
    """Write a checkpoint: tensors, numbers, strings, None, and dicts, lists or tuples of them.

    The file appears under its name, or takes the place of the one there, only when it is whole and on
    disk. Plain `torch.load(path, weights_only=True)` reads it as well. With several processes call it
    on one of them.

    Raises:
        ValueError: where `state` holds an object that `load` would refuse to build.
        OSError: where it cannot be written; what was there before is as it was.
    """
    with replacing(path) as file:
        writer = _Hashed(file)
        torch.save(state, cast(IO[bytes], writer))
        if writer.failure is not None:
            raise writer.failure
        if refused := _foreign(file):
            raise ValueError(
                f"{path} was not written: the state holds {refused}, which load would refuse. Save tensors "
                "and plain values: float(x) of a numpy number, torch.from_numpy(x) of an array, "
                "state_dict() of an object."
            )
        file.seek(-2, 2)
        file.write(_COMMENT.to_bytes(2, "little") + _LABEL + writer.digest.hexdigest().encode())


def load(path: str | Path, map_location: Any = None) -> Any:
    """Read what `save` wrote; nothing that the file may hold is run.

    Args:
        path: the file.
        map_location: as in `torch.load`: where tensors go.

    Raises:
        ValueError: where the file is torn, was changed, or holds anything but tensors and plain values.
    """
    with Path(path).open("rb") as file:
        if not _is_whole(file):
            raise ValueError(
                f"{path} is damaged, or was not written by samplewise.save: it does not agree with the "
                "digest at its end. Go on from an older checkpoint; a file of torch.save is read by "
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
    raise ValueError(f"{path} asks for {refused}, which is no tensor or plain value. It was not run.")


def _foreign(file: BinaryIO) -> str:
    """What a checkpoint names besides tensors and plain values; nothing of it is imported or run."""
    file.seek(0)
    return ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file)))


def _is_whole(file: BinaryIO) -> bool:
    """Whether the content agrees with the digest in the archive's comment."""
    end = file.seek(0, 2) - _COMMENT
    if end < 2:
        return False
    file.seek(end - 2)
    if file.read(2) != _COMMENT.to_bytes(2, "little") or file.read(len(_LABEL)) != _LABEL:
        return False
    told = file.read()
    digest, left = hashlib.sha256(), end - 2
    file.seek(0)
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(b"\0\0")  # the length of the comment, when there was none yet
    return digest.hexdigest().encode() == told


class _Hashed:
    """What torch writes to: passes all on and digests it.

    A failure, and what a signal handler raises here, is kept for the end: on its way through torch's
    writer it would become an error of another kind.
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
        """Nothing is held back here."""
