"""Ray Train: the selector's loader, sharded by the selector and moved to each worker's device by Ray."""

from typing import Any

from samplewise.checks import require
from samplewise.integrations.wrapped import Wrapped, bare
from samplewise.selector import Selector

__all__ = ["prepare"]


def prepare(selector: Selector, **arguments: Any) -> Wrapped:
    """Return `selector.loader(...)` with Ray's prefetching to the worker's device.

    Call it in the training function instead of `ray.train.torch.prepare_data_loader`. That function would
    replace the sampler, so all samples would be trained, and its prefetching would end an epoch before its
    last batch is trained.

    Args:
        selector: built with a data set and the batch size of one worker.
        arguments: arguments of DataLoader: `num_workers`, `pin_memory`, `collate_fn`, `drop_last`, ...
    """
    inner = _ray().prepare_data_loader(bare(selector, True, arguments), add_dist_sampler=False)
    return Wrapped(selector, inner, sharded=True)


def _ray() -> Any:
    """`ray.train.torch`; a test puts a stand-in here."""
    return require("ray.train.torch", "ray")
