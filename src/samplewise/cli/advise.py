"""`samplewise advise`: predict what each method would save, before a run."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from samplewise.advice.result import HEADS, Advice
from samplewise.bench import advice
from samplewise.bench.language.fits import is_language
from samplewise.bench.lock import file_alone
from samplewise.bench.methods import split
from samplewise.bench.text.fits import is_text
from samplewise.checks import Range, checked
from samplewise.cli import options
from samplewise.cli.console import terminal
from samplewise.cli.files import refuse_existing
from samplewise.cli.options import option
from samplewise.files.atomic import replacing
from samplewise.report.drawing import grid


@checked
@dataclass(frozen=True)
class Wanted:
    """The options that are about the measuring."""

    seconds: Annotated[float, Range(0, 3600, open_low=True)] = 60.0


def advise(
    data: options.Data = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    size: options.Size = None,
    model: options.Model = None,
    method: Annotated[
        list[str] | None,
        option(
            "A method, as in `ucb` or `ucb:keep=0.3`. Repeat the option for several.",
            default="all with their defaults",
            complete=options.methods,
        ),
    ] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = None,
    augment: options.Augment = None,
    label_smoothing: options.LabelSmoothing = None,
    imbalance: options.Imbalance = None,
    per_class: options.PerClass = None,
    limit: options.Limit = None,
    device: options.Device = None,
    amp: options.Amp = None,
    workers: options.Workers = None,
    threads: options.Threads = None,
    at: Annotated[
        str | None,
        option("The module at which a cheap scoring forward ends.", default="the first that can be used"),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds for all of it.")] = Wanted.seconds,
    out: Annotated[Path | None, option("Also write the numbers to this JSON file.", "--out", "-o")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Predict what each method would save, before a run.

    It measures the model on the data for a minute. It predicts time, never accuracy.
    """
    given = locals()
    wanted = Wanted(seconds)
    if model is not None and (is_text(model) or is_language(model)):
        raise ValueError(
            f"samplewise advise measures image models, got --model {model}. For texts, call "
            "samplewise.integrations.transformers.advise(trainer)."
        )
    for written in method or ():
        if split(written)[1]:
            raise ValueError(
                f"--method {written:.200} has settings of its own, but all methods share one measurement. "
                "Give them as options."
            )
    settings, _ = options.settings_of(given, {"at", "seconds", "out", "force"})
    settings = replace(settings, method=tuple(method or ("full",))).resolved()
    if out is None:
        _show(advice.of_images(settings, method, at, wanted.seconds))
        return
    with file_alone(out):
        refuse_existing(out, force)
        found = advice.of_images(settings, method, at, wanted.seconds)
        with replacing(out) as file:
            file.write((json.dumps(found.as_dict(), indent=1) + "\n").encode())
    _show(found)


def _show(found: Advice) -> None:
    console, words = terminal(), ("scoring", "needs", "it takes back")
    console.print(found.step_in_words, markup=False, soft_wrap=True)
    console.print()
    for drawn in grid(HEADS, [row.cells() for row in found.rows], console.width, words=words):
        console.print(drawn)
        console.print()
    for line in found.remarks:
        console.print(line, style="dim", markup=False, soft_wrap=True)
    console.print(found.sentence, style="bold", markup=False, soft_wrap=True)
