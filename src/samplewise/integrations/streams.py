"""Streams (webdataset, Hugging Face iterable data sets): drop samples early, cut epochs, give batches ids."""

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
    """Whether the open epoch trains on a sample: for `select` of webdataset and `filter` of an iterable.

    Put it before decoding. It reads the selector's mask in shared memory, so workers of any kind see every
    plan. A key that has no number yet passes. It also takes a batch of samples, for `filter(batched=True)`.

    Args:
        mask: `selector.mask()` itself.
        keys: what numbers the samples' keys; None: the field holds the id.
        field: of a sample; None: `__key__` with keys, else `id`.
    """

    def __init__(
        self, mask: Bool[Tensor, " n"], keys: KeyIds | None = None, field: str | None = None
    ) -> None:
        self.mask, self._copied = mask, False
        self._refuse_copy()
        if keys is not None and keys.n != len(mask):
            raise ValueError(f"KeyIds numbers {keys.n} samples, but the selector was built for {len(mask)}.")
        self.keys = keys
        self.field = field or _field(keys)

    def _refuse_copy(self) -> None:
        if not self.mask.is_shared():  # type: ignore[no-untyped-call]  # torch does not annotate it
            raise ValueError(
                "Kept's mask must be selector.mask() itself: workers see no change of a copy. Copy a Kept "
                "together with its selector."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Its selector, if copied along, shares the mask; perhaps after this.
        vars(self).update(state, _copied=True)

    def __call__(self, sample: Mapping[str, Any]) -> bool | list[bool]:
        """True for a sample that is to be trained on; for a batch of samples a list."""
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
                f"field {self.field!r} is {number}, but ids are positions in the {len(self.mask)} samples."
            )
        return bool(self.mask[number])


