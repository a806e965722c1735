"""Scales and parts of a study file: one question, on several tasks, as the paper trained and as runs here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from samplewise.checks import nearest

__all__ = ["SCALES", "chosen", "parts_of", "refuse_unknown"]

SCALES = ("small", "paper")
"""What a file can have: a task that runs in minutes to an hour, and the task of the paper."""
_TABLES = ("task", "let")
"""Tables that a scale and a part complete. What else they hold replaces what the file says for all."""
_WHOLE = ("scale", *SCALES, "parts", "published")
"""Keys that belong to the file as a whole."""


def refuse_unknown(content: Mapping[str, Any], path: Path, known: Sequence[str]) -> None:
    """Raise for a key that a study file does not have, in any of its scales and parts.

    Args:
        content: of the file.
        path: of the file, for the error.
        known: the keys of a study without scales and parts.
    """
    known = (*known, "let")
    _check_keys(content, str(path), (*known, *_WHOLE), "A study")
    for scale in SCALES:
        _check_keys(_table(content, scale, str(path)), f"{path}: [{scale}]", known, f"[{scale}]")
    names = []
    for part in _parts(content, path):
        name = part.get("name")
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(
                f"{path}: each of [[parts]] must have a name of letters, digits, - and _, got {name!r:.80}."
            )
        where = f"{path}: the part {name}"
        if name in names:
            raise ValueError(f"{where} is there twice. Give every part a name of its own.")
        names.append(name)
        _check_keys(part, where, (*known, *SCALES), "A part")
        for scale in SCALES:
            inner = _table(part, scale, where)
            if scale in part and scale not in content:
                raise ValueError(f"{where} has [parts.{scale}], but the file has no [{scale}]. Add it.")
            _check_keys(inner, f"{where}, {scale}", known, f"[parts.{scale}]")
    _check_published(content, path, names)
    given = content.get("scale")
    there = [scale for scale in SCALES if scale in content]
    if there and given not in there:
        raise ValueError(
            f'{path}: scale must be {" or ".join(there)}, got {given!r:.80}. Write scale = "{there[0]}" at '
            "the top of the file."
        )
    if given is not None and not there:
        raise ValueError(f"{path} has scale = {given!r:.80}, but no table [small] or [paper]. Add one.")


def parts_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the parts of a study file; empty if it has none."""
    return tuple(part["name"] for part in content.get("parts", ()))


def chosen(
    content: Mapping[str, Any], path: Path, scale: str | None = None, part: str | None = None
) -> dict[str, Any]:
    """The content of a study file for one scale and one part, as a file without them would have it.

    What stands nearer wins: the file, its scale, the part, the part's scale. The tables `task` and `let` are
    completed key by key. `$name` in methods, their names, claims and published numbers is replaced by `name`
    of `let`.

    Args:
        content: of the file, checked.
        path: of the file, for errors.
        scale: "small" or "paper"; by default what the file says.
        part: the name of a part, if the file has parts.

    Raises:
        ValueError: for a scale or a part that the file does not have.
    """
    wanted = content.get("scale") if scale is None else scale
    if wanted is not None and wanted not in content:
        has = " and ".join(name for name in SCALES if name in content) or "no scales"
        raise ValueError(f"{path} must have the scale {wanted!r:.80}, but it has {has}.")
    names = parts_of(content)
    if part is None and names:
        raise ValueError(f"{path} has the parts {', '.join(names)}. Choose one of them with part.")
    if part is not None and part not in names:
        has = f"It has {', '.join(names)}." if names else "It has no parts."
        raise ValueError(f"{path} has no part {part!r:.80}.{nearest(str(part), names)} {has}")
    own: Mapping[str, Any] = next((p for p in content.get("parts", ()) if p["name"] == part), {})
    found: dict[str, Any] = {}
    unnamed = {key: value for key, value in own.items() if key != "name"}
    for layer in (content, content.get(str(wanted), {}), unnamed, own.get(str(wanted), {})):
        _complete(found, layer)
    if wanted is not None:
        found["scale"] = wanted
    let = found.pop("let", {})
    for key in ("methods", "names", "published", "claims"):
        if key in content or key in found:
            found[key] = _filled(found.get(key, content.get(key)), let, path)
    return found


def _complete(found: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Put the keys of a layer over what was found before."""
    for key, value in layer.items():
        if key in _TABLES and isinstance(value, Mapping) and isinstance(found.get(key, {}), Mapping):
            found[key] = {**found.get(key, {}), **value}
        elif key not in _WHOLE:
            found[key] = value


def _filled(value: Any, let: Mapping[str, Any], path: Path) -> Any:
    """The same with every `$name` replaced, in the keys of tables, too."""
    if isinstance(value, str):
        return _text(value, let, path)
    if isinstance(value, Mapping):
        return {_text(key, let, path): _filled(part, let, path) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, let, path) for part in value]
    return value


def _text(text: str, let: Mapping[str, Any], path: Path) -> str:
    try:
        return Template(text).substitute(let)
    except KeyError as error:
        name = str(error.args[0])
        raise ValueError(
            f"{path}: {text!r:.100} needs {name!r} in a table [let], which has "
            f"{', '.join(let) or 'nothing'}.{nearest(name, tuple(let))}"
        ) from None
    except ValueError:
        raise ValueError(
            f"{path}: {text!r:.100} has a $ that begins no name. Write $$ for the sign."
        ) from None


def _check_published(content: Mapping[str, Any], path: Path, parts: Sequence[str]) -> None:
    """Raise if published numbers belong to no part of a file that has parts."""
    blocks = content.get("published", [])
    if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
        raise ValueError(f"{path}: published must be tables [[published]], got {blocks!r:.80}.")
    for block in blocks:
        part = block.get("part")
        if part is None and not parts:
            continue
        if part not in parts:
            has = f"one of {', '.join(parts)}" if parts else "left out, since the file has no parts"
            raise ValueError(
                f"{path}: [[published]] {block.get('source', '')}: part must be {has}, got {part!r:.80}."
                f"{nearest(str(part), parts)}"
            )


def _parts(content: Mapping[str, Any], path: Path) -> list[Mapping[str, Any]]:
    parts = content.get("parts", [])
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise ValueError(f"{path}: parts must be tables [[parts]], got {parts!r:.80}.")
    return parts


def _table(content: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, Mapping):
        raise ValueError(f"{where}: {name} must be a table, got {table!r:.80}.")
    return table


def _check_keys(table: Mapping[str, Any], where: str, known: Sequence[str], whose: str) -> None:
    """Raise for an unknown key, and for tables that are none."""
    for key in table:
        if key not in known:
            hint = " It belongs under [task]." if key == "epochs" else nearest(key, known)
            raise ValueError(f"{where}: unknown key {key!r}.{hint} {whose} has {', '.join(known)}.")
    for key in _TABLES:
        _table(table, key, where)
