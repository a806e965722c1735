"""`PromptSelector` on two processes plans what one process plans, and they end with the same state."""

import dataclasses

import pytest
import torch

import samplewise as sw
from tests.parts.test_prompts import BATCH, N, roll_out
from tests.ranks import on_ranks

STEPS = 7


def digest(selector):
    table = selector.table()
    columns = {name: column.tolist() for name, column in table.columns.items() if name != "pass_rate"}
    return columns | {"times": table.times_selected.tolist()} | dataclasses.asdict(selector.ledger)


def train(selector, rank, world, steps, begin=0):
    rounds = []
    for step in range(begin, steps):
        ids = selector.plan(step)
        while len(ids):
            rounds.append(ids.tolist())
            mine = selector.share(ids)
            assert mine.tolist() == ids[rank::world].tolist()
            useful = selector.observe(mine, roll_out(mine, step))
            assert useful.tolist() == [0 < row.sum() < len(row) for row in roll_out(mine, step)]
            ids = selector.replacements()
    return rounds


def both_halves(rank, world):
    """All steps; and a run that is cut in the middle of a step and continues on this many processes."""
    selector = sw.PromptSelector(N, BATCH, fade=0.8)
    rounds = train(selector, rank, world, STEPS)
    selector.sync()
    known = digest(selector)
    cut = sw.PromptSelector(N, BATCH, fade=0.8)
    train(cut, rank, world, 3)
    mine = cut.share(cut.plan(3))
    cut.observe(mine[:1], roll_out(mine[:1], 3))
    refused = ""
    try:
        cut.state_dict()
    except ValueError as error:
        refused = str(error)
    cut.sync()
    waiting = cut.replacements().tolist()
    state = cut.state_dict()
    return {"rounds": rounds, "known": known, "refused": refused, "state": state, "waiting": waiting}


def split_groups(rank, world):
    """Each process rolls out a part of every group, as TRL does."""
    selector = sw.PromptSelector(N, BATCH)
    for step in range(4):
        ids = selector.plan(step)
        while len(ids):
            selector.observe(ids, roll_out(ids, step).chunk(world, 1)[rank])
            ids = selector.replacements()
    selector.sync()
    return digest(selector)


def disagreeing(rank, world):
    selector = sw.PromptSelector(N, BATCH, seed=rank)
    other = sw.PromptSelector(N, BATCH)
    said = []
    for call in (lambda: selector.plan(0), lambda: other.plan(rank)):
        try:
            call()
        except ValueError as error:
            said.append(str(error))
    return said


def test_two_processes_plan_what_one_does(tmp_path):
    found = on_ranks(both_halves, [1, 2], tmp_path)
    (one,), two = found[1], found[2]
    for each in two:
        assert each["rounds"] == one["rounds"]
        assert each["known"] == one["known"]
        assert "sync() on every process before state_dict()" in each["refused"]
        assert len(each["waiting"]) == BATCH - 2
    assert one["refused"] == ""
    again = sw.PromptSelector(N, BATCH, fade=0.8)
    again.load_state_dict(two[0]["state"])
    ids = again.replacements()
    assert ids.tolist() == two[0]["waiting"] == two[1]["waiting"]
    again.observe(ids, roll_out(ids, 3))
    rounds = []
    while len(ids := again.replacements()):
        rounds.append(ids.tolist())
        again.observe(ids, roll_out(ids, 3))
    rounds += train(again, 0, 1, STEPS, begin=4)
    assert rounds == one["rounds"][-len(rounds) :]
    assert digest(again) == one["known"]


def test_groups_may_be_split_over_processes(tmp_path):
    found = on_ranks(split_groups, [1, 2], tmp_path)
    assert found[2] == found[1] * 2


def test_processes_that_disagree_all_raise(tmp_path):
    for said in on_ranks(disagreeing, [2], tmp_path)[2]:
        assert len(said) == 2
        assert all("all processes must plan the same step with the same" in each for each in said)


def test_one_process_needs_no_group():
    selector = sw.PromptSelector(N, BATCH)
    ids = selector.plan(0)
    assert torch.equal(selector.share(ids), ids)
    with pytest.warns(UserWarning, match="no reward"):
        selector.plan(1)
