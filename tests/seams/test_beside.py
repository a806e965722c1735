"""What each process keeps for itself: all of it is saved, and each goes on with its own."""

import io

import pytest
import torch

import samplewise as sw
from samplewise.distributed import collectives
from tests.ranks import on_ranks
from tests.seams.toys import Net, make, step

METHODS = {
    "selective_backprop": sw.recipes.selective_backprop(beta=0.5),
    "auto_assist": sw.recipes.auto_assist(),
}
EPOCHS, SAVED = 4, 7


def play(policy, states=None, until=None):
    """Train this rank's share: its steps, and the states after `until` of them, the selector's by rank 0."""
    selector, model = make(policy, epochs=EPOCHS, batch_size=4, model=Net(dropout=0.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if states is not None:
        for part, state in zip((selector, model, optimizer), states, strict=True):
            part.load_state_dict(state)
    log = []
    while selector.epoch < EPOCHS:
        for batch in selector.loader():
            log.append((batch.ids.tolist(), step(selector, optimizer, batch)))
            if len(log) == until:
                selector.sync()
                saved = collectives.everyone(through_a_file(selector.state_dict()))[0]
                return log, (saved, model.state_dict(), optimizer.state_dict())
    selector.set_epoch(EPOCHS)
    return log, selector.state_dict()["engine"]["beside"]


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def continued(rank, world):
    """For each method: the whole run, and one from rank 0's state."""
    found = {}
    for name, policy in METHODS.items():
        whole, ended = play(policy)
        log, states = play(policy, until=SAVED)
        rest, again = play(policy, states)
        found[name] = whole, log + rest, flat(ended), flat(again)
    return found


def flat(kept):
    """Every number that the processes keep."""
    if isinstance(kept, dict):
        return [number for name in sorted(kept) for number in flat(kept[name])]
    if isinstance(kept, list):
        return [flat(part) for part in kept]
    return kept.nan_to_num(-1.0).flatten().tolist() if isinstance(kept, torch.Tensor) else [kept]


def test_every_process_goes_on_with_its_own(tmp_path):
    (ranks,) = on_ranks(continued, (2,), tmp_path).values()
    for name in METHODS:
        for rank, found in enumerate(ranks):
            whole, resumed, ended, again = found[name]
            assert resumed == whole, (name, rank)
            assert again == ended
            assert len(ended) == 2
            assert ended[0] != ended[1]
        assert ranks[0][name][2] == ranks[1][name][2]


@pytest.mark.parametrize("name", METHODS)
def test_one_process_takes_over_what_the_first_of_two_kept(name):
    selector, _ = make(METHODS[name], epochs=EPOCHS)
    for batch in selector.loader():
        selector.loss(batch)
    state = through_a_file(selector.state_dict())
    other = through_a_file(state)["engine"]["beside"][0]
    key = "recent" if name == "selective_backprop" else "average"
    other[key] = other[key] + 1
    state["engine"]["beside"].append(other)
    one, _ = make(METHODS[name], epochs=EPOCHS)
    one.load_state_dict(state)
    assert flat(one.state_dict()["engine"]["beside"]) == flat(selector.state_dict()["engine"]["beside"])
