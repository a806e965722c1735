"""`KeyIds`: gives integer ids to samples that only have a name, such as the keys of a stream."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import get_worker_info

from samplewise.checks import Range, check_arguments
from samplewise.data.declared import Column, Fields, Is, Number, refuse_misfit
from samplewise.distributed import collectives

__all__ = ["KeyIds"]

_STATE = Fields(
    {"n": Number(Range(1), whole=True), "frozen": Is(bool), "digests": Column((torch.int64,), (None,))}
)

Digests = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]


class KeyIds:
    """Assigns each new key the next id in `range(n)`, in order of arrival.

    Call it in the main process with the keys of a batch. Its tables are in shared memory. DataLoader workers,
    forked or spawned, look up keys with `find`; they also find keys that were numbered after they started.

    n must be the exact number of samples. A method selects from all n ids, so an id without a sample would
    take the place of a real sample. Memory: 16 to 24 bytes per key (its 64-bit BLAKE2b digest and a hash
    table that is at most half full). The probability that two keys share a digest, and so an id, is 3e-6 for
    10^7 keys and 3 % for 10^9.

    With several processes use `KeyIds.of`: processes see keys in different orders, so their ids would differ.

    Args:
        n: the number of samples.

    >>> keys = KeyIds(3)
    >>> keys(["cat/1", "dog/7", "cat/1"])
    tensor([0, 1, 0])
    >>> keys.find("dog/7"), keys.find("cow/2"), len(keys)
    (1, -1, 2)
    """

    def __init__(self, n: Annotated[int, Range(1)]) -> None:
        check_arguments("KeyIds", KeyIds.__init__, {"n": n})
        self.n, self.frozen = n, False
        wide = torch.int32 if n < 1 << 31 else torch.int64
        self._digests = _shared(torch.zeros(n, dtype=torch.int64))
        self._table = _shared(torch.full((1 << (2 * n - 1).bit_length(),), -1, dtype=wide))
        self._count = _shared(torch.zeros(1, dtype=torch.int64))
        self._view()

    @classmethod
    def of(cls, keys: Sequence[str | bytes]) -> "KeyIds":
        """Number all keys by their position in `keys`, and accept no others.

        Every rank must pass the same keys in the same order.
        """
        if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
            raise TypeError(
                f"KeyIds.of needs a list of all keys, in the same order on every process, got "
                f"{type(keys).__name__}. Pass a list, such as sorted(keys)."
            )
        made = cls(len(keys))
        made._number(_digest(keys), keys)
        if len(made) < len(keys):
            twice = [key for key, times in Counter(keys).items() if times > 1]
            raise ValueError(
                f"KeyIds.of needs each key once, but these are repeated: {twice[:3]}. Pass each key once."
            )
        made.frozen = True
        return made

    def __len__(self) -> int:
        """Number of keys that have an id."""
        return int(self._count_seen[0])

    def __call__(self, keys: Sequence[str | bytes]) -> Int[Tensor, " b"]:
        """Return the ids of a batch's keys. New keys get the next ids. Call it in the main process only.

        Raises:
            RuntimeError: in a worker, or for a new key while several processes train.
            ValueError: for a new key after n keys have ids, or for a key that `of` did not get.
        """
        if get_worker_info() is not None:
            raise RuntimeError(
                "KeyIds numbers keys in the main process only, but this is a DataLoader worker. Call "
                "keys(...) in the main process, on the keys of the batch. In a worker use keys.find(key)."
            )
        digests = _digest(keys)
        ids = self._find(digests)
        if not (ids < 0).any():
            return torch.from_numpy(ids)
        new = keys[int(np.flatnonzero(ids < 0)[0])]
        if self.frozen:
            raise ValueError(
                f"a key must be one of the {self.n} keys that KeyIds.of got, got {new!r}. "
                "Pass every key of the data to KeyIds.of."
            )
        if collectives.world() > 1:
            raise RuntimeError(
                f"key {new!r} is new, but several processes see keys in different orders, so their ids would "
                "differ. Build KeyIds.of(all_keys) on every rank, with the same keys in the same order."
            )
        self._number(digests, keys)
        return torch.from_numpy(self._find(digests))

    def find(self, key: str | bytes) -> int:
        """Return the id of a key, or -1 if it has none yet. Workers may call it too."""
        digest = int(_digest([key])[0])
        last = len(self._slots) - 1
        place = digest & last
        while (number := int(self._slots[place])) >= 0:
            if self._names[number] == digest:
                return number
            place = (place + 1) & last
        return -1

    def _find(self, digests: Digests) -> Numbers:
        """Return the ids, -1 for keys without one. Linear probing over all keys of the batch at once."""
        found = np.full(len(digests), -1, dtype=np.int64)
        last = np.uint64(len(self._slots) - 1)
        rows, places = np.arange(len(digests)), (digests & last).astype(np.int64)
        while len(rows):
            numbers = self._slots[places].astype(np.int64)
            same = (numbers >= 0) & (self._names[numbers] == digests[rows])
            found[rows[same]] = numbers[same]
            on = (numbers >= 0) & ~same
            rows, places = rows[on], (places[on] + 1) & int(last)
        return found

    def _number(self, digests: Digests, keys: Sequence[str | bytes]) -> None:
        """Give every new digest the next id, in order of arrival. On an error no digest gets one."""
        new = np.flatnonzero(self._find(digests) < 0)
        _, first = np.unique(digests[new], return_index=True)
        arrived = new[np.sort(first)]
        begin = len(self)
        if begin + len(arrived) > self.n:
            over = keys[int(arrived[self.n - begin])]
            raise ValueError(
                f"key {over!r} would be number {self.n + 1}, but KeyIds was built for n={self.n} keys. Set "
                "n to the number of samples in the stream."
            )
        self._enter(digests[arrived], begin)
        self._count_seen[0] = begin + len(arrived)

    def _enter(self, digests: Digests, begin: int) -> None:
        """Give distinct new digests the ids `begin`, `begin + 1`, ...

        The digest is written before the slot that points to it, so a worker never reads a slot without
        digest.
        """
        self._names[begin : begin + len(digests)] = digests
        last = len(self._slots) - 1
        numbers, places = np.arange(begin, begin + len(digests)), (digests & np.uint64(last)).astype(np.int64)
        while len(numbers):
            free = np.flatnonzero(self._slots[places] < 0)
            _, first = np.unique(places[free], return_index=True)
            placed = free[first]
            self._slots[places[placed]] = numbers[placed]
            left = np.ones(len(numbers), dtype=bool)
            left[placed] = False
            numbers, places = numbers[left], places[left]
            # If two digests wanted the same free slot, the second one now moves on to the next slot.
            places = np.where(self._slots[places] < 0, places, (places + 1) & last)

    def _view(self) -> None:
        """View the shared tensors as numpy arrays: torch lacks uint64 arithmetic and fast scalar reads."""
        self._names = self._digests.numpy().view(np.uint64)
        self._slots, self._count_seen = self._table.numpy(), self._count.numpy()

    def __getstate__(self) -> dict[str, Any]:
        views = ("_names", "_slots", "_count_seen")
        return {name: value for name, value in vars(self).items() if name not in views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for table in (self._digests, self._table, self._count):
            _shared(table)  # a copy is in private memory: its workers would not see new ids
        self._view()

    def state_dict(self) -> dict[str, Any]:
        """The keys numbered so far: 8 bytes per key. `torch.load(weights_only=True)` can read it."""
        return {"n": self.n, "frozen": self.frozen, "digests": self._digests[: len(self)].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore saved ids. Workers that hold this object see them too.

        Raises:
            ValueError: if the state is damaged, or belongs to another n or other keys.
        """
        for name in ("n", "frozen", "digests"):
            if name not in state:
                raise ValueError(
                    f"the state must be one of KeyIds.state_dict(), but it has no {name!r}. "
                    "Load the state that state_dict() returned."
                )
        refuse_misfit("the state is damaged: state", state, _STATE)
        digests = state["digests"].cpu()
        if state["n"] != self.n or len(digests) > self.n:
            raise ValueError(
                f"the state must be of n={self.n} keys, as this KeyIds, but it is of n={state['n']}. "
                f"Build KeyIds({state['n']}) to load it."
            )
        if len(torch.unique(digests)) < len(digests):
            raise ValueError("the state is damaged: a key has two ids. Load an older state.")
        if self.frozen and not torch.equal(digests, self._digests):
            raise ValueError(
                "the state must hold the keys that KeyIds.of got, but it holds other keys. "
                "Pass the keys of the saved run to KeyIds.of."
            )
        self._slots[:] = -1
        self._enter(digests.numpy().view(np.uint64), 0)
        self._count_seen[0], self.frozen = len(digests), state["frozen"]


def _shared(tensor: Tensor) -> Tensor:
    return tensor.share_memory_()  # type: ignore[no-any-return,no-untyped-call]  # torch does not annotate it


def _digest(keys: Sequence[str | bytes]) -> Digests:
    """64 bits of BLAKE2b of each key; text as UTF-8."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
        raise TypeError(
            f"keys must be a list of a batch's keys, got {type(keys).__name__}. Put a single key in a list."
        )
    parts = []
    for key in keys:
        if not isinstance(key, str | bytes):
            raise TypeError(
                f"a key must be text or bytes, got {key!r:.80}. If samples have fixed numbers from 0 to n "
                "- 1, use these numbers as ids without KeyIds."
            )
        raw = key.encode() if isinstance(key, str) else key
        parts.append(hashlib.blake2b(raw, digest_size=8).digest())
    return np.frombuffer(b"".join(parts), dtype="<u8").astype(np.uint64)
