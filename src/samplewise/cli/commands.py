"""The commands by name. Each is loaded when it is used: `samplewise --help` does not wait for torch."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["COMMANDS", "Commands", "loaded"]

COMMANDS = {
    "advise": ("advise", "Predict what each method would save, before a run."),
    "train": ("train", "Train with every method and every seed, and show what selection saved."),
    "bench": ("bench", "Judge methods: is one better than ordinary training of the same cost?"),
    "score": ("score", "Train on all samples, and write the scores of static methods to a file."),
    "select": ("select", "Choose a coreset by the scores in a file of `samplewise score`."),
    "methods": (
        "methods",
        "List every method with its parameters, as `samplewise train --method` takes them.",
    ),
    "report": ("report", "Write what runs and studies found as one HTML file that needs no network."),
    "analyse": ("analyse.app", "Ask score tables and run folders what selection did."),
    "theory": ("theory", "Compare the theory of selection with simulations."),
}
"""The module in `samplewise.cli` that has the command under its own name, and the sentence of the list."""


def loaded(name: str) -> Any:
    """The command with its options, or the group with its commands."""
    found = getattr(import_module(f"samplewise.cli.{COMMANDS[name][0]}"), name)
    parent = typer.Typer()
    if isinstance(found, typer.Typer):
        parent.add_typer(found)
    else:
        parent.command(name)(found)
    return typer.main.get_group(parent).commands[name]


class _Late(TyperCommand):
    """A command of which only the name and one sentence are there, until it parses its options."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself, which then runs."""
        return loaded(str(self.name)).make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, (_, says) in COMMANDS.items():
            self.commands[name] = _Late(name, help=says)
