"""The tables of docs/evidence.md, from the verdicts of the committed studies."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "studies"
WORDS = ("better", "as good", "not shown", "worse")
JUDGE = ROOT / "benchmarks" / "results" / "judge.md"


def evidence() -> str:
    """A section for each study that has verdicts."""
    return "\n\n".join(_section(path.parent.name) for path in sorted(STUDIES.glob("*/verdicts.json")))


def claims() -> str:
    """A row for each comparison that a claim of a study makes, answered or not."""
    heads = (
        "claim",
        "study",
        "methods",
        "answer",
        "difference",
        "costs",
        "corrected for the cost",
        "to decide",
    )
    rows = [heads, ["---"] * len(heads)]
    answered = [
        row
        for path in sorted(STUDIES.rglob("verdicts.json"))
        for row in _answered(path.parent.relative_to(STUDIES).as_posix())
    ]
    rows += answered
    for path in sorted(STUDIES.glob("*.toml")):
        mine = {claim for claim, study, *_ in answered if re.split(r"[ /]", study)[0] == path.stem}
        rows += _open(path, mine)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _open(path: Path, answered: set[str]) -> Iterator[tuple[str, ...]]:
    """The claims of a study file that its results do not answer."""
    content = tomllib.loads(path.read_text())
    for claim in content.get("claims", []):
        if _cited(claim) in answered:
            continue
        others = claim["than"] if isinstance(claim["than"], list) else [claim["than"]]
        for than in others:
            pair = _against(claim["better"], than, content.get("names", {}))
            about = _cited(claim), path.stem, pair, "not answered yet"
            yield *about, "", "", "", ""


def _answered(study: str) -> Iterator[tuple[str, ...]]:
    """The claims of a study that has results."""
    found = _read(study)
    label = f"{study} (training too long)" if found["training_too_long"] else study
    for claim in found.get("claims", []):
        for pair in claim["pairs"]:
            answer, said = pair["answer"], pair["words"]
            if answer is not None and answer["word"] in ("holds here", "does not hold here"):
                said = f"**{said}**"
            about = _cited(claim), label, _against(pair["better"], pair["than"], found["names"]), said
            if answer is None:
                yield *about, "", "", "", ""
                continue
            low, high = pair["costs"]
            corrected = "outside the ladder" if pair["unequal"] else ""
            if pair["unequal"] and pair["corrected"] is not None:
                corrected = _with_interval(pair["corrected"], pair["corrected_interval"])
            yield (
                *about,
                f"{_with_interval(answer['mean'], answer['interval'])}, {answer['seeds']} seeds",
                f"{100 * low:.0f} % and {100 * high:.0f} %",
                corrected,
                pair["needs"],
            )


def _cited(claim: dict[str, Any]) -> str:
    return f"{claim['says']} ({claim['source']})" if claim.get("source") else str(claim["says"])


def _against(better: str, than: str, names: dict[str, str]) -> str:
    shown = [names.get(method) or f"`{method}`" for method in (better, than)]
    return " against ".join(shown)


def _with_interval(mean: float, interval: list[float | None]) -> str:
    low, high = interval
    ends = "" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})"
    return f"{mean:+.2f}{ends}"


def judge() -> str:
    """How often the judge errs: the committed page of its benchmark, without its heading."""
    return JUDGE.read_text().partition("\n\n")[2].strip()


def summary() -> str:
    """How often each verdict came out in every study, what was better, and how many places were tried."""
    found = {path.parent.name: _read(path.parent.name) for path in sorted(STUDIES.glob("*/verdicts.json"))}
    lines = [f"| study | methods | {' | '.join(WORDS)} |", f"| --- | {' | '.join(['---:'] * 5)} |"]
    better: list[str] = []
    for study, content in found.items():
        judged = [line for line in content["lines"] if line["kind"] == "method"]
        words = [line["verdict"]["word"] for line in judged if line["verdict"]]
        counts = [f"**{n}**" if n and word == "better" else str(n) for word, n in _counts(words)]
        label = " (training too long)" if content["training_too_long"] else ""
        link = f"[{study}](#{_place(study + label)}){label}"
        lines.append(f"| {link} | {len(judged)} | {' | '.join(counts)} |")
        better += [
            f"{content['names'].get(line['name']) or _linked(line['name'])} on {study}"
            for line in judged
            if line["verdict"] and line["verdict"]["word"] == "better"
        ]
    told = "None of them is shown to be better than ordinary training of the same cost."
    if better:
        told = f"Better than ordinary training of the same cost: {'; '.join(better)}."
    none = "A method without a verdict costs less than the shortest or more than the longest full training."
    return "\n".join([*lines, "", none, "", told, "", tried(list(found.values()))])


def _counts(words: list[str]) -> list[tuple[str, int]]:
    return [(word, words.count(word)) for word in WORDS]


def tried(found: list[dict[str, Any]]) -> str:
    """How many methods were judged on how many tasks, and how often each verdict came out."""
    judged = [
        line["verdict"]["word"]
        for content in found
        for line in content["lines"]
        if line["kind"] == "method" and line["verdict"]
    ]
    counts = ", ".join(f"{n} {word}" for word, n in _counts(judged))
    return f"{len(found)} studies gave {len(judged)} verdicts on methods: {counts}."


def verdict_of(recipe: str, studies: tuple[str, ...]) -> str:
    """What these studies say about a recipe, in one cell.

    A study can judge a recipe with several parameters. Then the cell has every word that it says.
    """
    cells, tasks = [], set()
    for study in studies:
        if recipe in ("full", "fixed") or not (STUDIES / study / "verdicts.json").exists():
            continue  # `full` is the reference, and a verdict on `fixed` is one on its subset
        task = json.loads((STUDIES / study / "study.json").read_text())["hash"]
        # Studies of one task have the same runs of the controls.
        left_out = {"ladder", "control"} if task in tasks else {"ladder"}
        tasks.add(task)
        judged = [line for line in _read(study)["lines"] if line["kind"] not in left_out and line["verdict"]]
        words = [_word(line) for line in judged if re.split("[:@,]", line["name"])[0] == recipe]
        if words:
            cells.append(f"{study}: {', '.join(dict.fromkeys(words))}")
    return "; ".join(cells)


def of_method(recipe: str) -> list[tuple[str, ...]]:
    """What every study says about a recipe: study, form, cost, difference with its interval, verdict."""
    rows = []
    for path in sorted(STUDIES.rglob("verdicts.json")):
        study = path.parent.relative_to(STUDIES).as_posix()
        content = _read(study)
        label = " (training too long)" if content["training_too_long"] else ""
        place = "where-selection-wins-a-map" if "/" in study else _place(study + label)
        for line in content["lines"]:
            if line["kind"] == "ladder" or re.split("[:@,]", line["name"])[0] != recipe:
                continue
            verdict = line["verdict"]
            points = _with_interval(verdict["mean"], verdict["interval"]) if verdict else ""
            form = content["names"].get(line["name"]) or f"`{line['name']}`"
            cost = f"{100 * line['cost']:.0f} %"
            rows.append((f"[{study}](../evidence.md#{place}){label}", form, cost, points, _word(line)))
    return rows


def _place(heading: str) -> str:
    """The name of the section with this heading in a link."""
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def _linked(method: str) -> str:
    return f"[`{method}`](methods/{re.split('[:@]', method)[0]}.md)"


def _read(study: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((STUDIES / study / "verdicts.json").read_text())
    return {"names": {}} | content


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
            _row(line, metric, found["names"])
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


def _row(line: dict[str, Any], metric: str, names: dict[str, str]) -> str:
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
    name = names.get(line["name"], line["name"]) + " (control)" * (line["kind"] == "control")
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