class Stream:
    """Yields `Batch(ids, data)` of a loader over a stream; one iteration of the loader is one epoch.

    It opens and closes the selector's epochs, numbers keys, and drops what the epoch does not train on where
    `Kept` did not: keys that workers see for the first time.

    Args:
        selector: built with the exact number of samples, or with None where the method remembers none, and
            with the batch size, which lengths and progress are counted in.
        loader: a DataLoader or a `WebLoader` over the stream, that yields mappings with the ids or keys
            under `field`, or tuples with them in front. They are taken out of the data.
        keys: what numbers the keys; None: the stream has ids.
        field: in a mapping; None: `__key__` with keys, else `id`.

    Raises:
        ValueError: for ids that come twice in an epoch, which is what workers or processes that are not given
            parts of their own do.
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
                "this Selector has a data set: take selector.loader(). Stream needs Selector(policy, n)."
            )
        if selector.batch_size is None:
            raise ValueError("Stream counts in batches: give Selector(batch_size=...).")
        if keys is not None and keys.n != selector.n:
            raise ValueError(f"KeyIds numbers {keys.n} samples, but the selector was built for {selector.n}.")
        self._selector, self._loader, self._keys = selector, loader, keys
        self._field = field or _field(keys)
        self._layout = selector.layout = Layout(getattr(loader, "collate_fn", None) is default_collate)
        self._seen = torch.zeros(selector.n, dtype=torch.bool)
        """What was trained on in the epoch `_of`."""
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
        selector.mask().copy_(planned)  # so what was trained before a break is not decoded again
        return selector.timeline.meter(self._planned(planned))

    def _numbered(self) -> Iterator[Batch]:
        """Batches of a stream whose samples are not remembered: the ids only count."""
        for item in self._loader:
            b = _size(item)
            yield Batch(torch.arange(self._passed, self._passed + b), item)
            self._passed += b

    def _planned(self, planned: Bool[Tensor, " n"]) -> Iterator[Batch]:
        """The rows that are still to be trained in this epoch."""
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
        """Raise for ids that are none, or that arrived before."""
        n, epoch = self._selector.n, self._selector.epoch
        if len(outside := ids[(ids < 0) | (ids >= n)]):
            raise ValueError(f"ids {few(outside)} are outside the stream's {n} samples.")
        distinct, times = torch.unique(ids, return_counts=True)
        if len(again := distinct[(times > 1) | arrived[distinct]]):
            raise ValueError(
                f"ids {few(again)} came twice in epoch {epoch}. Give every worker and process its own part "
                "of the stream, and put ids into the data before it becomes a stream: what counts samples "
                "inside a worker starts at 0 in each."
            )

    def _split(self, item: Any) -> tuple[Int[Tensor, " b"], Any]:
        """The ids of a batch, and the rest of it."""
        if isinstance(item, Mapping):
            names = _named(item, self._field)
            data: Any = {name: value for name, value in item.items() if name != self._field}
        elif isinstance(item, list | tuple) and len(item) > 1:
            names, data = item[0], tuple(item[1:])
        else:
            raise TypeError(
                f"the stream's loader must yield mappings with {self._field!r}, or tuples with the ids or "
                f"keys in front, got {type(item).__name__}."
            )
        if self._keys is not None:
            return self._keys(list(names)), data
        return torch.as_tensor(names).long(), data

    def _report(self, late: int, missing: int) -> None:
        """What the user can act on at the end of an epoch, said once."""
        if self._warned:
            return
        epoch, workers = self._selector.epoch, max(1, getattr(self._loader, "num_workers", 0))
        if late:
            self._warned = True
            warnings.warn(
                f"{late} samples that epoch {epoch} does not train on were decoded and then dropped. Put "
                "Kept(selector.mask(), ...) before decoding.",
                stacklevel=4,
            )
        elif collectives.world() == 1 and missing > workers * ((self._selector.batch_size or 1) - 1):
            self._warned = True
            warnings.warn(
                f"{missing} samples planned for epoch {epoch} never came. n={self._selector.n} must be the "
                "exact number of samples: ids without a sample take places from real ones.",
                stacklevel=4,
            )

    def state_dict(self) -> dict[str, Any]:
        """What the open epoch trained on, 1 byte a sample. Save the selector and the keys beside it."""
        seen = self._seen.clone()
        if self._of != self._selector.epoch:  # that epoch is closed
            seen.zero_()
        elif self._last is not None and self._selector.timeline.where()["done"] > self._last[1]:
            seen[self._last[0]] = True
        return {"epoch": self._selector.epoch, "seen": seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the rest of the epoch; load the states of the selector and the keys before."""
        mine, theirs = (self._selector.epoch, self._selector.n), (state["epoch"], len(state["seen"]))
        if mine != theirs:
            raise ValueError(
                f"the stream's state is of epoch {theirs[0]} of {theirs[1]} samples, but its selector is in "
                f"epoch {mine[0]} of {mine[1]}: load the selector's own state first."
            )
        self._seen.copy_(state["seen"])
        self._resumed, self._of, self._last = True, mine[0], None

    def __getstate__(self) -> dict[str, Any]:
        # A copy goes on in the open epoch, as after `load_state_dict`.
        state = self.state_dict()
        resumed = self._resumed or self._of == state["epoch"]
        return {**vars(self), "_seen": state["seen"], "_last": None, "_resumed": resumed}


def _field(keys: KeyIds | None) -> str:
    return "id" if keys is None else "__key__"


def _named(sample: Mapping[str, Any], field: str) -> Any:
    if field not in sample:
        raise ValueError(f"a sample has no field {field!r}, only {list(sample)}: give field=...")
    return sample[field]


def _size(item: Any) -> int:
    """How many samples a batch has: the length of the first tensor, array or list in it."""
    sizes: list[int] = []

    def measure(leaf: Any, path: str) -> Any:
        if isinstance(leaf, Tensor | np.ndarray) and leaf.ndim:
            sizes.append(len(leaf))
        return leaf

    walk(item, measure)
    if not sizes:
        raise TypeError(f"the stream's batches must hold tensors or arrays, got {type(item).__name__}.")
    return sizes[0]
