"""An experiment: every method with every seed, in a run folder. A later call can continue it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from samplewise import recipes
from samplewise.bench import coreset, machine, models, protocols, rngstate
from samplewise.bench import data as images
from samplewise.bench.altered import altered, drawn
from samplewise.bench.data import ImageData
from samplewise.bench.folder import SCORING, RunFolder, plain
from samplewise.bench.grouped import about_groups, divided, refuse_undivided
from samplewise.bench.kinds import Kind, Listener
from samplewise.bench.logs import Loggers
from samplewise.bench.methods import chooses_coreset
from samplewise.bench.saved import save_model
from samplewise.bench.settings import Settings
from samplewise.bench.study import timing
from samplewise.bench.train import Run, Task, train
from samplewise.checks import require
from samplewise.coresets.from_file import file_of, load
from samplewise.coresets.table import ScoreTable
from samplewise.cost.energy import EnergyMeter
from samplewise.policy import Policy
from samplewise.subset import Subset
from samplewise.trackers import Reducible


class Images:
    """Trainings of images by the loop of the command."""

    def ready(self, settings: Settings) -> ImageData:
        """Load the data and try every method."""
        torch.set_num_threads(settings.threads or torch.get_num_threads())
        data = load_data(settings)
        refuse_undivided(data, settings)
        with rngstate.kept():
            warm_up(settings, data)
        return data

    def begin(self, folder: RunFolder, settings: Settings, data: ImageData) -> None:
        """Start the folder, or check that it can be continued."""
        n = len(drawn(data, settings, 0))
        begin(folder, settings, about(data, n) | about_groups(data, settings))

    def clock(self, settings: Settings, data: ImageData) -> timing.Clock:
        """Time a few steps on the first images."""
        return timing.of_images(settings, data)

    def task(self, method: str, policy: Any, seed: int, data: ImageData, settings: Settings) -> Task:
        """The run of one method with its own settings."""
        return task_of(method, policy, seed, data, settings)

    def scoring(self, method: str, policy: Any, seed: int, data: ImageData, settings: Settings) -> Task:
        """The same with the settings that all methods share."""
        return Task(method, policy, seed, data, settings)

    def score(self, task: Task, checkpoint: Path, on_step: Callable[[float], None]) -> Run:
        """Do or continue a scoring run."""
        return coreset.score(task, checkpoint, on_step)

    def train(
        self,
        task: Task,
        checkpoint: Path,
        on_step: Callable[[float], None],
        on_epoch: Callable[[dict[str, Any]], None],
    ) -> Run:
        """Do or continue a run."""
        return train(task, checkpoint, on_step, on_epoch)

    def save(self, path: Path, run: Run) -> None:
        """Write the trained model."""
        save_model(path, run.model, run.task.settings.model, run.task.data)


def open_folder(path: Path, settings: Settings, resume: bool, given: dict[str, Any]) -> Settings:
    """Start a run folder, or check that it can be continued, and tidy it. See `continued`."""
    resolved = continued(path, settings, resume, given)
    RunFolder(path).tidy()
    return resolved


def continued(path: Path, settings: Settings, resume: bool, given: dict[str, Any]) -> Settings:
    """The complete settings of a run folder that starts or is continued. Nothing is written.

    Args:
        path: of the folder.
        settings: of the command.
        resume: whether the folder may have files.
        given: the settings that the user wrote. To resume, they must equal those in the folder.

    Raises:
        ValueError: if the folder cannot be used.
    """
    folder = RunFolder(path)
    if not folder.begun:
        return settings.resolved()
    if not resume:
        raise ValueError(f"{path} exists. Add --resume to continue it, or choose another --out.")
    stored = folder.settings()
    differing = stored.differing(given)
    if differing:
        raise ValueError(
            f"{path} was started with other settings: {'; '.join(differing)}. Use the same settings to "
            "resume, or choose another --out."
        )
    folder.results()
    return stored.resolved()


def load_data(settings: Settings) -> ImageData:
    """Read the data of an experiment, and reduce them to `limit` images."""
    data = images.load(
        settings.data,
        image_column=settings.image_column,
        label_column=settings.label_column,
        group_column=settings.group_column,
        size=settings.size,
    )
    if data.vectors:
        _refuse_images_only(settings)
    return data if settings.limit is None else images.limited(data, settings.limit)


def _refuse_images_only(settings: Settings) -> None:
    """Raise if the settings need images: only `mlp` and the user's own models take vectors."""
    for option, name in (("--model", settings.model), ("--score-model", settings.score_model)):
        if name in models.BUILDERS and name not in models.VECTORS:
            raise ValueError(
                f"{option} {name} takes images, but {settings.data} holds vectors (n, d). Use {option} "
                f"{' or '.join(models.VECTORS)}, or your own model."
            )
    if settings.augment:
        raise ValueError(f"--augment needs images, but {settings.data} holds vectors (n, d). Leave it out.")


def pending(folder: RunFolder, settings: Settings) -> list[tuple[str, int]]:
    """The unfinished runs, seed by seed. `full` comes first, because other runs are compared with it."""
    finished = {(row["method"], row["seed"]) for row in folder.results()}
    return [run for run in all_runs(settings) if run not in finished]


