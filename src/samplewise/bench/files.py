"""Reading and writing the JSON files of a run folder. Writing is atomic; a damaged file is an error."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from samplewise.files.atomic import replacing


def write_json(path: Path, content: Any) -> None:
    """Write one JSON document, indented."""
    _write(path, json.dumps(content, indent=2) + "\n")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines. The whole file is replaced, so a reader never finds an incomplete line."""
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSON lines file. If the file does not exist, the list is empty."""
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is damaged: every line must be a JSON object")
    return rows


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object."""
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it must hold a JSON object")
    return content


def plain(value: Any) -> Any:
    """The value as JSON has it. A number that is not finite becomes null, and a path text."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
