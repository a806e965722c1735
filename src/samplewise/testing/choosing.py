"""Laws of the choice: what it may depend on, and what not."""

import torch

from samplewise.policy import Policy, Recipe
from samplewise.testing.budgets import long_enough
from samplewise.testing.counting import Training
from samplewise.testing.distributed import EPOCHS, N, agree, observed
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.ranks import on_ranks
from samplewise.testing.runs import History, Order, run
from samplewise.testing.trace import Trace, build

__all__ = [
    "duplicates_count_once",
    "ids_are_unique_and_weights_positive",
    "one_rank_equals_two",
    "same_seed_same_choice",
    "the_way_of_training_does_not_change_the_plan",
]


@law
def ids_are_unique_and_weights_positive(recipe: Recipe) -> None:
    """Planned ids and chosen rows ascend, do not repeat and are in range; weights are finite and > 0."""
    for keep in (None, 0.2):
        policy = build(recipe, 24, keep, period=3)
        trace = Trace(24, long_enough(policy, 8))
        for event in run(policy, trace).events:
            where = f"in the {event.kind} of epoch {event.epoch}"
            planned = event.ids if event.kind == "plan" else event.rows
            bound = trace.n if event.kind == "plan" else len(event.ids)
            ensure(planned.dtype == torch.int64, f"ids are {planned.dtype}, not int64, {where}")
            ensure(bool((planned.diff() > 0).all()), f"ids repeat or do not rise {where}: {planned.tolist()}")
            inside = len(planned) > 0 and int(planned[0]) >= 0 and int(planned[-1]) < bound
            ensure(inside, f"none, or not inside [0, {bound}), {where}: {planned.tolist()}")
            if event.weights is not None:
                good = torch.isfinite(event.weights) & (event.weights > 0)
                ensure(len(good) == len(planned), f"{len(good)} weights for {len(planned)} samples {where}")
                ensure(bool(good.all()), f"weights are not finite and positive {where}: {event.weights}")


@law
def same_seed_same_choice(recipe: Recipe) -> None:
    """The same seed gives the same choices; another seed gives another order and another draw."""
    trace = Trace()
    policy = build(recipe, trace.n, period=3)
    first, again, other = (run(policy, trace, seed=seed).told() for seed in (1, 1, 2))
    ensure(not differs(first, again), "two runs with the same seed chose differently")
    ensure(differs(first, other), "another seed changed nothing, not even the order of training")
    # A static method trains on what it draws only if its score is final before the end.
    drawing = isinstance(policy, Policy) and policy.final != "end" and any(p.random for p in policy.pickers)
    if drawing:
        histories = [run(policy, trace, seed=seed, order="ascending") for seed in (1, 2)]
        ensure(differs(*map(_chosen, histories)), "it draws, but another seed drew the same samples")


def _chosen(history: History) -> list[list[int]]:
    return [event.chosen.tolist() for event in history.of("step")]


@law
def the_way_of_training_does_not_change_the_plan(recipe: Recipe) -> None:
    """Batch size, batch order and worker count do not change what is chosen for an epoch."""
    trace = Trace(n=15, epochs=5)
    policy = build(recipe, trace.n, period=2)
    plans = run(policy, trace, batch=4).told("plan")
    others: tuple[tuple[int, Order], ...] = ((5, "ascending"), (15, "descending"))
    for batch, order in others:
        other = run(policy, trace, batch=batch, order=order).told("plan")
        ensure(not differs(plans, other), f"batches of {batch} in {order} order changed a plan")
    front = Training(policy, trace, batch=4).finish()
    loaded = [sorted(i for e, b in front.seen if e == epoch for i in b.ids.tolist()) for epoch in range(5)]
    ensure(loaded == [told[2].tolist() for told in plans], "the loader did not yield the samples of the plan")
    brief = Trace(n=12, epochs=4)
    policy = build(recipe, brief.n, period=2)
    alone, helped = (
        Training(policy, brief, batch=4, arguments=arguments).finish().told()
        for arguments in ({}, {"num_workers": 2, "persistent_workers": True})
    )
    ensure(not differs(alone, helped), "two workers changed the batches or their losses")


@law
def one_rank_equals_two(recipe: Recipe) -> None:
    """Two ranks that see half each plan what one plans that sees all, and choose as many rows of a batch.

    The ranks are threads of this process, and exchange what they saw. A method without a Policy exchanges
    nothing, so there both ranks see everything.
    """
    trace = Trace()
    policy = build(recipe, trace.n, period=3)
    zero, one = run(policy, trace, order="ascending"), run(policy, trace, order="ascending", rank=1)
    ensure(not differs(zero.told("plan"), one.told("plan")), "two ranks planned differently")
    sizes = [[len(event.rows) for event in history.of("step")] for history in (zero, one)]
    ensure(sizes[0] == sizes[1], "two ranks chose different numbers of rows of batches of the same size")
    if isinstance(policy, Policy):
        uneven, dealt = Trace(N, EPOCHS), build(recipe, N, period=2)
        _, alone = observed(dealt, uneven)
        agree(recipe, alone, [told for _, told in on_ranks(2, lambda: observed(dealt, uneven, padding=1))])
    if isinstance(policy, Policy) and policy.batch_picker is not None and policy.batch_picker.random:
        ensure(_chosen(zero) != _chosen(one), "two ranks drew the same rows: their draws are not their own")


@law
def duplicates_count_once(recipe: Recipe) -> None:
    """Ids that a sampler repeats to pad a batch change neither the memory nor a choice."""
    trace = Trace()
    policy = build(recipe, trace.n, period=3)
    plain, padded = run(policy, trace), run(policy, trace, padding=3)
    ensure(not differs(plain.told(), padded.told()), "ids observed twice in one call changed a choice")
    columns = [history.selector.table().columns for history in (plain, padded)]
    ensure(not differs(dict(columns[0]), dict(columns[1])), "ids observed twice in one call changed a score")
