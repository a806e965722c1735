"""Private generators: keyed by every key, the same in every process, apart from the global one."""

import random
import subprocess
import sys

import numpy as np
import torch

from samplewise.rng import generator, seed_of


def test_every_key_counts_and_so_does_their_order():
    keys = [
        (0, 1, "plan"),
        (1, 0, "plan"),
        (0, 1, "order"),
        (0, 1),
        (0, 1, "plan", 0),
        ("0", 1, "plan"),
        (0, 11),
    ]
    assert len({seed_of(*key) for key in keys}) == len(keys)


def test_a_seed_fits_a_torch_generator():
    assert all(0 <= seed_of(seed, epoch) < 2**63 for seed in range(50) for epoch in range(50))


def test_another_process_with_another_hash_seed_draws_the_same():
    code = "from samplewise.rng import seed_of; print(seed_of(3, 'plan', 7))"
    env = {"PYTHONHASHSEED": "123", "PATH": ""}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert int(found.stdout) == seed_of(3, "plan", 7)


def test_the_global_random_states_are_neither_read_nor_moved():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = torch.rand(3, generator=generator(5, "a"))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002
    torch.manual_seed(99)
    assert torch.equal(first, torch.rand(3, generator=generator(5, "a")))