def all_runs(settings: Settings) -> list[tuple[str, int]]:
    """Every run of an experiment, in the order of `pending`."""
    order = sorted(settings.names, key=lambda method: method != "full")
    return [(method, seed) for seed in range(settings.seeds) for method in order]


def count(settings: Settings) -> int:
    """The number of runs of an experiment, with one scoring run per seed if it is needed."""
    return settings.seeds * (len(settings.names) + bool(coreset.static_methods(settings)))


def run(
    path: Path,
    settings: Settings,
    listener: Listener,
    save_models: bool = False,
    kind: Kind | None = None,
    loggers: Loggers = lambda method, seed: (),
    meter: EnergyMeter | None = None,
) -> list[dict[str, Any]]:
    """Do every unfinished run. Return the rows of all runs.

    Args:
        path: of the run folder.
        settings: of the experiment, complete.
        listener: is told of the progress.
        save_models: whether every run keeps its trained model in the folder.
        kind: what a training takes; images by default.
        loggers: makes those of a run. Scoring runs have none.
        meter: tells the energy of runs.
    """
    require("pyarrow", "scores")
    kind = Images() if kind is None else kind
    folder = RunFolder(path)
    if folder.begun and not pending(folder, settings):
        return folder.results()
    data = prepare(folder, settings, kind)
    static = coreset.static_methods(settings)
    subset = None if settings.subset is None else settings.names[-1]
    for row in folder.scorings().values():
        listener.scored(row)
    for row in folder.results():
        listener.ended(row)
    ready, ready_for = data, None
    with rngstate.kept():
        for method, seed in pending(folder, settings):
            if seed != ready_for:
                ready, ready_for = altered(data, settings, seed), seed
                policies = divided(settings.policies(), ready, settings)
                static = {name: policies[name] for name in static}
            full = [row for row in folder.results() if (row["method"], row["seed"]) == ("full", seed)]
            if method in static and seed not in folder.scorings():
                shared = kind.scoring(SCORING, policies[method], seed, ready, settings)
                scored(shared, static, folder, listener, kind)
            task = kind.task(method, policies[method], seed, ready, settings)
            seconds = full[0]["seconds"] if full else None
            task = replace(task, baseline_seconds=seconds, loggers=loggers(method, seed), meter=meter)
            if method in static:
                task = coreset.on_subset(task, Subset.read(folder.subset(method, seed)))
            elif method == subset:
                task = coreset.on_subset(task, coreset.given(settings))
            listener.began(method, seed)
            listener.ended(_one_run(task, static, folder, listener, save_models, kind))
    return folder.results()


def prepare(folder: RunFolder, settings: Settings, kind: Kind) -> Any:
    """Load the data, try every method, and start the folder or check that it can be continued."""
    data = kind.ready(settings)
    kind.begin(folder, settings, data)
    return data


def begin(folder: RunFolder, settings: Settings, data: Mapping[str, Any]) -> None:
    """Start the folder, or raise if it was started with other data, methods or subset.

    Args:
        folder: of the experiment.
        settings: of the experiment.
        data: what `config.json` holds of the data.
    """
    config = _config(settings, data)
    if folder.begun:
        _same_experiment(folder, config)
    else:
        folder.create(config)


def task_of(method: str, policy: Any, seed: int, data: ImageData, settings: Settings) -> Task:
    """The run of one method, with its own settings. Its cost is relative to an ordinary run of `settings`."""
    own = with_strategy(method, policy, len(data), settings.of(method))
    return Task(method, policy, seed, data, own, stretch=own.epochs / settings.epochs)


def with_strategy(method: str, policy: Any, n: int, settings: Settings) -> Settings:
    """The settings of a method's run, with the epochs of strategy P. `on_subset` gives those of a coreset.

    Raises:
        ValueError: if the number of samples of the method is not known before the training.
    """
    if settings.strategy == "E" or method not in settings.method or chooses_coreset(policy):
        return settings
    found = None
    if isinstance(policy, Policy):
        found = protocols.epochs_for_samples(policy, n, settings.batch_size, settings.epochs)
    if found is None:
        joined = "," if "@" in method else "@"
        raise ValueError(
            f"--strategy P needs a method whose number of samples is known before the training, but that of "
            f"{method:.200} depends on what it measures. Use --method '{method:.200}{joined}strategy=E', or "
            "give it epochs of its own as well."
        )
    return replace(settings, epochs=found)


def scored(
    task: Any, static: dict[str, Policy], folder: RunFolder, listener: Listener, kind: Kind
) -> dict[str, Any]:
    """Do or continue the scoring run of a seed. It serves all static methods."""
    listener.began(SCORING, task.seed)
    scoring, checkpoint = coreset.scoring_task(task, static), folder.checkpoint(SCORING, task.seed)
    run = kind.score(scoring, checkpoint, listener.stepped)
    row = coreset.finish(run, static, folder)
    listener.scored(row)
    return row


