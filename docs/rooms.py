"""The rooms of `src/samplewise`: their floors, and the imports between them as they stand in the code.

A room is a folder of `src/samplewise`, or a file at its top. `FLOORS` is the rule: a room imports rooms of
lower floors only. The tests hold the code to it, and the page on the architecture draws it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

SOURCE = Path(__file__).resolve().parents[1] / "src" / "samplewise"
PACKAGE = SOURCE.name
FLOORS = (
    ("checks", "rng", "distributed", "packed"),
    ("data", "schedules"),
    ("signals", "matrices", "views", "trackers", "cost", "files"),
    ("subset", "proxy", "tokens", "last_layer"),
    ("pickers", "classification"),
    ("policy",),
    ("coresets",),
    ("recipes", "engine", "combination", "prompts"),
    ("loop", "groups", "report"),
    ("analysis",),
    ("html",),
    ("selector",),
    ("advice",),
    (PACKAGE,),
    ("testing", "integrations", "theory"),
    ("bench",),
    ("cli",),
    ("__main__",),
)
"""From the bottom up. Rooms of one floor do not import one another."""


def files() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join((PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = path
    return found


FILES = files()


def room_of(module: str) -> str:
    """The room that a module is in."""
    return module.split(".")[1] if "." in module else PACKAGE


def rooms() -> set[str]:
    """Every room there is; `samplewise` stands for `__init__.py`."""
    return {room_of(module) for module in FILES}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere: at its top, inside functions, and for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):  # never relative: the linter refuses that
            for alias in node.names:  # a module of a package, or a name of a module
                inside = f"{node.module}.{alias.name}"
                yield inside if inside in FILES else str(node.module)


def own_imports() -> dict[str, set[str]]:
    """For each module the other modules of the package that it imports."""
    return {module: ({*imports(path)} & FILES.keys()) - {module} for module, path in FILES.items()}


def arrows() -> dict[tuple[str, str], list[str]]:
    """The pairs of rooms of which the first imports the second, each with the imports that make it."""
    found: dict[tuple[str, str], list[str]] = {}
    for module, used in own_imports().items():
        for other in sorted(used):
            pair = room_of(module), room_of(other)
            if pair[0] != pair[1]:
                found.setdefault(pair, []).append(f"{module} imports {other}")
    return found


def floor_of(room: str) -> int:
    """The floor that a room is declared on, 0 at the bottom; one that is not declared is above all."""
    return next((floor for floor, declared in enumerate(FLOORS) if room in declared), len(FLOORS))


def circles(imported: dict[str, set[str]]) -> list[set[str]]:
    """The sets of names that import one another, directly or through others."""
    graph = nx.DiGraph((name, other) for name, used in imported.items() for other in used)
    return [found for found in nx.strongly_connected_components(graph) if len(found) > 1]


def summary(path: Path) -> str:
    """The sentence that a file's docstring begins with."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
