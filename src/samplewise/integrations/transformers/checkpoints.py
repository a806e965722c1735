"""The selector's state in a Trainer's checkpoint: one file, written last, so it also marks completeness."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from samplewise.files.atomic import is_partial, replacing

__all__ = ["FILE", "checkpoints_in", "latest_complete_checkpoint", "read", "write"]

FILE = "samplewise.safetensors"
_NAME = re.compile(r"checkpoint-(\d+)")
_FORMAT = "1"


def write(folder: str | Path, state: dict[str, Any], step: int) -> None:
    """Write the selector's state into a checkpoint. All its other files must already be written.

    Args:
        folder: the folder of the checkpoint.
        state: the result of `selector.state_dict()`.
        step: the number of optimizer steps of the Trainer.
    """
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    content = {"step": step, "state": _plain(state, tensors, "state"), "files": _files(folder)}
    text = json.dumps(content)
    metadata = {"format": _FORMAT, "samplewise": text, "sha256": _digest(text, tensors)}
    with replacing(folder / FILE) as file:
        file.write(save(tensors, metadata))


def read(folder: str | Path) -> tuple[dict[str, Any], int]:
    """Read the selector's state and the number of optimizer steps from a complete checkpoint.

    Raises:
        ValueError: if a file is missing, damaged or has another size. The error names the last complete
            checkpoint.
    """
    if why := _broken(Path(folder)):
        last = latest_complete_checkpoint(Path(folder).parent)
        instead = f"Use the last complete one: {last}." if last else "There is no other complete checkpoint."
        raise ValueError(f"{folder} cannot be resumed: {why}. {instead}")
    with safe_open(Path(folder) / FILE, framework="pt") as file:
        content = _content(file)
        state = _from_plain(content["state"], file)
    return state, content["step"]


def latest_complete_checkpoint(output_dir: str | Path) -> str | None:
    """Find the newest complete checkpoint in the Trainer's output folder.

    A checkpoint is incomplete if the process was killed, or the disk was full, while it was written.

    Args:
        output_dir: the Trainer's output folder. It may not exist yet.

    Returns:
        The path for `trainer.train(resume_from_checkpoint=...)`, or None.
    """
    return next((str(folder) for folder in checkpoints_in(output_dir) if not _broken(folder)), None)


def checkpoints_in(output_dir: str | Path) -> list[Path]:
    """All checkpoints in a Trainer's output folder, complete or not, newest first."""
    if not Path(output_dir).is_dir():
        return []
    found = [(_NAME.fullmatch(entry.name), entry) for entry in Path(output_dir).iterdir() if entry.is_dir()]
    numbered = [(int(name[1]), entry) for name, entry in found if name]
    return [entry for _, entry in sorted(numbered, reverse=True)]


def _broken(folder: Path) -> str | None:
    """Return the reason why a checkpoint is incomplete, or None."""
    if not (folder / FILE).is_file():
        return f"it has no {FILE}, so it is incomplete, or a Trainer without selection wrote it"
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            content = _content(file)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata()
            if metadata["sha256"] != _digest(metadata["samplewise"], tensors):
                raise ValueError("it does not match its digest")
    except (SafetensorError, ValueError, KeyError) as error:
        return f"{FILE} is damaged ({error})"
    for name, size in content["files"].items():
        if not (folder / name).is_file():
            return f"its {name} is missing"
        if (now := (folder / name).stat().st_size) != size:
            return f"its {name} has {now} bytes instead of {size}"
    return None


def _content(file: Any) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"its format must be {_FORMAT}, got {metadata.get('format')}")
    content: dict[str, Any] = json.loads(metadata["samplewise"])
    return content


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """The SHA-256 digest of the content of the selector's file."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, int]:
    """All files of a checkpoint except the selector's, with their sizes in bytes."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    ours = {folder / FILE}
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in found
        if path not in ours and not is_partial(path)
    }


def _plain(value: Any, tensors: dict[str, Tensor], path: str) -> Any:
    """Convert a state to JSON values. Its tensors go into `tensors`, named by their paths."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _plain(item, tensors, f"{path}.{key}") for key, item in value.items()}}
    if isinstance(value, list | tuple):
        items = [_plain(item, tensors, f"{path}.{i}") for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        "the state_dict() of a method must hold tensors, numbers, strings, None, and lists, tuples or dicts "
        f"(with string keys) of them, but {path} is a {type(value).__name__}."
    )


def _from_plain(value: Any, file: Any) -> Any:
    """Convert JSON values back to the state."""
    if isinstance(value, list):
        return [_from_plain(item, file) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == "tensor":
        return file.get_tensor(inside)
    if kind == "tuple":
        return tuple(_from_plain(item, file) for item in inside)
    return {key: _from_plain(item, file) for key, item in inside.items()}
