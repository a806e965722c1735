"""Laws of what comes in: parameters, losses and tensors of the user."""

import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from samplewise.checks import Range
from samplewise.data.outputs import Batch, Outputs
from samplewise.policy import Recipe
from samplewise.schedules import Constant, Schedule
from samplewise.selector import Selector
from samplewise.testing.counting import ToyForward, Training
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.runs import run, walk
from samplewise.testing.trace import Trace, build

__all__ = [
    "bad_parameters_are_refused",
    "half_precision_losses_are_accepted",
    "losses_that_are_not_finite_are_refused",
    "user_tensors_are_not_modified",
]


@law
def bad_parameters_are_refused(recipe: Recipe) -> None:
    """Every annotated parameter raises for values outside its range, with the usual error text."""
    hints = typing.get_type_hints(recipe._build, include_extras=True)
    for name in recipe.signature.parameters:
        ensure(name in hints, f"its parameter {name} has no annotation, so nothing can check it")
        for bad, wording in _outside(hints[name]):
            _refused(recipe, name, bad, f"{recipe.name}.{name} must be {wording}")
    _refused(recipe, "no_such_parameter", 1, f"{recipe.name} ")


def _refused(recipe: Recipe, name: str, bad: Any, wording: str) -> None:
    """A ValueError that begins with these words."""
    # Parameters without a default must not be what is complained about.
    rest = {
        other: None
        for other, parameter in recipe.signature.parameters.items()
        if parameter.default is parameter.empty and other != name
    }
    try:
        recipe(**rest, **{name: bad})
    except ValueError as error:
        ensure(str(error).startswith(wording), f"{name}={bad!r} is refused as {error!s}, not as {wording!r}")
    else:
        ensure(False, f"{name}={bad!r} is accepted")


def _outside(hint: Any) -> Iterator[tuple[Any, str]]:
    """Values that an annotation does not allow, and how the error goes on after `must be `."""
    limit = next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Range)), None)
    kinds = typing.get_args(hint.__origin__ if limit else hint) or (hint.__origin__ if limit else hint,)
    if limit is None:
        numeric = bool({int, float} & set(kinds)) and typing.get_origin(hint) is not tuple
        ensure(not numeric, f"the number {hint} declares no range: Annotated[float, Range(...)]")
        if kinds == (bool,):
            yield "no", "True or False"
        elif typing.get_origin(hint) is tuple:
            yield (), "a tuple"
        return
    words = _interval(limit)
    for value in _beyond(limit):
        kept_whole = float in kinds or value == int(value)
        yield (value if float in kinds else int(value)), words + f", got {value:g}" * kept_whole
        if Schedule in kinds:
            yield Constant(value), words
    if float in kinds:
        yield math.nan, words
    yield [], ""
    if (limit.high, limit.low) == (1, 0):
        yield 70, f"{words}, got 70. Did you mean 0.7?"


def _beyond(limit: Range) -> Iterator[float]:
    if limit.low > -math.inf:
        yield limit.low if limit.open_low else limit.low - 1
    if limit.high < math.inf:
        yield limit.high if limit.open_high else limit.high + 200


def _interval(limit: Range) -> str:
    """The range in words, written again from its fields."""
    if limit.high == math.inf:
        return f"{'>' if limit.open_low else '>='} {limit.low:g}"
    return f"in {'[('[limit.open_low]}{limit.low:g}, {limit.high:g}{'])'[limit.open_high]}"


