"""States that cannot be continued from are refused whole, before anything is taken over."""

from operator import getitem

import pytest
import torch

import samplewise as sw
from samplewise import recipes
from samplewise.testing import Trace
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


LATER = {"tokens", "tokens_trained", "prior_flops", "trained_before", "ordinary_before", "energy_joules"}
"""Counts that states of an earlier version have not."""


def test_a_state_of_an_earlier_version_has_counted_no_tokens():
    state = saved()
    state["ledger"] = {name: value for name, value in state["ledger"].items() if name not in LATER}
    assert len(state["ledger"]) == len(saved()["ledger"]) - len(LATER)
    selector, _ = make("infobatch", epochs=3)
    selector.load_state_dict(state)
    ledger = selector.ledger
    assert (ledger.tokens, ledger.tokens_trained) == (0, 0)
    assert ledger.kept_share is None, "the share of the open epoch counts from here"
    assert ledger.samples_backpropagated == saved()["ledger"]["samples_backpropagated"] > 0


def test_a_state_with_anything_missing_is_refused_whole():
    for path in keys_of(saved()):
        if path[-1] in LATER:
            continue
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


N, EPOCHS = 24, 6
TRACE = Trace(N, EPOCHS)


def recorded(policy, epochs=2, opened=True):
    """A selector by engine calls, some epochs in, and a fresh one like it."""
    fresh = [sw.Selector(policy, N, epochs=EPOCHS, labels=TRACE.targets) for _ in range(2)]
    selector = fresh[0]
    for epoch in range(epochs):
        if selector.pass_due(epoch):
            ids = selector.pass_ids(epoch)
            selector.observe(ids, TRACE.outputs(ids, epoch), "pass")
        for ids in selector.plan(epoch).ids.split(6):
            selector.observe(ids, TRACE.outputs(ids, epoch))
            selector.choose(ids)
    if not opened:
        selector.set_epoch(epochs)
        if selector.pass_due(epochs):
            ids = selector.pass_ids(epochs)
            selector.observe(ids, TRACE.outputs(ids, epochs - 1), "pass")
    return selector, fresh[1]


def changed(state, path, value):
    """The state with one entry replaced."""
    inside = state
    for key in path[:-1]:
        inside = getitem(inside, key)
    inside[path[-1]] = value(inside[path[-1]]) if callable(value) else value
    return state


def other(column, at, value):
    column = column.clone()
    column[at] = value
    return column


ENGINE = {
    "an epoch beyond the last": (
        "epoch",
        EPOCHS + 1,
        r"\['epoch'\] must be a whole number in \[0, 6\], got 7",
    ),
    "a negative epoch": ("epoch", -1, r"\['epoch'\] must be a whole number in \[0, 6\], got -1"),
    "half an epoch": ("epoch", 0.5, r"\['epoch'\] must be a whole number"),
    "a negative step": ("step", -1, r"\['step'\] must be a whole number >= 0, got -1"),
    "opened by a number": ("opened", 1, r"\['opened'\] must be True or False, got 1"),
    "planned later": ("planned_in", 99, r"\['planned_in'\] must be a whole number in \[-1, 5\], got 99"),
    "open and not planned": ("planned_in", 0, "must hold the plan of the open epoch 1"),
    "open without ids": ("ids", None, "must hold the plan of the open epoch 1"),
    "selected later": ("selected_in", 70, r"\['selected_in'\] must be a whole number"),
    "an id beyond the data": ("ids", lambda ids: other(ids, -1, N), r"\['ids'\] must be <= 23, got 24"),
    "a negative id": ("ids", lambda ids: other(ids, 0, -3), r"\['ids'\] must be >= 0, got -3"),
    "an id twice": ("ids", lambda ids: other(ids, 1, int(ids[0])), "must hold each id once"),
    "ids of another type": ("ids", lambda ids: ids.int(), r"\['ids'\] must hold int64, got int32"),
    "ids in a list": ("ids", lambda ids: ids.tolist(), r"\['ids'\] must be a tensor, got \["),
    "weights of other ids": ("weights", torch.ones(3), "must have one row for each of the .* ids"),
    "a weight of 0": ("weights", lambda w: 0 * w, "must be finite and above 0"),
    "weights that are whole": ("weights", lambda w: w.long(), r"\['weights'\] must hold float32, got int64"),
    "an odd weighting": ("weighting", "odd", r"\['weighting'\] must be one of 'per_sample', 'batch_mean'"),
    "a negative count": ("times_selected", lambda t: t - 9, r"\['times_selected'\] must be >= 0, got -"),
    "counts of another type": ("times_selected", lambda t: t.float(), "must hold int32, got float32"),
    "memory that is a list": ("memory", [1], r"\['memory'\] must be a mapping"),
}


