"""Files that are either whole or absent: atomic writing, and checkpoints that know their digest."""

import hashlib
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

# Before every checkpoint: torch's own reader does not notice a changed byte inside a tensor.
_MAGIC = b"samplewise checkpoint 1\n"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` in one step: after a crash it holds the old content or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def is_partial(path: Path) -> bool:
    """Whether `path` is what a killed `write_bytes` may leave behind."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def write_json(path: Path, content: Any) -> None:
    """One JSON document, indented."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines, the whole file anew: a reader never meets half a line."""
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file; none if there is no such file yet."""
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is damaged: every line must be a JSON object")
    return rows


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Tensors and primitives, preceded by their SHA-256."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    write_bytes(path, _MAGIC + hashlib.sha256(payload).digest() + payload)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote; a damaged file is an error that names it."""
    content = path.read_bytes()
    payload = content[len(_MAGIC) + 32 :]
    if (
        content[: len(_MAGIC)] != _MAGIC
        or hashlib.sha256(payload).digest() != (content[len(_MAGIC) : len(_MAGIC) + 32])
    ):
        raise ValueError(
            f"checkpoint {path} is damaged. Delete it to start this one run again from its first epoch"
        )
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint {path} cannot be read by this version of torch") from error
    return state