@law
def losses_that_are_not_finite_are_refused(recipe: Recipe) -> None:
    """NaN and infinite losses raise at once, naming ids and epoch, and leave the memory as it was."""
    trace = Trace(n=12, epochs=4)
    policy = build(recipe, trace.n, period=2)
    selector = Selector(policy, trace.n, epochs=trace.epochs)
    for event in walk(selector, trace, batch=6):
        if event.kind != "step" or len(event.ids) < 2 or event.epoch in (1, 2):
            continue
        for bad in (math.nan, math.inf, -math.inf):
            shown = trace.outputs(event.ids, event.epoch)
            losses = shown.loss.clone()
            losses[[0, -1]] = bad
            spoilt = replace(shown, loss=losses)
            before = selector.state_dict()["engine"]["memory"]
            named = f"ids [{int(event.ids[0])}, {int(event.ids[-1])}] in epoch {event.epoch}"
            try:
                selector.observe(event.ids, spoilt)
            except ValueError as error:
                ensure(named in str(error), f"a loss of {bad} is refused without naming {named}: {error}")
            else:
                ensure(False, f"a loss of {bad} in epoch {event.epoch} is accepted")
            after = selector.state_dict()["engine"]["memory"]
            ensure(not differs(before, after), f"a refused loss of {bad} changed the memory")
    front = Training(policy, trace, batch=6)
    front.trace.losses[2, :] = math.nan
    try:
        front.finish()
    except ValueError as error:
        ensure("not finite" in str(error), f"NaN from forward is refused in other words: {error}")
    else:
        ensure(False, "a forward that returned NaN trained on")


@law
def half_precision_losses_are_accepted(recipe: Recipe) -> None:
    """Losses in bf16 and fp16 choose as the same numbers in float32 do, and give a float32 loss."""
    for dtype in (torch.bfloat16, torch.float16):
        half = Trace(n=15, epochs=5, dtype=dtype)
        single = Trace(n=15, epochs=5)
        single.losses, single.logits = half.losses.float(), half.logits.float()
        policy = build(recipe, half.n, period=2)
        same = not differs(run(policy, half).told(), run(policy, single).told())
        ensure(same, f"losses in {dtype} gave other choices than the same numbers in float32")
        small = build(recipe, 12, period=2)
        for loss in Training(small, Trace(n=12, epochs=4, dtype=dtype)).finish().losses:
            fine = loss.dtype == torch.float32 and bool(torch.isfinite(loss))
            ensure(fine, f"losses in {dtype} became {loss} of {loss.dtype}")


@law
def user_tensors_are_not_modified(recipe: Recipe) -> None:
    """Ids, losses, logits, batches and labels of the user stay as they were, in value and version."""
    trace = Trace(n=12, epochs=5)
    policy = build(recipe, trace.n, period=2)
    labels = trace.targets.clone()
    given: list[tuple[Tensor, Tensor, int]] = []

    def lend(tensor: Tensor) -> Tensor:
        given.append((tensor, tensor.detach().clone(), tensor._version))
        return tensor

    lend(labels)
    selector = Selector(policy, trace.n, epochs=trace.epochs, labels=labels)
    for epoch in range(trace.epochs):
        if selector.pass_due(epoch):
            ids = lend(selector.pass_ids(epoch))
            selector.observe(ids, _lent(trace.outputs(ids, epoch), lend), "pass")
        for drawn in torch.split(selector.plan(epoch).ids, 5):
            ids = lend(drawn.clone())
            selector.observe(ids, _lent(trace.outputs(ids, epoch), lend))
            selector.choose(ids)
    front = Training(policy, trace, batch=5, labels=labels)
    front.selector.forward = _Lending(front.forward, lend)
    for batch in _batches(front):
        for tensor in (batch.ids, *batch.data.values()):
            lend(tensor)
    for tensor, before, version in given:
        same = tensor._version == version and not differs(tensor.detach(), before)
        ensure(same, f"a tensor of shape {tuple(tensor.shape)} and type {tensor.dtype} was written to")


class _Lending:
    """A forward that lends out what it returns."""

    def __init__(self, forward: ToyForward, lend: Callable[[Tensor], Tensor]) -> None:
        self.forward, self.lend = forward, lend

    def __call__(self, data: dict[str, Any]) -> Outputs:
        return _lent(self.forward(data), self.lend)

    def proxy(self, data: dict[str, Any]) -> Outputs:
        return _lent(self.forward.proxy(data), self.lend)


def _lent(outputs: Outputs, lend: Any) -> Outputs:
    for tensor in (outputs.loss, outputs.logits, outputs.targets, outputs.features):
        if tensor is not None:
            lend(tensor)
    return outputs


def _batches(front: Training) -> Iterator[Batch]:
    """Every batch, before it is trained on."""
    for _ in range(front.trace.epochs):
        for batch in front.loader:
            yield batch
            torch.autograd.backward(front.selector.loss(batch))
