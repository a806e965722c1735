"""The JSON files of a run folder: each either whole or absent, and refused by name when damaged."""

import json
from pathlib import Path
from typing import Any

from samplewise.files.atomic import replacing


def write_json(path: Path, content: Any) -> None:
    """One JSON document, indented."""
    _write(path, json.dumps(content, indent=2) + "\n")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines, the whole file anew: a reader never meets half a line."""
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file; none if there is no such file yet."""
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is damaged: every line must be a JSON object")
    return rows
