"""`samplewise train`: methods against each other on one data set, with seeds, in a run folder."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.bench import experiment, foreseen
from samplewise.bench.data import name_of
from samplewise.bench.folder import RunFolder, latest_folder, next_folder
from samplewise.bench.lock import folder_alone, free_folder_alone
from samplewise.bench.logs import KINDS, loggers_in
from samplewise.bench.settings import Normalize, Settings, Strategy
from samplewise.checks import require
from samplewise.cli import options
from samplewise.cli.bench import foresee
from samplewise.cli.console import terminal
from samplewise.cli.controls import is_controlled, judge, study_of
from samplewise.cli.estimate import document, show_estimate, takes
from samplewise.cli.files import interrupted
from samplewise.cli.kinds import kind_of
from samplewise.cli.options import DEFAULT, option
from samplewise.cli.output import Output
from samplewise.cli.progress import Watch
from samplewise.cli.results import show
from samplewise.integrations.energy import ZeusMeter
from samplewise.policy import Weighting

ROOT = Path("runs")


def train(
    data: options.Data = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    size: options.Size = None,
    text_column: options.TextColumn = None,
    max_length: options.MaxLength = None,
    targets: options.Targets = None,
    model: options.Model = None,
    method: Annotated[
        list[str] | None,
        option(
            "A method, as in `ucb` or `ucb:keep=0.3,period=5`; settings of its own run follow an @, as in "
            "`ucb:keep=0.3@lr=0.1`. A function in a file: `mine.py:half:keep=0.3`. Repeat the option for "
            "several.",
            default=", ".join(DEFAULT.method),
            complete=options.methods,
        ),
    ] = None,
    subset: Annotated[
        str | None, option("Train on this coreset, a Parquet file of `samplewise select`.")
    ] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    schedule: options.Schedule = None,
    milestone: options.Milestone = None,
    factor: options.Factor = None,
    warmup: options.Warmup = None,
    power: options.Power = None,
    seeds: Annotated[
        int | None, option("Number of runs per method (seeds 0, 1, ...).", default=DEFAULT.seeds)
    ] = None,
    strategy: Annotated[
        Strategy | None,
        option(
            "E trains as many epochs, coresets of keep <= 0.2 in smaller batches; P trains as many samples "
            "as ordinary training, so 1/keep as many epochs.",
            default=DEFAULT.strategy,
        ),
    ] = None,
    weights: Annotated[
        Weighting | None, option("Coresets: how the samples are weighted.", default="what the method does")
    ] = None,
    normalize: Annotated[
        Normalize | None, option("Coresets: mean1 divides the weights by their mean.")
    ] = None,
    score_model: Annotated[
        str | None,
        option("Coresets: another model for the scoring run.", default="--model", complete=options.models),
    ] = None,
    proxy_width: Annotated[
        float | None,
        option("Proxy methods: the share of the channels that the proxy has.", default=DEFAULT.proxy_width),
    ] = None,
    scoring: Annotated[
        str | None,
        option(
            "Cheaper scores, parts joined by +: bf16, every=K, half (images), first=K (tokens), at=MODULE, "
            "scorer=MODEL. "
            "For one method: METHOD@scoring=bf16.",
            default="as training does",
        ),
    ] = None,
    coreset_batch_size: Annotated[
        int | None, option("Coresets: samples per batch.", default="what the strategy says")
    ] = None,
    augment: options.Augment = None,
    label_smoothing: options.LabelSmoothing = None,
    label_noise: options.LabelNoise = None,
    noise: options.Noise = None,
    imbalance: options.Imbalance = None,
    per_class: options.PerClass = None,
    image_corruption: options.ImageCorruption = None,
    corruption: options.Corruption = None,
    limit: options.Limit = None,
    test_every: Annotated[
        int | None, option("Epochs between two tests; the last epoch is always tested.", default=1)
    ] = None,
    groups: Annotated[
        str | None,
        option(
            "The column that names the group of each sample, such as its source; `label`: the classes. The "
            "budget of every method is divided among the groups."
        ),
    ] = None,
    shares: Annotated[
        str | None,
        option(
            "How: sizes, temperature, online, or NAME=SHARE,NAME=SHARE. Parameters follow a colon, as in "
            "online:rate=0.5.",
            default="sizes",
        ),
    ] = None,
    history: Annotated[
        bool | None,
        option("Keep which samples each selection took, in the table of scores.", "--history"),
    ] = None,
    gate: Annotated[
        bool | None,
        option(
            "Make scoring cheaper, or end selection, in runs where it costs more time than it saves.",
            "--gate",
        ),
    ] = None,
    device: options.Device = None,
    amp: options.Amp = None,
    workers: options.Workers = None,
    threads: options.Threads = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Judge the methods: run full training of every length and random controls beside them.",
        ),
    ] = False,
    save_model: Annotated[
        bool, typer.Option("--save-model", help="Keep the trained model of every run.")
    ] = False,
    out: Annotated[Path | None, option("Run folder.", default="a new runs/DATA-N")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run folder (or the newest one).")
    ] = False,
    energy: Annotated[
        bool, typer.Option("--energy", help="Measure the energy of every run, where the machine tells it.")
    ] = False,
    log: Annotated[
        list[str] | None,
        option(
            f"Also log the numbers of every epoch of every run: {', '.join(KINDS)}. Repeat the option.",
            complete=lambda incomplete: [kind for kind in KINDS if kind.startswith(incomplete)],
        ),
    ] = None,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train with every method and every seed, and show what selection saved.

    Continue an interrupted command with --resume. The results are the same as without the break.
    """
    settings, given = options.settings_of(
        locals(), {"out", "resume", "controls", "save_model", "log", "energy", *options.PRINTING}
    )
    if subset is not None and method is None:
        settings, given = replace(settings, method=()), given | {"method": ()}
    if out is None and resume:
        out = latest_folder(ROOT, name_of(settings.data))
    output = Output(quiet, as_json)
    if controls or is_controlled(out):
        if log or energy:
            what = "--log" if log else "--energy"
            raise ValueError(
                f"{what} is for single trainings, but --controls makes a study. Leave out one of them."
            )
        folder = out or next_folder(ROOT, name_of(settings.data))
        if dry_run:
            foresee([study_of(settings, given, folder, resume)], 1, output)
        else:
            judge(settings, given, folder, resume, save_model, output)
        return
    if dry_run:
        _foresee(settings, out or next_folder(ROOT, name_of(settings.data)), resume, given, output)
        return
    with output.working(), _folder(settings, out) as folder:
        settings = experiment.open_folder(folder, settings, resume, given)
        sentence, found = _train(folder, settings, resume, save_model, log or (), energy)
    output.end(f"{sentence} The folder is {folder}.".strip(), lambda: found)


