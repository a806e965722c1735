"""A training saved on two processes in mid-epoch goes on with one and with three: nothing twice or lost."""

from pathlib import Path

import torch
import torch.distributed as c10d

import samplewise as sw
from samplewise.testing import Trace, Training, build, recipes
from tests.ranks import start

N, EPOCHS, BATCH, STOP_EPOCH, STOP_STEP = 43, 5, 4, 2, 3


def fresh(recipe):
    """A training whose losses are a function of id and epoch."""
    return Training(build(recipe, N, period=2), Trace(N, EPOCHS), batch=BATCH)


def trained(training, stop=None):
    """Train to the end, or to step `stop` of an epoch: this rank's ids by epoch, and each epoch's order."""
    shown, orders, steps = {}, {}, {}
    selector, loader = training.selector, training.loader
    for epoch in range(selector.epoch, EPOCHS):
        selector.set_epoch(epoch)
        orders[epoch] = list(selector.sampler("global"))
        for batch in loader:
            shown.setdefault(epoch, []).extend(batch.ids.tolist())
            steps[epoch] = steps.get(epoch, 0) + 1
            selector.loss(batch).backward()
            if (epoch, steps[epoch]) == stop:
                return shown, orders
    return shown, orders


def join(folder, rank, world):
    c10d.init_process_group("gloo", init_method=f"file://{folder}/{world}", rank=rank, world_size=world)


def elastic(rank, folder):
    """Ranks 0 and 1 train and save; then all three go on from what rank 0 saved."""
    torch.set_num_threads(1)
    if rank < 2:
        # A selector may be built before there is a process group.
        trainings = [(recipe, fresh(recipe)) for recipe in recipes()]
        join(folder, rank, 2)
        begun = {}
        for recipe, training in trainings:
            told = trained(training, (STOP_EPOCH, STOP_STEP))
            training.selector.sync()
            begun[recipe.name] = (*told, training.selector.state_dict(), training.selector.progress)
        torch.save(begun, Path(folder, f"begun {rank}.pt"))
        c10d.barrier()
        c10d.destroy_process_group()
    join(folder, rank, 3)
    c10d.barrier()  # until rank 0 has saved
    begun = torch.load(Path(folder, "begun 0.pt"), weights_only=True)
    ended = {recipe.name: resumed(recipe, begun[recipe.name][2]) for recipe in recipes()}
    torch.save(ended, Path(folder, f"ended {rank}.pt"))
    c10d.barrier()
    c10d.destroy_process_group()


def resumed(recipe, state):
    """What this rank sees after the break, and the progress right after it and at the end."""
    training = fresh(recipe)
    training.selector.load_state_dict(state)
    at_once = training.selector.progress
    return *trained(training), at_once, training.selector.progress


def observed_by_one(recipe, shown):
    """Every plan of a selector that sees, epoch after epoch, the ids `shown` and no others."""
    policy, trace = build(recipe, N, period=2), Trace(N, EPOCHS)
    selector = sw.Selector(policy, N, epochs=EPOCHS)
    plans = []
    for epoch in range(EPOCHS):
        if selector.pass_due(epoch):
            ids = selector.pass_ids(epoch)
            selector.observe(ids, trace.outputs(ids, epoch), source="pass")
        selector.plan(epoch)
        plans.append(list(selector.sampler("global")))
        ids = torch.tensor(shown[epoch])
        selector.observe(ids, trace.outputs(ids, epoch))
    return plans


def dealt(ids, world):
    """The shares of so many processes that take turns, without what only pads."""
    whole = len(ids) // world * world
    return [ids[rank:whole:world] for rank in range(world)]


def check(recipe, begun, ended):
    world = len(ended)
    orders = begun[0][1]
    order, done = orders[STOP_EPOCH], 2 * BATCH * STOP_STEP
    assert sorted(i for rank in begun for i in rank[0][STOP_EPOCH]) == sorted(order[:done])
    rest = order[done:]
    shares = [rank[0].get(STOP_EPOCH, []) for rank in ended]
    for share, fair in zip(shares, dealt(rest, world), strict=True):
        # A method that must see every sample deals the last ones too, and pads.
        assert share[: len(fair)] == fair
        assert len(share) <= len(fair) + 1
    after = [i for share in shares for i in share if i in rest]
    assert len(after) == len(set(after)) >= len(rest) - world + 1
    shown = {}
    for epoch in range(EPOCHS):
        ranks = begun if epoch < STOP_EPOCH else ended
        shown[epoch] = sorted({i for rank in ranks for i in rank[0].get(epoch, [])})
    shown[STOP_EPOCH] = sorted({*order[:done], *after})
    plans = observed_by_one(recipe, shown)
    for rank in ended:
        assert [rank[1][epoch] for epoch in range(STOP_EPOCH, EPOCHS)] == plans[STOP_EPOCH:]
        assert abs(rank[2] - begun[0][3]) < 0.03
        assert rank[3] == 1
    return len(rest) - len(after)


def test_a_run_of_two_processes_goes_on_with_one_and_with_three(tmp_path):
    start(elastic, (str(tmp_path),), 3)
    begun = [torch.load(tmp_path / f"begun {rank}.pt", weights_only=True) for rank in range(2)]
    ended = [torch.load(tmp_path / f"ended {rank}.pt", weights_only=True) for rank in range(3)]
    left_out = set()
    for recipe in recipes():
        name = recipe.name
        two = [rank[name] for rank in begun]
        assert two[0][2]["engine"].keys() == two[1][2]["engine"].keys()
        assert check(recipe, two, [resumed(recipe, two[0][2])]) == 0, name
        left_out.add(check(recipe, two, [rank[name] for rank in ended]))
    assert left_out == {0, 1, 2}
