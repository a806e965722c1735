"""Processes that built different Selectors, or have different data, hear of it before the first step."""

import functools
import random
import time

import numpy as np
import pytest
import torch
import torch.distributed as c10d
from torch.utils.data import Dataset, TensorDataset

import samplewise as sw
from samplewise.loop.agreement import summaries
from samplewise.testing import build
from tests.ranks import on_ranks
from tests.seams.toys import N, Net, Random, Tensors


def losses(data):
    return data[0].square().mean(1)


def selector(recipe="full", data=None, n=N, **given):
    given = {"epochs": 4, "batch_size": 4, "model": Net(), **given}
    return sw.Selector(recipe, Tensors(n) if data is None else data, losses, **given)


def noise(seed, n=N):
    return TensorDataset(torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)))


def decoded(rank):
    """Pictures of which another machine decodes a tenth of the pixels as the next number."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(50, 200, (N, 3, 32, 32), generator=draws)
    off = torch.rand(pixels.shape, generator=draws) < 0.1
    return TensorDataset(((pixels + rank * off) / 255 - 0.48) / 0.22)


class Own(Tensors):
    """Augmented, with the probability p, by a generator of the data set's own."""

    def __init__(self, seed, p):
        super().__init__()
        self.draws, self.p = random.Random(seed), p

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return (x + 1 + self.draws.random() if self.draws.random() < self.p else x), y


class Opens(Tensors):
    """Opens its file in the process that reads first, as data sets in HDF5 do."""

    file = None

    def __getitem__(self, i):
        if self.file is None:
            self.file = object()
        return super().__getitem__(i)


class Files(Tensors):
    """Samples that tell where their files lie, on each machine elsewhere."""

    def __init__(self, rank):
        super().__init__()
        self.folder = f"/scratch{rank}"

    def __getitem__(self, i):
        return *super().__getitem__(i), f"{self.folder}/{i:03}.png"


class Named:
    """A method of one's own whose parameters have no text that is the same in two processes."""

    name, level, source = "named", "epoch", "none"

    def __init__(self):
        self.params = {"rule": functools.partial(losses), "of": object()}

    def observe(self, ids, outputs, source):
        pass

    def plan(self, epoch):
        return torch.arange(N)

    def choose(self, ids):
        raise AssertionError

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def train(made, loader=None):
    """One epoch; the ids of every step."""
    return [(batch.ids.tolist(), float(made.loss(batch)))[0] for batch in loader or made.loader()]


def resumed(rank):
    before = selector()
    before.set_epoch(1)
    state = before.state_dict()
    fresh = selector()
    if rank == 0:
        fresh.load_state_dict(state)
    return fresh


def scored(seed):
    """The state of an epoch with losses of its own."""
    made = sw.Selector("infobatch", N, epochs=4)
    made.plan(0)
    made.observe(torch.arange(N), torch.rand(N, generator=torch.Generator().manual_seed(seed)))
    made.sync()
    return made.state_dict()


def loaded(seed):
    states = [scored(each) for each in range(2)]
    fresh = selector("infobatch")
    fresh.load_state_dict(states[seed])
    return fresh


DIFFERENT = {
    "seed": lambda rank: train(selector(seed=rank)),
    "policy": lambda rank: train(selector(sw.recipes.random_dynamic(keep=0.5 + 0.1 * rank))),
    "passes": lambda rank: train(selector(("ucb", "full")[rank])),
    "epochs": lambda rank: train(selector(epochs=4 + rank)),
    "n": lambda rank: train(selector("infobatch", n=N - 4 * rank)),
    "batch size": lambda rank: train(selector("selective_backprop", batch_size=4 + 4 * rank)),
    "sync": lambda rank: train(selector(sync_every=(None, 2)[rank])),
    "scoring": lambda rank: train(selector("loss_sampling", scoring=sw.Scoring(every=1 + rank))),
    "loader": lambda rank: train(made := selector(), made.loader(drop_last=rank == 1)),
    "labels": lambda rank: train(selector(labels=torch.arange(N) % (2 + rank))),
    "data": lambda rank: train(selector(data=noise(rank))),
    "order": lambda rank: train(selector(data=[(row,) for row in noise(0).tensors[0].roll(rank, 0)])),
    "rows of one mean": lambda rank: train(selector(data=TensorDataset(torch.eye(N).roll(3 * rank, 0)))),
    "subset": lambda rank: train(selector(sw.recipes.fixed(sw.Subset(torch.arange(9) + rank)))),
    "state": lambda rank: train(resumed(rank)),
    "scores of another run": lambda rank: train(loaded(rank)),
    "engine": lambda rank: sw.Selector("infobatch", N, epochs=3, seed=rank).plan(0),
    "engine, n": lambda rank: sw.Selector("infobatch", N + rank, epochs=3).sync(),
    "stream": lambda rank: sw.Selector("loss_sampling", None, epochs=3, seed=rank).set_epoch(0),
}
SAME = {
    "rank's own random states": lambda rank: train(selector(data=Random())),
    "a generator of its own": lambda rank: train(selector(data=Own(rank, 1.0))),
    "now and then": lambda rank: train(selector(data=Own(rank, 0.05))),
    "plain samples given": lambda rank: train(
        selector(data=noise(rank), scoring=sw.Scoring(dataset=noise(7)))
    ),
    "decoded elsewhere": lambda rank: sw.Selector("infobatch", decoded(rank), epochs=3).plan(0),
    "copies of files": lambda rank: sw.Selector("infobatch", Files(rank), epochs=3).plan(0),
    "one state": lambda rank: train(loaded(0)),
    "no text": lambda rank: train(selector(Named())),
    "toys": lambda rank: [
        train(selector(build(sw.recipes.get(name), N, period=2))) for name in ("fixed", "infobatch")
    ],
}


