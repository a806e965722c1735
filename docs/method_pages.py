"""Writes docs/methods.md, the table of all methods, and docs/methods/NAME.md, a page for each."""

import inspect
import re
from collections import Counter
from typing import Any

import evidence
import parameters

from samplewise import recipes
from samplewise.policy import Recipe

NOTE = "<!-- Written by docs/generate.py: edit the docstrings instead. -->"
JUDGED = ("images-easy", "recent", "images-hard", "web", "lm")
"""The studies whose verdicts stand in the table of methods."""


def library() -> list[Recipe]:
    """The recipes that samplewise itself registers, in the order of the table: level, then name."""
    ours = [made for made in recipes.all().values() if made.__module__.startswith("samplewise.")]
    levels = {"static": 0, "epoch": 1, "batch": 2, "epoch+batch": 3, "token": 4}
    return sorted(ours, key=lambda made: (levels[made.level], made.name))


def first_line(documented: Any) -> str:
    """The sentence a docstring begins with."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def in_cell(said: str) -> str:
    """The text with the characters of a table escaped."""
    return said.replace("|", r"\|")


def call(name: str, signature: inspect.Signature) -> str:
    """A call with its defaults and without types."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    said = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return name + said.replace("<factory>", "{}").replace("mappingproxy({})", "{}")


def index() -> str:
    """The table of all methods, and what its columns mean."""
    levels = Counter(made.level for made in library())
    count = ", ".join(f"{number} of level `{level}`" for level, number in levels.items())
    parts = [
        "# Methods",
        NOTE,
        "On this page you find every method in a line. Its own page says what it measures, stores, chooses "
        "and costs, with its parameters and its verdicts.\n\n"
        f"There are {levels.total()} methods: {count}. Every method is a recipe: a function that returns a "
        "`Policy`. Give its name to `Selector`. For other parameters give the call, as in "
        "`sw.Selector(sw.recipes.ucb(keep=0.3, period=5), ...)`, or its command-line form to "
        "`samplewise train --method`. `keep` is always the share that is kept. `P ~ w` means that the "
        "probability is proportional to w. Your own method needs about ten lines: "
        "[Add your own method](tutorials/add-a-method.md).\n\n"
        "Level `static` chooses once, before a training (`fixed` trains on a subset that was chosen before). "
        "Level `epoch` chooses again between epochs. Level `batch` chooses inside every batch. Level `token` "
        "chooses which tokens of a batch carry a loss.\n\n"
        "*reads* says where a method's observations come from. `training` costs nothing at levels static and "
        "epoch; at level batch it costs a scoring forward of every batch. `pass` is a forward over the data "
        "with frozen weights before a selection. `none` reads nothing.\n\n"
        "*verdict* says whether the method is better than ordinary training of the same cost, on three "
        "studies of images, on `web` (many copies and wrong labels) and on `lm` (a small language model). "
        "Several words belong to several parameters. No word means that the method was not judged there. "
        "[Which method should I use?](choose.md) goes "
        "from your data to an answer.",
        _table(),
    ]
    return "\n\n".join(parts) + "\n"


def _table() -> str:
    lines = [
        "| method | level | reads | what it does | paper | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for made in library():
        link = f"[`{made.name}`](methods/{made.name}.md)"
        said = in_cell(first_line(made))
        verdict = evidence.verdict_of(made.name, JUDGED)
        lines.append(f"| {link} | {made.level} | {made.source} | {said} | {_paper(made)} | {verdict} |")
    return "\n".join(lines)


def _paper(made: Recipe) -> str:
    """The paper, linked where it has an arXiv number."""
    number = re.fullmatch(r"arXiv:([\d.]+)", made.paper)
    return f"[{made.paper}](https://arxiv.org/abs/{number[1]})" if number else made.paper


def page(made: Recipe) -> str:
    """The page of a method: its docstring, its facts, its parameters, and its verdicts."""
    defaults = ",".join(
        f"{p.name}={'FILE' if p.default is p.empty else p.default}".replace(" ", "")
        for p in made.signature.parameters.values()
    )
    spec = f"{made.name}:{defaults}" if defaults else made.name
    parts = [
        f"# {made.name}",
        NOTE,
        inspect.getdoc(made) or "",
        "\n".join(
            [
                "| level | reads | needs besides losses | paper |",
                "| --- | --- | --- | --- |",
                f"| {made.level} | {made.source} | {', '.join(parameters.needs(made)) or 'nothing'} | "
                f"{_paper(made)} |",
            ]
        ),
        "[Methods](../methods.md) explains the words. In Python and on the command line, with the defaults:",
        f"```text\nsw.recipes.{call(made.name, made.signature)}\n--method {_quoted(spec)}\n```",
        *_parameters(made),
        "## Verdicts",
        _verdicts(made),
    ]
    return "\n\n".join(parts) + "\n"


def _quoted(spec: str) -> str:
    return f"'{spec}'" if "(" in spec else spec


def _parameters(made: Recipe) -> list[str]:
    lines = [
        f"| `{p['name']}` | {_default(p['default'])} | {in_cell(p['allowed'])} | {in_cell(p['meaning'])} |"
        for p in parameters.parameters(made)
    ]
    head = ["| parameter | default | values | meaning |", "| --- | --- | --- | --- |"]
    return ["## Parameters", "\n".join([*head, *lines])] if lines else []


def _default(value: str) -> str:
    return f"`{value}`" if value else "must be given"


def _verdicts(made: Recipe) -> str:
    """A row for each form of the method in each study."""
    found = evidence.of_method(made.name)
    if not found:
        return "No study has judged this method yet: [do it on your data](../judge.md)."
    head = [
        "Beside ordinary training of the same cost, with a 95 % interval. A method must not lose to the "
        "whole number of epochs nearest below either: so one above 0 can be *worse*. "
        "[The words](../judge.md#what-the-words-mean); [the studies and their limits](../evidence.md).",
        "",
        "| study | form | cost | difference | verdict |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    return "\n".join([*head, *(f"| {' | '.join(cells)} |" for cells in found)])
