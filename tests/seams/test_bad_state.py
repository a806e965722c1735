"""States that cannot be continued from are refused whole, before anything is taken over."""

import pytest
import torch

from tests.seams.toys import Tensors, make, train


def saved(name="infobatch"):
    selector, model = make(name, epochs=3)
    train(selector, model, until=1)
    return selector.state_dict()


def test_a_state_of_another_method_or_size_or_seed():
    state = saved()
    with pytest.raises(
        ValueError,
        match=r"the state is of policy=recipes\.infobatch\(.*, but this Selector has policy=recipes\.ucb",
    ):
        make("ucb", epochs=3)[0].load_state_dict(state)
    with pytest.raises(ValueError, match=r"the state is of n=40, but this Selector has n=39"):
        make("infobatch", Tensors(39), epochs=3)[0].load_state_dict(state)
    with pytest.raises(ValueError, match=r"the state is of seed=0, but this Selector has seed=1"):
        make("infobatch", epochs=3, seed=1)[0].load_state_dict(state)


def test_a_state_that_is_none():
    selector, _ = make("infobatch", epochs=3)
    with pytest.raises(ValueError, match=r"this is not a Selector's state: it has no 'policy'"):
        selector.load_state_dict({"model": {}})
    with pytest.raises(ValueError, match=r"this is not a Selector's state"):
        selector.load_state_dict({})


def keys_of(state, path=()):
    for key, value in state.items():
        if key not in ("memory", "seconds"):
            yield (*path, key)
        if isinstance(value, dict) and key in ("engine", "ledger"):
            yield from keys_of(value, (*path, key))


def test_a_state_with_anything_missing_is_refused_whole():
    for path in keys_of(saved()):
        state = saved()
        inside = state
        for key in path[:-1]:
            inside = inside[key]
        del inside[path[-1]]
        selector, _ = make("infobatch", epochs=3)
        with pytest.raises(
            ValueError, match=rf"(not a Selector's state|the state is damaged): it has no '{path[-1]}'"
        ):
            selector.load_state_dict(state)
        assert (selector.epoch, selector.score().isnan().all()) == (0, True), path


@pytest.mark.parametrize("part", ["times_selected", "memory", "passed"])
def test_a_state_with_columns_of_another_length(part):
    state = saved("kakurenbo" if part == "passed" else "infobatch")
    short = torch.zeros(7)
    state["engine"][part] = {"loss": short} if part == "memory" else short
    selector, _ = make("kakurenbo" if part == "passed" else "infobatch", epochs=3)
    with pytest.raises(ValueError, match=r"the state is damaged: .* must have 40 rows, got 7"):
        selector.load_state_dict(state)
    assert selector.epoch == 0
