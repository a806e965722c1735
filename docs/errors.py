"""Writes docs/errors.md: every text of an error or a warning in the source, by the place where it arises."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "samplewise"
VALUE = "…"
"""Stands for a value of which the source does not say the name."""
ROOMS = {
    "checks.py": "Parameters and their ranges",
    "selector.py": "The Selector",
    "data": "Data sets, batches, labels, ids",
    "loop": "The loop, scoring, the loader, saving",
    "engine": "Plans and scores",
    "policy": "Policies and recipes",
    "recipes": "The methods",
    "trackers": "Trackers",
    "pickers": "Pickers",
    "schedules": "Schedules",
    "coresets": "Coresets and tables of scores",
    "files": "Files and checkpoints",
    "distributed": "Several processes",
    "integrations": "Frameworks",
    "tokens": "Tokens and language models",
    "prompts": "Prompts",
    "proxy": "The narrow view",
    "advice": "Before a run",
    "bench": "Runs and studies of the command",
    "cli": "The command line",
    "report": "Pictures and tables",
    "analysis": "Analysis",
    "theory": "Theory",
    "cost": "The ledger",
    "testing": "The laws",
}
"""The areas of the page in their order. Everything else in the source comes last."""


def messages(path: Path) -> list[tuple[int, str, str]]:
    """The line, the type and the text of every error and warning that a file makes, each text once."""
    tree = ast.parse(path.read_text())
    found: dict[tuple[str, str], int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (kind := _kind(node)) and node.args:
            for text in _texts(node.args[0], tree, depth=3):
                if _says_something(text):
                    found.setdefault((kind, text), node.lineno)
    return sorted((line, kind, text) for (kind, text), line in found.items())


def _kind(call: ast.Call) -> str | None:
    """The type of the error, "warning", or None if the call makes neither."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name == "warn":
        return "warning"
    return name if name.endswith("Error") else None


def _says_something(text: str) -> bool:
    return len(re.findall(r"[a-z]{2,}", re.sub(r"<[^>]*>", "", text))) >= 2


def _texts(node: ast.expr, tree: ast.Module, depth: int) -> Iterator[str]:
    """What an expression can say. Values are written as `<name>`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(_piece(part) for part in node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for left in _texts(node.left, tree, depth):
            for right in _texts(node.right, tree, depth):
                yield left + right
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, tree, depth)
        yield from _texts(node.orelse, tree, depth)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr != "join":
        inner = node.func.value if node.func.attr in ("format", "rstrip", "strip") else node.func
        yield from _texts(inner, tree, depth)
    elif isinstance(node, ast.Call):
        yield from _texts(node.func, tree, depth)
    elif isinstance(node, (ast.Name, ast.Attribute)) and depth:
        name = node.id if isinstance(node, ast.Name) else node.attr
        for value in _meant(name, tree):
            yield from _texts(value, tree, depth - 1)


def _meant(name: str, tree: ast.Module) -> Iterator[ast.expr]:
    """What a name is assigned in the file, or what a function of that name returns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
            yield node.value
        elif isinstance(node, ast.FunctionDef) and node.name == name:
            yield from (made.value for made in ast.walk(node) if isinstance(made, ast.Return) and made.value)


def _piece(part: ast.expr) -> str:
    """A part of an f-string: its text, or the name of its value."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    name = ast.unparse(value).rpartition(".")[2]
    return f"<{name}>" if re.fullmatch(r"\w+", name) else VALUE


def page(note: str, source: Path = SOURCE) -> str:
    """A section for each area, in it a section for each file, in it a line for each text."""
    parts = [
        "# Error messages",
        note,
        "On this page you find the text of every error and every warning that samplewise can give, and the "
        "file that gives it. Search for a few words of your message that are not your own names or numbers: "
        f"these are written here as `<name>`, or as `{VALUE}`.\n\n"
        "An error says which argument it is about, what it must be, what it was and, if there is a usual "
        "cause, what to do. So its last sentence is often the answer. [Questions](faq.md) has the ones "
        "that come up most.",
    ]
    ranges = (
        "A parameter outside of its range, or of another kind, gives such a message: "
        "`ucb.keep must be in (0, 1], got 70. Did you mean 0.7?` or "
        "`random_dynamic.period must be a whole number, got 1.5.` The ranges are on the page of each "
        "[method](methods.md)."
    )
    rooms: dict[str, list[str]] = {title: [] for title in [*ROOMS.values(), "Everything else"]}
    for path in sorted(source.rglob("*.py")):
        place = path.relative_to(source)
        if said := messages(path):
            section = [f"### `{place.as_posix()}`", ""]
            section += [f"- {_code(kind)}: {_code(text)}" for _, kind, text in said]
            rooms[ROOMS.get(place.parts[0], "Everything else")].append("\n".join(section))
    rooms[ROOMS["checks.py"]].insert(0, ranges)
    for title, sections in rooms.items():
        parts += [f"## {title}", *sections] if sections else []
    return "\n\n".join(parts) + "\n"


def _code(text: str) -> str:
    """As code, so that nothing in it is read as Markdown."""
    text = re.sub(r"\s+", " ", text).strip()
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
