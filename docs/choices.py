"""The table of docs/choose.md: which method for which data, and the verdicts that say so."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "studies"
WORDS = ("better", "as good", "not shown", "worse")
MAP = "where-selection-wins-a-map"
ONCE, VOTED = "one row of every image, 7 epochs", "one row of every image, by vote, 7 epochs"
CLEAN_LAST = "1 epoch of all rows, then the clean ones"


@dataclass(frozen=True)
class Says:
    """A verdict that an answer stands on: of a method, or with `method` None of all methods of a study.

    `word` is what it must be. For all methods it is "none better", with the exceptions in `but`.
    """

    study: str
    method: str | None = None
    word: str = "none better"
    but: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A row of the table: the data, the answer, and its verdicts. No verdicts: nothing was judged yet."""

    data: str
    answer: str
    stands_on: tuple[Says, ...]


NONE = "**None: train shorter.**"
CHOICES = (
    Choice(
        "Clean images, all different",
        f"{NONE} If you want to try a method, try the next row.",
        (
            Says("images-easy", but=("kakurenbo",)),
            Says("images-hard"),
            Says("recent"),
            Says("images-dynamic"),
            Says("noise-budget"),
            Says("cheap-scores"),
            Says("cheap-scores-view"),
        ),
    ),
    Choice(
        "The same, and one method shall be tried",
        "[`kakurenbo`](methods/kakurenbo.md). It also raises the learning rate, and the study is not tuned: "
        "so the gain may be that of the rate.",
        (Says("images-easy", "kakurenbo", "better"), Says("images-hard", "kakurenbo", "not shown")),
    ),
    Choice(
        "A coreset, chosen by a training and used once",
        f"{NONE} The scores cost more than the coreset saves.",
        (Says("static"),),
    ),
    Choice(
        "Wrong labels, and nothing else is known about the rows",
        f"{NONE} Avoid methods that take the largest losses. "
        "[Find wrong labels](tutorials/label-errors.md) and mend them: no verdict is on leaving them out.",
        (Says("images-noise"), Says("web-single/wrong-35", "loss_sampling", "worse")),
    ),
    Choice(
        "A third of the labels wrong or more, and a few rows known to be right",
        "**All rows first, the clean rows at the end** "
        "([recipe](../studies/recipes/clean_and_rest.py), [method file](cli.md#a-method-in-a-file)).",
        (
            Says("web-copies/wrong-35", CLEAN_LAST, "better"),
            Says("web-copies/wrong-50", CLEAN_LAST, "better"),
            Says("web-single/wrong-50", CLEAN_LAST, "better"),
            Says("web-single/wrong-35", CLEAN_LAST, "not shown"),
        ),
    ),
    Choice(
        "A fifth of the labels wrong or less, and a few rows known to be right",
        NONE,
        (
            Says("web-single/wrong-20", CLEAN_LAST, "not shown"),
            Says("web-single/wrong-0", CLEAN_LAST, "worse"),
        ),
    ),
    Choice(
        "Copies of the same image, right labels",
        "**One row of every image**, seen more often: [`fixed`](methods/fixed.md) with a subset.",
        (Says("web-copies/wrong-0", ONCE, "better"),),
    ),
    Choice(
        "Copies, and wrong labels",
        "**One row of every image, with the label that most copies have**: [`fixed`](methods/fixed.md) "
        "with a subset.",
        (
            Says("web-copies/wrong-20", VOTED, "better"),
            Says("web-copies/wrong-35", VOTED, "better"),
            Says("web-copies/wrong-50", VOTED, "better"),
            Says("web", "rows whose label most copies have", "better"),
        ),
    ),
    Choice(
        "100,000 images on one GPU, noisy labels, one or two epochs",
        "As the rows above: **use copies or clean rows, if you have them.** If you have neither, none: train "
        "shorter. The study is as large, but ran on a CPU with a small network; nothing was judged on a GPU. "
        "[`samplewise advise`](advise.md) says what each method would save on yours.",
        (
            Says("web", "one row of every image, 8 epochs", "better"),
            Says("web", "all rows, then the clean ones", "better"),
            Says("web", "rho_loss (table of the clean rows)", "not shown"),
            Says("cheap-scores-web", "rho_loss, scores in bfloat16", "better"),
            Says("web", "infobatch", "not shown"),
            Says("web", "evolved_sampling:anneal=0.0", "worse"),
        ),
    ),
    Choice(
        "One to four epochs, right labels, no copies",
        NONE,
        (Says("web-single/wrong-0"),),
    ),
    Choice(
        "Sentence vectors of a frozen encoder",
        f"{NONE} One or two epochs were enough.",
        (Says("features-sst2"), Says("features-cola")),
    ),
    Choice(
        "A language model, a pile of sources, one of them is the target",
        "**The rows of the target's source**, if sources are known ([`fixed`](methods/fixed.md)). If only a "
        "few rows of the target are known: [`color`](methods/color.md). Both are worse on the other sources. "
        "A random quarter of every batch, a control, is better, too.",
        (
            Says("lm", "all rows of the target's source", "better"),
            Says("lm", "color, keep 0.25", "better"),
            Says("lm", "color, keep 0.5", "better"),
            Says("lm", "rho_tokens, keep 0.6", "worse"),
            Says("lm", "rho_loss, keep 0.25", "worse"),
        ),
    ),
    Choice(
        "Text, a fine-tuned encoder",
        "[`infobatch`](methods/infobatch.md), on the one task that was judged: 540 sentences, three epochs. "
        "By seconds it is not shown, so [judge it yourself](judge.md).",
        (Says("text-sst2", "infobatch", "better"), Says("text-sst2", but=("infobatch",))),
    ),
    Choice(
        "Prompts for reinforcement learning",
        "Nothing is judged yet. [Judge it yourself](judge.md), or train shorter.",
        (),
    ),
)


