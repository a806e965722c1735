"""Picking rows of a batch: the collate or a declaration shows which parts hold one item per row."""

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import default_collate

from samplewise import packed
from samplewise.data import randomness
from samplewise.data.outputs import walk

__all__ = ["Layout", "Rows", "Shared", "rows", "shared"]

_FEW = 2
"""Number of samples in a trial batch; a second one has twice as many. Even, for collates that make pairs."""
_BOARD_BYTES = 1 << 16
_SCALARS = (int, float, complex, str, bytes, np.generic)
_ARRAYS = (Tensor, np.ndarray)


class Rows(list[Any]):
    """A list with one item per row of the batch. Made by `rows`."""


class Shared(NamedTuple):
    """A part that belongs to the whole batch. Made by `shared`; forward reads its `value`."""

    value: Any


_LISTS = (list, tuple)
_WHOLE = (Rows, Shared, PackedSequence)
"""Types that are picked as a whole, never part by part."""


def rows(items: Iterable[Any]) -> Rows:
    """Declare that a list in a batch holds one item per row. Needed only where this is not clear.

    Wrap the list in the collate, or in the data of your own batch. Forward gets a list.

    >>> rows(["a cat", "a dog"])
    ['a cat', 'a dog']
    """
    if isinstance(items, (str, bytes, Mapping, *_ARRAYS)):
        raise TypeError(
            f"rows takes a list or tuple with one item per row, got {type(items).__name__}. A tensor whose "
            "first axis is the batch axis needs no declaration."
        )
    return Rows(items)


def shared(value: Any) -> Shared:
    """Declare that a part of a batch belongs to the whole batch. No rows are picked from it.

    Wrap the part in the collate, or in the data of your own batch. Forward reads `.value`.

    >>> shared(("cat", "dog")).value
    ('cat', 'dog')
    """
    return Shared(value)


