"""Laws of the costs and the memory: what is declared equals what is counted."""

import math
import re
from dataclasses import replace
from typing import Any

import torch

from samplewise import recipes as registry
from samplewise.loop.scoring import Scoring
from samplewise.loop.target import reads_target
from samplewise.pickers import Picker
from samplewise.policy import Policy, Recipe
from samplewise.selector import Selector
from samplewise.signals import measure
from samplewise.testing.budgets import long_enough
from samplewise.testing.counting import Training
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.runs import run
from samplewise.testing.trace import TARGET, Trace, build, keeps

__all__ = [
    "declared_cost_is_counted_cost",
    "keep_one_is_full",
    "one_forward_is_charged_once",
    "stated_memory_is_real",
]


@law
def declared_cost_is_counted_cost(recipe: Recipe) -> None:
    """The ledger equals the counts of the model, and both equal the formula of the method."""
    for n, every in ((24, 1), (16, 2)):
        policy = build(recipe, n, keep=0.4, period=3)
        trace = Trace(n, long_enough(policy, 8))
        training = Training(policy, trace, scoring=Scoring(every=every)).finish()
        ledger, model = training.selector.ledger, training.model
        told = {
            "training forwards": (ledger.training_forwards, model.rows_with_grad),
            "scoring forwards": (ledger.scoring_forwards, model.rows_without_grad),
            "samples back-propagated": (ledger.samples_backpropagated, model.rows_backward),
        }
        for name, (entered, counted) in told.items():
            ensure(entered == counted, f"the ledger says {entered} {name}, the model counted {counted}")
        narrow = 3 * model.narrow_with_grad + model.narrow_without_grad
        cost = 3 * model.rows_backward + model.rows_without_grad + model.proxy_share * narrow
        cost += ledger.assistant_cost
        ensure(
            ledger.proxy_scoring_forwards == model.narrow_without_grad,
            f"the ledger says {ledger.proxy_scoring_forwards} narrow scoring forwards, not "
            f"{model.narrow_without_grad}",
        )
        same = math.isclose(ledger.cost, cost, rel_tol=1e-12)
        ensure(same, f"the cost is {ledger.cost}, counted {cost} forward units")
        share = cost / (3 * n * trace.epochs)
        ensure(math.isclose(ledger.cost_share, share), f"the cost share is {ledger.cost_share}, not {share}")
        if isinstance(policy, Policy):
            trained, scored = _closed_form(policy, training, trace, every)
            ensure(trained in (None, model.rows_backward), f"{model.rows_backward} trained, not {trained}")
            looked = model.narrow_without_grad if policy.proxy else model.rows_without_grad
            ensure(scored in (None, looked), f"{looked} scored, not {scored}")


@law
def one_forward_is_charged_once(recipe: Recipe) -> None:
    """A loop that back-propagates the losses that it observed is charged one forward of the whole batch.

    The same loop with a scoring forward of its own is charged both forwards.
    """
    n, batch = 24, 6
    policy = build(recipe, n, keep=0.4, period=3)
    if not isinstance(policy, Policy) or policy.batch_picker is None or not policy.signals or policy.assemble:
        return
    trace = Trace(n, long_enough(policy, 8))
    for one in (True, False):
        selector = Selector(policy, n, epochs=trace.epochs, labels=trace.targets)
        rows_with_graph = rows_without = rows_backward = 0
        for epoch in range(trace.epochs):
            if selector.pass_due(epoch):
                ids = selector.pass_ids(epoch)
                selector.observe(ids, trace.outputs(ids, epoch), source="pass")
                rows_without += len(ids)
            for ids in torch.split(selector.plan(epoch).ids, batch):
                seen = trace.outputs(ids, epoch)
                if one:
                    seen = replace(seen, loss=seen.loss * torch.ones((), requires_grad=True))
                narrows = selector.engine.narrows
                selector.observe(ids, seen)
                k = len(selector.choose(ids)[0])
                rows_with_graph += len(ids) if one else k
                rows_without += len(ids) if narrows and not one else 0
                rows_backward += k
        selector.set_epoch(trace.epochs)
        ledger = selector.ledger
        for name, entered, counted in (
            ("training forwards", ledger.training_forwards, rows_with_graph),
            ("scoring forwards", ledger.scoring_forwards, rows_without),
            ("samples back-propagated", ledger.samples_backpropagated, rows_backward),
        ):
            loop = "one forward" if one else "two forwards"
            ensure(entered == counted, f"with {loop}, the ledger says {entered} {name}, not {counted}")


def _k(m: int, keep: float, least: int = 0) -> int:
    return min(m, max(least, m - math.floor((1 - keep) * m + 1e-9)))


def _size(picker: Picker, n: int) -> int:
    return picker.size(n)[0] if picker.keeps is None else _k(n, picker.share)


