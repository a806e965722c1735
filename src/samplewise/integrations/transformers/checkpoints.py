"""The selector's state in a Trainer's checkpoint: one safetensors file, written last, that marks it whole."""

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
    """Put the selector's state into a checkpoint whose other files are all written.

    Args:
        folder: the checkpoint.
        state: of `selector.state_dict()`.
        step: optimizer steps made, as the Trainer counts them.
    """
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    content = {"step": step, "state": _plain(state, tensors, "state"), "files": _files(folder)}
    told = json.dumps(content)
    metadata = {"format": _FORMAT, "samplewise": told, "sha256": _digest(told, tensors)}
    with replacing(folder / FILE) as file:
        file.write(save(tensors, metadata))


def read(folder: str | Path) -> tuple[dict[str, Any], int]:
    """The selector's state and the optimizer steps made, of a checkpoint that is whole.

    Raises:
        ValueError: where a file is missing, torn or of another length; it names the last whole checkpoint.
    """
    if why := _broken(Path(folder)):
        last = latest_complete_checkpoint(Path(folder).parent)
        instead = (
            f"The last complete one is {last}." if last else "No other checkpoint beside it is complete."
        )
        raise ValueError(f"{folder} cannot be resumed: {why}. {instead}")
    with safe_open(Path(folder) / FILE, framework="pt") as file:
        content = _content(file)
        state = _back(content["state"], file)
    return state, content["step"]


def latest_complete_checkpoint(output_dir: str | Path) -> str | None:
    """The newest checkpoint of a Trainer's folder that a kill or a full disk has not left in parts.

    Args:
        output_dir: the Trainer's; it may not exist yet.

    Returns:
        Its path, for `trainer.train(resume_from_checkpoint=...)`, or None.
    """
    return next((str(folder) for folder in checkpoints_in(output_dir) if not _broken(folder)), None)


def checkpoints_in(output_dir: str | Path) -> list[Path]:
    """All checkpoints of a Trainer's folder, complete or not, the newest first."""
    if not Path(output_dir).is_dir():
        return []
    found = [(_NAME.fullmatch(entry.name), entry) for entry in Path(output_dir).iterdir() if entry.is_dir()]
    numbered = [(int(name[1]), entry) for name, entry in found if name]
    return [entry for _, entry in sorted(numbered, reverse=True)]


def _broken(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    if not (folder / FILE).is_file():
        return f"it has no {FILE}, so it was not written to its end, or not by a selective Trainer"
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            content = _content(file)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata()
            if metadata["sha256"] != _digest(metadata["samplewise"], tensors):
                raise ValueError("it does not agree with its digest")
    except (SafetensorError, ValueError, KeyError) as error:
        return f"{FILE} is damaged ({error})"
    for name, size in content["files"].items():
        if not (folder / name).is_file():
            return f"its {name} is missing"
        if (now := (folder / name).stat().st_size) != size:
            return f"its {name} has {now} bytes and was written with {size}"
    return None


def _content(file: Any) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"its format is {metadata.get('format')}, not {_FORMAT}")
    content: dict[str, Any] = json.loads(metadata["samplewise"])
    return content


def _digest(told: str, tensors: dict[str, Tensor]) -> str:
    """Of all that our file holds."""
    digest = hashlib.sha256(told.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, int]:
    """Every file of a checkpoint but our own, with its size in bytes."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    ours = {folder / FILE}
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in found
        if path not in ours and not is_partial(path)
    }


def _plain(value: Any, tensors: dict[str, Tensor], path: str) -> Any:
    """A state as JSON, its tensors taken out under the names of their places."""
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
        f"{path} is a {type(value).__name__}: a method's state_dict() must hold tensors, numbers, strings, "
        "None, and lists, tuples or dicts of them with names as keys."
    )


def _back(value: Any, file: Any) -> Any:
    """The state again."""
    if isinstance(value, list):
        return [_back(item, file) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == "tensor":
        return file.get_tensor(inside)
    if kind == "tuple":
        return tuple(_back(item, file) for item in inside)
    return {key: _back(item, file) for key, item in inside.items()}
