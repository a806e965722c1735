"""Streams (webdataset, iterable data sets): dropping samples before decoding, epochs, and ids of batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import default_collate

from samplewise.data.ids import few
from samplewise.data.keyids import KeyIds
from samplewise.data.layout import Layout
from samplewise.data.outputs import Batch, walk
from samplewise.distributed import collectives
from samplewise.selector import Selector

__all__ = ["Kept", "Stream"]


class Kept:
    """A filter that returns True for samples of the current epoch's plan.

    Use it in `select` of webdataset or `filter` of an iterable data set, before decoding. It reads the
    selector's mask in shared memory, so all workers use the current plan. A key without an id yet passes. It
    also takes a batch of samples, for `filter(batched=True)`.

    Args:
        mask: the tensor that `selector.mask()` returns, not a copy.
        keys: the `KeyIds` of the stream. None means that the field holds the id.
        field: the field of a sample that holds the key or id. None means `__key__` with keys, else `id`.
    """

    def __init__(
        self, mask: Bool[Tensor, " n"], keys: KeyIds | None = None, field: str | None = None
    ) -> None:
        self.mask, self._copied = mask, False
        self._refuse_copy()
        if keys is not None and keys.n != len(mask):
            raise ValueError(
                f"KeyIds must have n={len(mask)}, as the selector, but has n={keys.n}. Build both with the "
                "number of samples in the stream."
            )
        self.keys = keys
        self.field = field or _field(keys)

    def _refuse_copy(self) -> None:
        if not self.mask.is_shared():  # type: ignore[no-untyped-call]  # torch does not annotate it
            raise ValueError(
                "the mask of Kept must be the tensor that selector.mask() returns, not a copy: workers do "
                "not see changes of a copy. If you copy a Kept, copy its selector in the same call."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # If the selector is copied too, it moves the mask to shared memory, perhaps after this call.
        vars(self).update(state, _copied=True)

    def __call__(self, sample: Mapping[str, Any]) -> bool | list[bool]:
        """Return True if the sample must be trained. For a batch of samples, return a list."""
        if self._copied:
            self._refuse_copy()
            self._copied = False
        name = _named(sample, self.field)
        if isinstance(name, str | bytes | int | np.integer) or getattr(name, "ndim", 1) == 0:
            return self._keeps(name)
        return [self._keeps(one) for one in name]

    def _keeps(self, name: Any) -> bool:
        number = int(name) if self.keys is None else self.keys.find(name)
        if number < 0 and self.keys is not None:
            return True
        if not 0 <= number < len(self.mask):
            raise ValueError(
                f"field {self.field!r} must be an id in [0, {len(self.mask)}), got {number}. An id is the "
                "position of a sample in the full data set."
            )
        return bool(self.mask[number])


class Stream:
    """Yields `Batch(ids, data)` from a loader over a stream. One iteration of the loader is one epoch.

    It starts and ends the selector's epochs, turns keys into ids, and drops the samples that are not in the
    epoch's plan. `Kept` drops most of them before decoding; only keys that are new to a worker pass it.

    Args:
        selector: built with the exact number of samples (or None, if the method stores nothing per sample)
            and with the batch size. Lengths and progress are counted in batches.
        loader: a DataLoader or a `WebLoader` over the stream. It yields mappings with the ids or keys in
            `field`, or tuples with them in front. They are removed from the data.
        keys: the `KeyIds` of the stream. None means that the stream has ids.
        field: the field of a mapping that holds the keys or ids. None means `__key__` with keys, else `id`.

    Raises:
        ValueError: if an id is repeated in an epoch. This happens if workers or processes do not get separate
            parts of the stream.
    """

    def __init__(
        self,
        selector: Selector,
        loader: Iterable[Any],
        *,
        keys: KeyIds | None = None,
        field: str | None = None,
    ) -> None:
        if selector.dataset is not None:
            raise ValueError(
                "Stream needs a Selector without a data set: Selector(policy, n). For a data set, use "
                "selector.loader()."
            )
        if selector.batch_size is None:
            raise ValueError("Stream needs the batch size. Set it in Selector(batch_size=...).")
        if keys is not None and keys.n != selector.n:
            raise ValueError(
                f"KeyIds must have n={selector.n}, as the selector, but has n={keys.n}. Build both with "
                "the number of samples in the stream."
            )
        self._selector, self._loader, self._keys = selector, loader, keys
        self._field = field or _field(keys)
        self._layout = selector.layout = Layout(getattr(loader, "collate_fn", None) is default_collate)
        self._seen = torch.zeros(selector.n, dtype=torch.bool)
        """True for samples that were trained in epoch `_of`."""
        self._last: tuple[Tensor, int] | None = None
        self._of: int | None = None
        self._resumed = self._warned = False
        self._passed = 0

    def __iter__(self) -> Iterator[Batch]:
        selector = self._selector
        if not selector.n:
            selector.set_epoch(selector.epoch)
            return selector.timeline.meter(self._numbered())
        selector.timeline.start_iteration()
        if not self._resumed or self._of != selector.epoch:
            self._seen.zero_()
        self._resumed, self._last, self._of = False, None, selector.epoch
        planned = torch.zeros(selector.n, dtype=torch.bool)
        planned[selector.plan(selector.epoch).ids] = True
        planned &= ~self._seen
        selector.mask().copy_(planned)  # after a resume, trained samples are not decoded
        return selector.timeline.meter(self._planned(planned))

    def _numbered(self) -> Iterator[Batch]:
        """Yield batches of a stream without ids. Their ids only count samples."""
        for item in self._loader:
            b = _size(item)
            yield Batch(torch.arange(self._passed, self._passed + b), item)
            self._passed += b

    def _planned(self, planned: Bool[Tensor, " n"]) -> Iterator[Batch]:
        """Yield the rows that are in the plan and not yet trained in this epoch."""
        arrived, late = torch.zeros_like(planned), 0
        known = self._selector.n if self._keys is None else len(self._keys)
        for item in self._loader:
            ids, data = self._split(item)
            self._refuse_again(ids, arrived)
            arrived[ids] = True
            keep = planned[ids]
            late += int((~keep & (ids < known)).sum())
            if not keep.all():
                rows = keep.nonzero().squeeze(1)
                data, ids = self._layout.take(data, rows, len(ids)), ids[rows]
            if not len(ids):
                continue
            self._last = ids, self._selector.timeline.where()["done"]
            yield Batch(ids, data)
            self._seen[ids], self._last = True, None
        self._report(late, int((planned & ~arrived).sum()))

    def _refuse_again(self, ids: Int[Tensor, " b"], arrived: Bool[Tensor, " n"]) -> None:
        """Raise for ids that are out of range, or that already arrived in this epoch."""
        n, epoch = self._selector.n, self._selector.epoch
        if len(outside := ids[(ids < 0) | (ids >= n)]):
            raise ValueError(f"ids {few(outside)} are outside the stream's {n} samples.")
        distinct, times = torch.unique(ids, return_counts=True)
        if len(again := distinct[(times > 1) | arrived[distinct]]):
            raise ValueError(
                f"ids {few(again)} came twice in epoch {epoch}. Give every worker and process its own part "
                "of the stream. Store ids in the data: if workers count samples, every worker starts at 0."
            )

    def _split(self, item: Any) -> tuple[Int[Tensor, " b"], Any]:
        """Split a batch into its ids and its data."""
        if isinstance(item, Mapping):
            names = _named(item, self._field)
            data: Any = {name: value for name, value in item.items() if name != self._field}
        elif isinstance(item, list | tuple) and len(item) > 1:
            names, data = item[0], tuple(item[1:])
        else:
            raise TypeError(
                f"the stream's loader must yield mappings with {self._field!r}, or tuples whose first item "
                f"is the ids or keys, got {type(item).__name__}."
            )
        if self._keys is not None:
            return self._keys(list(names)), data
        return torch.as_tensor(names).long(), data

    def _report(self, late: int, missing: int) -> None:
        """Warn once, at the end of an epoch, if samples were decoded in vain or are missing."""
        if self._warned:
            return
        epoch, workers = self._selector.epoch, max(1, getattr(self._loader, "num_workers", 0))
        if late:
            self._warned = True
            warnings.warn(
                f"{late} samples were decoded but are not in the plan of epoch {epoch}. To drop them "
                "earlier, put Kept(selector.mask(), ...) before decoding.",
                stacklevel=4,
            )
        elif collectives.world() == 1 and missing > workers * ((self._selector.batch_size or 1) - 1):
            self._warned = True
            warnings.warn(
                f"{missing} samples planned for epoch {epoch} never came. n must be the exact number of "
                f"samples, but is {self._selector.n}: ids without a sample take the place of real samples.",
                stacklevel=4,
            )

    def state_dict(self) -> dict[str, Any]:
        """The samples trained in this epoch: 1 byte per sample. Also save the selector and the keys."""
        seen = self._seen.clone()
        if self._of != self._selector.epoch:  # epoch `_of` has ended
            seen.zero_()
        elif self._last is not None and self._selector.timeline.where()["done"] > self._last[1]:
            seen[self._last[0]] = True
        return {"epoch": self._selector.epoch, "seen": seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the rest of a saved epoch. First load the states of the selector and the keys."""
        mine, theirs = (self._selector.epoch, self._selector.n), (state["epoch"], len(state["seen"]))
        if mine != theirs:
            raise ValueError(
                f"the stream's state is of epoch {theirs[0]} and {theirs[1]} samples, but its selector is "
                f"in epoch {mine[0]} and has {mine[1]} samples. First load the selector's own state."
            )
        self._seen.copy_(state["seen"])
        self._resumed, self._of, self._last = True, mine[0], None

    def __getstate__(self) -> dict[str, Any]:
        # A copy continues in the current epoch, as after `load_state_dict`.
        state = self.state_dict()
        resumed = self._resumed or self._of == state["epoch"]
        return {**vars(self), "_seen": state["seen"], "_last": None, "_resumed": resumed}


def _field(keys: KeyIds | None) -> str:
    return "id" if keys is None else "__key__"


def _named(sample: Mapping[str, Any], field: str) -> Any:
    if field not in sample:
        raise ValueError(
            f"every sample must have the field {field!r}, but a sample has only {list(sample)}. Set field=..."
        )
    return sample[field]


def _size(item: Any) -> int:
    """The number of samples of a batch: the length of the first tensor or array in it."""
    sizes: list[int] = []

    def measure(leaf: Any, path: str) -> Any:
        if isinstance(leaf, Tensor | np.ndarray) and leaf.ndim:
            sizes.append(len(leaf))
        return leaf

    walk(item, measure)
    if not sizes:
        raise TypeError(f"the stream's batches must hold tensors or arrays, got {type(item).__name__}.")
    return sizes[0]
