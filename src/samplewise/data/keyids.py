"""`KeyIds`: numbers for samples that only have a name, such as a stream's keys."""

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
    """Gives each key an id in `range(n)` when it is first seen, in order of arrival.

    Call it on a batch's keys in the main process. Its tables are in shared memory: the workers of a
    DataLoader, forked or spawned, look keys up with `find`, also those numbered later.

    n must be the exact number of samples: a method plans all n, and ids without a sample would take places
    from real ones. Memory: 16 to 24 bytes a key (its 64-bit BLAKE2b digest and a hash table that is at most
    half full). Two of 10^7 keys share a digest, and so an id, with probability 3e-6; of 10^9, with 3 %.

    Several processes see keys in different orders, so first sight is no common numbering: use `KeyIds.of`.

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
        """A frozen numbering by place in `keys`, which every rank must give in the same order."""
        if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
            raise TypeError(
                f"KeyIds.of needs all keys in an order that is the same on every process, got "
                f"{type(keys).__name__}. Give a list, such as sorted(keys)."
            )
        made = cls(len(keys))
        made._number(_digest(keys), keys)
        if len(made) < len(keys):
            twice = [key for key, times in Counter(keys).items() if times > 1]
            raise ValueError(f"KeyIds.of needs each key once, but {twice[:3]} came again.")
        made.frozen = True
        return made

    def __len__(self) -> int:
        """How many keys have a number."""
        return int(self._count_seen[0])

    def __call__(self, keys: Sequence[str | bytes]) -> Int[Tensor, " b"]:
        """The ids of a batch's keys; new keys get the next numbers. In the main process only.

        Raises:
            RuntimeError: in a worker, or for a new key where several processes train.
            ValueError: for a new key that would be the (n + 1)th, or is not among those given to `of`.
        """
        if get_worker_info() is not None:
            raise RuntimeError(
                "KeyIds numbers keys in the main process: call keys(...) on the batch that arrives there. "
                "Workers look keys up with keys.find(key)."
            )
        digests = _digest(keys)
        ids = self._find(digests)
        if not (ids < 0).any():
            return torch.from_numpy(ids)
        new = keys[int(np.flatnonzero(ids < 0)[0])]
        if self.frozen:
            raise ValueError(f"key {new!r} is not among the {self.n} keys given to KeyIds.of.")
        if collectives.world() > 1:
            raise RuntimeError(
                f"key {new!r} is new, but several processes see keys in different orders, so their numbers "
                "would differ. Give every rank the same KeyIds.of(all_keys)."
            )
        self._number(digests, keys)
        return torch.from_numpy(self._find(digests))

    def find(self, key: str | bytes) -> int:
        """The id of a key, or -1 if it has none yet. Also in workers."""
        digest = int(_digest([key])[0])
        last = len(self._slots) - 1
        place = digest & last
        while (number := int(self._slots[place])) >= 0:
            if self._names[number] == digest:
                return number
            place = (place + 1) & last
        return -1

    def _find(self, digests: Digests) -> Numbers:
        """The ids, -1 for those without: linear probing, all keys of the batch at a time."""
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
        """Give the new ones among `digests` the next numbers, in order of arrival; all of them or none."""
        new = np.flatnonzero(self._find(digests) < 0)
        _, first = np.unique(digests[new], return_index=True)
        arrived = new[np.sort(first)]
        begin = len(self)
        if begin + len(arrived) > self.n:
            over = keys[int(arrived[self.n - begin])]
            raise ValueError(
                f"key {over!r} would be the {self.n + 1}th, but KeyIds was built for n={self.n}: give it the "
                "number of samples in the stream."
            )
        self._enter(digests[arrived], begin)
        self._count_seen[0] = begin + len(arrived)

    def _enter(self, digests: Digests, begin: int) -> None:
        """Write distinct new digests as numbers `begin`, `begin + 1`, ...

        The name comes before the slot that points to it: a worker that looks meanwhile finds it or not.
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
            # One that lost its free place to another finds that taken now, and goes on.
            places = np.where(self._slots[places] < 0, places, (places + 1) & last)

    def _view(self) -> None:
        """The shared tensors as arrays, which numpy's unsigned arithmetic and scalar look-ups need."""
        self._names = self._digests.numpy().view(np.uint64)
        self._slots, self._count_seen = self._table.numpy(), self._count.numpy()

    def __getstate__(self) -> dict[str, Any]:
        views = ("_names", "_slots", "_count_seen")
        return {name: value for name, value in vars(self).items() if name not in views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for table in (self._digests, self._table, self._count):
            _shared(table)  # a copy is in private memory, which its workers would not see change
        self._view()

    def state_dict(self) -> dict[str, Any]:
        """The keys numbered so far, as `torch.load(weights_only=True)` reads it: 8 bytes a key."""
        return {"n": self.n, "frozen": self.frozen, "digests": self._digests[: len(self)].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a numbering; workers that hold this object see it too."""
        for name in ("n", "frozen", "digests"):
            if name not in state:
                raise ValueError(f"this is not a state of KeyIds: it has no {name!r}.")
        refuse_misfit("the state is damaged: state", state, _STATE)
        digests = state["digests"].cpu()
        if state["n"] != self.n or len(digests) > self.n:
            raise ValueError(f"the state is of n={state['n']} keys, but this KeyIds has n={self.n}.")
        if len(torch.unique(digests)) < len(digests):
            raise ValueError("the state is damaged: a key has two numbers.")
        if self.frozen and not torch.equal(digests, self._digests):
            raise ValueError("the state is of other keys than those given to KeyIds.of.")
        self._slots[:] = -1
        self._enter(digests.numpy().view(np.uint64), 0)
        self._count_seen[0], self.frozen = len(digests), state["frozen"]


def _shared(tensor: Tensor) -> Tensor:
    return tensor.share_memory_()  # type: ignore[no-any-return,no-untyped-call]  # torch does not annotate it


def _digest(keys: Sequence[str | bytes]) -> Digests:
    """64 bits of BLAKE2b of each key; text as UTF-8."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
        raise TypeError(f"keys must be a list of a batch's keys, got {type(keys).__name__}.")
    parts = []
    for key in keys:
        if not isinstance(key, str | bytes):
            raise TypeError(
                f"a key must be text or bytes, got {key!r:.80}. A number that always means the same sample "
                "is its id already."
            )
        raw = key.encode() if isinstance(key, str) else key
        parts.append(hashlib.blake2b(raw, digest_size=8).digest())
    return np.frombuffer(b"".join(parts), dtype="<u8").astype(np.uint64)