def _one_run(
    task: Any,
    static: dict[str, Policy],
    folder: RunFolder,
    listener: Listener,
    save_models: bool,
    kind: Kind,
) -> dict[str, Any]:
    checkpoint = folder.checkpoint(task.method, task.seed)
    under_way = kind.train(task, checkpoint, listener.stepped, listener.epoch_ended)
    _table(under_way, static, folder).to_parquet(folder.scores(task.method, task.seed))
    if save_models:
        kind.save(folder.model(task.method, task.seed), under_way)
    ledger = under_way.selector.ledger
    if task.method == "full":
        ledger.baseline_seconds = ledger.wall
    result: dict[str, Any] = under_way.result()
    folder.finish(result, under_way.curve)
    return result


def _table(run: Any, static: dict[str, Policy], folder: RunFolder) -> ScoreTable:
    """The score table of a run. The scores of a static method come from the scoring run."""
    table: ScoreTable = run.selector.table()
    scores = folder.scores(SCORING, run.task.seed)
    if run.task.method not in static:
        return table
    lead, scored = coreset.leaders(static), ScoreTable.read(scores)
    name = lead.get(run.task.method)
    name = None if name is None else coreset.column(name)
    own = {key: scored[key] for key in scored.columns if name and (key == name or key.startswith(f"{name}_"))}
    return replace(table, columns=own, provenance={**scored.provenance, "trained": table.provenance})


def warm_up(settings: Settings, data: ImageData) -> None:
    """Build every run, so that a method that cannot run raises before any file is written.

    Then do a few unrecorded steps. Without them, the first run would be charged for one-time start-up costs.
    """
    ready = altered(data, settings, 0)
    policies = divided(settings.policies(), ready, settings)
    static = {name: policies.pop(name) for name in coreset.static_methods(settings)}
    if static:
        scoring = Task(SCORING, coreset.recorder(static), 0, ready, settings)
        proxy = Run(coreset.scoring_task(scoring, static))
        if settings.score_model is not None:
            _try_model(proxy)
    _try_model(Run(Task("full", recipes.full(), 0, ready, settings)))
    for name, policy in policies.items():
        Run(task_of(name, policy, 0, ready, settings))
        if isinstance(getattr(policy, "tracker", None), Reducible):
            for seed in range(1, settings.seeds):  # the data differ by seed, and the table may not fit it
                Run(task_of(name, policy, seed, altered(data, settings, seed), settings))
    if settings.subset is not None:
        for seed in range(settings.seeds):  # the data differ by seed, and the subset may not fit it
            name, labelled = settings.names[-1], altered(data, settings, seed)
            task = Task(name, policies[name], seed, labelled, settings)
            Run(coreset.on_subset(task, coreset.given(settings)))


def _try_model(under_way: Run) -> None:
    """Do a few steps and a test, so that a model that cannot take these images raises now."""
    task = under_way.task
    data, name = task.data, task.model or task.settings.model
    rows = torch.arange(min(task.settings.batch_size, len(data)))
    batch = (data.train_x[rows], data.train_y[rows])
    under_way.prepare()
    with models.own_code(name, f"cannot train on images of {data.channels} x {data.side} x {data.side}"):
        for _ in range(3):
            torch.autograd.backward(under_way.forward(batch).loss.mean())
            under_way.optimizer.step()
        under_way.evaluate()


def about(data: ImageData, n: int) -> dict[str, Any]:
    """What `config.json` holds of the data. `n` is the number of samples that a run trains on."""
    return {
        "name": data.name,
        "train": n,
        "test": len(data.test_y),
        "classes": data.classes,
        "image": list(data.train_x.shape[1:]),
        "class_names": list(data.class_names),
        "test_split": data.test_split,
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "sha256": digest(data),
    }


def _config(settings: Settings, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "settings": plain(settings),
        "policies": {name: f"{policy!r}{_source(name)}" for name, policy in settings.policies().items()},
        "data": dict(data),
        "subset": settings.subset and hashlib.sha256(Path(settings.subset).read_bytes()).hexdigest(),
        "versions": machine.versions(),
        "machine": machine.machine(settings.device or "cpu"),
    }


def _source(method: str) -> str:
    """The digest of the file that a method is in, as text; empty for a method that is in none."""
    file = file_of(method)
    return "" if file is None else f" in a file with SHA-256 {load(file[0])[1]}"


def digest(data: ImageData) -> str:
    """SHA-256 of the images and labels of the training and the test split, in hexadecimal digits."""
    found = hashlib.sha256()
    for tensor in (data.train_x, data.train_y, data.test_x, data.test_y):
        found.update(tensor.numpy().data)
    return found.hexdigest()


def _same_experiment(folder: RunFolder, config: dict[str, Any]) -> None:
    """Raise if the data, a method's parameters or the subset changed since the folder was started."""
    stored = folder.config()
    checked = {"data": "the data", "policies": "the methods' parameters", "subset": "the subset"}
    for key, what in checked.items():
        if stored.get(key) != config[key]:
            raise ValueError(
                f"{folder.path} cannot be continued: {what} changed since it started. Choose another --out."
            )
