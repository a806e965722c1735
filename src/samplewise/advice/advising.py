"""`advise`: measure a model, its data and the machine, and predict what each method would cost."""

import re
import time
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, IterableDataset

from samplewise.advice.costs import Times, ordinary
from samplewise.advice.measuring import Measuring, Setup
from samplewise.advice.notes import notes_on
from samplewise.advice.options import add_options
from samplewise.advice.plans import Rehearsals, chosen, plans_of, row_of
from samplewise.advice.result import Advice
from samplewise.advice.untouched import untouched
from samplewise.checks import Range, check_arguments
from samplewise.data.dataset import labels_of, length_of
from samplewise.data.randomness import quietly
from samplewise.distributed import collectives
from samplewise.loop.requirements import check_types
from samplewise.loop.scoring import Scoring, device_of

__all__ = ["advise"]

_OF_LOADER = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context",
    "prefetch_factor",
)  # fmt: skip


def advise(
    forward: Callable[[Any], Any] | None,
    model: Any,
    data: Any,
    *,
    batch_size: Annotated[int | None, Range(2)] = None,
    epochs: Annotated[int, Range(1)] = 30,
    optimizer: Any = None,
    labels: Any = None,
    methods: Iterable[Any] | None = None,
    at: str | None = None,
    seconds: Annotated[float, Range(0, open_low=True)] = 60.0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    num_workers: Annotated[int | None, Range(0)] = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Advice:
    """Predict the seconds of an epoch and the share that each method saves, by measuring for a minute.

    Weights, buffers, gradients, flags, random states, the optimizer and the position of the loader are left
    as found. The data set is read; what it changes in itself while it is read stays changed.

    Args:
        forward: batch data -> per-sample losses (b,) or `sw.Outputs`, as for `sw.Selector`.
        model: the module that forward runs.
        data: a map-style data set, or a torch DataLoader, whose batch size, collate and workers are taken.
        batch_size: samples per step; None: that of the DataLoader.
        epochs: the length of the training, which the calendars of methods refer to.
        optimizer: its step is timed; None: SGD with momentum.
        labels: class numbers (n,), if the data set does not carry them as `targets`.
        methods: names such as `"infobatch"` or `"ucb:keep=0.3"`, or policies; None: all with their defaults.
        at: the module at which the scoring option `at` ends; None: the first block that can be used.
        seconds: for all of it. At least three rounds are measured.
        collate_fn: makes a batch of samples, if data is no DataLoader.
        num_workers: processes that load, if data is no DataLoader; None: 0.
        clock: gives seconds. On a busy machine with one thread, `time.process_time` is steadier.

    Raises:
        TypeError, ValueError: for data that cannot be read by position, a batch that is larger than the data,
            a model without trainable parameters, a forward that gives no per-sample losses.
    """
    given = {"batch_size": batch_size, "epochs": epochs, "seconds": seconds, "num_workers": num_workers}
    check_arguments("advise", advise, given)
    if forward is None or model is None:
        missing = "forward" if forward is None else "model"
        raise TypeError(f"advise needs a {missing}, got None: it measures forward and backward.")
    begun = time.perf_counter()
    arguments = _arguments(data, collate_fn, num_workers)
    if isinstance(data, DataLoader):
        batch_size, data = data.batch_size if batch_size is None else batch_size, data.dataset
    n = _checked(forward, model, data, batch_size, optimizer)
    size, found = int(batch_size or 0), quietly(labels_of, labels, data, n)
    setup = Setup(model, forward, data, n, size, arguments, optimizer, found, device_of(model), clock)
    policies, left_out = chosen(methods)
    with untouched(model):
        measuring = _first(setup)
        try:
            options = add_options(measuring, at)
            rehearsals = Rehearsals(n, size, epochs)
            plans = list(plans_of(policies, options, rehearsals, left_out))
            measured = measuring.run(seconds - (time.perf_counter() - begun))
        finally:
            measuring.close()
    left_out |= {f"scoring {name}": reason for name, reason in measured.unfit.items()}
    times = Times(measured, n, size, setup.workers)
    usual = ordinary(times, rehearsals.full)
    rows = [row_of(plan, times, measured, usual, rehearsals, setup) for plan in plans]
    rows.sort(key=lambda row: row.seconds)
    step = {"loading": times.median("load")}
    step |= {name: times.median(name) for name in ("forward", "backward", "optimizer")}
    narrow = {rows_of_step: times.median(f"step {rows_of_step}") for rows_of_step in measured.sizes}
    notes = notes_on(step, narrow, rows)
    if optimizer is None:
        notes.append("No optimizer was given: the step is that of SGD with momentum.")
    return Advice(
        rows=tuple(rows),
        step=step,
        narrow=narrow,
        n=n,
        batch_size=size,
        epochs=epochs,
        rounds=measured.rounds,
        took=time.perf_counter() - begun,
        left_out=left_out,
        notes=tuple(notes),
    )


def _arguments(data: Any, collate_fn: Any, num_workers: int | None) -> dict[str, Any]:
    """What the loader of the measurement takes over from the user's."""
    if not isinstance(data, DataLoader):
        return {"collate_fn": collate_fn, "num_workers": num_workers or 0}
    for name, given in (("collate_fn", collate_fn), ("num_workers", num_workers)):
        if given is not None:
            raise ValueError(f"advise takes {name} from the DataLoader, got another one. Leave out {name}.")
    return {name: getattr(data, name) for name in _OF_LOADER}


def _checked(forward: Any, model: Any, data: Any, batch_size: int | None, optimizer: Any) -> int:
    """The number of samples, or an error for what cannot be measured."""
    if isinstance(data, IterableDataset) or not hasattr(data, "__getitem__"):
        raise TypeError(
            f"advise must read samples by position, data[i], but {type(data).__name__} does not. Give a list "
            "of some samples: sw.advise(forward, model, list(itertools.islice(data, 4096)), batch_size=...)."
        )
    n = length_of(data)
    check_types(forward, model, Scoring(), n)
    if batch_size is None:
        raise ValueError(
            "advise needs a batch size, got None. Give batch_size=..., or a DataLoader with one."
        )
    if batch_size < 2 or batch_size > n:
        raise ValueError(
            f"advise.batch_size must be in [2, {n}], the number of samples, got {batch_size}. Give a "
            "smaller one, or more data."
        )
    parameters = list(model.parameters())
    if any(map(is_lazy, parameters)):
        raise ValueError("model must have its weights, but some are lazy. Run one batch through it first.")
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(
            f"model must have trainable parameters, got {len(parameters)} parameters and none with "
            "requires_grad=True. Give the model that you train."
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("optimizer must take steps without a closure, got LBFGS. Leave it out.")
    if optimizer is not None and not (hasattr(optimizer, "param_groups") and hasattr(optimizer, "state")):
        raise TypeError(f"optimizer must be a torch optimizer, got {type(optimizer).__name__}.")
    if (world := collectives.world()) > 1:
        raise ValueError(f"advise measures one process, but {world} train together. Call it in one alone.")
    return n


def _first(setup: Setup) -> Measuring:
    """The measuring, after a first batch, whose losses are checked."""
    try:
        measuring = Measuring(setup)
    except (RuntimeError, AssertionError) as error:
        said = str(error).strip().partition("\n")[0]
        if torch.accelerator.is_available() or not re.search("cuda|nvidia|hip|xpu|mps", said, re.IGNORECASE):
            raise
        raise ValueError(
            f"forward needs an accelerator, but torch finds none: {said} Let forward use the device of its "
            "batch, and measure on the CPU, or call advise where the accelerator is."
        ) from error
    if not measuring.first.loss.requires_grad:
        measuring.close()
        raise ValueError(
            "forward must return losses with their autograd graph, got losses without one. Leave out "
            "torch.no_grad() and detach(), and give the model that forward runs."
        )
    return measuring
