"""Laws of several processes: every rank of a process group calls them, and all get the same result.

    from samplewise.testing.distributed import RANK_LAWS

    for law in RANK_LAWS:          # in every process of a group, as `torchrun` starts them
        law(my_recipe)

Each rank gathers what all ranks did. So a broken law raises the same AssertionError on every rank, and no
rank waits for another.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplewise.distributed import collectives
from samplewise.policy import Policy, Recipe
from samplewise.selector import Selector
from samplewise.testing.budgets import counts_are_met
from samplewise.testing.law import Law, differs, ensure, law
from samplewise.testing.runs import Event, History
from samplewise.testing.sharing import Mode, Run, Samples, Step, alone, shared
from samplewise.testing.trace import Trace, build

__all__ = [
    "RANK_LAWS",
    "gradients_add_up",
    "ranks_choose_as_many_rows_as_asked",
    "ranks_plan_what_one_plans",
]

N, EPOCHS, BATCH = 23, 5, 4
"""Neither the samples nor the batches divide evenly among 2 or 3 ranks."""


@dataclass
class Told:
    """What one rank of a run by the engine did."""

    events: list[Event]
    memories: list[dict[str, Tensor]]
    coreset: tuple[Any, ...]

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """The events of one kind, for comparison."""
        return [event.told() for event in self.events if event.kind == kind]


def observed(policy: Any, trace: Trace, padding: int = 0) -> tuple[Selector, Told]:
    """Train by the engine alone: of every batch each rank sees the rows that are dealt to it.

    Args:
        policy: a policy over the trace's samples.
        trace: what is observed.
        padding: rows of the next rank's share that are observed here too, as samplers pad.
    """
    rank, world = collectives.rank(), collectives.world()
    selector = Selector(policy, trace.n, epochs=trace.epochs)
    told = Told([], [], ())
    for epoch in range(trace.epochs):
        _pass(selector, trace, epoch)
        plan = selector.plan(epoch)
        told.events.append(Event("plan", epoch, plan.ids, torch.arange(len(plan.ids)), plan.weights))
        for batch in torch.split(torch.tensor(list(selector.sampler())), 2 * BATCH):
            ids, more = batch[rank::world], batch[(rank + 1) % world :: world][:padding]
            padded = torch.cat([ids, more])
            selector.observe(padded, trace.outputs(padded, epoch))
            rows, weights = selector.choose(ids)
            told.events.append(Event("step", epoch, ids, rows, weights))
        selector.sync()
        told.memories.append(_bits(selector))
    selector.set_epoch(trace.epochs)
    _pass(selector, trace, trace.epochs)
    told.memories.append(_bits(selector))
    if isinstance(policy, Policy) and policy.level == "static":
        subset = selector.subset()
        told.coreset = (subset.ids, subset.weights)
    return selector, told


def _pass(selector: Selector, trace: Trace, epoch: int) -> None:
    """Each rank observes its share of a pass, and gets what the others observed."""
    if selector.pass_due(epoch):
        ids = selector.pass_ids(epoch)[collectives.rank() :: collectives.world()]
        selector.observe(ids, trace.outputs(ids, epoch), source="pass")
        selector.sync()


def _bits(selector: Selector) -> dict[str, Tensor]:
    """Everything remembered, floats as their bits, so that no rounding hides in a comparison."""
    state = selector.state_dict()["engine"]
    columns = {**state["memory"], "times selected": state["times_selected"]}
    return {name: column.flatten().view(torch.uint8) for name, column in columns.items()}


@law
def ranks_plan_what_one_plans(recipe: Recipe) -> None:
    """Each rank plans and remembers the same, bit for bit, as one process that sees all samples."""
    trace = Trace(N, EPOCHS)
    policy = build(recipe, N, period=2)
    with alone():
        _, one = observed(policy, trace)
    for padding in (0, 1):
        _, mine = observed(policy, trace, padding)
        agree(recipe, one, collectives.everyone(mine), ", with an id that two ranks see" * padding)


def agree(recipe: Recipe, one: Told, ranks: list[Told], where: str = "") -> None:
    """Raise unless the plans and memories of all ranks equal those of one process that saw all samples."""
    for rank, told in enumerate(ranks):
        same = not differs(told.of("plan"), one.of("plan"))
        ensure(same, f"the plan of rank {rank} differs from that of one process{where}")
        ensure(
            not differs(told.coreset, one.coreset),
            f"the coreset of rank {rank} differs from that of one process{where}",
        )
        for after, (theirs, first) in enumerate(zip(told.memories, ranks[0].memories, strict=True)):
            unlike = [name for name in first if differs(theirs.get(name), first[name])]
            ensure(
                not unlike, f"columns {unlike} differ between ranks 0 and {rank} after epoch {after}{where}"
            )
    for after, (ours, ones) in enumerate(zip(ranks[0].memories, one.memories, strict=True)):
        # A method that chooses inside batches counts the rows of each rank's own batches.
        names = [name for name in ones if name != "times selected" or "batch" not in recipe.level]
        unlike = [name for name in names if differs(ours.get(name), ones[name])]
        ensure(
            not unlike,
            f"columns {unlike} differ between one process and the ranks after epoch {after}{where}",
        )


@law
def ranks_choose_as_many_rows_as_asked(recipe: Recipe) -> None:
    """Every rank keeps the budget of its own rows, and no two ranks train on one sample in a step."""
    trace = Trace(N, EPOCHS)
    policy = build(recipe, N, period=2)
    selector, mine = observed(policy, trace)
    if isinstance(policy, Policy):
        counts_are_met(policy, History(selector, mine.events), trace)
    steps = [event for event in mine.events if event.kind == "step"]
    for at_once in zip(*collectives.everyone(steps), strict=True):
        chosen = torch.cat([event.chosen for event in at_once]).tolist()
        ensure(len(set(chosen)) == len(chosen), f"two ranks trained on one sample in one step: {chosen}")


@law
def gradients_add_up(recipe: Recipe) -> None:
    """Averaged over the ranks, the gradient of every step is one process's with all ranks' rows.

    With our loader and with a framework that deals the batches; alone and inside
    DistributedDataParallel; synchronised each epoch and each step, which also changes no plan.
    """
    policy, samples = build(recipe, N, period=2), Samples(N)
    with alone():
        one = shared(policy, samples, "global", EPOCHS, BATCH)
    modes: tuple[Mode, ...] = ("sharded", "global")
    for mode in modes:
        runs = []
        for wrapped, sync_every in ((False, None), (True, 1)):
            mine = shared(policy, samples, mode, EPOCHS, BATCH, wrapped, sync_every)
            runs.append(mine)
            where = f"{mode} mode{', wrapped, synchronised each step' * wrapped}"
            ranks: list[Run] = collectives.everyone(mine)
            _compare(policy, samples, ranks, mode, wrapped, where)
        often = not differs([runs[0].orders, runs[0].weights], [runs[1].orders, runs[1].weights])
        ensure(often, f"synchronising each step changed a plan in {mode} mode")
        rows = [[step.trained for step in run.steps] for run in runs]
        ensure(rows[0] == rows[1], f"synchronising each step changed the rows of a batch in {mode} mode")
        unlike = [name for name in runs[0].columns if differs(runs[0].columns[name], runs[1].columns[name])]
        ensure(not unlike, f"synchronising each step changed {unlike} in {mode} mode")
        if mode == "global":  # where no sample is left out, so one process sees the same
            ensure(
                runs[0].orders == one.orders,
                "the plans of the ranks differ from those of one process in global mode",
            )
            _near(runs[0].columns, one.columns)


def _compare(policy: Any, samples: Samples, ranks: list[Run], mode: Mode, wrapped: bool, where: str) -> None:
    first, world = ranks[0], len(ranks)
    for rank, run in enumerate(ranks):
        same = run.orders == first.orders and run.weights == first.weights
        ensure(same, f"the plan of rank {rank} differs from that of rank 0 in {where}")
        unlike = [name for name in first.columns if differs(run.columns.get(name), first.columns[name])]
        ensure(not unlike, f"columns {unlike} differ between ranks 0 and {rank} in {where}")
        ensure(len(run.steps) == len(first.steps), f"rank {rank} took other steps than rank 0 in {where}")
    seen: dict[int, list[int]] = {}
    for at_once in zip(*(run.steps for run in ranks), strict=True):
        epoch = at_once[0].epoch
        there = f"in epoch {epoch}, {where}"
        begun = len(seen.setdefault(epoch, []))
        given = [i for step in at_once for i in step.given]
        seen[epoch] += given
        expected = first.orders[epoch][begun : begun + world * BATCH]
        left_out = world - 1 if mode == "sharded" else 0
        ensure(
            set(given) <= set(expected)
            and len(expected) - len(given) <= left_out
            and begun < len(seen[epoch]),
            f"the ranks were given {given} where the order has {expected}, {there}",
        )
        trained = [i for step in at_once for i in step.trained]
        ensure(len(set(trained)) == len(trained), f"two ranks trained on one sample {there}: {trained}")
        _rows_are_right(policy, at_once, epoch, there)
        weights = torch.tensor([first.weights[epoch][i] for i in trained])
        proxy = isinstance(policy, Policy) and policy.proxy
        wanted = samples.gradient(torch.tensor(trained), weights, epoch, proxy)
        got = at_once[0].gradient if wrapped else torch.stack([step.gradient for step in at_once]).mean(0)
        far = float((got - wanted).abs().max() / wanted.abs().max())
        ensure(far < 5e-6, f"the gradient is off by {far:.2g} of its size {there}")


def _rows_are_right(policy: Any, at_once: tuple[Step, ...], epoch: int, there: str) -> None:
    """Whole batches but where the method narrows; there by METHODS 0.1, of each rank's own rows."""
    if not isinstance(policy, Policy):
        return  # a method without a Policy declares no number of rows
    finest = policy.at(epoch, EPOCHS).batch_picker
    if finest is not None and finest.keeps is None:
        return  # a share that follows the training has a separate law
    keep = 1.0 if finest is None else finest.share
    for step in at_once:
        b = len(step.given)
        k = min(b, max(2, b - int((1 - keep) * b + 1e-9)))
        ensure(len(step.trained) == k, f"{len(step.trained)} of {b} rows were trained on, not {k}, {there}")


def _near(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """A forward of another number of rows may round differently, so values are compared with a tolerance."""
    for name, column in theirs.items():
        close = torch.allclose(ours[name].double(), column.double(), rtol=1e-5, atol=1e-6, equal_nan=True)
        ensure(close, f"column {name} differs between one process and ranks in global mode")


RANK_LAWS: tuple[Law, ...] = (
    ranks_plan_what_one_plans,
    ranks_choose_as_many_rows_as_asked,
    gradients_add_up,
)
