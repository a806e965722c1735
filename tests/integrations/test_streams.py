"""Streams: every epoch yields exactly its plan, from webdataset tars and from Hugging Face iterables."""

import gc
import io
import tarfile

import datasets
import numpy as np
import pytest
import torch
import webdataset as wds
from torch import nn
from torch.utils.data import DataLoader

import samplewise as sw
from samplewise.data.keyids import KeyIds
from samplewise.integrations.streams import Kept, Stream

N, BATCH, EPOCHS = 60, 8, 4

# webdataset leaves tars open until they are collected; datasets formats what its own filter or map saw, a
# tensor, by torch.tensor(...) again.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:To copy construct from a tensor"),
]


@pytest.fixture(autouse=True)
def no_open_tar_is_left_to_another_test():
    yield
    gc.collect()


def sample(i):
    """Features that tell the sample, and its class."""
    return np.array([i, i % 3, 1.0], dtype=np.float32), i % 3


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Four tars of 15 samples, in an order that is not that of their numbers."""
    folder = tmp_path_factory.mktemp("tars")
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0)).tolist()
    for shard in range(4):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for i in order[15 * shard : 15 * shard + 15]:
                x, y = sample(i)
                buffer = io.BytesIO()
                np.save(buffer, x)
                for kind, content in ((".npy", buffer.getvalue()), (".cls", str(y).encode())):
                    entry = tarfile.TarInfo(f"sample{i}{kind}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    return [str(folder / f"{shard}.tar") for shard in range(4)]


def build(policy, n=N, **more):
    torch.manual_seed(0)
    model = nn.Linear(3, 3)

    def forward(data):
        x, y = data
        return nn.functional.cross_entropy(model(x / N), torch.as_tensor(y), reduction="none")

    policy = sw.recipes.get(policy)() if isinstance(policy, str) else policy
    arguments = {"model": model, "epochs": EPOCHS, "batch_size": BATCH, **more}
    return sw.Selector(policy, n, forward, **arguments), model


decoded = torch.zeros(1, dtype=torch.int64).share_memory_()


def count(sample):
    """Stands where decoding does."""
    decoded.add_(1)
    return sample


def tars(shards, selector, keys, workers, kept=True, persistent=True):
    """The usual pipeline."""
    data = wds.WebDataset(shards, shardshuffle=False)
    if kept:
        data = data.select(Kept(selector.mask(), keys))
    data = data.map(count).decode().to_tuple("__key__", "npy", "cls").batched(BATCH)
    return DataLoader(
        data, batch_size=None, num_workers=workers, persistent_workers=persistent and workers > 0
    )


def trained(selector, stream, model, until=EPOCHS, stop=None):
    """The names that each epoch trained on, and its plan."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    for epoch in range(selector.epoch, until):
        names = []
        for step, batch in enumerate(stream):
            x, y = batch.data
            assert y.tolist() == (x[:, 0].long() % 3).tolist()
            loss = selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            names += list(zip(batch.ids.tolist(), x[:, 0].long().tolist(), strict=True))
            if stop == (epoch, step):
                return [*told, (names, selector.plan(epoch).ids.tolist())]
        told.append((names, selector.engine.last_plan.ids.tolist()))
    return told


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "policy", [sw.recipes.infobatch(), sw.recipes.random_dynamic(keep=0.4, period=1)], ids=lambda p: p.name
)
def test_every_epoch_of_tars_trains_on_exactly_its_plan(shards, policy, workers):
    selector, model = build(policy)
    keys = KeyIds(N)
    stream = Stream(selector, tars(shards, selector, keys, workers), keys=keys)
    told = trained(selector, stream, model)
    numbers = {}
    for names, plan in told:
        assert sorted(number for number, _ in names) == plan
        for number, name in names:
            assert numbers.setdefault(number, name) == name == int(name)
    assert all(keys.find(f"sample{name}") == number for number, name in numbers.items())
    assert len({tuple(plan) for _, plan in told}) > 1
    assert selector.epoch == EPOCHS
    assert selector.ledger.samples_backpropagated == sum(len(plan) for _, plan in told)


def test_what_is_not_planned_is_not_decoded(shards):
    selector, model = build(sw.recipes.random_dynamic(keep=0.4, period=1))
    keys = KeyIds(N)
    stream = Stream(selector, tars(shards, selector, keys, workers=2), keys=keys)
    counts = []
    for epoch in range(1, EPOCHS + 1):
        decoded.zero_()
        trained(selector, stream, model, until=epoch)
        counts.append(int(decoded))
    assert counts == [N, 24, 24, 24]  # at first workers know no key


