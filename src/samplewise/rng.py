"""Private random generators, seeded by their purpose."""

import hashlib

import numpy as np
import torch

__all__ = ["generator", "numpy_generator", "seed_of"]


def seed_of(*keys: int | str) -> int:
    """A 63-bit seed computed from all keys. It is the same in every process and does not use `hash()`.

    >>> seed_of(0, 3, "plan") == seed_of(0, 3, "plan"), seed_of(0, 3, "plan") == seed_of(0, 4, "plan")
    (True, False)
    """
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*keys: int | str) -> torch.Generator:
    """A CPU generator for `(seed, epoch, purpose, ...)`. The global generator is not read or changed."""
    return torch.Generator().manual_seed(seed_of(*keys))


def numpy_generator(*keys: int | str) -> np.random.Generator:
    """A NumPy generator for the same keys, for distributions that torch draws only from its global one.

    >>> one, same = numpy_generator(0, 3, "prompts"), numpy_generator(0, 3, "prompts")
    >>> float(one.beta(1, 1)) == float(same.beta(1, 1))
    True
    """
    return np.random.Generator(np.random.PCG64(seed_of(*keys)))
