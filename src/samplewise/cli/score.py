"""`samplewise score`: train once, record many static methods, write one table of scores."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from samplewise.bench import experiment, foreseen, irreducible, scoring
from samplewise.bench.data import name_of
from samplewise.bench.folder import RunFolder
from samplewise.bench.language.fits import is_language
from samplewise.bench.lock import file_alone
from samplewise.bench.methods import split
from samplewise.bench.settings import IRREDUCIBLE, Fit, Settings
from samplewise.bench.text.fits import is_text
from samplewise.checks import require
from samplewise.cli import options
from samplewise.cli.console import terminal
from samplewise.cli.estimate import document, show_estimate, takes
from samplewise.cli.files import interrupted, refuse_existing
from samplewise.cli.kinds import kind_of
from samplewise.cli.options import option
from samplewise.cli.output import Output
from samplewise.cli.progress import Watch
from samplewise.coresets.over_runs import Combine
from samplewise.coresets.table import ScoreTable


def score(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file of scores, Parquet.")],
    method: Annotated[
        list[str] | None,
        option(
            "A static method, as in `el2n` or `tdds:keep=0.3`. Repeat the option for several. Or only "
            "`irreducible`: the losses that rho_loss needs.",
            complete=options.static_methods,
        ),
    ] = None,
    fit: Annotated[
        Fit | None,
        typer.Option(
            help="For irreducible. cross: two models, trained on one half each, score the other half. "
            "holdout: one model is trained on a half, and rho_loss leaves that half out.",
            show_default="cross",
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            help="Number of trainings (seeds 0, 1, ...), whose scores are combined.", min=1, show_default="1"
        ),
    ] = None,
    combine: Annotated[
        Combine | None,
        typer.Option(
            help="How the scores of several runs are combined. spread: their standard deviation. ucb: mean "
            "plus variance, the newest runs weighing most.",
            show_default="mean",
        ),
    ] = None,
    data: options.Data = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    size: options.Size = None,
    text_column: options.TextColumn = None,
    max_length: options.MaxLength = None,
    targets: options.Targets = None,
    model: options.Model = None,
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
    augment: options.Augment = None,
    label_smoothing: options.LabelSmoothing = None,
    label_noise: options.LabelNoise = None,
    noise: options.Noise = None,
    imbalance: options.Imbalance = None,
    per_class: options.PerClass = None,
    image_corruption: options.ImageCorruption = None,
    corruption: options.Corruption = None,
    limit: options.Limit = None,
    device: options.Device = None,
    amp: options.Amp = None,
    workers: options.Workers = None,
    threads: options.Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue where the command was stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train on all samples, and write the scores of static methods to a file.

    `samplewise select` chooses a coreset by these scores. Training ends when the last score is final.
    Until then its state is in FILE.work beside the file, and --resume continues from there.
    """
    work = out.with_name(f"{out.name}.work")
    all_options = locals() | {"seeds": runs}
    settings, given = options.settings_of(
        all_options, {"out", "runs", "resume", "force", "work", *options.PRINTING}
    )
    settings = replace(settings, method=given.get("method", ()), seeds=given.get("seeds", 1))
    for written in settings.method:
        if split(written)[1]:
            raise ValueError(
                f"--method {written:.200} has settings of its own, but all methods of samplewise score share "
                "one training. Give them as options."
            )
    if IRREDUCIBLE in settings.method and (is_text(settings.model) or is_language(settings.model)):
        raise ValueError(
            f"--method {IRREDUCIBLE} trains image models, got --model {settings.model}. For a language "
            "model, use sw.reference_losses."
        )
    if IRREDUCIBLE in settings.method and fit is None:
        settings = replace(settings, fit="cross")
    output = Output(quiet, as_json)
    if dry_run:
        _foresee(settings, work, resume, given, output)
        return
    with output.working(), file_alone(out):
        refuse_existing(out, force)
        settings = experiment.open_folder(work, settings, resume, given)
        if settings.fit is None:
            scoring.columns(settings)
        require("pyarrow", "scores")
        try:
            with Watch(terminal(), 2 if settings.fit == "cross" else settings.seeds) as watch:
                if settings.fit is None:
                    table = scoring.run(work, settings, watch, kind_of(settings))
                else:
                    table = irreducible.run(work, settings, watch)
        except KeyboardInterrupt:
            again = ["score", "--out", str(out), "--resume", *["--force"] * force]
            raise interrupted(work, again) from None
        table.to_parquet(out)
        shutil.rmtree(work)
    names = [name for name in table.provenance.get("methods", ()) if name in table.columns]
    told = {"file": out, "samples": len(table), "columns": [*table.columns], "methods": names}
    told |= {"scoring": table.provenance.get("scoring", {})}
    output.end(_said(out, table, names), lambda: told)


def _said(out: Path, table: ScoreTable, methods: list[str]) -> str:
    """What the file has, in words."""
    if IRREDUCIBLE in table.columns:
        return f"{out} has the losses of {len(table):,} samples in the column {IRREDUCIBLE}."
    if not methods:
        columns = ", ".join(require("pyarrow.parquet", "scores").read_schema(out).names)
        drawn = [*table.provenance["methods"]]
        return (
            f"{out} has no scores, because {', '.join(drawn)} needs none. It has {len(table):,} samples in "
            f"the columns {columns}. Choose with: samplewise select {out} --method {drawn[0]} --keep 0.3 "
            "-o subset.parquet"
        )
    most = max(spent["cost"] for spent in table.provenance["scoring"].values())
    return (
        f"{out} has scores of {len(table):,} samples by {', '.join(methods)}. Scoring cost {most:,.0f} "
        f"forwards. Choose with: samplewise select {out} --method {methods[0]} --keep 0.3 -o subset.parquet"
    )


def _foresee(settings: Settings, work: Path, resume: bool, given: dict[str, Any], output: Output) -> None:
    """Show what the command would take. Nothing is written."""
    with output.working():
        settings = experiment.continued(work, settings, resume, given)
        if settings.fit is None:
            scoring.columns(settings)
        found = foreseen.of_scoring(settings, RunFolder(work), kind_of(settings))
        show_estimate(found, terminal(), f"{name_of(settings.data)}, {settings.model}")
    output.end(takes(found), lambda: document(found))
