"""Irreducible losses: the loss of a sample under a model that did not train on it (hold-out or cross-fit)."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise import recipes
from samplewise.bench import experiment, rngstate
from samplewise.bench.altered import altered, noise_note
from samplewise.bench.data import ImageData
from samplewise.bench.folder import RunFolder
from samplewise.bench.kinds import Listener
from samplewise.bench.rows import TestedEpoch
from samplewise.bench.settings import IRREDUCIBLE, Settings
from samplewise.bench.train import Images, Run, Task
from samplewise.coresets.table import ScoreTable
from samplewise.cost.ledger import FORWARD
from samplewise.data.dataset import fingerprint
from samplewise.files.versions import versions
from samplewise.pickers import ranking
from samplewise.rng import generator
from samplewise.signals import correct, measure

_AT_ONCE = 500


def halves(labels: Int[Tensor, " n"], seed: int) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"]]:
    """Split the samples at random into two halves. Return the ids of each, in ascending order.

    The first half has n // 2 samples. The two parts of a class differ by at most two samples.

    Raises:
        ValueError: if a class has only 1 sample.
    """
    sizes = labels.bincount()
    if lone := (sizes == 1).nonzero().flatten().tolist():
        raise ValueError(
            "irreducible losses need at least 2 samples of each class, one for each half, but class "
            f"{lone[0]} has 1 sample. Use more data, or leave out that class."
        )
    quotas = ranking.largest_remainder(len(labels) // 2, sizes).tolist()
    order = torch.randperm(len(labels), generator=generator(seed, "halves"))
    first = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in enumerate(quotas):
        first[order[labels[order] == label][:quota]] = True
    return first.nonzero().flatten(), (~first).nonzero().flatten()


def run(path: Path, settings: Settings, listener: Listener) -> ScoreTable:
    """Train one or two models in the folder `path`, or continue them. Return the table of losses.

    With `settings.fit` "cross", one model trains on each half, and the losses of a half come from the model
    of the other half. With "holdout", one model trains on the first half; the samples of that half get NaN.
    Losses are computed in eval mode, without augmentation, after every epoch. The epoch with the lowest mean
    loss is used.

    Returns:
        A table of all n samples with the column `irreducible`. Its provenance holds the kind of fit, the best
        epochs, and under `scoring` the cost in forwards of this model: training, and the evaluation of the
        other half after every epoch.
    """
    folder = RunFolder(path)
    if not folder.begun:  # a class that cannot be split raises before any file is written
        halves(altered(experiment.load_data(settings), settings, 0).train_y, 0)
    data = altered(experiment.prepare(folder, settings, experiment.Images()), settings, 0)
    first, second = halves(data.train_y, 0)
    losses = torch.full((len(data),), float("nan"))
    sides = [(first, second), (second, first)] if settings.fit == "cross" else [(first, second)]
    models: list[dict[str, Any]] = []
    with rngstate.kept():
        for number, (seen, unseen) in enumerate(sides):
            name = f"{IRREDUCIBLE}-{'ab'[number]}"
            listener.began(name, 0)
            task = Task(name, recipes.full(), 0, _half(data, seen, unseen), settings)
            fitted = fit(task, folder.checkpoint(name, 0), listener.stepped, listener.epoch_ended)
            losses[unseen] = fitted.pop("losses")
            models.append(fitted)
            listener.scored({"seed": 0, "methods": [name], **fitted})
    return _table(losses, data, settings, models)


def fit(
    task: Task,
    checkpoint: Path,
    on_step: Callable[[float], None] = lambda progress: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train on the training split, and keep the losses on the test split of the best epoch.

    Continue from `checkpoint` if it exists. The checkpoint is not deleted at the end.

    Returns:
        `losses` of the test split, the epoch with the lowest mean loss (`best`, from 1), that mean
        (`best_loss`), `epochs`, and the `cost` in forwards and `seconds` of training and evaluation.
    """
    under_way = Run(task)
    under_way.begin(checkpoint, TestedEpoch, range(1, task.settings.epochs + 1))
    if under_way.curve:
        _refuse_damaged(under_way, checkpoint)
    loader, epochs = under_way.loader(), task.settings.epochs
    for epoch in range(under_way.done, epochs):
        under_way.train_epoch(loader, epoch, checkpoint, on_step)
        _evaluate_epoch(under_way, epoch + 1)
        under_way.save(checkpoint)
        on_epoch(under_way.curve[-1])
    curve, ledger = under_way.curve, under_way.selector.ledger
    best = _best(curve)
    return {
        "losses": best["losses"],
        "best": best["epoch"],
        "best_loss": best["loss"],
        "epochs": epochs,
        "cost": ledger.cost + FORWARD * len(task.data.test_y) * len(curve),
        "seconds": ledger.wall + sum(row["seconds"] for row in curve),
    }


