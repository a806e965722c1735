"""Writes what the docs take from the code: methods, reference, architecture, tables of other pages.

Run `python docs/generate.py` after a change of a docstring, a recipe or a committed result; a test
fails while a committed copy differs (`--check`).
"""

import importlib
import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import architecture
import choices
import evidence
import parameters
import places
import situations

from samplewise import recipes
from samplewise.policy import Recipe
from samplewise.testing import LAWS

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "benchmarks" / "results" / "digits.md"
JUDGED = ("images-easy", "recent", "images-hard", "web")
"""The studies whose verdicts stand in the table of methods."""
MODULES = (
    "samplewise",
    "samplewise.signals",
    "samplewise.matrices",
    "samplewise.last_layer",
    "samplewise.views",
    "samplewise.packed",
    "samplewise.trackers",
    "samplewise.pickers",
    "samplewise.schedules",
    "samplewise.tokens",
    "samplewise.recipes",
    "samplewise.policy",
    "samplewise.engine.own_method",
    "samplewise.cost.ledger",
    "samplewise.proxy",
    "samplewise.prompts",
    "samplewise.loop.gradients",
    "samplewise.coresets.history",
    "samplewise.advice.result",
    "samplewise.pickers.greedy",
    "samplewise.analysis",
    "samplewise.theory",
    "samplewise.theory.perceptron",
    "samplewise.theory.bounds",
    "samplewise.theory.flows",
    "samplewise.bench.protocols",
    "samplewise.testing",
)
NOTE = "<!-- Written by docs/generate.py: edit the docstrings instead. -->"


def library() -> list[Recipe]:
    """The recipes that samplewise itself registers, in the order of the table: level, then name."""
    ours = [made for made in recipes.all().values() if made.__module__.startswith("samplewise.")]
    levels = {"static": 0, "epoch": 1, "batch": 2, "epoch+batch": 3, "token": 4}
    return sorted(ours, key=lambda made: (levels[made.level], made.name))


def first_line(documented: Any) -> str:
    """The sentence a docstring begins with."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _in_cell(said: str) -> str:
    """The text with the characters of a table escaped."""
    return said.replace("|", r"\|")


def paper(made: Recipe) -> str:
    """The paper, linked where it has an arXiv number."""
    number = re.fullmatch(r"arXiv:([\d.]+)", made.paper)
    return f"[{made.paper}](https://arxiv.org/abs/{number[1]})" if number else made.paper


def call(name: str, signature: inspect.Signature) -> str:
    """A call with its defaults and without types."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    said = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return name + said.replace("<factory>", "{}").replace("mappingproxy({})", "{}")


