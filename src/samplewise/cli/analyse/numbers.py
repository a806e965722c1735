"""Published numbers: from a TOML file, or from the folder of a study whose file has them."""

import json
import tomllib
from pathlib import Path
from typing import Any

from samplewise.bench.study.jobs import FULL
from samplewise.checks import nearest

__all__ = ["read_published"]

_KEYS = ("method", "value", "source", "setting", "name", "spread")
_VERDICTS = "verdicts.json"


def read_published(path: Path, metric: str) -> tuple[list[dict[str, Any]], str | None]:
    """The published numbers of a file or of a study, and the method that they are compared to.

    A number of a study whose digits cannot be all read is left out, and so are those of other metrics. Of a
    study the reference is `full`, if every setting has a number of it.

    Args:
        path: of the TOML file, or of the folder of a study.
        metric: the result on test data. Of a TOML file, all numbers are of it.

    Raises:
        ValueError: if the file cannot be read, or an entry lacks a key, has an unknown one or no number. Also
            for a study that has no published number.
    """
    return _of_study(path / _VERDICTS, metric) if path.is_dir() else _of_file(path)


def _of_study(path: Path, metric: str) -> tuple[list[dict[str, Any]], str | None]:
    try:
        rows = json.loads(path.read_text()).get("published", [])
        rows = [row for row in rows if row["method"] and row["metric"] == metric and row["value"] is not None]
        entries: dict[tuple[str, str], dict[str, Any]] = {}
        for row in rows:
            setting = f"{row['source']}, {row['setting']}"
            # Differences to full training are numbers beside 0. Other rows know the number of full training.
            full = 0.0 if row["difference"] else row["full"]
            if full is not None and row["method"] != FULL:
                found = {"method": FULL, "value": full, "source": row["source"], "setting": setting}
                entries.setdefault((setting, FULL), found)
            entries[setting, row["method"]] = {
                "method": row["method"],
                "value": row["value"],
                "spread": row["spread"],
                "source": row["source"],
                "setting": setting,
            }
    except FileNotFoundError:
        parts = sorted(str(file.parent) for file in path.parent.glob(f"*/**/{path.name}"))
        hint = (
            f"Its scales and parts have folders of their own: {', '.join(parts)}"
            if parts
            else "Or give a TOML file"
        )
        raise ValueError(
            f"{path.parent} has no {path.name}: it must be the folder of a study that has run. {hint}."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}. Run the study again.") from error
    if not entries:
        raise ValueError(f"{path.parent} has no published number of {metric}: its study file has none.")
    settings = {setting for setting, _ in entries}
    whole = all((setting, FULL) in entries for setting in settings)
    return list(entries.values()), FULL if whole else None


def _of_file(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: it must be a file of published numbers (TOML).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} is no file of published numbers (TOML): {error}.") from None
    entries = content.get("published")
    if not isinstance(entries, list) or not entries or not all(isinstance(one, dict) for one in entries):
        raise ValueError(f"{path} must have at least one table [[published]] with method, value and source.")
    for number, entry in enumerate(entries, 1):
        where = f"{path}, number {number}"
        for key in entry:
            if key not in _KEYS:
                raise ValueError(
                    f"{where}: unknown key {key!r}.{nearest(key, _KEYS)} It has {', '.join(_KEYS)}."
                )
        for key in ("method", "source", "setting", "name"):
            if not isinstance(entry.get(key, "" if key in ("setting", "name") else None), str):
                raise ValueError(f"{where}: {key} must be text, got {entry.get(key)!r:.80}.")
        for key in ("value", "spread"):
            value = entry.get(key, 0.0 if key == "spread" else None)
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"{where}: {key} must be a number, got {value!r:.80}.")
    reference = content.get("reference")
    if reference is not None and not isinstance(reference, str):
        raise ValueError(f"{path}: reference must be the text of a method, got {reference!r:.80}.")
    return entries, reference
