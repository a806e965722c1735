"""The two-run protocol: a scoring run scores the data, then a new model trains on the coreset."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from samplewise import recipes
from samplewise.bench import machine, models, protocols
from samplewise.bench.data import ImageData
from samplewise.bench.folder import SCORING, RunFolder
from samplewise.bench.language.run import LanguageTask
from samplewise.bench.methods import chooses_coreset
from samplewise.bench.settings import Settings
from samplewise.bench.text.task import TextTask
from samplewise.bench.train import Run, Task, train
from samplewise.coresets.choose import choose, refuse_weights
from samplewise.coresets.recorder import Recorder
from samplewise.policy import Policy
from samplewise.subset import Subset

_ANY_KEEP = 0.5
AnyTask = TypeVar("AnyTask", Task, TextTask, LanguageTask)


@runtime_checkable
class Scored(Protocol):
    """A scoring run that has finished."""

    task: Any
    selector: Any
    done: int


def static_methods(settings: Settings) -> dict[str, Policy]:
    """The methods of an experiment that need a scoring run."""
    policies = settings.policies()
    static = {name: policies[name] for name in settings.method if chooses_coreset(policies[name])}
    for name, policy in static.items():
        if settings.of(name).weights in ("per_sample", "batch_mean"):
            refuse_weights(policy, name)
    return static


def leaders(policies: Mapping[str, Policy]) -> dict[str, str]:
    """Map each method to the method whose recorded scores it uses.

    Methods that differ only in `keep` share the scores of the one with the largest `keep`. Methods that keep
    all samples need no scores and are left out.
    """
    found: dict[str, str] = {}
    chosen = [name for name in policies if keep_of(policies[name]) < 1]
    for name in sorted(chosen, key=lambda name: -keep_of(policies[name])):
        alike = (
            lead for lead in found.values() if _without_keep(policies[lead]) == _without_keep(policies[name])
        )
        found[name] = next(alike, name)
    return {name: found[name] for name in chosen}


def column(method: str) -> str:
    """The name of a method in the table of a scoring run. A path in it has no `/` there.

    >>> column("mine/file.py:hard")
    'mine|file.py:hard'
    """
    return method.replace("/", "|")


def keep_of(policy: Policy) -> float:
    """The share that a static policy keeps."""
    return 1.0 if policy.picker is None else policy.picker.share


def recorder(policies: Mapping[str, Policy]) -> Policy:
    """The policy of the scoring run. If no scores are needed, it is `random`, which is final at once."""
    leading = set(leaders(policies).values())
    if not leading:
        free: Policy = recipes.random()
        return free
    return Recorder({column(name): policy for name, policy in policies.items() if name in leading})


def scoring_task(task: AnyTask, policies: Mapping[str, Policy]) -> AnyTask:
    """The scoring run: it trains `score_model`, or the model, on all samples and records scores."""
    settings = replace(task.settings, history=False)  # it selects nothing
    scoring = replace(
        task, method=SCORING, policy=recorder(policies), settings=settings, baseline_seconds=None
    )
    return replace(scoring, model=settings.score_model) if isinstance(scoring, Task) else scoring


def score(task: Task, checkpoint: Path, on_step: Callable[[float], None] = lambda progress: None) -> Run:
    """Train on all samples until the last score is final. Continue from `checkpoint` if it exists.

    The learning rate follows the schedule of a full training, as in the papers.
    """
    run = Run(task)
    run.begin(checkpoint)
    last, loader = max(run.selector.final.values()), run.loader()
    while run.done < last:
        run.train_epoch(
            loader, run.done, checkpoint, lambda done: on_step(done * task.settings.epochs / last)
        )
        run.save(checkpoint)
    if run.selector.pass_due(last):
        begun = machine.clock(run.device)
        run.selector.set_epoch(last)
        run.cpu += machine.clock(run.device) - begun
    return run


def subsets(run: Scored, policies: Mapping[str, Policy], settings: Settings) -> dict[str, Subset]:
    """The coreset of every method, chosen from a finished scoring run."""
    lead, found = leaders(policies), {}
    for name, policy in policies.items():
        if name in lead:
            own = settings.of(name)
            subset = run.selector.subset(
                column(lead[name]), keep=keep_of(policy), weights=own.weights, normalize=own.normalize
            )
            found[name] = _recounted(subset, run)
        else:
            labels, n = run.task.data.train_y, len(run.task.data)
            found[name] = choose(policy, name, {}, n, labels, run.task.seed)
    return found


def _recounted(subset: Subset, run: Scored) -> Subset:
    """Convert the cost of a proxy's scoring run to forwards of the model that trains on the coreset."""
    task, spent = run.task, subset.provenance.get("scoring")
    if spent is None or not isinstance(task, Task) or task.model in (None, task.settings.model):
        return subset
    data = task.data
    proxy, trained = (
        models.forward_flops(name, data.channels, data.classes, data.side)
        for name in (str(task.model), task.settings.model)
    )
    scoring = {**spent, "cost": spent["cost"] * proxy / trained}
    return replace(subset, provenance={**subset.provenance, "scoring": scoring})