def table(choices: tuple[Choice, ...] = CHOICES, studies: Path = STUDIES) -> str:
    """A row for each kind of data.

    Raises:
        ValueError: if a verdict is not what the answer stands on.
    """
    lines = ["| your data | what to use | the verdicts: points against ordinary training of the same cost |"]
    lines.append("| --- | --- | --- |")
    for choice in choices:
        told = "<br>".join(_told(says, studies) for says in choice.stands_on) or "no study yet"
        lines.append(f"| {choice.data} | {choice.answer} | {told} |")
    return "\n".join(lines)


def _told(says: Says, studies: Path) -> str:
    """What a study says, with a link to it, after a check that it says so."""
    content = json.loads((studies / says.study / "verdicts.json").read_text())
    names = content.get("names", {})
    found = {
        names.get(line["name"], line["name"]): line
        for line in content["lines"]
        if line["kind"] == "method" and line["verdict"]
    }
    place = MAP if "/" in says.study else says.study
    label = " (*training too long*)" if content["training_too_long"] else ""
    link = f"[{says.study}](evidence.md#{place}{'-training-too-long' if label else ''}){label}"
    if says.method is not None:
        line = _checked(found, says)
        verdict = line["verdict"]
        low, high = verdict["interval"]
        number = f"{verdict['mean']:+.1f} ({low:+.1f} to {high:+.1f})"
        return f"{link}, {says.method}: **{says.word}**, {number}, cost {100 * line['cost']:.0f} %"
    words = {name: line["verdict"]["word"] for name, line in found.items()}
    better = {name for name, word in words.items() if word == "better"}
    if says.word != "none better" or better != set(says.but):
        raise ValueError(
            f"docs/choices.py says that in {says.study} no method is better but {list(says.but)}, got "
            f"{sorted(better)}. Change the answer, or what it stands on."
        )
    counts = [(list(words.values()).count(word), word) for word in WORDS]
    return f"{link}: {', '.join(f'{count} {word}' for count, word in counts if count)}"


def _checked(found: dict[str, Any], says: Says) -> dict[str, Any]:
    line: dict[str, Any] | None = found.get(says.method or "")
    word = None if line is None else line["verdict"]["word"]
    if line is None or word != says.word:
        raise ValueError(
            f"docs/choices.py says that {says.method!r} is {says.word} in {says.study}, got {word}. Change "
            "the answer, or what it stands on."
        )
    return line
