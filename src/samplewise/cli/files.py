"""Files that a command writes."""

import shlex
from pathlib import Path

import typer

from samplewise.bench.folder import RunFolder
from samplewise.files.atomic import refuse_special


def refuse_existing(path: Path, force: bool) -> None:
    """Overwrite a file only with --force, and never a folder or a device."""
    refuse_special(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: --out must name a file")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: add --force to overwrite it, or choose another --out")


def interrupted(folder: Path, again: list[str]) -> typer.Exit:
    """Say how to continue what Ctrl-C stopped; to be raised."""
    how = f"Continue with: {shlex.join(['samplewise', *again])}"
    typer.echo(f"\ninterrupted. {how if RunFolder(folder).begun else 'Nothing was written yet.'}", err=True)
    return typer.Exit(130)