class Layout:
    """Stores for each path in the batches of a collate where the rows are.

    The collate is called on 2 and on 4 copies of two samples. If it refuses 2, it is called on a full batch
    and on twice as many. An axis or list whose length doubles holds the rows. A part that stays the same
    belongs to the whole batch. For torch's own collate no trial is needed. Without a collate (streams, your
    own batches) a list as long as the batch may hold rows or fields. If both are possible, it is an error.

    Workers call `learn` and write the result to shared memory. The training process reads it there.

    Args:
        default: the batches come from torch's `default_collate`.
        learns: samples will be passed to `learn`.
    """

    def __init__(self, default: bool = False, learns: bool = False) -> None:
        self.default, self.kinds, self.failed = default, dict[str, int | str](), ""
        self._board = _shared_board() if learns else None
        self._read = not learns

    # ------------------------------------------------------------------------------ learning

    @classmethod
    def of(cls, collate: Callable[[list[Any]], Any] | None) -> "Layout":
        """Make the layout of a loader before its first batch."""
        default = collate is None or collate is default_collate
        return cls(default=default, learns=not default)

    @property
    def learns(self) -> bool:
        """Whether samples must be passed to `learn`."""
        return self._board is not None

    def learn(self, samples: list[Any], collate: Callable[[list[Any]], Any]) -> None:
        """Compare the collate's results for some samples and for twice as many. Later calls do nothing.

        The samples, the collate's own state and the global random states stay as they were.
        """
        if self._board is None or _written(self._board) or not samples:
            return
        kinds: dict[str, int | str] = {}
        failed = ""
        few = _FEW
        try:
            with _undisturbed(collate):
                try:
                    some = _repeated(samples[:2], few, collate)
                except Exception:  # the collate may need a full batch
                    few = len(samples)
                    some = _repeated(samples, few, collate)
                _compare(some, _repeated(samples[:few], 2 * few, collate), "batch", kinds, few)
        except Exception as error:  # the user must declare the parts then
            kinds, failed = {}, f"{type(error).__name__}: {error}"[:200]
        _write(self._board, {"kinds": kinds, "failed": failed})

    def _catch_up(self) -> None:
        """Read the result that a worker wrote."""
        if self._board is not None and (found := _seen(self._board)) is not None:
            self.kinds, self.failed, self._read = found["kinds"], found["failed"], True

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._board is not None:
            self._board.share_memory_()  # type: ignore[no-untyped-call]  # torch does not annotate it

    # ------------------------------------------------------------------------------- picking

    def take(self, data: Any, rows: Int[Tensor, " k"], b: int) -> Any:
        """Return the given rows of a batch of `b` samples, in containers of the same types.

        Tensors and arrays are indexed along the axis that holds the rows, by default the first. A list with
        one item per row is indexed by row. Other lists and tuples, mappings, named tuples and dataclasses are
        searched part by part. Numbers, strings, 0-d tensors and None stay as they are. Other types raise.

        >>> batch = {"x": torch.arange(4), "names": rows(list("abcd")), "scale": 2.0}
        >>> Layout().take(batch, torch.tensor([1, 3]), 4)
        {'x': tensor([1, 3]), 'names': ['b', 'd'], 'scale': 2.0}
        """
        if self.default and type(data) is list and all(_begins_with(leaf, b) for leaf in data):
            return [leaf.index_select(0, rows.to(leaf.device)) for leaf in data]  # fast path
        if not self._read:
            self._catch_up()
        kept: list[int] = []

        def is_part(value: Any, path: str) -> bool:
            if not isinstance(value, _LISTS):
                return packed.is_packed(value, b)
            return isinstance(value, _WHOLE) or (
                not hasattr(value, "_fields") and self._items(value, path, b)
            )

        def pick(leaf: Any, path: str) -> Any:
            if isinstance(leaf, _ARRAYS):
                axis = self._axis(leaf, path, b)
                if axis is None:
                    return leaf
                if isinstance(leaf, Tensor):
                    try:
                        return leaf.index_select(axis, rows.to(leaf.device))
                    except NotImplementedError:  # jagged tensors and some sparse ones
                        raise TypeError(_unpickable(path, f"tensor of layout {leaf.layout}")) from None
                return np.take(leaf, rows.cpu().numpy(), axis)
            if leaf is None or isinstance(leaf, (*_SCALARS, Shared)):
                return leaf
            if isinstance(leaf, Mapping):
                others = partial(walk, leaf=pick, stop=is_part)
                return packed.take(leaf, rows, b, lambda value, path: others(value, path=path), path)
            if isinstance(leaf, _LISTS) and not isinstance(leaf, PackedSequence):
                if len(leaf) != b:
                    raise ValueError(
                        f"{path} must hold one item for each of the batch's {b} samples, got {len(leaf)}."
                    )
                kept.extend(() if kept else rows.tolist())
                return type(leaf)([leaf[row] for row in kept])
            raise TypeError(_unpickable(path, type(leaf).__name__))

        return walk(data, pick, stop=is_part)

    def check(self, data: Any, b: int) -> None:
        """Raise if rows cannot be picked from this batch."""
        self.take(data, torch.arange(min(1, b)), b)

    def _axis(self, leaf: Any, path: str, b: int) -> int | None:
        """Return the axis that holds the rows, or None if the part belongs to the whole batch."""
        kind = self.kinds.get(path, 0)
        if not leaf.ndim or kind == "shared":
            return None
        axis = kind if isinstance(kind, int) else 0
        if kind != "mixed" and axis < leaf.ndim and leaf.shape[axis] == b:
            return axis
        must = f"its {f'axis {axis}' if axis else 'first axis'} must hold the batch's {b} samples"
        if kind == "mixed":
            must = f"exactly one axis must hold a row for each of the batch's {b} samples"
        raise ValueError(
            f"{path} has shape {tuple(leaf.shape)}: {must}. If the part belongs to the whole batch, wrap "
            f"it in sw.shared(...) and read .value in forward.{_LISTED}"
        )

    def _items(self, value: list[Any] | tuple[Any, ...], path: str, b: int) -> bool:
        """Return True if a list or tuple holds one item per row, False if it holds fields."""
        n, kind = len(value), self.kinds.get(path)
        if kind == "items" or kind == f"fields {n}":
            return kind == "items"
        if kind == "mixed":
            raise ValueError(
                f"{path} must hold one item for each of the batch's {b} samples, or the same number of "
                f"fields in every batch, got {n} items.{_LISTED}"
            )
        if n != b:
            self.kinds[path] = f"fields {n}"
            return False
        fields = all(_may_be_field(item, b) for item in value)
        if self.default:
            return not fields or all(isinstance(item, str | bytes) for item in value)
        items = _alike(value)
        if fields and items and b > 1:
            tried = f" The collate fails on other numbers of samples: {self.failed}." if self.failed else ""
            raise ValueError(
                f"{path} must declare what it holds: it is a {type(value).__name__} of {n} "
                f"{type(value[0]).__name__}s in a batch of {b} samples, so its items could be {n} samples "
                f"or {n} fields.{tried} Wrap a list with one item per sample in sw.rows(...). Wrap a part "
                "of the whole batch in sw.shared(...). Put fields in a dict or a named tuple."
            )
        if fields or items:
            self.kinds[path] = f"fields {n}" if fields else "items"
        return not fields


_LISTED = (
    " Or use collate_fn=list: a batch is then the list of its samples, and forward must collate the selected "
    "ones."
)


def _unpickable(path: str, kind: str) -> str:
    return (
        f"{path} is a {kind}, and rows cannot be picked from it. A batch may hold tensors, arrays, lists, "
        f"mappings, tuples, dataclasses, numbers, strings and None.{_LISTED}"
    )


def _begins_with(leaf: Any, b: int) -> bool:
    """Return whether `leaf` is a plain tensor with b rows along its first axis."""
    return type(leaf) is Tensor and leaf.layout is torch.strided and leaf.ndim > 0 and len(leaf) == b


