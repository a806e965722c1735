"""The tables of docs/evidence.md and of the README, from the verdicts of the committed studies."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "studies"
JUDGE = ROOT / "benchmarks" / "results" / "judge.md"


def evidence() -> str:
    """A section for each study that has verdicts."""
    return "\n\n".join(_section(path.parent.name) for path in sorted(STUDIES.glob("*/verdicts.json")))


def judge() -> str:
    """How often the judge errs: the committed page of its benchmark, without its heading."""
    return JUDGE.read_text().partition("\n\n")[2].strip()


def verdict_table() -> str:
    """The verdict of every method, a column for each study."""
    found = {path.parent.name: _read(path.parent.name) for path in sorted(STUDIES.glob("*/verdicts.json"))}
    words: dict[str, dict[str, str]] = {}
    for study, content in found.items():
        for line in content["lines"]:
            if line["kind"] == "method":
                words.setdefault(line["name"], {})[study] = _word(line)
    heads = [
        f"{name} (training too long)" if content["training_too_long"] else name
        for name, content in found.items()
    ]
    lines = [f"| method | {' | '.join(heads)} |", f"| --- |{' --- |' * len(found)}"]
    lines += [
        f"| {_linked(name)} | {' | '.join(mine.get(study, '') for study in found)} |"
        for name, mine in words.items()
    ]
    return "\n".join([*lines, "", _better(words)])


def _linked(method: str) -> str:
    return f"[`{method}`](docs/methods.md#{method.partition(':')[0]})"


def _better(words: dict[str, dict[str, str]]) -> str:
    """Which methods are better anywhere, in a sentence."""
    found = [f"`{name}` on {s}" for name, mine in words.items() for s in mine if "better" in mine[s]]
    if found:
        return f"Better than ordinary training of the same cost: {', '.join(found)}."
    return "None of them is shown to be better than ordinary training of the same cost."


def _read(study: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((STUDIES / study / "verdicts.json").read_text())
    return content


def _section(study: str) -> str:
    """The question, what the ladder says, the table, and the picture of one study."""
    found = _read(study)
    label = " (training too long)" if found["training_too_long"] else ""
    metric = found["axis"]["metric"]
    seeds = min(line["verdict"]["seeds"] for line in found["lines"] if line["verdict"])
    lines = [
        f"### {study}{label}",
        "",
        f"{found['question']} {found['about_the_task']} {found['in_words']}",
        "",
        f"| method | test {metric} | cost | vs full of the same cost, 95 % interval | vs exact control "
        "| verdict | by measured seconds |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
        *(
            _row(line, metric)
            for kind in ("method", "control")
            for line in found["lines"]
            if line["kind"] == kind
        ),
        "",
        f"n = {found['n']:,}, {seeds} seeds, {'tuned' if found['tuned'] else 'not tuned'}, "
        f"delta = {found['delta']:g}. Machine: {'; '.join(found['machines'])}. "
        f"[Study](../studies/{study}.toml), [whole table with what its numbers mean]"
        f"(../studies/{study}/table.md), [rows](../studies/{study}/rows.jsonl).",
        "",
        f"![{metric.capitalize()} against cost: the ladder of full training as a band, every method as a "
        f"point with its interval](../studies/{study}/accuracy-cost.png)",
    ]
    return "\n".join(lines)


def _row(line: dict[str, Any], metric: str) -> str:
    mean, spread = line["results"][metric]
    told = f"{mean:.2f} ±{spread:.2f}" if spread is not None else f"{mean:.2f}"
    verdict = line["verdict"]
    against = exact = ""
    if verdict is not None:
        low, high = verdict["interval"]
        against = f"{verdict['mean']:+.2f} ({low:+.2f} to {high:+.2f})"
        exact = f"{verdict['exact_mean']:+.2f}"
    clock = next((part for axis, part in line["beside"].items() if "measured seconds" in axis), None)
    seconds = f"{clock['mean']:+.2f}" if clock else ""
    name = line["name"] if line["kind"] == "method" else f"{line['name']} (control)"
    cells = name, told, f"{100 * line['cost']:.0f} %", against, exact, _word(line), seconds
    return f"| {' | '.join(cells)} |"


def _word(line: dict[str, Any]) -> str:
    """The verdict, or why there is none. A clear verdict stands out."""
    verdict = line["verdict"]
    if verdict is None:
        return str(line["why"])
    inside = " (less than delta)" if verdict["word"] in ("better", "worse") and verdict["inside"] else ""
    return (
        f"**{verdict['word']}**{inside}" if verdict["word"] in ("better", "worse") else str(verdict["word"])
    )