def _closed_form(
    policy: Policy, training: Training, trace: Trace, every: int
) -> tuple[int | None, int | None]:
    """Samples trained and samples scored by METHODS D8, from the numbers in force in each epoch.

    None if scores decide how many rows of a batch are trained on.
    """
    n, batch, period = trace.n, training.batch, policy.every
    if policy.level == "static" and policy.picker is not None:
        (final,) = training.selector.final.values()
        size = _size(policy.picker, n)
        return n * final + size * (trace.epochs - final), n if policy.source == "pass" else 0
    trained, scored, active = 0, 0, 0
    fixed = True
    for epoch in range(trace.epochs):
        now = policy.sized(n).at(epoch - epoch % period, trace.epochs).picker
        size = sum(len(b.ids) for e, b in training.seen if e == epoch)
        if now is not None and now.size(n)[1]:
            size = _size(now, n)
        chooses = now is not None and now.share != 1
        if policy.source == "pass" and epoch % period == 0 and chooses:
            scored += n
        if policy.refresh is not None:
            scored += n if epoch % policy.refresh == 0 and chooses else 0
        elif policy.source == "training+pass" and epoch < trace.epochs - 1:
            scored += n - size
        finest = policy.at(epoch, trace.epochs).batch_picker
        keep = 1.0 if finest is None else finest.share
        batches = [batch] * (size // batch) + [size % batch] * (size % batch > 0)
        trained += sum(_k(m, keep, 2) for m in batches)
        fixed &= finest is None or finest.keeps is not None
        if keep != 1:
            if policy.signals and active % every == 0:
                scored += size + len(batches) * len(TARGET) * reads_target(policy.signals)
            active += 1
    return (trained, scored) if fixed else (None, None)


@law
def keep_one_is_full(recipe: Recipe) -> None:
    """With every keep parameter at 1 the training is ordinary, bit for bit, without a scoring forward."""
    if not keeps(recipe) or recipe.toy is not None:
        return
    trace = Trace(n=15, epochs=5)
    mine = _seeded(build(recipe, trace.n, keep=1, period=2), trace)
    plain = _seeded(registry.get("full")(), trace, tokens=mine.tokens)
    ensure(mine.model.rows_without_grad == 0, f"{mine.model.rows_without_grad} rows were scored for nothing")
    ensure(not differs(mine.told(), plain.told()), "other batches or losses than ordinary training's")
    weights = [training.model.state_dict() for training in (mine, plain)]
    ensure(not differs(dict(weights[0]), dict(weights[1])), "another model came out than ordinary training's")
    ensure(
        mine.selector.ledger.cost == plain.selector.ledger.cost, "it is charged more than ordinary training"
    )


def _seeded(policy: Any, trace: Trace, tokens: bool | None = None) -> Training:
    """A real training whose dropout starts from the same random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Training(policy, trace, real=True, tokens=tokens).finish()


@law
def stated_memory_is_real(recipe: Recipe) -> None:
    """The docstring's `Memory: N bytes a sample` is what the columns take at the end of a training.

    N may be a sum of products of numbers with C classes, d features, and the letters that the tracker's
    `sizes` give, such as K epochs of a window. Where the docstring goes on with `M while recording`, M is
    what the tracker's columns take before the score is final.
    """
    text = " ".join((recipe.__doc__ or "").split())
    stated = re.search(
        r"Memory: ([\dCdK +]+) bytes a sample(?: when final, ([\dCdK +]+) while recording)?", text
    )
    ensure(stated is not None, "its docstring does not say `Memory: N bytes a sample`")
    trace = Trace()
    policy = build(recipe, trace.n, period=3)
    memory = run(policy, trace).selector.state_dict()["engine"]["memory"]
    real = sum(column[0].nbytes for column in memory.values() if column.ndim)
    sizes = {"C": trace.logits.shape[2], "d": trace.features.shape[2]}
    if isinstance(policy, Policy) and policy.tracker is not None:
        sizes |= policy.tracker.within(trace.epochs).sizes
    said = _sum_of_products(stated.group(1), sizes) if stated else -1
    ensure(real == said, f"its docstring says {said} bytes a sample, its columns take {real}")
    if stated and stated.group(2) and isinstance(policy, Policy) and policy.tracker is not None:
        tracker = policy.tracker.within(trace.epochs)
        values = measure(policy.signals, trace.outputs(torch.arange(2), 0), policy.name)
        takes = tracker.bytes_a_sample(values)
        said = _sum_of_products(stated.group(2), sizes)
        ensure(takes == said, f"its docstring says {said} bytes while recording, its columns take {takes}")


def _sum_of_products(text: str, sizes: dict[str, int]) -> int:
    """`4 C + 8` with C = 3 is 20."""
    terms = [term.split() for term in text.replace("(", "").replace(")", "").split("+")]
    return sum(
        math.prod(sizes[factor] if factor in sizes else int(factor) for factor in term) for term in terms
    )
