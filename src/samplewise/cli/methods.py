"""`samplewise methods`: the registry as a table, and all of one method."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from samplewise.checks import nearest
from samplewise.cli.console import terminal
from samplewise.report.drawing import grid

INDEX = Path(__file__).with_suffix(".json")
"""The registry, written by docs/generate.py. So the list does not wait for torch, which the recipes load."""
_FACTS = ("needs", "signal", "memory", "choice", "cost", "paper", "verdicts")


def names(incomplete: str) -> list[tuple[str, str]]:
    """The methods that a word begins, each with what it does."""
    return [(name, made["does"]) for name, made in _registry().items() if name.startswith(incomplete)]


def methods(
    name: Annotated[
        str | None, typer.Argument(help="Show all of this method.", metavar="NAME", autocompletion=names)
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(help="Only methods of this level. Repeat the option for several.", show_default="all"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List every method with its parameters, as `samplewise train --method` takes them."""
    found, console = _registry(), terminal()
    if name is not None:
        if level:
            raise ValueError(f"--level chooses among methods, but {name} is one. Leave out one of them.")
        bare = name.split(":")[0].split("@")[0]
        if bare not in found:
            raise ValueError(
                f"unknown method {bare!r:.80}.{nearest(bare, found)} `samplewise methods` lists all of them."
            )
        found = {bare: found[bare]}
    levels = list(dict.fromkeys(made["level"] for made in found.values()))
    for one in level or ():
        if one not in levels:
            raise ValueError(
                f"--level must be one of {', '.join(levels)}, got {one!r:.80}.{nearest(one, levels)}"
            )
    chosen = {key: made for key, made in found.items() if not level or made["level"] in level}
    if as_json:
        print(json.dumps(chosen if name is None else {"name": bare} | chosen[bare], indent=1))
    elif name is not None:
        _one(bare, chosen[bare], console)
    else:
        _list(chosen, console)


def _registry() -> dict[str, dict[str, Any]]:
    return dict(sorted(json.loads(INDEX.read_text()).items()))


def _written(parameter: Mapping[str, str]) -> str:
    """A parameter as `--method` takes it."""
    default = parameter["default"].replace(" ", "")
    return f"{parameter['name']}={default}" if default else parameter["name"]


def _list(chosen: dict[str, dict[str, Any]], console: Console) -> None:
    """A line for each method, and how many there are."""
    for key, made in chosen.items():
        console.print(f"[bold]{key}[/]  {made['level']}, reads {made['source']}, {made['paper']}")
        for line in (made["does"], ", ".join(map(_written, made["parameters"]))):
            for part in _lines(line, console.width):
                console.print(f"    {part}", style="" if line is made["does"] else "dim", markup=False)
    levels = [made["level"] for made in chosen.values()]
    counts = ", ".join(f"{levels.count(one)} {one}" for one in dict.fromkeys(levels))
    some = f"There are {len(chosen)} methods" if len(chosen) > 1 else "There is 1 method"
    console.print(
        f"\n{some}: {counts}. `samplewise methods NAME` shows what one needs, costs and means.",
        style="bold",
        soft_wrap=True,
    )


def _one(name: str, made: dict[str, Any], console: Console) -> None:
    """Everything that is known of a method."""
    console.print(f"[bold]{name}[/]: level {made['level']}, reads {made['source']}")
    console.print(made["does"], markup=False)
    console.print()
    told = made | {"needs": ", ".join(made["needs"]) or "only losses", "verdicts": _verdicts(made)}
    width = max(map(len, _FACTS))
    for fact in _FACTS:
        first, *more = _lines(told.get(fact, ""), console.width - width)
        console.print(f"{fact:<{width}}  {first}", markup=False)
        for line in more:
            console.print(f"{'':<{width}}  {line}", markup=False)
    for paragraph in made["about"]:
        console.print()
        console.print(paragraph, markup=False)
    if made["parameters"]:
        console.print()
        rows = [
            [p["name"], p["default"] or "(give it)", p["allowed"], p["meaning"]] for p in made["parameters"]
        ]
        headers = ("parameter", "default", "may be", "meaning")
        for drawn in grid(headers, rows, console.width, words=headers):
            console.print(drawn)
    kept = [p for p in made["parameters"] if p["name"] == "keep" or not p["default"]]
    spec = ",".join(_written(p) if p["default"] else f"{p['name']}=FILE" for p in kept)
    how = f"samplewise train --method full --method {name}{f':{spec}' if spec else ''}"
    console.print(f"\nTry it: {how}", style="bold", soft_wrap=True, markup=False)


def _verdicts(made: Mapping[str, Any]) -> str:
    """What the committed studies found, in words."""
    found = made["verdicts"]
    return f"beside full training of the same cost, in studies: {found}" if found else "not judged yet"


def _lines(text: str, width: int) -> Iterator[str]:
    """The text in lines that fit, with an indent."""
    yield from textwrap.wrap(text, max(20, width - 6), break_on_hyphens=False) or [""]
