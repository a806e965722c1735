"""Files that a command writes."""

import shlex
from pathlib import Path

import typer

from samplewise.bench.folder import RunFolder
from samplewise.files.atomic import refuse_special


def refuse_existing(path: Path, force: bool) -> None:
    """Refuse to overwrite a file without --force, and a folder or a device always."""
    refuse_special(path)
    if path.is_dir():
        raise ValueError(f"--out must name a file, got the folder {path}")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: add --force to overwrite it, or choose another --out")


def interrupted(folder: Path, again: list[str]) -> typer.Exit:
    """Print how to continue after Ctrl-C; the result is to be raised."""
    how = f"Continue with: {shlex.join(['samplewise', *again])}"
    typer.echo(f"\ninterrupted. {how if RunFolder(folder).begun else 'Nothing was written yet.'}", err=True)
    return typer.Exit(130)
