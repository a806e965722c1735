"""Hugging Face map-style data sets: ids are positions, columns are left alone, nothing is selected anew."""

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from torch import nn

import samplewise as sw
from tests.seams.toys import flat

N, CLASSES = 40, 4


def rows(n=N):
    """Every row tells its position."""
    columns = {
        "place": list(range(n)),
        "x": [[i / n, (i % 5) / 5] for i in range(n)],
        "label": [i % CLASSES for i in range(n)],
    }
    features = Features(
        {
            "place": Value("int64"),
            "x": [Value("float32")],
            "label": ClassLabel(names=list("abcd")),
        }
    )
    return Dataset.from_dict(columns, features=features)


def build(policy, data, **more):
    torch.manual_seed(0)
    model = nn.Linear(2, CLASSES)

    def forward(batch):
        logits = model(batch["x"])
        loss = nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        return sw.Outputs(loss, logits, batch["label"], features=batch["x"])

    arguments = {"model": model, "epochs": 4, "batch_size": 8, **more}
    return sw.Selector(policy, data, forward, **arguments), model


def trained(selector, model, **arguments):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    seen, loader = [], selector.loader(**arguments)
    for _ in range(4):
        seen.append([])
        for batch in loader:
            assert set(batch.data) == {"place", "x", "label"}
            assert batch.data["place"].tolist() == batch.ids.tolist()
            loss = selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen[-1].append(batch.ids.tolist())
    return seen


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("policy", ["infobatch", sw.recipes.ucb(keep=0.3, period=2), "eswp"], ids=str)
def test_choices_are_those_over_the_same_rows_in_a_list(policy, workers):
    data = rows().with_format("torch")
    selector, model = build(policy, data)
    found = trained(selector, model, num_workers=workers)
    plain, other = build(policy, [data[i] for i in range(N)])
    assert trained(plain, other) == found
    assert torch.equal(model.weight, other.weight)
    assert any(len(flat(epoch)) < N for epoch in found) or selector.ledger.samples_backpropagated < 4 * N


class Counting(Dataset):
    """Counts how it is read."""

    calls: dict

    def __getitem__(self, key):
        self.calls[type(key).__name__] = self.calls.get(type(key).__name__, 0) + 1
        return super().__getitem__(key)

    def __getitems__(self, keys):
        self.calls["batch"] = self.calls.get("batch", 0) + 1
        return super().__getitems__(keys)

    def select(self, *args, **kwargs):
        raise AssertionError("a plan is a sampler's order; the data set is never selected anew")


def test_a_batch_is_one_read_and_no_subset_is_made():
    data = rows().with_format("torch")
    data.__class__, data.calls = Counting, {}
    selector, model = build("infobatch", data, labels=torch.arange(N) % CLASSES)
    data.calls.clear()
    batches = trained(selector, model)
    assert data.calls.pop("batch") == sum(map(len, batches))
    assert set(data.calls) <= {"list"}  # how its own __getitems__ reads


def test_rows_without_a_format_come_as_its_own_types():
    selector, _ = build("full", rows())
    batch = next(iter(selector.loader(collate_fn=lambda found: found)))
    assert batch.data == [rows()[i] for i in batch.ids.tolist()]


@pytest.mark.parametrize("form", [None, "torch", "numpy"])
def test_the_one_class_column_gives_the_labels(form):
    selector, _ = build(sw.recipes.ccs(balance=True), rows().with_format(form))
    assert selector.labels.tolist() == [i % CLASSES for i in range(N)]


@pytest.mark.parametrize("form", [None, "torch", "numpy"])
def test_labels_may_be_given_as_a_column(form):
    data = rows().cast_column("label", Value("int64")).with_format(form)
    with pytest.raises(ValueError, match=r"ccs chooses by class. Give Selector\(labels=...\)"):
        build(sw.recipes.ccs(balance=True), data)
    selector, _ = build(sw.recipes.ccs(balance=True), data, labels=data["label"])
    assert selector.labels.tolist() == [i % CLASSES for i in range(N)]


def test_a_selected_data_set_has_ids_of_its_own():
    data = rows(100).with_format("torch").select(range(50, 90))
    selector, _ = build("full", data)
    for batch in selector.loader():
        assert (batch.data["place"] - 50).tolist() == batch.ids.tolist()


def test_a_dict_of_splits_is_refused():
    with pytest.raises(TypeError, match=r'DatasetDict does not\..*data\["train"\]'):
        build("full", DatasetDict({"train": rows(), "test": rows()}))


def test_an_iterable_data_set_is_refused_as_a_stream():
    with pytest.raises(TypeError, match=r"IterableDataset has none\. For a stream"):
        build("full", rows().to_iterable_dataset())
