"""Saving and restoring the global random states of torch, numpy and Python."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# A user's model or transform may draw from numpy's legacy global generator, so its state is saved too.
_numpy = np.random.mtrand._rand


def seed_all(seed: int) -> None:
    """Seed all global generators at the start of a run. Dropout, for example, uses torch's."""
    torch.manual_seed(seed)
    _numpy.seed(seed)
    random.seed(seed)


def capture() -> dict[str, Any]:
    """Return the states as tensors and plain values, readable with `torch.load(weights_only=True)`."""
    held = _numpy.get_state(legacy=False)
    keys, numbers = held["state"]["key"], [held["state"]["pos"], held["has_gauss"], held["gauss"]]
    version, words, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), *numbers],
        "python": [version, torch.tensor(words), spare],
    }


def restore(state: dict[str, Any]) -> None:
    """Restore states that `capture` returned."""
    keys, position, has_gauss, gauss = state["numpy"]
    if (
        keys.shape != (624,)
        or not 0 <= int(keys.min()) <= int(keys.max()) < 2**32
        or position not in range(625)
    ):
        raise ValueError("numpy's random state must be 624 words of 32 bits and a position in [0, 624]")
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    _numpy.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, spare = state["python"]
    random.setstate((version, tuple(words.tolist()), spare))


@contextmanager
def kept() -> Iterator[None]:
    """Restore the global random states at the end of the block."""
    before = capture()
    try:
        yield
    finally:
        restore(before)
