"""Where selection wins: verdicts of studies that differ in their data only, as a table and a picture.

`python docs/places.py` writes the picture, after new verdicts.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from samplewise.analysis.pictures.heat import draw

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "studies"
PICTURE = STUDIES / "web-map" / "map.png"
KINDS = {"web-copies": "copies", "web-single": "no copies"}
"""A study with a part for each share of wrong labels, and how its data are told in the table."""
WORDS = ("better", "as good", "not shown", "worse")


def places(studies: Path = STUDIES) -> dict[str, dict[str, Any]]:
    """The verdicts of every place on the map: its name, and the line of every method by its shown name."""
    found = {}
    for study, kind in KINDS.items():
        for path in sorted(studies.glob(f"{study}/wrong-*/verdicts.json"), key=_share):
            content = json.loads(path.read_text())
            lines = [line for line in content["lines"] if line["kind"] == "method"]
            mine = {content.get("names", {}).get(line["name"], line["name"]): line for line in lines}
            found[f"{kind}, {_share(path)} % wrong"] = mine | {"": content}
    return found


def _share(path: Path) -> int:
    return int(path.parent.name.removeprefix("wrong-"))


def table(studies: Path = STUDIES) -> str:
    """A row for each method, a column for each place, and how often there was which verdict."""
    found = places(studies)
    if not found:
        return "No place has results yet."
    names = methods(found)
    lines = [f"| method | {' | '.join(found)} |", f"| --- |{' --- |' * len(found)}"]
    lines += [
        f"| {name} | {' | '.join(_cell(mine.get(name)) for mine in found.values())} |" for name in names
    ]
    return "\n".join([*lines, "", counted(found)])


def methods(found: dict[str, dict[str, Any]]) -> list[str]:
    """The methods of all places, in the order in which the studies name them."""
    return list(dict.fromkeys(name for mine in found.values() for name in mine if name))


def _cell(line: dict[str, Any] | None) -> str:
    """The difference to full training of the same cost and its verdict; why there is none."""
    if line is None:
        return ""
    verdict = line["verdict"]
    if verdict is None:
        return str(line["why"])
    word = f"**{verdict['word']}**" if verdict["word"] in ("better", "worse") else verdict["word"]
    return f"{verdict['mean']:+.1f} {word}"


def counted(found: dict[str, dict[str, Any]]) -> str:
    """How many pairs of a method and a place were tried, and what the verdicts were."""
    lines = [line for mine in found.values() for name, line in mine.items() if name]
    words = [line["verdict"]["word"] for line in lines if line["verdict"]]
    told = ", ".join(f"{words.count(word)} {word}" for word in WORDS)
    seeds = {content[""]["seeds"] for content in found.values()}
    return (
        f"{len(found)} places, {len(lines)} pairs of a method and a place, "
        f"{' or '.join(map(str, sorted(seeds)))} seeds each: {told}, "
        f"{len(lines) - sum(map(words.count, WORDS))} without a verdict."
    )


def picture(path: Path = PICTURE, studies: Path = STUDIES) -> Any:
    """Draw the differences of the table, and give the figure. A cell without a number has no verdict."""
    found = places(studies)
    names = methods(found)
    values = np.full((len(names), len(found)), np.nan)
    cells = [[""] * len(found) for _ in names]
    for column, mine in enumerate(found.values()):
        for row, name in enumerate(names):
            verdict = (mine.get(name) or {"verdict": None})["verdict"]
            if verdict is not None:
                values[row, column] = verdict["mean"]
                cells[row][column] = f"{verdict['mean']:+.1f}\n{verdict['word']}"
    return draw(
        values,
        names,
        list(found),
        path,
        title="Where selection wins",
        said="Points of test accuracy against full training of the same cost, and the verdict.",
        caption="25,600 drawn rows of CIFAR-10 and 1,280 clean ones. Columns: copies, share of wrong labels.",
        cells=cells,
        letters=44,
    )


if __name__ == "__main__":
    picture()