@pytest.mark.parametrize(("name", "value", "said"), ENGINE.values(), ids=ENGINE)
def test_a_state_out_of_its_range_is_refused_whole(name, value, said):
    selector, fresh = recorded("infobatch")
    before = fresh.state_dict()
    with pytest.raises(ValueError, match=f"the state is damaged: .*{said}"):
        fresh.load_state_dict(changed(selector.state_dict(), ("engine", name), value))
    assert fresh.state_dict()["engine"]["epoch"] == before["engine"]["epoch"] == 0
    fresh.load_state_dict(selector.state_dict())
    assert fresh.epoch == 1


SELECTOR = {
    "world": (("world",), 0, r"\['world'\] must be a whole number >= 1, got 0"),
    "done": (("done",), -6, r"\['done'\] must be a whole number >= 0, got -6"),
    "samples": (("samples",), "many", r"\['samples'\] must be a whole number"),
    "drop_last": (("drop_last",), None, r"\['drop_last'\] must be True or False, got None"),
    "scored": (("scored",), {"infobatch": 3}, r"\['scored'\]\['infobatch'\] must be a mapping, got 3"),
    "ledger count": (("ledger", "samples_backpropagated"), -1, r"must be a number >= 0, got -1"),
    "ledger text": (("ledger", "prior_cost"), "1", r"must be a number finite, got '1'"),
    "ledger seconds": (("ledger", "seconds", "data"), "1", r"\['seconds'\]\['data'\] must be a number"),
    "not finite": (("ledger", "ordinary_samples"), float("nan"), "must be a number finite, got nan"),
}


@pytest.mark.parametrize(("path", "value", "said"), SELECTOR.values(), ids=SELECTOR)
def test_positions_and_accounts_out_of_their_range_are_refused(path, value, said):
    selector, fresh = recorded("infobatch")
    with pytest.raises(ValueError, match=f"the state is damaged: state.*{said}"):
        fresh.load_state_dict(changed(selector.state_dict(), path, value))


MEMORY = {
    "another length": (lambda column: column[:7], "must have 24 rows, got 7"),
    "no tensor": (lambda column: column.tolist(), "must be a tensor, got "),
    "another type": (
        lambda column: column.double() if column.is_floating_point() else column.float(),
        "must hold",
    ),
    "one number": (lambda column: column.flatten()[0], "must"),
    "one axis more": (lambda column: column[..., None], "must have shape"),
}


@pytest.mark.parametrize(("change", "said"), MEMORY.values(), ids=MEMORY)
@pytest.mark.parametrize(
    "policy",
    [
        *("infobatch", "ucb", "evolved_sampling", "kakurenbo", "selective_backprop", "el2n", "forgetting"),
        *("dyn_unc:window=3", "dual:T=5,window=3", "tdds:keep=0.3,T=5,window=3", "moderate", "herding"),
        "importance_sampling",
    ],
)
def test_a_column_that_the_tracker_would_not_keep_is_refused(policy, change, said):
    method = recipes.parse(policy)
    for epochs, opened in ((2, True), (EPOCHS, False)):
        selector, fresh = recorded(method, epochs, opened)
        state = selector.state_dict()
        fresh.load_state_dict(state)
        for name, column in state["engine"]["memory"].items():
            made = name.endswith(("/rank", "/order"))  # by the picker, in a type of its own
            if not column.ndim or (made and said == "must hold"):
                continue
            fresh = sw.Selector(method, N, epochs=EPOCHS, labels=TRACE.targets)
            with pytest.raises(ValueError, match=rf"state\['engine'\]\['memory'\]\['{name}'\] {said}"):
                fresh.load_state_dict(changed(selector.state_dict(), ("engine", "memory", name), change))


