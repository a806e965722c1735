import random

import numpy as np
import torch

from samplewise.bench import rngstate
from samplewise.files import checkpoints


def draws():
    return torch.rand(3).tolist(), np.random.mtrand._rand.normal(size=3).tolist(), random.random()


def test_random_states_survive_a_checkpoint(tmp_path):
    with rngstate.kept():
        rngstate.seed_all(5)
        draws()
        checkpoints.save(tmp_path / "state.pt", rngstate.capture())
        wanted = draws()
        draws()
        rngstate.restore(checkpoints.load(tmp_path / "state.pt"))
        assert draws() == wanted


def test_kept_leaves_the_callers_generators_alone():
    with rngstate.kept():
        expected = draws()
    with rngstate.kept():
        rngstate.seed_all(1)
        draws()
    with rngstate.kept():
        assert draws() == expected
