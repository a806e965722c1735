"""A pass: forward some samples with frozen weights and observe them, leaving no trace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils.data import DataLoader, Sampler

from samplewise.data.layout import Layout
from samplewise.data.outputs import Outputs, as_outputs
from samplewise.data.randomness import Drawing, HostLent, Lent, drawing_of, kept
from samplewise.distributed import collectives
from samplewise.engine.engine import Engine
from samplewise.loop.gradients import norms_and_losses
from samplewise.loop.loader import IdCollate, IdDataset, in_order
from samplewise.loop.scoring import device_of, without_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samplewise.calls import EngineCalls

__all__ = ["quietly", "run"]

T = TypeVar("T")


class _Given(Sampler[int]):
    """Some ids in the order given."""

    def __init__(self, ids: torch.Tensor) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return in_order(self.ids)


def run(selector: EngineCalls, engine: Engine, epoch: int) -> tuple[int, int]:
    """Observe what `epoch` wants seen; how many samples this process ran forward, and how many backward.

    Several processes share the work in equal parts, padded by repeating ids, so that a wrapped model
    is called equally often everywhere; each then takes over what the others saw.
    """
    if selector.dataset is None or selector.forward is None or selector.model is None:
        raise ValueError(
            f"{selector.policy.name} needs a pass before epoch {epoch}: give Selector a data set, "
            "forward and model, or observe pass_ids(epoch) with source='pass' yourself."
        )
    engine.meet()
    ids, world = engine.pass_ids(epoch), collectives.world()
    if world > 1:
        padded = -(-len(ids) // world) * world
        ids = ids.repeat(-(-padded // len(ids)))[:padded][collectives.rank() :: world]
    forward: Any = selector.forward
    if selector.policy.proxy:
        forward = forward.proxy
    reads = engine.pass_reads(epoch)
    gradients = "gradient_norm" in reads
    plain = not gradients or bool(reads - {"loss", "gradient_norm"})
    scoring, device = selector.scoring, device_of(selector.model)
    layout = Layout.of(selector.collate)
    loader = DataLoader(
        IdDataset(selector.dataset if scoring.dataset is None else scoring.dataset),
        batch_size=scoring.batch_size or selector.batch_size,
        sampler=_Given(ids),
        num_workers=scoring.num_workers,
        collate_fn=IdCollate(selector.collate, layout if gradients and layout.learns else None),
        generator=torch.Generator().manual_seed(0),
    )
    lent, host = Lent(device), HostLent()
    loading, running = Drawing(), drawing_of(selector.model, scoring.mode)
    with without_trace(selector.model, scoring, lent=False):
        batches = iter(loader)
        while True:
            # Only where the data set draws in this process are numpy and Python asked at all.
            with lent.window(loading), nullcontext() if scoring.num_workers else host.window():
                batch = next(batches, None)
            if batch is None:
                break
            seen, data = batch.to(device)
            with lent.window(running):
                if gradients:
                    norms, losses = norms_and_losses(selector.model, forward, data, len(seen), layout=layout)
                    outputs = Outputs(loss=losses, gradient_norm=norms)
                if plain:
                    shown = as_outputs(forward(data), len(seen))
                    outputs = replace(shown, gradient_norm=norms) if gradients else shown
            engine.memory.observe(seen, outputs, "pass")
    engine.merge()
    return len(ids) * (plain + gradients), len(ids) * gradients


def quietly(read: Callable[..., T], *arguments: Any) -> T:
    """Call something that loads samples, with every global random state put back."""
    with kept():
        return read(*arguments)