def method_table() -> str:
    """One row per recipe."""
    lines = [
        "| method | level | reads | what it does | paper | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for made in library():
        link = f"[`{made.name}`](#{made.name})"
        said = _in_cell(first_line(made))
        verdict = evidence.verdict_of(made.name, JUDGED)
        lines.append(f"| {link} | {made.level} | {made.source} | {said} | {paper(made)} | {verdict} |")
    return "\n".join(lines)


def method_count() -> str:
    """The number of methods, in all and of each level.

    A new recipe changes the sentence, so it is written here and not by hand.
    """
    levels = Counter(made.level for made in library())
    said = ", ".join(f"{count} of level `{level}`" for level, count in levels.items())
    return f"There are {levels.total()} methods: {said}."


def method_index() -> str:
    """The registry as JSON, for `samplewise methods`."""
    index = {
        made.name: {
            "level": made.level,
            "source": made.source,
            "paper": made.paper,
            "does": first_line(made),
            "parameters": parameters.parameters(made),
            "needs": parameters.needs(made),
            **parameters.facts(made),
            "verdicts": evidence.verdict_of(made.name, JUDGED),
            "about": parameters.description(made),
        }
        for made in library()
    }
    return json.dumps(index, indent=1) + "\n"


def methods_page() -> str:
    """One section per recipe: its call, its command-line form, and its docstring."""
    parts = [
        "# Methods",
        NOTE,
        "After reading this page you know what each method measures, stores, chooses and costs.\n\n"
        f"{method_count()} Every method is a recipe: a function that returns a `Policy`. Give its name to "
        "`Selector`. For other parameters give the call, as in "
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
        "*verdict* says whether the method is better than ordinary training of the same cost, on two studies "
        "of images and on `web`: many copies and wrong labels ([all verdicts](evidence.md)). Several words "
        "belong to several parameters. No word means that the method was not judged there.",
        method_table(),
    ]
    for made in library():
        defaults = ",".join(
            f"{p.name}={'FILE' if p.default is p.empty else p.default}".replace(" ", "")
            for p in made.signature.parameters.values()
        )
        spec = f"{made.name}:{defaults}" if defaults else made.name
        parts.append(
            f"## {made.name}\n\n"
            f"Level {made.level}. Reads {made.source}. Paper: {paper(made)}.\n\n"
            f"```text\nsw.recipes.{call(made.name, made.signature)}\n--method {_quoted(spec)}\n```\n\n"
            f"{inspect.getdoc(made)}"
        )
    return "\n\n".join(parts) + "\n"


def _quoted(spec: str) -> str:
    return f"'{spec}'" if "(" in spec else spec


def public(module: str) -> Iterator[tuple[str, Any]]:
    """The modules, classes, functions and types that a module exports; recipes have their own page."""
    found = importlib.import_module(module)
    for name in found.__all__:
        value = getattr(found, name)
        if _documented(value) or get_origin(value):
            yield name, value


def _documented(value: Any) -> bool:
    return inspect.ismodule(value) or inspect.isclass(value) or inspect.isfunction(value)


def reference_page() -> str:
    """Every public name with the first sentence of its docstring."""
    parts = [
        "# Reference",
        NOTE,
        "On this page you find every public name with one sentence. `help(name)` shows the rest. `sw` stands "
        "for `samplewise`. The recipes are in [methods.md](methods.md).",
    ]
    told: set[int] = set()
    for module in MODULES:
        lines = [f"## {module}", "", first_line(importlib.import_module(module)), ""]
        lines += ["| name | what it is |", "| --- | --- |"]
        for name, value in public(module):
            if id(value) not in told:
                said = first_line(value) if _documented(value) else f"`{value}`"
                lines.append(f"| `{_called(name, value)}` | {_in_cell(said)} |")
                told.add(id(value))
        parts.append("\n".join(lines))
    laws = [f"| `{law.__name__}` | {first_line(law)} |" for law in LAWS]
    parts.append("\n".join(["## The laws", "", "| in `LAWS` | what it checks |", "| --- | --- |", *laws]))
    return "\n\n".join(parts) + "\n"


def _called(name: str, value: Any) -> str:
    """With its parameters, except for modules, types, protocols and abstract classes: nobody calls these."""
    made = inspect.isclass(value) and ("__init__" in vars(value) or hasattr(value, "_fields"))
    abstract = inspect.isclass(value) and (inspect.isabstract(value) or not made)
    return (
        name
        if inspect.ismodule(value) or get_origin(value) or abstract
        else call(name, inspect.signature(value))
    )


def digits_table() -> str:
    """The table of the committed digits run, without its heading and notes."""
    return "\n".join(line for line in DIGITS.read_text().splitlines() if line.startswith("|"))


def renewed(page: Path, parts: dict[str, str]) -> str:
    """A page with the parts between its markers replaced."""
    text = page.read_text()
    for name, body in parts.items():
        begin, end = f"<!-- begin {name}: written by docs/generate.py -->", f"<!-- end {name} -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{page.name} must hold the lines {begin!r} and {end!r}")
        text = f"{head}{begin}\n\n{body}\n\n{end}{tail}"
    return text


def stale() -> list[str]:
    """The generated files that differ from their committed copies."""
    return [path.name for path, text in pages().items() if not path.exists() or path.read_text() != text]


def pages() -> dict[Path, str]:
    """Every generated file and what it must hold."""
    docs = ROOT / "docs"
    return {
        ROOT / "README.md": renewed(ROOT / "README.md", {"verdicts": situations.table()}),
        docs / "choose.md": renewed(docs / "choose.md", {"choices": choices.table()}),
        docs / "when-not.md": renewed(docs / "when-not.md", {"verdicts": situations.table()}),
        docs / "quickstart.md": renewed(docs / "quickstart.md", {"digits": digits_table()}),
        docs / "evidence.md": renewed(
            docs / "evidence.md",
            {
                "summary": evidence.summary(),
                "studies": evidence.evidence(),
                "map": places.table(),
                "claims": evidence.claims(),
                "judge": evidence.judge(),
            },
        ),
        docs / "methods.md": methods_page(),
        ROOT / "src" / "samplewise" / "cli" / "methods.json": method_index(),
        docs / "reference.md": reference_page(),
        docs / "architecture.md": architecture.page(NOTE),
        docs / "images" / "architecture.svg": architecture.picture(),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(f"run python docs/generate.py: {', '.join(found)} differ" if (found := stale()) else 0)
    for path, text in pages().items():
        path.write_text(text)
