"""Copies: pickled or deep-copied, each object goes on by itself and as the original would."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import samplewise as sw
from samplewise.data.outputs import Batch

WAYS = pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))], ids=["deepcopy", "pickle"]
)
X, Y = torch.linspace(-1, 1, 80).reshape(20, 4), torch.arange(20) % 3


class Data:
    targets = Y

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], Y[i]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def losses_without_a_model(batch):
    return (batch[0] ** 2).sum(1)


@WAYS
def test_a_classifier_and_its_model_are_copied_together(copied):
    model = net()
    forward = sw.classifier(model, head="2")
    forward((X, Y))
    again = copied(forward)
    assert again.head is again.model[2]
    before = forward((X, Y))
    with torch.no_grad():
        again.model[0].weight.zero_()
        hidden = again.model[0].bias.clamp(min=0)
    shown = again((X, Y))
    torch.testing.assert_close(shown.features, hidden.expand(20, 8))
    torch.testing.assert_close(forward((X, Y)).loss, before.loss, rtol=0, atol=0)


@WAYS
def test_a_model_with_a_classifiers_hook_can_be_copied_after_a_forward_with_a_graph(copied):
    model = net()
    forward = sw.classifier(model, head="2")
    model(X)  # as a loop that evaluates the model itself does
    averaged = copied(model)
    torch.testing.assert_close(averaged(X), model(X))
    assert forward((X, Y)).features.shape == (20, 8)


def test_evaluating_the_model_directly_keeps_no_more_than_one_batch():
    model = net()
    forward = sw.classifier(model, head="2")
    inputs = [X + i for i in range(3)]
    for batch in inputs:
        model(batch)
    assert forward._features.last.shape == (20, 8)
    torch.testing.assert_close(forward((X, Y)).features, F.relu(model[0](X)))


@WAYS
def test_a_selector_with_a_classifier_is_copied_in_the_middle_of_an_epoch(copied):
    def trained(made=None):
        if made is None:
            forward = sw.classifier(net(), head="2")
            made = sw.Selector(
                "online_ms", Data(), forward, model=forward.model, epochs=2, batch_size=5, seed=1
            )
        told = []
        for _ in range(made.epoch, 2):
            for batch in made.loader():
                loss = made.loss(batch)
                made.model.zero_grad()
                loss.backward()
                with torch.no_grad():
                    for parameter in made.model.parameters():
                        parameter -= 0.1 * parameter.grad
                told.append((batch.ids.tolist(), float(loss.detach())))
                if copied is not None and len(told) == 6 and len(copies) == 0:
                    copies.append(copied(made))
        return told

    copies = []
    whole = trained()
    (again,) = copies
    assert again.forward.model is again.model
    rest = trained(again)
    assert rest == whole[6:]


@WAYS
def test_a_copied_mask_is_shared_with_the_copys_workers_and_shows_its_plans_alone(copied):
    selector = sw.Selector(sw.recipes.random_dynamic(keep=0.5, period=1), 20, epochs=4)
    selector.plan(0)
    mask = selector.mask()
    again = copied(selector)
    assert again.mask().is_shared()
    assert torch.equal(again.mask(), mask)
    before = mask.clone()
    again.plan(1)
    assert torch.equal(mask, before)
    assert again.mask().nonzero().flatten().tolist() == selector.plan(1).ids.tolist()


def test_a_copied_numbering_is_shared_with_its_workers():
    keys = sw.KeyIds(4)
    keys(["a"])
    again = copy.deepcopy(keys)
    assert all(table.is_shared() for table in (again._digests, again._table, again._count))
    assert again(["b", "a"]).tolist() == [1, 0]
    assert keys.find("b") == -1


@WAYS
def test_a_count_of_flops_that_waits_goes_with_the_copy(copied):
    model = net()
    selector = sw.Selector(
        "auto_assist", Data(), sw.classifier(model, head="2"), model=model, epochs=1, batch_size=5
    )
    k = len(selector.narrow(next(iter(selector.loader()))))
    again = copied(selector)
    again.model(X[:k])
    assert selector.ledger.forward_flops is None
    assert again.ledger.forward_flops == 2 * (4 * 8 + 8 * 3)
    model(X[:k])
    assert selector.ledger.forward_flops == again.ledger.forward_flops
    assert not model._forward_hooks
    assert not again.model._forward_hooks


def test_a_function_goes_on_with_the_original_model_and_so_does_the_copy():
    model = net()
    selector = sw.Selector(
        "loss_sampling", Data(), lambda batch: F.cross_entropy(model(batch[0]), batch[1], reduction="none"),
        model=model, epochs=1, batch_size=5,
    )  # fmt: skip
    assert copy.deepcopy(selector).model is model
    with pytest.raises(
        TypeError, match="cannot be copied together with its model: its forward is a function"
    ):
        copy.deepcopy((model, selector))


def test_a_copied_loader_leaves_waiting_workers_to_the_original():
    selector = sw.Selector("full", Data(), losses_without_a_model, epochs=2, batch_size=10)
    loader = selector.loader(num_workers=1, persistent_workers=True)
    for batch in loader:
        selector.loss(batch)
    again = pickle.loads(pickle.dumps(loader))
    assert again._iterator is None
    del loader
    assert [len(batch.ids) for batch in again] == [10, 10]


def test_an_unpickled_selector_counts_no_seconds_of_another_clock():
    selector = sw.Selector("full", Data(), losses_without_a_model, epochs=1, batch_size=10)
    batches = iter(selector.loader())
    assert isinstance(next(batches), Batch)
    again = pickle.loads(pickle.dumps(selector))
    again.timeline.end_step()
    assert again.ledger.seconds["training"] == 0


def test_an_optimizer_that_is_copied_with_a_selector_goes_on_with_the_model_that_its_function_runs():
    model = net()
    selector = sw.Selector(
        "infobatch", Data(), lambda batch: F.cross_entropy(model(batch[0]), batch[1], reduction="none"),
        model=model, epochs=2, batch_size=5,
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made, stepping = copy.deepcopy([selector, optimizer])
    assert made.model is model
    assert stepping.param_groups[0]["params"][0] is next(model.parameters())
    with pytest.raises(TypeError, match="cannot be copied together with its model"):
        copy.deepcopy([optimizer, selector])
