"""Files that a command writes."""

from pathlib import Path

from samplewise.atomic import refuse_special


def refuse_existing(path: Path, force: bool) -> None:
    """Overwrite a file only with --force, and never a folder or a device."""
    refuse_special(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: --out must name a file")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: add --force to overwrite it, or choose another --out")