def test_columns_that_are_missing_or_strange_are_refused():
    selector, fresh = recorded("ucb")
    state = selector.state_dict()
    del state["engine"]["memory"]["variance"]
    with pytest.raises(ValueError, match=r"\['memory'\]\['variance'\] must be there, got nothing"):
        fresh.load_state_dict(state)
    state = selector.state_dict()
    state["engine"]["memory"]["upper"] = torch.zeros(N)
    with pytest.raises(ValueError, match="holds 'upper', which ucb does not keep"):
        fresh.load_state_dict(state)


def test_an_epoch_that_a_tracker_counts_is_in_the_training():
    selector, fresh = recorded(recipes.parse("tdds:keep=0.3,T=5,window=3"))
    state = changed(selector.state_dict(), ("engine", "memory", "tdds/epoch"), torch.tensor(99))
    with pytest.raises(ValueError, match=r"\['tdds/epoch'\] must be <= 6, got 99"):
        fresh.load_state_dict(state)


def test_what_a_process_keeps_for_itself_is_checked_too():
    selector, fresh = recorded("selective_backprop")
    state = selector.state_dict()
    (own,) = state["engine"]["beside"]
    own["recent"] = own["recent"][:9]
    with pytest.raises(ValueError, match=r"\['beside'\]\[0\]\['recent'\] must have 1024 rows, got 9"):
        fresh.load_state_dict(state)


def test_the_state_of_an_assistant_is_checked_too():
    policy = recipes.auto_assist()
    selector, fresh = (sw.Selector(policy, N, epochs=EPOCHS, labels=TRACE.targets) for _ in range(2))
    ids = selector.plan(0).ids[:6]
    selector.look(ids, torch.randn(6, 3))
    selector.choose(ids)
    selector.observe(ids, TRACE.outputs(ids, 0))
    fresh.load_state_dict(selector.state_dict())
    for path, value in {("seen",): -1, ("mean",): torch.zeros(3).double(), ("bias",): None}.items():
        state = changed(selector.state_dict(), ("engine", "method", "assistant", *path), value)
        with pytest.raises(ValueError, match=rf"auto_assist\['assistant'\]\['{path[0]}'\] must"):
            fresh.load_state_dict(state)


def test_the_state_of_keys_is_checked_too():
    keys = sw.KeyIds(3)
    keys(["a", "b"])
    for name, value in (("digests", torch.zeros(2)), ("digests", [1, 2]), ("frozen", 1), ("n", "3")):
        with pytest.raises(ValueError, match=rf"the state is damaged: state\['{name}'\] must"):
            sw.KeyIds(3).load_state_dict(changed(keys.state_dict(), (name,), value))


def _picky(logits):
    if logits.shape[1] != TRACE.outputs(torch.arange(1), 0).logits.shape[1]:
        raise KeyError("unknown model")
    return logits[:, 0]


def test_a_signal_that_takes_no_made_up_values_still_resumes_and_lengths_are_checked():
    selector, fresh = recorded(sw.Policy(_picky, sw.trackers.Last(), sw.pickers.TopK(0.5), source="training"))
    fresh.load_state_dict(selector.state_dict())
    assert torch.equal(fresh.score(), selector.score())
    with pytest.raises(ValueError, match="must have 24 rows, got 7"):
        fresh.load_state_dict(changed(selector.state_dict(), ("engine", "memory", "_picky"), lambda c: c[:7]))
