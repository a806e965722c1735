"""Checks of ids and class numbers from the user: dtype, range, and their text in errors."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.data.order import Order

__all__ = ["ascending", "few", "first_of_each", "in_classes", "refuse_outside", "whole"]


def few(ids: Tensor | Order, most: int = 5) -> str:
    """The first `most` ids as text, for an error."""
    shown = ", ".join(map(str, ids[:most].tolist()))
    return f"[{shown}, ... {len(ids) - most} more]" if len(ids) > most else f"[{shown}]"


def ascending(ids: Int[Tensor, " b"], n: int) -> Int[Tensor, " k"]:
    """Each id once, in ascending order. All ids are in [0, n)."""
    if 8 * len(ids) < n:
        found: Tensor = torch.unique(ids)
        return found
    seen = torch.zeros(n, dtype=torch.bool, device=ids.device)
    seen[ids] = True
    return seen.nonzero().squeeze(1)


def first_of_each(ids: Int[Tensor, " b"]) -> Int[Tensor, " k"]:
    """The position of the first row of every id, in ascending order."""
    if ids.is_cpu:
        # For the few ids of a batch numpy sorts in a fraction of torch's time.
        in_order = np.sort(ids.numpy())
        if not (in_order[1:] == in_order[:-1]).any():
            return torch.arange(len(ids))
    order = ids.argsort(stable=True)
    ranked = ids[order]
    first = torch.ones_like(ranked, dtype=torch.bool)
    first[1:] = ranked[1:] != ranked[:-1]
    return order[first].sort().values


def whole(ids: Any, call: str) -> Int[Tensor, " b"]:
    """Return ids of any integer dtype as int64. `call` is the name of the caller, for the error."""
    if type(ids) is Tensor and ids.dtype is torch.int64 and ids.ndim == 1:
        return ids
    if not isinstance(ids, Tensor):
        raise TypeError(
            f"{call} needs ids as a torch tensor of int64, got {type(ids).__name__}. Use the ids of the "
            "batches of selector.loader(), or convert a list with torch.tensor(ids)."
        )
    if ids.ndim != 1 or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(
            f"{call} needs a 1-D tensor of int64 ids, got {ids.dtype} of shape {tuple(ids.shape)}. "
            "Ids are positions in the full data set."
        )
    return ids.long()


def refuse_outside(ids: Int[Tensor, " b"], n: int) -> None:
    """Raise if an id is not in [0, n). If n is 0, every id passes."""
    if not (n and len(ids)):
        return
    if ids.is_cpu:
        # As unsigned numbers, negative ids are huge. So one test of the maximum finds both errors.
        if np.maximum.reduce(ids.numpy().view(np.uint64)) < n:
            return
    else:
        first, last = ids.aminmax()
        if first.item() >= 0 and last.item() < n:
            return
    outside = ids[(ids < 0) | (ids >= n)]
    raise ValueError(
        f"ids {few(outside)} are outside the data set of {n} samples. "
        "Ids are positions in the full data set, never positions in a batch."
    )


def in_classes(targets: Tensor, classes: int | None) -> bool:
    """Return whether all targets are in [0, classes), or >= 0 if `classes` is None."""
    if not targets.numel():
        return True
    # torch has no `aminmax` of uint16 to uint64.
    low, high = (int(bound) for bound in targets.long().aminmax())
    return low >= 0 and (classes is None or high < classes)
