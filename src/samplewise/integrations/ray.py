"""Ray Train: the selector's loader, moved to each worker's device by Ray and sharded by the selector."""

import importlib
from typing import Any

from samplewise.integrations.wrapped import Wrapped, bare
from samplewise.selector import Selector

__all__ = ["prepare"]


def prepare(selector: Selector, **arguments: Any) -> Wrapped:
    """What `selector.loader(...)` is, with Ray's transfer to the worker's device ahead of time.

    Call it inside the training function, in the place of `ray.train.torch.prepare_data_loader`, whose sampler
    would put all samples back, and whose look-ahead would end an epoch before its last batch is trained.

    Args:
        selector: built with a data set and the batch size of one worker.
        arguments: DataLoader's own: `num_workers`, `pin_memory`, `collate_fn`, `drop_last`, ...
    """
    inner = _ray().prepare_data_loader(bare(selector, True, arguments), add_dist_sampler=False)
    return Wrapped(selector, inner, sharded=True)


def _ray() -> Any:
    """`ray.train.torch`; no extra brings Ray, whose pins would hold back the others."""
    try:
        return importlib.import_module("ray.train.torch")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "ray":
            raise
        raise ImportError("ray is not installed: pip install 'ray[train]'") from error
