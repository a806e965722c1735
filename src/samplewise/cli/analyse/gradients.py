"""`samplewise analyse gradients`: how much of the gradient comes from corrupted samples, method by method."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console

from samplewise.bench import experiment
from samplewise.bench.altered import altered, described, drawn
from samplewise.bench.data import ImageData
from samplewise.bench.methods import chooses_coreset
from samplewise.bench.settings import Settings
from samplewise.bench.train import Run
from samplewise.checks import Range, check_arguments, require
from samplewise.cli import options
from samplewise.cli.analyse.common import Force, Out, folder_for, show, write_json
from samplewise.cli.console import terminal
from samplewise.cli.options import option
from samplewise.files.atomic import replacing
from samplewise.report.drawing import grid

if TYPE_CHECKING:
    from rich.table import Table

    from samplewise.analysis.gradients import CorruptedGradients

FILES = ("gradients.json", "gradients.png")
NOISE = 0.2


def gradients(
    data: options.Data = None,
    model: options.Model = None,
    method: Annotated[
        list[str] | None,
        option(
            "A method that selects during training. Repeat the option.",
            default="full, loss_sampling, evolved_sampling",
            complete=options.methods,
        ),
    ] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    augment: options.Augment = None,
    label_noise: Annotated[
        float | None, option("Share of the training labels to make wrong.", default=NOISE)
    ] = None,
    noise: options.Noise = None,
    limit: options.Limit = None,
    device: options.Device = None,
    threads: options.Threads = None,
    full: Annotated[
        bool, typer.Option("--full", help="Gradients of all parameters, in place of the last layer.")
    ] = False,
    every: Annotated[int, typer.Option(help="Record each so many steps.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the wrong labels and of the trainings.")] = 0,
    out: Out = None,
    force: Force = False,
) -> None:
    """Train methods side by side on noisy labels, and show how much of the gradient is of wrong labels."""
    check_arguments("Wanted", _Wanted, {"every": every, "seed": seed})
    own = {"full", "every", "seed", "out", "force"}
    chosen = {
        "method": method or ["full", "loss_sampling", "evolved_sampling"],
        "label_noise": NOISE if label_noise is None else label_noise,
    }
    settings, _ = options.settings_of(locals() | chosen, {*own, "own", "chosen"})
    settings = replace(settings, seeds=1).resolved()
    _refuse(settings)
    require("matplotlib", "report")
    require("scipy", "analysis")
    console = terminal()
    with folder_for("gradients", out, force, FILES) as folder:
        torch.set_num_threads(settings.threads or torch.get_num_threads())
        source = experiment.load_data(settings)
        changed = altered(source, settings, seed)
        wrong = changed.train_y != drawn(source, settings, seed).train_y
        found, rows = {}, []
        for name, policy in settings.policies().items():
            run = Run(experiment.task_of(name, policy, seed, changed, settings))
            found[name] = _trained(run, wrong, full, every, console)
            rows.append(_row(name, found[name], run))
        share = float(wrong.double().mean())
        which = "all parameters" if full else "last layer"
        said = {"data": settings.data, "model": settings.model, "epochs": settings.epochs, "seed": seed}
        content = said | {"wrong_labels": share, "gradients": which, "methods": rows}
        write_json(folder / FILES[0], content)
        _draw(found, share, which, changed, settings, folder / FILES[1])
        show(_table(rows, console.width), _said(rows), [folder / name for name in FILES])


class _Wanted:
    every: Annotated[int, Range(1)]
    seed: Annotated[int, Range(0)]


def _refuse(settings: Settings) -> None:
    if not settings.label_noise:
        raise ValueError(
            "--label-noise must be > 0, got 0: without wrong labels there is nothing to measure."
        )
    for name, policy in settings.policies().items():
        if chooses_coreset(policy):
            raise ValueError(
                f"--method {name} chooses a coreset before the training. Take methods that select during it: "
                "`samplewise methods` lists their levels."
            )


def _trained(run: Run, wrong: torch.Tensor, full: bool, every: int, console: Console) -> "CorruptedGradients":
    """Train a run to its end, and record every step."""
    from samplewise.analysis.gradients import CorruptedGradients

    own: dict[str, Any] = {"model": run.model, "forward": run.forward} if full else {}
    recorder = CorruptedGradients(wrong, every=every, **own)
    run.prepare()
    settings, selector = run.task.settings, run.selector
    loader = run.loader()
    for epoch in range(settings.epochs):
        for given in loader:
            batch = run.augmented(given, epoch)
            run.set_lr(epoch)
            kept = selector.narrow(batch)
            outputs = run.forward(kept.data)
            weights = selector.weigh(outputs)
            recorder.record(kept, outputs, selector.progress, weights)
            run.optimizer.zero_grad()
            torch.autograd.backward((weights * outputs.loss).mean())
            run.optimizer.step()
            run.step += 1
        run.step = 0
    console.print(f"{run.task.method}: {len(recorder.steps):,} steps recorded", style="dim", markup=False)
    return recorder


def _row(name: str, recorder: "CorruptedGradients", run: Run) -> dict[str, Any]:
    fields = ("of_samples", "of_norms", "of_sum")
    shares = {field: [getattr(share, field) for share in recorder.shares] for field in fields}
    means = {f"mean_{field}": sum(values) / len(values) for field, values in shares.items()}
    accuracy = run.evaluate()["accuracy"]
    return {"method": name, "test_accuracy": accuracy} | means | {"steps": recorder.steps} | shares


def _draw(
    found: "dict[str, CorruptedGradients]",
    share: float,
    which: str,
    data: ImageData,
    settings: Settings,
    file: Any,
) -> None:
    from samplewise.analysis.pictures.gradients import draw

    title = f"Gradients of wrong labels: {data.name}, {settings.model}{described(settings)}"
    with replacing(file) as opened:
        draw(found, share, which, opened, title)


def _said(rows: list[dict[str, Any]]) -> str:
    """Whose gradient has the most and the least of wrong labels, in a sentence."""
    most, least = (pick(rows, key=lambda row: row["mean_of_norms"]) for pick in (max, min))
    high, low = (f"{100 * row['mean_of_norms']:.1f} % with {row['method']}" for row in (most, least))
    said = f"Wrong labels make up {high} of the gradient norms"
    return f"{said}." if most is least else f"{said}, the most, and {low}, the least."


def _table(rows: list[dict[str, Any]], width: int) -> "list[Table]":
    title = "wrong labels: their part over the whole training, %"
    headers = ("method", "of samples", "of gradient norms", "of the summed gradient", "test accuracy, %")
    lines = [
        (
            row["method"],
            *(f"{100 * row[f'mean_{field}']:.1f}" for field in ("of_samples", "of_norms", "of_sum")),
            f"{row['test_accuracy']:.2f}",
        )
        for row in rows
    ]
    return grid(headers, lines, width, title)
