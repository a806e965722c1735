"""The images that a score table is of: from its run folder, or from the data that the user names."""

from dataclasses import replace
from typing import Annotated

import typer

from samplewise.bench.altered import altered
from samplewise.bench.data import ImageData
from samplewise.bench.experiment import load_data
from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.cli.analyse.common import Source

__all__ = ["ClassNames", "Data", "Limit", "Without", "class_name", "images_of"]

Data = Annotated[
    str | None,
    typer.Option(
        help="The images, as for `samplewise train`. For a table that is not in a run folder, or if the data "
        "were moved.",
        show_default="the --data of the run folder",
    ),
]
Limit = Annotated[int | None, typer.Option(help="The --limit of the training, with --data.")]
ClassNames = Annotated[
    str | None,
    typer.Option(help="Names of the classes, with commas between them, for data that have none."),
]
Without = Annotated[
    bool, typer.Option("--no-images", help="Do not read the images: tables and numbers only.")
]


def images_of(
    source: Source, data: str | None, limit: int | None, class_names: str | None = None
) -> ImageData | None:
    """The training images of a table, with the labels it was trained with. None if the user named no data.

    Raises:
        ValueError: if the data cannot be read, hold vectors, or do not fit the table.
    """
    if limit is not None and data is None:
        raise ValueError(f"--limit {limit} goes with --data. Give both, or neither.")
    if source.seed is not None:
        settings = RunFolder(source.path.parent).settings()
        if data is not None:
            settings = replace(settings, data=data, limit=settings.limit if limit is None else limit)
    elif data is None:
        return None
    else:
        settings = Settings(data=data, limit=limit)
    try:
        found = altered(load_data(settings), settings, source.seed or 0)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{source.path}: its images cannot be read: {str(error).rstrip('.')}. Name them with --data, or "
            "give --no-images."
        ) from error
    if found.vectors:
        raise ValueError(f"{settings.data} holds vectors and not images. Give --no-images.")
    _refuse_other(source, found)
    if class_names is None:
        return found
    names = tuple(name.strip() for name in class_names.split(","))
    if len(names) != found.classes:
        raise ValueError(
            f"--class-names must have one name for each of the {found.classes} classes, got {len(names)}."
        )
    return replace(found, class_names=names)


def _refuse_other(source: Source, found: ImageData) -> None:
    """Raise if the images are not those of the table. Wrong labels of a noisy training may differ."""
    n = source.table.provenance.get("n") or len(source.table)
    if len(found) != n:
        raise ValueError(
            f"{source.path} is of {n:,} samples, but {found.name} has {len(found):,}. Give the --data and "
            "--limit of the training."
        )
    labels = source.table.labels
    if labels is not None and 2 * int((found.train_y[source.table.ids] == labels).sum()) < len(labels):
        raise ValueError(
            f"{source.path} has other labels than {found.name}: most differ. Give the --data and --limit of "
            "the training."
        )


def class_name(data: ImageData | None, label: int) -> str:
    """The name of a class, or its number."""
    names = data.class_names if data is not None else ()
    return names[label] if label < len(names) else f"class {label}"
