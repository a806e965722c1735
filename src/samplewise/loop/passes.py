"""A pass: forward some samples with frozen weights and observe them, leaving no trace."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from samplewise.data.layout import Layout
from samplewise.data.outputs import Batch, Outputs, as_outputs
from samplewise.data.randomness import Drawing, HostLent, Lent, drawing_of
from samplewise.distributed import collectives
from samplewise.loop.gradients import norms_and_losses
from samplewise.loop.ids import IdCollate, IdDataset, Ids, dealt, in_order
from samplewise.loop.scoring import device_of, without_trace
from samplewise.loop.step import Step

__all__ = ["run"]


class _Given(Sampler[int]):
    """Some ids in the order given."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return in_order(self.ids)


def run(
    step: Step, dataset: Any, batch_size: int | None, collate: Callable[[list[Any]], Any] | None, epoch: int
) -> tuple[int, int]:
    """Observe the samples that must be seen before `epoch`.

    Several processes share the work in equal parts, padded by repeated ids, so that a wrapped model is called
    equally often everywhere. Then each process takes over what the others observed.

    Args:
        step: has the forward, the model, the scoring and the engine.
        dataset: of the training; `Scoring.dataset` comes before it.
        batch_size: of the training; `Scoring.batch_size` comes before it.
        collate: of the training's loader.
        epoch: the epoch to be planned next.

    Returns:
        The number of samples that this process ran forward, and backward.
    """
    engine, scoring, scores = step.engine, step.scoring, step.scoring_forward
    if dataset is None or step.forward is None or step.model is None:
        raise ValueError(
            f"{step.policy.name} needs a pass before epoch {epoch}: give Selector a data set, forward and "
            "model, or observe pass_ids(epoch) with source='pass' yourself."
        )
    engine.meet()
    ids = dealt(engine.pass_order(epoch), 0, collectives.rank(), collectives.world(), covers=True)
    forward: Any = step.forward
    if step.policy.proxy:
        forward = forward.proxy
    reads = engine.pass_reads(epoch)
    gradients = "gradient_norm" in reads
    plain = not gradients or bool(reads - {"loss", "gradient_norm"})
    device, layout = device_of(step.model), Layout.of(collate)
    loader = DataLoader(
        IdDataset(dataset if scoring.dataset is None else scoring.dataset),
        batch_size=scoring.batch_size or batch_size,
        sampler=_Given(ids),
        num_workers=scoring.num_workers,
        collate_fn=IdCollate(collate, layout if gradients and layout.learns else None),
        generator=torch.Generator().manual_seed(0),
    )
    lent, host = Lent(device), HostLent()
    module = step.model if scores.model is None else scores.model
    loading, running = Drawing(), drawing_of(module, scoring.mode)
    with without_trace(module, scoring, lent=False):
        batches = iter(loader)
        while True:
            # The data set draws from numpy and Python in this process only if there are no workers.
            with lent.window(loading), nullcontext() if scoring.num_workers else host.window():
                batch = next(batches, None)
            if batch is None:
                break
            seen, data = batch.to(device)
            with lent.window(running):
                if gradients:
                    norms, losses = _gradients(step, forward, Batch(seen, data), layout)
                    outputs = Outputs(loss=losses, gradient_norm=norms)
                if plain:
                    shown = as_outputs(scores(forward, Batch(seen, data)), len(seen))
                    outputs = replace(shown, gradient_norm=norms) if gradients else shown
            engine.memory.observe(seen, outputs, "pass")
    engine.merge()
    if scores.cheap:  # it was charged by its FLOPs
        return 0, 0
    return len(ids) * (plain + gradients), len(ids) * gradients


def _gradients(
    step: Step, forward: Callable[[Any], Any], batch: Batch, layout: Layout
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """The gradient norm and the loss of each row of a batch."""
    scores, b = step.scoring_forward, len(batch)
    model, forward = step.model if scores.model is None else scores.model, scores.forward(forward)
    if model is None:
        raise ValueError(f"{step.policy.name} scores with the model, got None. Give Selector(model=...).")
    return scores.gradients(
        forward, batch, lambda data: norms_and_losses(model, forward, data, b, layout=layout)
    )
