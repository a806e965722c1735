"""The loader: ids stay with their samples, whatever the data set, the collate and the workers."""

import pytest
import torch
from torch.utils.data import DataLoader, Subset, random_split

import samplewise as sw
from samplewise.pickers import Uniform
from samplewise.schedules import Linear
from tests.seams.toys import Dicts, Fetching, N, OnlyX, Tensors, flat, make, step, train

no_pinning = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")


def epoch(loader, selector):
    """One epoch of batches, each through a pretended step."""
    batches = []
    for batch in loader:
        assert isinstance(batch, sw.Batch)
        selector.narrow(batch)
        batches.append(batch)
    return batches


@pytest.mark.parametrize("dataset", [Tensors, Fetching])
def test_ids_are_positions_and_samples_are_bare(dataset):
    selector, _ = make("full", dataset())
    for batch in epoch(selector.loader(), selector):
        x, y = batch.data
        assert torch.equal(x[:, 0].long(), batch.ids)
        assert torch.equal(y, batch.ids % 3)
        assert batch.ids.dtype == torch.int64


def test_batches_of_dicts_and_of_bare_tensors():
    selector, _ = make("full", Dicts())
    for batch in epoch(selector.loader(), selector):
        assert torch.equal(batch.data["x"][:, 0].long(), batch.ids)
        assert batch.data["meta"]["name"] == [f"sample {i}" for i in batch.ids.tolist()]
    selector, _ = make("full", OnlyX())
    for batch in epoch(selector.loader(), selector):
        assert torch.equal(batch.data[:, 0].long(), batch.ids)


def pairs(samples):
    """A user's collate: sees bare samples, and no tensor comes out."""
    assert all(len(sample) == 2 and sample[0].shape == (4,) for sample in samples)
    return [int(x[0]) for x, _ in samples]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_workers": 2},
        {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 4},
        {"num_workers": 1, "multiprocessing_context": "spawn", "persistent_workers": True},
        pytest.param({"pin_memory": True}, marks=no_pinning),
        {"drop_last": True},
    ],
    ids=str,
)
def test_every_worker_arrangement_gives_the_same_batches(arguments):
    selector, _ = make("full", batch_size=9, epochs=2)
    loader = selector.loader(collate_fn=pairs, **arguments)
    plain, _ = make("full", batch_size=9, epochs=2)
    bare = plain.loader(drop_last=arguments.get("drop_last", False))
    for _ in range(2):
        batches = epoch(loader, selector)
        expected = [batch.ids.tolist() for batch in epoch(bare, plain)]
        assert [batch.ids.tolist() for batch in batches] == expected
        assert all(batch.data == batch.ids.tolist() for batch in batches)
        assert len(batches) == (4 if arguments.get("drop_last") else 5)
    assert selector.epoch == 2


def test_training_with_workers_is_training_without():
    logs = []
    for arguments in ({}, {"num_workers": 2, "persistent_workers": True}):
        selector, model = make("infobatch", epochs=3)
        seen = train(selector, model, selector.loader(drop_last=True, **arguments))
        logs.append((seen, [p.detach().clone() for p in model.parameters()], selector.score()))
    assert logs[0][0] == logs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(logs[0][1], logs[1][1], strict=True))
    assert torch.equal(logs[0][2], logs[1][2])


def test_a_subset_as_the_training_set_counts_positions_in_itself():
    indices = list(range(30, 10, -1))
    selector, _ = make("full", Subset(Tensors(), indices), batch_size=6)
    assert selector.n == 20
    assert selector.labels.tolist() == [i % 3 for i in indices]
    for batch in epoch(selector.loader(), selector):
        assert batch.data[0][:, 0].long().tolist() == [indices[i] for i in batch.ids.tolist()]


def test_a_random_split_and_a_subset_of_a_subset():
    halves = random_split(Tensors(), [25, 15], generator=torch.Generator().manual_seed(1))
    inner = Subset(halves[0], [3, 1, 4, 15, 9, 2, 6])
    selector, _ = make("full", inner, batch_size=3)
    seen = {}
    for batch in epoch(selector.loader(), selector):
        seen |= dict(zip(batch.ids.tolist(), batch.data[0][:, 0].long().tolist(), strict=True))
    assert seen == {row: halves[0].indices[i] for row, i in enumerate(inner.indices)}


def test_a_split_around_a_data_set_that_a_selector_uses_holds_bare_samples():
    dataset = Tensors()
    selector, _ = make("full", dataset)
    selector.loader()
    part, _ = random_split(dataset, [10, 30], generator=torch.Generator().manual_seed(0))
    x, y = next(iter(DataLoader(part, batch_size=4)))
    assert (x.shape, y.shape) == ((4, 4), (4,))


def test_hints_of_length_follow_the_plan():
    selector, model = make(sw.recipes.random_dynamic(keep=0.5, period=1), epochs=3, batch_size=8)
    loader = selector.loader()
    assert (len(loader), len(loader.sampler)) == (3, 20)
    assert [len(batches) for batches in train(selector, model, loader)] == [3, 3, 3]


def test_every_iterator_is_fresh():
    selector, _ = make("full")
    loader = selector.loader()
    one, two = iter(loader), iter(loader)
    assert one is not two
    assert next(one).ids.tolist() == next(two).ids.tolist()