def _refuse_damaged(under_way: Run, checkpoint: Path) -> None:
    """Raise if a row of the curve has no mean loss, or the best row has no per-sample losses."""
    curve = under_way.curve
    complete = all(type(row.get("loss")) is float for row in curve)
    losses = _best(curve).get("losses") if complete and curve else None
    if not complete or (curve and getattr(losses, "shape", None) != under_way.task.data.test_y.shape):
        raise ValueError(
            f"checkpoint {checkpoint} does not fit this run: losses are missing in its curve. Delete the "
            "checkpoint to restart this run from its first epoch."
        )


def _evaluate_epoch(under_way: Run, epoch: int) -> None:
    """Record the losses on the other half. Per-sample losses are kept for the best epoch only."""
    begun = time.perf_counter()
    losses, right = _evaluate(under_way)
    row = {
        "epoch": epoch,
        "epochs": under_way.task.settings.epochs,
        "loss": float(losses.double().mean()),
        "test_accuracy": 100 * right / len(losses),
        "losses": losses,
        "seconds": time.perf_counter() - begun,
    }
    under_way.curve.append(row)
    best = _best(under_way.curve)
    for other in under_way.curve:
        if other is not best:
            other["losses"] = None


def _best(curve: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the first epoch with the lowest mean loss. NaN and infinite losses are ignored."""
    finite = [row for row in curve if row["loss"] < float("inf")]
    if not finite:
        raise ValueError(
            "irreducible losses must be finite after at least one epoch, but training diverged. Try a "
            "smaller --lr."
        )
    return min(finite, key=lambda row: row["loss"])


def _evaluate(under_way: Run) -> tuple[Float[Tensor, " t"], int]:
    """The per-sample losses of the test split in eval mode, and the number of correct predictions."""
    data, found, right = under_way.task.data, [], 0
    under_way.model.eval()
    with torch.no_grad():
        for begun in range(0, len(data.test_y), _AT_ONCE):
            some = slice(begun, begun + _AT_ONCE)
            outputs = under_way.forward((data.test_x[some], data.test_y[some]))
            found.append(outputs.loss.float().cpu())
            right += int(measure((correct,), outputs, IRREDUCIBLE)["correct"].sum())
    under_way.model.train()
    return torch.cat(found), right


def _half(data: ImageData, seen: Tensor, unseen: Tensor) -> ImageData:
    """The data with one half as the training split and the other half as the test split."""
    return replace(
        data,
        train_x=data.train_x[seen],
        train_y=data.train_y[seen],
        test_x=data.train_x[unseen],
        test_y=data.train_y[unseen],
    )


def _table(
    losses: Float[Tensor, " n"], data: ImageData, settings: Settings, models: list[dict[str, Any]]
) -> ScoreTable:
    n = len(data)
    spent = {key: sum(model[key] for model in models) for key in ("cost", "seconds")}
    provenance = {
        "recipe": IRREDUCIBLE,
        "fit": settings.fit,
        "n": n,
        "fingerprint": fingerprint(Images(data.train_x, data.train_y), data.train_y),
        "model": settings.model,
        "seed": 0,
        "epochs": settings.epochs,
        "best_epochs": [model["best"] for model in models],
        "best_losses": [model["best_loss"] for model in models],
        "columns": {IRREDUCIBLE: "Loss of a model that did not train on the sample; NaN if there is none."},
        "scoring": {IRREDUCIBLE: spent},
        "unfinished": [],
        "versions": versions(),
        **noise_note(settings, 0),
    }
    times = torch.zeros(n, dtype=torch.int32)
    return ScoreTable(torch.arange(n), {IRREDUCIBLE: losses}, times, data.train_y, provenance)
