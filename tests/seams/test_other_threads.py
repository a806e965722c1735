"""Threads of the user that draw from the global random states while we score see no number again."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import samplewise as sw
from samplewise.data.randomness import Drawing, HostLent, Lent
from tests.seams.toys import Net, Random, make


@contextmanager
def drawing():
    """A thread that draws from torch's global generator all the time; yields the numbers."""
    numbers, over, begun = [], threading.Event(), threading.Event()

    def draw():
        while not over.is_set():
            numbers.append(int(torch.randint(1 << 62, ())))
            begun.set()

    thread = threading.Thread(target=draw)
    thread.start()
    begun.wait()
    try:
        yield numbers
    finally:
        over.set()
        thread.join()


SCORED = {
    "batches": lambda: make("loss_sampling", epochs=2),
    "a pass": lambda: make("ucb", epochs=2, period=1),
    "a pass in train mode without dropout": lambda: make(
        "ucb", epochs=2, period=1, model=Net(dropout=0.0), scoring=sw.Scoring(mode="train")
    ),
    "batches of a proxy's pass": lambda: make("dynams_proxy", epochs=2, period=1),
}


@pytest.mark.parametrize("what", SCORED)
def test_a_thread_that_draws_sees_no_number_twice(what):
    selector, model = SCORED[what]()
    before = torch.get_rng_state()
    with drawing() as numbers:
        for _ in range(2):
            for batch in selector.loader():
                model.eval()  # the training forward's dropout is the user's
                selector.loss(batch)
        selector.table()
    assert len(numbers) > 50
    assert len(set(numbers)) == len(numbers)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("threads", [False, True])
def test_what_draws_while_scoring_is_put_back(threads):
    class Noisy(Net):
        def forward(self, x):
            return super().forward(x + 1e-3 * torch.rand_like(x))

    selector, _ = make("ucb", Random(), epochs=2, period=1, model=Noisy(dropout=0.0))
    idle = threading.Event()
    thread = threading.Thread(target=idle.wait, daemon=True)
    if threads:
        thread.start()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    selector.set_epoch(0)
    idle.set()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002


def test_windows_draw_one_sequence_and_leave_it():
    torch.manual_seed(5)
    expected = torch.rand(3).tolist() + torch.rand(2).tolist()
    torch.manual_seed(5)
    lent, drawn = Lent(torch.device("cpu")), []
    for size in (3, 2):
        with lent.window(Drawing()):
            drawn += torch.rand(size).tolist()
    assert drawn == expected
    assert torch.rand(3).tolist() == expected[:3]
    host = HostLent()
    np.random.seed(3)  # noqa: NPY002
    with host.window():
        first = np.random.rand()  # noqa: NPY002
    with host.window():
        assert np.random.rand() != first  # noqa: NPY002
    assert np.random.rand() == first  # noqa: NPY002


def test_a_state_comes_back_when_the_code_fails():
    before = torch.get_rng_state()
    with pytest.raises(IndexError), Lent(torch.device("cpu")).window(Drawing()):
        torch.rand(1)[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_begins_to_draw_later_is_noticed():
    lent, known = Lent(torch.device("cpu")), Drawing(set())
    before = torch.get_rng_state()
    with lent.window(known):
        torch.rand(1)
    assert known.places == {"cpu"} or threading.active_count() > 1
    assert torch.equal(torch.get_rng_state(), before) or threading.active_count() > 1


def test_beside_another_thread_only_the_first_window_of_a_late_draw_shows():
    lent, known, idle = Lent(torch.device("cpu")), Drawing(), threading.Event()
    thread = threading.Thread(target=idle.wait, daemon=True)
    thread.start()
    moved = []
    for draws in (False, False, True, True, True):
        before = torch.get_rng_state()
        with lent.window(known):
            torch.rand(1) if draws else None
        moved.append(not torch.equal(torch.get_rng_state(), before))
    idle.set()
    thread.join()
    assert moved == [False, False, True, False, False]


def test_a_thread_that_always_draws_is_looked_for_less_and_less():
    known, looks, idle = Drawing(set()), 0, threading.Event()
    thread = threading.Thread(target=idle.wait, daemon=True)
    thread.start()
    for _ in range(300):
        known.others += 1  # as the other thread's draws do
        looks += known.others >= known.patience
        with Lent(torch.device("cpu")).window(known):
            pass
    idle.set()
    thread.join()
    assert looks <= 6 + 300 // 64
    assert known.places == set()


def test_a_generator_of_ones_own_is_no_draw_from_the_global_one():
    known, idle = Drawing(), threading.Event()
    thread = threading.Thread(target=idle.wait, daemon=True)
    thread.start()
    with Lent(torch.device("cpu")).window(known):
        torch.rand(2, generator=torch.Generator())
    assert known.places == set()
    idle.set()
    thread.join()
