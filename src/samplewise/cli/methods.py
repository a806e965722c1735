"""`samplewise methods`: the registry as a table."""

import inspect

from rich import box
from rich.markup import escape
from rich.table import Table

from samplewise import recipes
from samplewise.cli.console import terminal


def methods() -> None:
    """List every method with its parameters; each can be given to `samplewise train --method`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("method", "level", "source", "paper", "what it does"):
        table.add_column(header, no_wrap=header in ("method", "level"), overflow="fold")
    for name, recipe in sorted(recipes.all().items()):
        first = (inspect.getdoc(recipe) or "").partition("\n")[0]
        defaults = ", ".join(f"{p.name}={p.default}" for p in recipe.signature.parameters.values())
        what = f"{escape(first)}\n[dim]{escape(defaults)}[/]" if defaults else escape(first)
        table.add_row(name, recipe.level, recipe.source, recipe.paper, what)
    terminal().print(table)