def _may_be_field(item: Any, b: int) -> bool:
    """Return whether rows can be picked inside `item`, or `item` belongs to the whole batch."""
    if isinstance(item, _ARRAYS):
        return not item.ndim or item.shape[0] == b
    if item is None or isinstance(item, (*_SCALARS, Shared)):
        return True
    if isinstance(item, Mapping):
        return all(_may_be_field(value, b) for value in item.values())
    if isinstance(item, _LISTS):
        named = hasattr(item, "_fields")
        return (len(item) == b and not named) or all(_may_be_field(value, b) for value in item)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return all(_may_be_field(getattr(item, field.name), b) for field in dataclasses.fields(item))
    return False


def _alike(items: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether the items have one type, as samples do."""
    kinds = {_kind(item) for item in items}
    columns = any(isinstance(item, _ARRAYS) for item in items)
    return len(kinds if columns else kinds - {_kind(None)}) <= 1


def _kind(item: Any) -> Any:
    if isinstance(item, _ARRAYS):
        return type(item), item.dtype, item.ndim
    return (type(item), *map(repr, item)) if isinstance(item, Mapping) else (type(item),)


def _repeated(samples: list[Any], count: int, collate: Callable[[list[Any]], Any]) -> Any:
    """Call the collate on `count` copies of these samples, taken in turn."""
    return collate([_copy_of(samples[i % len(samples)]) for i in range(count)])


def _copy_of(sample: Any) -> Any:
    """Deep copy. An object that cannot be copied deeply (an open file, a lock) is copied shallowly."""
    try:
        return copy.deepcopy(sample)
    except Exception:
        return walk(sample, _leaf_copy)


def _leaf_copy(leaf: Any, path: str) -> Any:
    try:
        return copy.deepcopy(leaf)
    except Exception:
        return copy.copy(leaf)


def _compare(few: Any, many: Any, path: str, kinds: dict[str, int | str], b: int) -> None:
    """Write into `kinds` which parts doubled from `b` to `2 * b` samples, and which stayed the same."""
    if type(few) is not type(many) or isinstance(few, _WHOLE) or getattr(few, "is_nested", False):
        return
    if isinstance(few, _ARRAYS):
        if few.ndim or many.ndim:
            kinds[path] = _axis_between(tuple(few.shape), tuple(many.shape), b)
    elif isinstance(few, Mapping):
        for key in few.keys() & many.keys():
            _compare(few[key], many[key], f"{path}[{key!r}]", kinds, b)
    elif isinstance(few, _LISTS):
        n, m = len(few), len(many)
        if not hasattr(few, "_fields"):
            kinds[path] = "items" if (n, m) == (b, 2 * b) else f"fields {n}" if n == m else "mixed"
        if n == m:
            for i in range(n):
                _compare(few[i], many[i], f"{path}[{i}]", kinds, b)
    elif dataclasses.is_dataclass(few) and not isinstance(few, type):
        for name in (field.name for field in dataclasses.fields(few)):
            _compare(getattr(few, name), getattr(many, name), f"{path}.{name}", kinds, b)


def _axis_between(few: tuple[int, ...], many: tuple[int, ...], b: int) -> int | str:
    if few == many:
        return "shared"
    changed = [i for i in range(len(few)) if len(few) == len(many) and few[i] != many[i]]
    if len(changed) == 1 and (few[changed[0]], many[changed[0]]) == (b, 2 * b):
        return changed[0]
    return "mixed"


@contextmanager
def _undisturbed(collate: Any) -> Iterator[None]:
    """Restore the global random states, and the attributes and generators of a collate object."""
    owner = collate.__self__ if isinstance(collate, MethodType) else collate
    own = {} if isinstance(owner, type | BuiltinFunctionType) else getattr(owner, "__dict__", {})
    before = dict(own)
    torch_ones = [(g, g.get_state()) for g in before.values() if isinstance(g, torch.Generator)]
    numpy_ones = [(g, g.bit_generator.state) for g in before.values() if isinstance(g, np.random.Generator)]
    try:
        with randomness.kept():
            yield
    finally:
        own.clear()
        own.update(before)
        for torch_one, kept in torch_ones:
            torch_one.set_state(kept)
        for numpy_one, found in numpy_ones:
            numpy_one.bit_generator.state = found


def _shared_board() -> Tensor:
    """Shared memory for one text. The first 8 bytes hold its length."""
    board = torch.zeros(_BOARD_BYTES, dtype=torch.uint8, device="cpu")
    return board.share_memory_()  # type: ignore[no-any-return,no-untyped-call]  # torch does not annotate it


def _written(board: Tensor) -> int:
    return int(board[:8].view(torch.int64))


def _write(board: Tensor, found: dict[str, Any]) -> None:
    """Write the result. The length comes last, because other processes read once it is set."""
    text = json.dumps(found).encode()
    if len(text) > _BOARD_BYTES - 8:
        text = json.dumps({"kinds": {}, "failed": "it has too many parts"}).encode()
    board[8 : 8 + len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    board[:8].view(torch.int64)[0] = len(text)


def _seen(board: Tensor) -> dict[str, Any] | None:
    """Return the written result, or None."""
    if not (size := _written(board)):
        return None
    found: dict[str, Any] = json.loads(board[8 : 8 + size].numpy().tobytes())
    return found