def test_without_the_filter_the_choice_is_the_same_and_a_warning_says_what_is_lost(shards):
    policy = sw.recipes.random_dynamic(keep=0.4, period=1)
    selector, model = build(policy)
    keys = KeyIds(N)
    expected = trained(selector, Stream(selector, tars(shards, selector, keys, 0), keys=keys), model)
    selector, model = build(policy)
    keys = KeyIds(N)
    stream = Stream(selector, tars(shards, selector, keys, 0, kept=False), keys=keys)
    with pytest.warns(UserWarning, match="36 samples were decoded but are not in the plan of epoch 1"):
        told = trained(selector, stream, model)
    assert [sorted(names) for names, _ in told] == [sorted(names) for names, _ in expected]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_resumed_in_mid_epoch_trains_on_the_rest_once(shards, workers, tmp_path):
    selector, model = build("infobatch")
    keys = KeyIds(N)
    stream = Stream(selector, tars(shards, selector, keys, workers, persistent=False), keys=keys)
    begun = trained(selector, stream, model, stop=(1, 2))
    torch.save([selector.state_dict(), keys.state_dict(), stream.state_dict()], tmp_path / "state.pt")

    again, model = build("infobatch")
    new_keys = KeyIds(N)
    stream = Stream(again, tars(shards, again, new_keys, workers), keys=new_keys)
    states = torch.load(tmp_path / "state.pt", weights_only=True)
    for part, state in zip((again, new_keys, stream), states, strict=True):
        part.load_state_dict(state)
    decoded.zero_()
    rest = trained(again, stream, model, until=2)
    assert int(decoded) == len(rest[0][0])  # what was trained before is not decoded again
    assert sorted(number for number, _ in begun[1][0] + rest[0][0]) == begun[1][1]
    names = dict(begun[0][0])
    assert all(names[number] == name for number, name in rest[0][0])
    for ids, plan in trained(again, stream, model):
        assert sorted(number for number, _ in ids) == plan


def test_a_state_between_batch_and_loss_does_not_count_that_batch():
    selector, _ = build("full", n=8, batch_size=4)
    stream = Stream(selector, [{"id": torch.arange(4), "x": torch.zeros(4, 3), "y": torch.arange(4) % 3}])
    selector.forward = None
    iterator = iter(stream)
    batch = next(iterator)
    assert stream.state_dict()["seen"].sum() == 0
    selector.narrow(batch)
    assert stream.state_dict()["seen"].sum() == 4


def test_batch_level_narrows_a_stream_of_known_length(shards):
    selector, model = build("evolved_sampling")
    keys = KeyIds(N)
    told = trained(selector, Stream(selector, tars(shards, selector, keys, 0), keys=keys), model)
    assert all(len(names) == N for names, _ in told)
    assert selector.ledger.samples_backpropagated < EPOCHS * N


@pytest.mark.parametrize("policy", ["random_batch", "loss_sampling"])
def test_batch_level_narrows_a_stream_of_unknown_length(policy):
    selector, _ = build(policy, n=None, epochs=2)
    batches = [(torch.randn(BATCH, 3), torch.arange(BATCH) % 3) for _ in range(5)]
    stream = Stream(selector, batches)
    for epoch in range(2):
        ids = []
        for batch in stream:
            selector.loss(batch).backward()
            ids += batch.ids.tolist()
        assert ids == list(range(40 * epoch, 40 * epoch + 40))
    assert selector.ledger.samples_backpropagated == 2 * 5 * BATCH // 4
    assert selector.epoch == 2


# ------------------------------------------------------------------------------ Hugging Face iterable


def iterable(selector=None):
    """An iterable data set in two shards; each sample has its id from before."""
    rows = {
        "id": list(range(N)),
        "x": [sample(i)[0] for i in range(N)],
        "y": [sample(i)[1] for i in range(N)],
    }
    data = datasets.Dataset.from_dict(rows).with_format("torch").to_iterable_dataset(num_shards=2)
    return data if selector is None else data.filter(Kept(selector.mask()))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_of_an_iterable_trains_on_exactly_its_plan(workers):
    selector, model = build(sw.recipes.random_dynamic(keep=0.4, period=1))
    model_of = selector.forward
    loader = DataLoader(
        iterable(selector), batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0
    )
    stream = Stream(selector, loader)
    for epoch in range(EPOCHS):
        ids = []
        for batch in stream:
            assert set(batch.data) == {"x", "y"}
            assert batch.data["x"][:, 0].long().tolist() == batch.ids.tolist()
            selector.narrow(batch)
            selector.reduce(model_of((batch.data["x"], batch.data["y"])))
            ids += batch.ids.tolist()
        assert sorted(ids) == selector.engine.last_plan.ids.tolist()
        assert len(ids) == 24
        assert selector.epoch == epoch + 1
    assert model.weight.grad is None


