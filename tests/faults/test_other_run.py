"""A checkpoint of another run is refused by name, before anything of it is taken over."""

import io

import pytest
import torch

import samplewise as sw
from samplewise.files import checkpoints
from tests.seams.toys import Tensors, make, train


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of ucb(keep=0.5, period=2) over 40 samples with seed 0, after an epoch."""
    path = tmp_path_factory.mktemp("run") / "last.pt"
    selector, model = make(sw.recipes.ucb(keep=0.5, period=2), epochs=3)
    train(selector, model, until=1)
    checkpoints.save(path, {"model": model.state_dict(), "selector": selector.state_dict()})
    return path


OTHERS = {
    "a data set that grew": ("n=40, but this Selector has n=41", {"dataset": Tensors(41)}),
    "a data set that shrank": ("n=40, but this Selector has n=39", {"dataset": Tensors(39)}),
    "another recipe": (
        r"policy=recipes\.ucb\(keep=0\.5, period=2.* has policy=recipes\.infobatch",
        "infobatch",
    ),
    "other parameters": (r"policy=recipes\.ucb\(keep=0\.5.* has policy=recipes\.ucb\(keep=0\.4", 0.4),
    "another seed": ("seed=0, but this Selector has seed=1", {"seed": 1}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_state_of_another_run_is_refused(checkpoint, what):
    said, change = OTHERS[what]
    policy, more = sw.recipes.ucb(keep=0.5, period=2), {}
    if isinstance(change, dict):
        more = change
    elif isinstance(change, str):
        policy = change
    else:
        policy = sw.recipes.ucb(keep=change, period=2)
    selector, model = make(policy, epochs=3, **more)
    with pytest.raises(ValueError, match=f"the state is of {said}"):
        selector.load_state_dict(checkpoints.load(checkpoint)["selector"])
    assert (selector.epoch, selector.progress) == (0, 0.0)
    train(selector, model)  # as if nothing had been tried
    assert selector.epoch == 3


def test_a_torn_checkpoint_is_refused_and_the_one_before_goes_on(checkpoint, tmp_path):
    older, newer = tmp_path / "step-1.pt", tmp_path / "step-2.pt"
    older.write_bytes(checkpoint.read_bytes())
    newer.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"step-2\.pt is damaged.*Use an older checkpoint"):
        checkpoints.load(newer)
    selector, model = make(sw.recipes.ucb(keep=0.5, period=2), epochs=3)
    selector.load_state_dict(checkpoints.load(older)["selector"])
    assert selector.epoch == 1
    train(selector, model)


def test_a_selectors_state_needs_no_pickle(checkpoint):
    """Nothing but tensors and plain values: the safe reader takes it with an empty list of exceptions."""
    selector, _ = make(sw.recipes.ucb(keep=0.5, period=2), epochs=3)
    selector.load_state_dict(checkpoints.load(checkpoint)["selector"])
    buffer = io.BytesIO()
    torch.save(selector.state_dict(), buffer)
    buffer.seek(0)
    assert torch.serialization.get_unsafe_globals_in_checkpoint(buffer) == []
