"""Writes docs/examples.md: a line for each file of examples/, from its docstring."""

import ast
from pathlib import Path

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"


def page(note: str, examples: Path = EXAMPLES) -> str:
    """The table of the examples.

    Raises:
        ValueError: if no page explains an example.
    """
    explained = {path.name: _explained(path.name) for path in sorted(examples.glob("*.py"))}
    if alone := [name for name, found in explained.items() if found is None]:
        raise ValueError(f"a page of docs/ must name each file of examples/, but none names {alone}.")
    lines = ["| example | what it shows | how to run it | page |", "| --- | --- | --- | --- |"]
    for name, found in explained.items():
        path = examples / name
        said = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
        command = next(line for line in said if f"examples/{path.name}" in line).strip().replace("|", r"\|")
        link = f"[{path.name}](../examples/{path.name})"
        lines.append(f"| {link} | {said[0]} | `{command}` | [{found}]({found}) |")
    return (
        "\n\n".join(
            [
                "# Examples",
                note,
                "On this page you find a whole program for each framework. Each runs on a CPU in a minute, "
                "and a test runs it. Shorter, explained step by step, are the tutorials, such as "
                "[Your own data set](tutorials/own-data.md).",
                "\n".join(lines),
            ]
        )
        + "\n"
    )


def _explained(name: str) -> str | None:
    """The page that names the example."""
    pages = (page for page in sorted(DOCS.glob("*.md")) if page.name not in ("examples.md", "decisions.md"))
    return next((page.name for page in pages if f"examples/{name}" in page.read_text()), None)
