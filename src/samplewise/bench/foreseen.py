"""What the runs of `samplewise train` and `samplewise score` will take. Nothing is trained for a result."""

from collections import Counter
from dataclasses import replace
from typing import Any

from samplewise.bench import coreset, experiment, models, protocols
from samplewise.bench.altered import altered
from samplewise.bench.data import ImageData
from samplewise.bench.folder import RunFolder
from samplewise.bench.kinds import Kind
from samplewise.bench.settings import Settings
from samplewise.bench.study.estimate import Estimate, Part, expected
from samplewise.bench.study.jobs import FULL
from samplewise.bench.study.timing import Clock, of_images
from samplewise.bench.study.toy import Spent

__all__ = ["of_scoring", "of_training"]


def of_training(settings: Settings, folder: RunFolder, kind: Kind) -> Estimate:
    """Estimate the missing runs of an experiment.

    The cost of a method is found on a toy task, see `study.toy.spent`. Seconds come from a few steps on the
    data, and contain the tests.

    Args:
        settings: of the experiment, complete.
        folder: of the experiment. It need not exist.
        kind: what a training takes.
    """
    data = altered(kind.ready(settings), settings, 0)
    finished = len(folder.results()) if folder.begun else 0
    runs = experiment.pending(folder, settings) if folder.begun else experiment.all_runs(settings)
    clock, policies = kind.clock(settings, data), settings.policies()
    parts = [
        _part(method, policies[method], count, settings, data, clock)
        for method, count in Counter(method for method, _ in runs).items()
    ]
    static = coreset.static_methods(settings)
    scored = folder.scorings() if folder.begun else {}
    seeds = {seed for method, seed in runs if method in static and seed not in scored}
    names = set(coreset.leaders(static).values())
    scoring = [_scoring(names, len(seeds), settings, data, clock)] if seeds else []
    return Estimate.of(parts, [p for p in scoring if p.cost], _unit(settings, data), finished)


def of_scoring(settings: Settings, folder: RunFolder, kind: Kind) -> Estimate:
    """Estimate the missing scoring runs of `samplewise score`.

    Args:
        settings: of the command, complete. With `fit`, models train on halves of the data.
        folder: of its work. It need not exist.
        kind: what a training takes.
    """
    data = altered(kind.ready(settings), settings, 0)
    clock, n, unit = kind.clock(settings, data), len(data), _unit(settings, data)
    if settings.fit is not None:
        half = Spent(steps=0.5, trained=0.5, scored=0.5)  # after every epoch it scores the other half
        seconds = clock.of(half, settings.epochs, n, settings.batch_size)
        runs, cost = 1 + (settings.fit == "cross"), half.training(1)
        return Estimate.of([Part("model on a half", runs, cost, seconds)], [], unit, 0)
    finished = len(folder.scorings()) if folder.begun else 0
    part = _scoring({*settings.method}, settings.seeds - finished, settings, data, clock)
    return Estimate.of([part] if part.runs else [], [], unit, finished)


def _unit(settings: Settings, data: Any) -> int:
    """The forward units of a full training."""
    return 3 * len(data) * settings.epochs


def _part(method: str, policy: Any, runs: int, settings: Settings, data: Any, clock: Clock) -> Part:
    """The runs of one method."""
    n = len(data)
    own = experiment.with_strategy(method, policy, n, settings.of(method))
    epochs, batch_size, assumed = own.epochs, own.batch_size, False
    keep = None
    if settings.subset is not None and method == settings.names[-1]:
        keep = len(coreset.given(settings)) / n
        found = Spent(keep, keep, 0.0, around=expected(FULL, 5)[0].around)
    else:
        if method in coreset.static_methods(settings):
            keep = coreset.keep_of(policy)
        found, assumed = expected(method, epochs)
    if keep is not None:
        fixed = own.coreset_batch_size is not None
        size = own.coreset_batch_size or batch_size
        epochs, batch_size = protocols.strategy(own.strategy, keep, epochs, size, fixed)
    tests = epochs // own.test_every + bool(epochs % own.test_every)
    seconds = clock.of(found, epochs, n, batch_size) + tests * len(data.test_y) * clock.forward
    return Part(method, runs, found.training(epochs) / settings.epochs, seconds, assumed)


def _scoring(methods: set[str], runs: int, settings: Settings, data: Any, clock: Clock) -> Part:
    """The scoring runs. Each serves all static methods, and ends when the last score is final."""
    epochs = max((expected(method, settings.epochs)[0].scoring_epochs for method in methods), default=0)
    cost, own = epochs / settings.epochs, clock
    if settings.score_model is not None and isinstance(data, ImageData):
        proxy, model = (
            models.forward_flops(name, data.channels, data.classes, data.side)
            for name in (settings.score_model, settings.model)
        )
        cost *= proxy / model
        own = of_images(replace(settings, model=settings.score_model), data)
    seconds = own.of(expected(FULL, settings.epochs)[0], epochs, len(data), settings.batch_size)
    return Part("scoring run, which serves all static methods", runs, cost, seconds)
