"""The options that `samplewise train` and `samplewise score` share."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from samplewise import recipes
from samplewise.bench import settings
from samplewise.bench.cheap import gated
from samplewise.bench.methods import NEEDS, split
from samplewise.bench.models import BUILDERS
from samplewise.bench.optim import DEFAULT_LR, WARMUPS
from samplewise.bench.settings import IRREDUCIBLE, Settings
from samplewise.policy import Recipe

DEFAULT = Settings()
Complete = Callable[[str], list[str]] | Callable[[str], list[tuple[str, str]]]


def option(help: str, *names: str, default: Any = None, complete: Complete | None = None) -> Any:
    """An option that is None unless it is given: `--resume` compares only what is given."""
    shown = False if default is None else str(default)
    return typer.Option(*names, help=help, show_default=shown, autocompletion=complete)


def methods(incomplete: str) -> list[tuple[str, str]]:
    """The methods that a word begins, each with what it does."""
    known = {name: _what(made) for name, made in recipes.all().items()}
    return [pair for pair in known.items() if pair[0].startswith(incomplete)]


def static_methods(incomplete: str) -> list[tuple[str, str]]:
    """The same for `samplewise score`: static methods, and the irreducible losses."""
    known = {name: _what(made) for name, made in recipes.all().items() if made.level == "static"}
    known[IRREDUCIBLE] = "What models that never saw a sample lose on it, for rho_loss."
    return [pair for pair in known.items() if pair[0].startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """The networks that a word begins."""
    return [name for name in BUILDERS if name.startswith(incomplete)]


def _what(made: Recipe) -> str:
    return (inspect.getdoc(made) or "").partition("\n")[0]


Data = Annotated[
    str | None,
    option(
        "digits, a .npz file (train_x, train_y, test_x, test_y), a folder of Parquet files or images, "
        "a Parquet file such as sst2-train.parquet, or hf:NAME.",
        default=DEFAULT.data,
    ),
]
ImageColumn = Annotated[
    str | None, option("Folders and hf: the column of images.", default="found by its type")
]
LabelColumn = Annotated[
    str | None, option("Folders and hf: the column of labels.", default="found by its type or name")
]
TextColumn = Annotated[
    list[str] | None,
    option("Text encoders: the column of texts. Repeat the option for pairs.", default="found by its name"),
]
MaxLength = Annotated[
    int | None, option("Text encoders: the most tokens of a sample.", default=DEFAULT.max_length)
]
Targets = Annotated[
    settings.Targets | None,
    option("Text encoders: what the labels are. Numbers make a regression.", default="found by their type"),
]
Size = Annotated[int | None, option("Resize and centre-crop all images to this side.")]
Model = Annotated[
    str | None,
    option(
        f"{', '.join(BUILDERS)}, or package.module:function. The module is imported. A text encoder is "
        "hf:PATH, a small language model llama.",
        default=DEFAULT.model,
        complete=models,
    ),
]
Epochs = Annotated[int | None, option("Epochs per run.", default=DEFAULT.epochs)]
BatchSize = Annotated[int | None, option("Samples per batch.", default=DEFAULT.batch_size)]
Lr = Annotated[
    float | None,
    option("Top learning rate.", default=", ".join(f"{lr} for {name}" for name, lr in DEFAULT_LR.items())),
]
Optimizer = Annotated[settings.Optimizer | None, option("The optimizer.", default=DEFAULT.optimizer)]
WeightDecay = Annotated[float | None, option("Weight decay.", default=DEFAULT.weight_decay)]
Momentum = Annotated[float | None, option("Momentum of sgd, beta1 of adamw.", default=DEFAULT.momentum)]
Schedule = Annotated[
    settings.LrSchedule | None, option("How the learning rate changes.", default=DEFAULT.schedule)
]
Milestone = Annotated[
    list[float] | None,
    option(
        "step: a share of the run after which the rate is multiplied by --factor. Repeat the option.",
        default=", ".join(f"{milestone:g}" for milestone in DEFAULT.milestone),
    ),
]
Factor = Annotated[
    float | None, option("step: what a milestone multiplies the rate by.", default=DEFAULT.factor)
]
Warmup = Annotated[
    float | None,
    option(
        "The share of the run in which the rate rises.",
        default=", ".join(f"{share:g} for {name}" for name, share in WARMUPS.items()),
    ),
]
Power = Annotated[float | None, option("polynomial: the power of the decay.", default=DEFAULT.power)]
Augment = Annotated[bool | None, option("Random crops and flips of the training images.", "--augment")]
LabelSmoothing = Annotated[
    float | None,
    option("Share of each target that all classes divide evenly, in the training loss.", default=0),
]
LabelNoise = Annotated[float | None, option("Share of the training labels to make wrong.", default=0)]
Noise = Annotated[
    settings.Noise | None,
    option(
        "Where wrong labels come from: uniform draws any other class, flip gives each class one other class.",
        default=DEFAULT.noise,
    ),
]
Imbalance = Annotated[
    str | None, option("The share of each class to keep, as in 1,0.5,0.25: one number for each class.")
]
PerClass = Annotated[int | None, option("Draw this many training images of every class.")]
ImageCorruption = Annotated[float | None, option("Share of the training images to corrupt.", default=0)]
Corruption = Annotated[
    settings.Corruption | None,
    option("How images are corrupted; all: a fifth of them in each way.", default=DEFAULT.corruption),
]
Limit = Annotated[int | None, option("Use this many training images.")]
Device = Annotated[str | None, option("cpu, cuda, cuda:1, ...", default="cuda if there is one")]
Amp = Annotated[bool | None, option("Train in bfloat16 autocast.", "--amp")]
Workers = Annotated[int | None, option("Loader processes.", default=DEFAULT.workers)]
Threads = Annotated[int | None, option("CPU threads of torch.", default="torch's choice")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only errors and the last sentence.")]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document and nothing else. Progress goes to stderr."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show runs, cost, time and memory. Train and write nothing.")
]
PRINTING = {"quiet", "as_json", "dry_run"}
"""The parameters of a command that say what it prints."""


def settings_of(options: dict[str, Any], other: set[str]) -> tuple[Settings, dict[str, Any]]:
    """The settings of a command, and those that the user gave; `other` names options that are none."""
    given = {key: value for key, value in options.items() if key not in other and value is not None}
    for name in ("method", "milestone", "text_column"):
        if name in given:
            given[name] = tuple(given[name])
    if "imbalance" in given:
        given["imbalance"] = _shares(given["imbalance"])
    settings = Settings.made(**given)
    if not options.get("resume"):  # the folder may have what an option needs
        _refuse_unused(settings, given)
    return settings, given


def _refuse_unused(settings: Settings, given: dict[str, Any]) -> None:
    """Raise if an option that the user gave would have no effect."""
    schedules = {settings.of(method).schedule for method in settings.method} or {settings.schedule}
    for key, schedule in NEEDS.items():
        if key in given and schedule not in schedules:
            raise ValueError(
                f"--{key} needs --schedule {schedule}, got {', '.join(sorted(schedules))}: it has no effect. "
                "Leave it out."
            )
    if "momentum" in given and schedules == {"torch_onecycle"}:
        raise ValueError(
            "--momentum has no effect with --schedule torch_onecycle, which moves the momentum itself. Leave "
            "it out."
        )
    if given.get("gate") and not any(map(gated, settings.policies().values())):
        raise ValueError(
            "--gate needs a method that scores and chooses while it trains, got "
            f"{', '.join(settings.names)}: it has no effect. Leave it out."
        )
    if settings.groups is not None and {split(name)[0] for name in settings.method} == {"full"}:
        raise ValueError(
            f"--groups needs a method that chooses, got {', '.join(settings.names)}: it has no effect. "
            "Leave it out."
        )
    if "noise" in given and not settings.label_noise:
        raise ValueError(f"--noise {settings.noise} needs a share of the labels. Give --label-noise.")


def _shares(written: str) -> tuple[float, ...]:
    """The numbers of `1,0.5,0.25`."""
    try:
        return tuple(float(share) for share in written.split(","))
    except ValueError:
        raise ValueError(
            f"--imbalance must be numbers with commas between them, as in 1,0.5,0.25, got {written!r:.80}."
        ) from None