def _train(
    folder: Path, settings: Settings, resume: bool, save_models: bool, logs: Sequence[str], energy: bool
) -> tuple[str, Mapping[str, Any]]:
    require("matplotlib", "report")
    require("scipy.stats", "bench")
    require("pyarrow", "scores")
    loggers, meter = loggers_in(RunFolder(folder), logs), ZeusMeter() if energy else None
    console, heads = terminal(), [f"run folder {folder}"]
    if meter is not None and not meter.measures:
        heads.append("--energy: this machine does not tell its energy, or only to root. It is left out.")
    if resume and not RunFolder(folder).begun:
        heads.insert(0, f"nothing to resume in {folder}: starting")
    try:
        with Watch(console, experiment.count(settings), heads) as watch:
            experiment.run(folder, settings, watch, save_models, kind_of(settings), loggers, meter)
        return show(folder, console)
    except KeyboardInterrupt:
        again = ["train", "--out", str(folder), "--resume", *["--save-model"] * save_models]
        again += ["--energy"] * energy
        again += [word for kind in logs for word in ("--log", kind)]
        raise interrupted(folder, again) from None


def _foresee(settings: Settings, folder: Path, resume: bool, given: dict[str, Any], output: Output) -> None:
    """Show what the command would take. Nothing is written."""
    with output.working():
        settings = experiment.continued(folder, settings, resume, given)
        found = foreseen.of_training(settings, RunFolder(folder), kind_of(settings))
        show_estimate(found, terminal(), f"{name_of(settings.data)}, {settings.model}")
    output.end(takes(found), lambda: document(found))


def _folder(settings: Settings, out: Path | None) -> AbstractContextManager[Path]:
    """The run folder, held for this command."""
    if out is not None:
        return folder_alone(out)
    return free_folder_alone(lambda: next_folder(ROOT, name_of(settings.data)))