def test_the_filter_takes_batches_as_well():
    selector, _ = build(sw.recipes.random_dynamic(keep=0.4, period=1))
    kept = Kept(selector.mask())
    plan = selector.plan(0).ids.tolist()
    found = [row["id"].item() for row in iterable().filter(kept, batched=True, batch_size=7)]
    assert found == [row["id"].item() for row in iterable().filter(kept)] == plan


def test_ids_that_start_anew_in_every_worker_are_refused():
    selector, _ = build("full")
    data = iterable().remove_columns("id").map(lambda row, i: {**row, "id": i}, with_indices=True)
    stream = Stream(selector, DataLoader(data, batch_size=BATCH, num_workers=2))
    with pytest.raises(ValueError, match=r"ids \[.*\] came twice in epoch 0.*Store ids in the data"):
        list(stream)


# ------------------------------------------------------------------------------------------ refusals


def test_a_number_of_samples_that_is_too_large_is_found_out(shards):
    selector, model = build("infobatch", n=100)
    keys = KeyIds(100)
    stream = Stream(selector, tars(shards, selector, keys, 0), keys=keys)
    with pytest.warns(UserWarning, match="40 samples planned for epoch 0 never came"):
        trained(selector, stream, model, until=1)


def test_a_copy_of_the_mask_is_refused():
    selector, _ = build("full")
    with pytest.raises(ValueError, match=r"must be the tensor that selector\.mask\(\) returns"):
        Kept(selector.mask().clone())


def test_keys_of_another_number_of_samples_are_refused():
    selector, _ = build("full")
    for call in (lambda keys: Kept(selector.mask(), keys), lambda keys: Stream(selector, [], keys=keys)):
        with pytest.raises(ValueError, match="must have n=60, as the selector, but has n=61"):
            call(KeyIds(61))


def test_a_field_that_is_not_there_is_named():
    selector, _ = build("full")
    with pytest.raises(ValueError, match=r"the field 'id', but a sample has only \['x'\]\. Set field"):
        Kept(selector.mask())({"x": 1})
    with pytest.raises(ValueError, match=r"the field 'key', but a sample has only \['x'\]\. Set field"):
        next(iter(Stream(selector, [{"x": torch.zeros(2)}], field="key")))


@pytest.mark.parametrize("wrong", [60, -1])
def test_ids_outside_the_stream_are_refused(wrong):
    selector, _ = build("full")
    with pytest.raises(ValueError, match=r"must be an id in \[0, 60\)"):
        Kept(selector.mask())({"id": wrong})
    with pytest.raises(ValueError, match="are outside the stream's 60 samples"):
        next(iter(Stream(selector, [(torch.tensor([0, wrong]), torch.zeros(2))])))


def test_a_loader_that_yields_something_else_is_refused():
    selector, _ = build("full")
    with pytest.raises(TypeError, match="must yield mappings with 'id', or tuples"):
        next(iter(Stream(selector, [torch.zeros(3)])))


def test_a_selector_with_a_data_set_or_without_a_batch_size_is_refused():
    selector, _ = build("full", batch_size=None)
    with pytest.raises(ValueError, match=r"Set it in Selector\(batch_size=...\)"):
        Stream(selector, [])
    selector, _ = build("full", n=torch.utils.data.TensorDataset(torch.zeros(N, 3)))
    with pytest.raises(ValueError, match=r"use selector\.loader\(\)"):
        Stream(selector, [])


def test_a_state_of_another_epoch_is_refused():
    selector, _ = build("full")
    stream = Stream(selector, [])
    with pytest.raises(
        ValueError, match="is of epoch 2 and 60 samples, but its selector is in epoch 0 and has 60"
    ):
        stream.load_state_dict({"epoch": 2, "seen": torch.zeros(60, dtype=torch.bool)})
