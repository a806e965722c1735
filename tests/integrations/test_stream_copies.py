"""A stream that is saved between two epochs, or copied in the middle of one, goes on where it was."""

import copy
import pickle

import pytest
import torch
from torch import nn

import samplewise as sw
from samplewise.integrations.streams import Kept, Stream
from tests.integrations.test_streams import BATCH, EPOCHS, N, build, sample


@pytest.fixture(scope="module")
def listed():
    """All batches of a small stream that is a list."""
    x, y = torch.stack([torch.from_numpy(sample(i)[0]) for i in range(N)]), torch.arange(N) % 3
    return [{"id": ids, "inputs": x[ids], "targets": y[ids]} for ids in torch.arange(N).flip(0).split(BATCH)]


class Forward:
    """A forward that is copied with its model."""

    def __init__(self, model):
        self.model = model

    def __call__(self, data):
        return nn.functional.cross_entropy(self.model(data["inputs"] / N), data["targets"], reduction="none")


def listed_run(listed, policy="infobatch"):
    selector, model = build(policy)
    selector.forward = Forward(model)
    return selector, Stream(selector, listed), model


def steps(run, most=None, until=EPOCHS):
    """Train, and tell each batch's epoch, ids and loss."""
    selector, stream, model = run
    told = []
    for epoch in range(selector.epoch, until):
        for batch in stream:
            loss = selector.loss(batch)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                model.weight -= 0.1 * model.weight.grad
            told.append((epoch, batch.ids.tolist(), loss.item()))
            if len(told) == most:
                return told
    return told


@pytest.mark.filterwarnings("ignore:.*samples were decoded but")
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_stream_saved_between_two_epochs_trains_on_all_of_the_next(listed, epochs):
    whole = steps(listed_run(listed))
    begun = [told for told in whole if told[0] < epochs]
    run = listed_run(listed)
    selector, stream, model = run
    assert steps(run, until=epochs) == begun
    again = listed_run(listed)
    for part, old in ((again[0], selector), (again[2], model), (again[1], stream)):
        part.load_state_dict(old.state_dict())
    assert begun + steps(again) == whole


@pytest.mark.filterwarnings("ignore:.*samples were decoded but")
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))], ids=["deep-copied", "pickled"]
)
@pytest.mark.parametrize("policy", ["infobatch", "evolved_sampling"])
def test_a_copied_stream_goes_on_where_the_original_is(listed, policy, copied):
    whole = steps(listed_run(listed, policy))
    for done in (3, 8, 9, 12):  # 8 is the last of an epoch
        run = listed_run(listed, policy)
        begun = steps(run, done)
        assert begun + steps(copied(run)) == whole


def test_a_filter_that_was_copied_without_its_selector_is_refused():
    selector, _ = build(sw.recipes.random_dynamic(keep=0.4, period=1))
    kept = Kept(selector.mask())
    other, mine = copy.deepcopy((selector, kept))
    other.plan(0)
    assert sum(mine({"id": i}) for i in range(N)) == 24
    with pytest.raises(ValueError, match="copy its selector in the same call"):
        copy.deepcopy(kept)({"id": 0})
