"""Files that a command writes."""

from pathlib import Path


def refuse_existing(path: Path, force: bool) -> None:
    """Overwrite a file only with --force, and never a folder."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: --out must name a file")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: add --force to overwrite it, or choose another --out")
