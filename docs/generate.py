"""Writes what the docs take from the code: methods, reference, architecture, tables of other pages.

Run `python docs/generate.py` after a change of a docstring, a recipe or a committed result; a test
fails while a committed copy differs (`--check`).
"""

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import architecture
import choices
import errors
import evidence
import example_table
import method_pages
import parameters
import places
import situations

from samplewise.testing import LAWS

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "benchmarks" / "results" / "digits.md"
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
    "samplewise.integrations.loggers",
    "samplewise.pickers.greedy",
    "samplewise.analysis",
    "samplewise.theory",
    "samplewise.theory.perceptron",
    "samplewise.theory.bounds",
    "samplewise.theory.flows",
    "samplewise.bench.protocols",
    "samplewise.testing",
)


def method_index() -> str:
    """The registry as JSON, for `samplewise methods`."""
    index = {
        made.name: {
            "level": made.level,
            "source": made.source,
            "paper": made.paper,
            "does": method_pages.first_line(made),
            "parameters": parameters.parameters(made),
            "needs": parameters.needs(made),
            **parameters.facts(made),
            "verdicts": evidence.verdict_of(made.name, method_pages.JUDGED),
            "about": parameters.description(made),
        }
        for made in method_pages.library()
    }
    return json.dumps(index, indent=1) + "\n"


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
        method_pages.NOTE,
        "On this page you find every public name with one sentence. `help(name)` shows the rest. `sw` stands "
        "for `samplewise`. The recipes are in [methods.md](methods.md). On the site, the pages beside this "
        "one have the whole docstrings with types.",
    ]
    told: set[int] = set()
    for module in MODULES:
        lines = [f"## {module}", "", method_pages.first_line(importlib.import_module(module)), ""]
        lines += ["| name | what it is |", "| --- | --- |"]
        for name, value in public(module):
            if id(value) not in told:
                said = method_pages.first_line(value) if _documented(value) else f"`{value}`"
                lines.append(f"| `{_called(name, value)}` | {method_pages.in_cell(said)} |")
                told.add(id(value))
        parts.append("\n".join(lines))
    laws = [f"| `{law.__name__}` | {method_pages.first_line(law)} |" for law in LAWS]
    parts.append("\n".join(["## The laws", "", "| in `LAWS` | what it checks |", "| --- | --- |", *laws]))
    return "\n\n".join(parts) + "\n"


def _called(name: str, value: Any) -> str:
    """With its parameters, except for modules, types, protocols and abstract classes: nobody calls these."""
    made = inspect.isclass(value) and ("__init__" in vars(value) or hasattr(value, "_fields"))
    abstract = inspect.isclass(value) and (inspect.isabstract(value) or not made)
    return (
        name
        if inspect.ismodule(value) or get_origin(value) or abstract
        else method_pages.call(name, inspect.signature(value))
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
        docs / "methods.md": method_pages.index(),
        **{docs / "methods" / f"{made.name}.md": method_pages.page(made) for made in method_pages.library()},
        docs / "examples.md": example_table.page(method_pages.NOTE),
        docs / "errors.md": errors.page(method_pages.NOTE),
        ROOT / "src" / "samplewise" / "cli" / "methods.json": method_index(),
        docs / "reference.md": reference_page(),
        docs / "architecture.md": architecture.page(method_pages.NOTE),
        docs / "images" / "architecture.svg": architecture.picture(),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(f"run python docs/generate.py: {', '.join(found)} differ" if (found := stale()) else 0)
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