def told(rank, world):
    random.seed(rank)
    np.random.seed(rank)  # noqa: NPY002
    torch.manual_seed(rank)
    found = {}
    for name, run in (DIFFERENT | SAME).items():
        begun = time.perf_counter()
        try:
            run(rank)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
        else:
            found[name] = "nothing"
        assert time.perf_counter() - begun < 20, name
    calls, gather = [], c10d.all_gather_object

    def counting(*args, **kwargs):
        calls.append(1)
        return gather(*args, **kwargs)

    c10d.all_gather_object = counting
    state = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    made = selector(data=Random())
    made.set_epoch(0)
    after = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    found["states kept"] = torch.equal(state[0], after[0]) and state[1:] == after[1:]
    for _ in range(4):
        train(made)
    made.sync()
    c10d.all_gather_object = gather
    found["exchanges"] = len(calls)
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return on_ranks(told, [2], tmp_path_factory.mktemp("ranks"), seconds=30)[2]


@pytest.mark.parametrize(
    ("case", "said"),
    {
        "seed": "seed (0 on rank 0, 1 on rank 1). Give all processes the same seed",
        "policy": "policy (recipes.random_dynamic(keep=0.5, period=10) on rank 0, ",
        "passes": "recipes.full() on rank 1",
        "epochs": "epochs (4 on rank 0, 5 on rank 1",
        "n": "n (40 on rank 0, 36 on rank 1",
        "batch size": "batch_size (4 on rank 0, 8 on rank 1",
        "sync": "sync_every (None on rank 0, 2 on rank 1",
        "scoring": "scoring (",
        "loader": "drop_last (False on rank 0, True on rank 1",
        "labels": "labels (",
        "data": "samples (other data on rank 1 than on rank 0 under ids [0, ",
        "order": "samples (other data on rank 1 than on rank 0",
        "rows of one mean": "samples (other data on rank 1 than on rank 0",
        "subset": "what the policy holds (",
        "state": "position ({'epoch': 1, 'done': 0} on rank 0, {'epoch': 0, 'done': 0} on rank 1",
        "scores of another run": "what was loaded (",
        "engine": "seed (0 on rank 0, 1 on rank 1",
        "engine, n": "n (40 on rank 0, 41 on rank 1",
        "stream": "seed (0 on rank 0, 1 on rank 1",
    }.items(),
)
def test_what_ranks_have_not_alike_is_named_on_all_of_them(case, said, ranks):
    assert ranks[0][case].startswith("ValueError: the 2 processes must train with the same Selector on the")
    assert said in ranks[0][case]
    assert ranks[0][case] == ranks[1][case]


@pytest.mark.parametrize("case", SAME)
def test_what_is_chance_or_has_no_text_stops_no_run(case, ranks):
    assert [rank[case] for rank in ranks] == ["nothing", "nothing"]


def test_comparing_takes_one_exchange_and_leaves_random_states_as_they_are(ranks):
    assert [(rank["exchanges"], rank["states kept"]) for rank in ranks] == [(1, True)] * 2


def test_looking_opens_no_file_that_workers_open_for_themselves():
    data = Opens()
    assert summaries(torch.utils.data.Subset(data, range(N))) == summaries(data)
    assert data.file is None


def test_a_data_set_that_closes_its_file_when_it_goes_is_not_copied():
    class Closing(Tensors):
        closed = 0

        def __del__(self):
            Closing.closed += 1

    data = Closing()
    assert summaries(data) is summaries(torch.utils.data.Subset(data, range(N))) is None
    assert Closing.closed == 0


def test_arrow_data_sets_are_compared():
    datasets = pytest.importorskip("datasets")
    of = [datasets.Dataset.from_dict({"x": [[0.5, i] for i in range(n, n + 9)]}) for n in (0, 0, 1)]
    first, same, other = map(summaries, of)
    assert first == same != other
    assert first is not None
    assert of[0][3] == {"x": [0.5, 3.0]}


def test_objects_in_an_array_have_no_address_in_the_comparison():
    one, other = ([np.array([object(), 2.0], dtype=object)] for _ in range(2))
    assert summaries(one) == summaries(other) != summaries([np.array([object(), 3.0], dtype=object)])


def test_a_sample_that_cannot_be_read_is_left_to_the_loader():
    class Torn(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            raise OSError("torn")

    assert summaries(Torn()) is None


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (torch.ones(3, 2), torch.ones(3, 2) * 1.1),
        (torch.ones(3), torch.ones(4)),
        (torch.arange(99.0), torch.arange(99.0).flip(0)),
        (torch.eye(9, dtype=torch.bool)[0], torch.eye(9, dtype=torch.bool)[5]),
        (torch.ones(3), torch.ones(3).double()),
        ({"text": "a"}, {"text": "b"}),
        ("/here/1.png", "/here/2.png"),
        ({"a": [1, 2]}, {"a": [1, 3]}),
        (0.5, 0.7),
        (np.array(["a"]), np.array(["b"])),
        ((torch.ones(2), 1), (torch.ones(2), 2)),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 1.0])),
        (None, b"x"),
    ],
)
def test_other_samples_look_different_and_rounding_does_not(mine, other):
    assert summaries([mine] * 5) == summaries([mine] * 5)
    assert summaries([mine] * 5) != summaries([other] * 5)
