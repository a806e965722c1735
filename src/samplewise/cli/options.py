"""The options that `samplewise train` and `samplewise score` share."""

from typing import Annotated, Any

import typer

from samplewise.bench.models import BUILDERS
from samplewise.bench.optim import DEFAULT_LR
from samplewise.bench.settings import Settings

DEFAULT = Settings()


def option(help: str, *names: str, default: Any = None) -> Any:
    """An option whose absence can be told from its default, for `--resume` to compare."""
    return typer.Option(*names, help=help, show_default=False if default is None else str(default))


Data = Annotated[
    str | None,
    option(
        "digits, a .npz file (train_x, train_y, test_x, test_y), a folder of Parquet files or images, "
        "or hf:NAME.",
        default=DEFAULT.data,
    ),
]
ImageColumn = Annotated[
    str | None, option("Folders and hf: the column of images.", default="found by its type")
]
LabelColumn = Annotated[
    str | None, option("Folders and hf: the column of labels.", default="found by its type or name")
]
Size = Annotated[int | None, option("Resize and centre-crop all images to this side.")]
Model = Annotated[
    str | None,
    option(f"{', '.join(BUILDERS)} or package.module:function, which is imported.", default=DEFAULT.model),
]
Epochs = Annotated[int | None, option("Epochs per run.", default=DEFAULT.epochs)]
BatchSize = Annotated[int | None, option("Samples per batch.", default=DEFAULT.batch_size)]
Lr = Annotated[
    float | None,
    option("Top learning rate.", default=", ".join(f"{lr} for {name}" for name, lr in DEFAULT_LR.items())),
]
Optimizer = Annotated[str | None, option("sgd or adamw.", default=DEFAULT.optimizer)]
Schedule = Annotated[str | None, option("cosine, onecycle or constant.", default=DEFAULT.schedule)]
Augment = Annotated[bool | None, option("Random crops and flips of the training images.", "--augment")]
LabelNoise = Annotated[float | None, option("Share of the training labels to make wrong.", default=0)]
Noise = Annotated[
    str | None, option("How: uniform or flip (one wrong class a class).", default=DEFAULT.noise)
]
Limit = Annotated[int | None, option("Use this many training images.")]
Device = Annotated[str | None, option("cpu, cuda, cuda:1, ...", default="cuda if there is one")]
Amp = Annotated[bool | None, option("Train in bfloat16 autocast.", "--amp")]
Workers = Annotated[int | None, option("Loader processes.", default=DEFAULT.workers)]
Threads = Annotated[int | None, option("CPU threads of torch.", default="torch's choice")]


def settings_of(options: dict[str, Any], other: set[str]) -> tuple[Settings, dict[str, Any]]:
    """The settings of a command, and which of them the user wrote out; `other` are no settings."""
    given = {key: value for key, value in options.items() if key not in other and value is not None}
    if "method" in given:
        given["method"] = tuple(given["method"])
    return Settings(**given), given