def finish(run: Scored, policies: Mapping[str, Policy], folder: RunFolder) -> dict[str, Any]:
    """Write the scores and the coresets, then the row that marks the scoring run as finished."""
    seed, methods = run.task.seed, {}
    run.selector.table().to_parquet(folder.scores(SCORING, seed))
    for name, subset in subsets(run, policies, run.task.settings).items():
        subset.to_parquet(folder.subset(name, seed))
        methods[name] = {"k": len(subset), **subset.provenance.get("scoring", {})}
    row = scoring_row(run, methods)
    folder.finish_scoring(row)
    return row


def scoring_row(run: Scored, methods: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a finished scoring run: its total cost, and the entries of `methods`."""
    ledger = run.selector.ledger
    return {
        "seed": run.task.seed,
        "epochs": run.done,
        "cost": ledger.cost,
        "seconds": ledger.wall,
        "methods": dict(methods),
    }


def on_subset(task: AnyTask, subset: Subset) -> AnyTask:
    """The second run: train on the coreset, with the strategy of the settings.

    The selector reads the cost of scoring from the provenance of the subset and charges it.
    """
    settings = task.settings
    keep = float(subset.provenance.get("keep", len(subset) / len(task.data)))
    fixed_batch = settings.coreset_batch_size is not None
    size = settings.coreset_batch_size or settings.batch_size
    plan = protocols.strategy(settings.strategy, keep, settings.epochs, size, fixed_batch)
    return replace(
        task,
        policy=recipes.fixed(subset),
        settings=replace(settings, epochs=plan.epochs, batch_size=plan.batch_size),
        stretch=task.stretch * plan.epochs / settings.epochs,
    )


def trainer(settings: Settings, data: ImageData, seed: int, folder: Path) -> Callable[[str, Subset], Any]:
    """Make the `train` function of `protocols.transfer`, which trains one model on one subset.

    The strategy is that of the settings. Each training has a checkpoint in `folder`, so a second call
    continues a training that was stopped.
    """

    def train_one(model: str, subset: Subset) -> dict[str, Any]:
        wanted = replace(settings, model=model)
        task = on_subset(Task(model, recipes.fixed(subset), seed, data, wanted), subset)
        return train(task, folder / f"{model.replace(':', '-')}-{seed}.pt").result()

    return train_one


def given(settings: Settings) -> Subset:
    """The subset of `--subset`, with the weights of `--weights` and `--normalize`."""
    subset, weights = Subset.read(str(settings.subset)), settings.weights
    if weights == "none":
        return replace(subset, weights=None)
    if weights is not None:
        if subset.weights is None and subset.provenance.get("weights") != weights:
            raise ValueError(
                f"--weights {weights} needs a subset with weights, but {settings.subset} has none. Choose "
                f"the subset with samplewise select --weights {weights}."
            )
        subset = replace(subset, weighting=weights)
    if settings.normalize is None or subset.weights is None:
        return subset
    return replace(subset, weights=subset.weights / subset.weights.mean())


def _without_keep(policy: Policy) -> Policy:
    """The policy with `keep` replaced by a constant, to compare policies without it."""
    if policy.picker is None or policy.picker.keeps is None:
        return policy
    return replace(policy, picker=policy.picker.with_keep(_ANY_KEEP))