def test_a_break_repeats_the_epoch_and_says_so_once():
    selector, model = make("infobatch", epochs=4)
    loader = selector.loader()
    first = train(selector, model, loader, until=1)[0]
    begun = []
    for batch in loader:
        begun.append(batch.ids.tolist())
        selector.loss(batch)
        if len(begun) == 2:
            break
    with pytest.warns(UserWarning, match=r"epoch 1 starts again.*call selector\.set_epoch\(2\)"):
        again = iter(loader)
    batches = [next(again), next(again)]
    assert [batch.ids.tolist() for batch in batches] == begun
    assert selector.epoch == 1
    del again
    whole = [batch.ids.tolist() for batch in loader]
    assert whole[:2] == begun
    assert selector.epoch == 2
    assert len(flat(first)) == N


def test_set_epoch_ends_a_broken_epoch_without_a_warning():
    selector, _ = make("full")
    loader = selector.loader()
    for batch in loader:
        selector.loss(batch)
        break
    selector.set_epoch(1)
    selector.set_epoch(1)
    assert len([selector.loss(batch) for batch in loader]) == 5
    assert selector.epoch == 2


def test_an_old_iterator_that_runs_out_does_not_close_the_new_epoch():
    selector, _ = make("full")
    iterator = iter(selector.loader())
    next(iterator)
    selector.set_epoch(1)
    assert len(list(iterator)) == 4
    assert selector.epoch == 1
    assert selector.progress == 0.25


def test_set_epoch_twice_changes_nothing():
    """As Trainer calls it: before the iterator and after."""
    plain, plain_model = make("infobatch", epochs=3)
    expected = train(plain, plain_model)
    selector, model = make("infobatch", epochs=3)
    loader, seen = selector.loader(drop_last=True), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for e in range(3):
        loader.sampler.set_epoch(e)
        iterator = iter(loader)
        loader.sampler.set_epoch(e)
        seen.append([])
        for batch in iterator:
            step(selector, optimizer, batch)
            seen[-1].append(batch.ids.tolist())
    assert seen == expected


def test_beyond_the_last_epoch_is_an_error():
    selector, model = make("full", epochs=2)
    loader = selector.loader()
    train(selector, model, loader)
    assert (selector.epoch, selector.progress) == (2, 1.0)
    assert len(loader) == 5
    with pytest.raises(ValueError, match=r"training is over: this Selector was built for epochs=2"):
        iter(loader)
    selector.set_epoch(2)
    with pytest.raises(ValueError, match=r"epoch must be in \[0, 2\), got 3"):
        selector.set_epoch(3)
    with pytest.raises(ValueError, match=r"epoch must be at least 2, got 0: earlier epochs are over"):
        selector.set_epoch(0)


def test_set_epoch_ends_the_last_epoch_too():
    selector, _ = make("full", epochs=1)
    for batch in selector.loader():
        selector.loss(batch)
        break
    selector.set_epoch(1)
    assert (selector.epoch, selector.progress) == (1, 1.0)
    assert selector.ledger.samples_backpropagated == 8


def test_an_epoch_without_a_batch_is_an_error():
    selector, _ = make(sw.recipes.random_dynamic(keep=0.1, period=1), batch_size=8)
    with pytest.raises(ValueError, match=r"epoch 0 has no batch: 4 samples, batch_size=8, drop_last=True"):
        selector.loader(drop_last=True)


SHRINKING = {
    "steps": (sw.recipes.dyna_random(), 20, 10, "8 samples"),
    "a line": (sw.Policy(picker=Uniform(Linear(1.0, 0.2))), 10, 9, "12 samples"),
    "batches": (sw.recipes.loss_sampling(), 10, 0, "40 samples"),
    "assembled": (sw.recipes.selective_backprop(assemble=True), 10, 0, "40 samples"),
    "hidden": (sw.recipes.kakurenbo(), 10, 0, "40 samples"),
    "a subset": (sw.recipes.fixed(sw.Subset(torch.arange(9))), 3, 0, "9 samples"),
    "from an epoch on": (sw.recipes.random(keep=0.2), 4, 0, "8 samples"),
}


@pytest.mark.parametrize(
    ("case", "made"),
    [
        *((case, sw.Selector.loader) for case in SHRINKING),
        *((case, sw.Selector.sampler) for case in SHRINKING if case != "assembled"),  # which has none
    ],
)
def test_an_epoch_that_is_known_to_have_no_batch_is_an_error_when_the_loader_is_built(case, made):
    policy, epochs, first, size = SHRINKING[case]
    batch_size = {"steps": 16, "a line": 15, "a subset": 10, "from an epoch on": 10}.get(case, 41)
    selector, _ = make(policy, epochs=epochs, batch_size=batch_size)
    said = rf"epoch {first} has no batch: {size}, batch_size={batch_size}, drop_last=True\. Keep more"
    with pytest.raises(ValueError, match=said):
        made(selector, drop_last=True)
    assert made(make(policy, epochs=epochs, batch_size=batch_size)[0]) is not None


def test_a_loader_that_is_built_late_is_checked_for_the_epochs_that_are_left():
    grows = sw.Policy(picker=Uniform(Linear(0.2, 1.0)))
    selector, _ = make(grows, epochs=4, batch_size=16)
    selector.set_epoch(2)
    assert [len(batch.ids) for batch in selector.loader(drop_last=True)] == [16]


def test_the_samplers_for_frameworks():
    selector, _ = make("full")
    for mode in ("global", "sharded"):
        sampler = selector.sampler(mode)
        assert sorted(sampler) == list(range(N))
        assert len(sampler) == N
    before = list(selector.sampler())
    selector.set_epoch(1)
    assert list(selector.sampler()) != before
