"""What kind of data each study is about, and the verdicts counted by kind: the table of the README."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "studies"
WORDS = ("better", "as good", "not shown", "worse")
SITUATIONS = {
    "clean images, all different": (
        "cheap-scores",
        "cheap-scores-view",
        "images-dynamic",
        "images-easy",
        "images-hard",
        "noise-budget",
        "recent",
    ),
    "the same, a coreset": ("static",),
    "images, 40 % wrong labels": ("images-noise",),
    "copies, none to half of the labels wrong, a few clean rows": ("web", "cheap-scores-web", "web-copies"),
    "no copies, none to half of the labels wrong, a few clean rows": ("web-single",),
    "sentence vectors": ("features-cola", "features-sst2"),
    "text, a fine-tuned encoder": ("text-cola", "text-sst2", "text-stsb"),
    "text, a language model": ("lm",),
}
"""The studies of a situation, also those without results yet."""


def judged(study: str, studies: Path = STUDIES) -> list[dict[str, Any]]:
    """The verdicts of a study, or of its parts."""
    paths = sorted([*studies.glob(f"{study}/verdicts.json"), *studies.glob(f"{study}/*/verdicts.json")])
    return [json.loads(path.read_text()) for path in paths]


def table(studies: Path = STUDIES) -> str:
    """A row for each situation that has verdicts: how often there was which verdict on a method."""
    counts: dict[str, Counter[str]] = {}
    for situation, names in SITUATIONS.items():
        for content in [content for name in names for content in judged(name, studies)]:
            label = " (*training too long*)" if content["training_too_long"] else ""
            verdicts = [line["verdict"] for line in content["lines"] if line["kind"] == "method"]
            words = counts.setdefault(situation + label, Counter())
            words.update(verdict["word"] for verdict in verdicts if verdict)
    total: Counter[str] = sum(counts.values(), Counter())
    rows = [*counts.items(), ("all", total)]
    return "\n".join(
        [
            f"| data | {' | '.join(WORDS)} |",
            f"| --- | {' | '.join(['---:'] * len(WORDS))} |",
            *(f"| {name} | {' | '.join(str(found[word]) for word in WORDS)} |" for name, found in rows),
        ]
    )
