"""`samplewise methods`: the registry as a table."""

import json
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from samplewise.cli.console import terminal

INDEX = Path(__file__).with_suffix(".json")
"""The registry, written by docs/generate.py. So the list does not wait for torch, which the recipes load."""


def methods() -> None:
    """List every method with its parameters, as `samplewise train --method` takes them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("method", "level", "source", "paper", "what it does"):
        table.add_column(header, no_wrap=header in ("method", "level"), overflow="fold")
    for name, recipe in sorted(json.loads(INDEX.read_text()).items()):
        what = escape(recipe["does"])
        if recipe["parameters"]:
            what += f"\n[dim]{escape(', '.join(recipe['parameters']))}[/]"
        table.add_row(name, recipe["level"], recipe["source"], recipe["paper"], what)
    terminal().print(table)
