"""`samplewise train`: methods against each other on one data set, with seeds, in a run folder."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.bench import experiment
from samplewise.bench.data import name_of
from samplewise.bench.folder import RunFolder, latest_folder, next_folder
from samplewise.bench.optim import DEFAULT_LR
from samplewise.bench.settings import Settings
from samplewise.checks import require
from samplewise.cli.console import terminal
from samplewise.cli.progress import Watch
from samplewise.cli.results import show

ROOT = Path("runs")
DEFAULT = Settings()


def _option(help: str, *names: str, default: Any = None) -> Any:
    """An option whose absence can be told from its default, for `--resume` to compare."""
    return typer.Option(*names, help=help, show_default=False if default is None else str(default))


def train(
    data: Annotated[
        str | None,
        _option(
            "digits, a .npz file (train_x, train_y, test_x, test_y), a folder of Parquet files, or hf:NAME.",
            default=DEFAULT.data,
        ),
    ] = None,
    model: Annotated[
        str | None,
        _option("cnn, mlp, resnet18 or package.module:function.", default=DEFAULT.model),
    ] = None,
    method: Annotated[
        list[str] | None,
        _option(
            "A method, as in `ucb` or `ucb:keep=0.3,period=5`; may be given several times.",
            default=", ".join(DEFAULT.method),
        ),
    ] = None,
    epochs: Annotated[int | None, _option("Epochs a run.", default=DEFAULT.epochs)] = None,
    batch_size: Annotated[int | None, _option("Samples a batch.", default=DEFAULT.batch_size)] = None,
    lr: Annotated[
        float | None,
        _option(
            "Top learning rate.", default=", ".join(f"{lr} for {name}" for name, lr in DEFAULT_LR.items())
        ),
    ] = None,
    optimizer: Annotated[str | None, _option("sgd or adamw.", default=DEFAULT.optimizer)] = None,
    schedule: Annotated[
        str | None, _option("cosine, onecycle or constant.", default=DEFAULT.schedule)
    ] = None,
    seeds: Annotated[
        int | None, _option("Runs a method, with seeds 0, 1, ...", default=DEFAULT.seeds)
    ] = None,
    augment: Annotated[
        bool | None, _option("Random crops and flips of the training images.", "--augment")
    ] = None,
    label_noise: Annotated[
        float | None, _option("Share of the training labels to make wrong.", default=0)
    ] = None,
    noise: Annotated[
        str | None,
        _option("How: uniform or flip (one wrong class a class).", default=DEFAULT.noise),
    ] = None,
    limit: Annotated[int | None, _option("Use this many training images.")] = None,
    device: Annotated[str | None, _option("cpu, cuda, cuda:1, ...", default="cuda if there is one")] = None,
    amp: Annotated[bool | None, _option("Train in bfloat16 autocast.", "--amp")] = None,
    workers: Annotated[int | None, _option("Loader processes.", default=DEFAULT.workers)] = None,
    threads: Annotated[int | None, _option("CPU threads of torch.", default="torch's choice")] = None,
    out: Annotated[Path | None, _option("Run folder.", default="a new runs/DATA-N")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run folder (or the newest one).")
    ] = False,
) -> None:
    """Train with every method and every seed, and show what selection saved.

    An interrupted command continues with --resume to exactly the results of an uninterrupted one.
    """
    options = {key: value for key, value in locals().items() if key not in ("out", "resume")}
    given = {key: value for key, value in options.items() if value is not None}
    if "method" in given:
        given["method"] = tuple(given["method"])
    settings = Settings(**given)
    folder = _folder(settings, out, resume)
    settings = experiment.open_folder(folder, settings, resume, given)
    require("matplotlib", "report")
    require("pyarrow", "scores")
    console = terminal()
    if resume and not RunFolder(folder).begun:
        console.print(f"nothing to resume in {folder}: starting", style="dim", soft_wrap=True)
    console.print(f"run folder {folder}", style="dim", soft_wrap=True)
    try:
        with Watch(console, len(settings.method) * settings.seeds, settings.epochs) as watch:
            experiment.run(folder, settings, watch)
        show(folder, console)
    except KeyboardInterrupt:
        command = shlex.join(["samplewise", "train", "--out", str(folder), "--resume"])
        typer.echo(f"\ninterrupted. Continue with: {command}", err=True)
        raise typer.Exit(130) from None


def _folder(settings: Settings, out: Path | None, resume: bool) -> Path:
    if out is not None:
        return out
    name = name_of(settings.data)
    newest = latest_folder(ROOT, name) if resume else None
    return newest or next_folder(ROOT, name)
