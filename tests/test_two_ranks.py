"""Two processes: each sees half of every batch, and both plan what one process plans that sees all."""

import socket

import torch
import torch.multiprocessing as mp
from torch import distributed as c10d

import samplewise as sw
from samplewise.testing import Trace, build, recipes

N, EPOCHS, BATCH = 23, 6, 8


def planned(policy, rank, world):
    """Every plan of a run, the final columns, and the rows chosen: this rank sees every world-th id."""
    trace = Trace(N, EPOCHS)
    selector = sw.Selector(policy, N, epochs=EPOCHS)
    plans, kept = [], []
    for epoch in range(EPOCHS):
        if selector.pass_due(epoch):
            ids = selector.pass_ids(epoch)
            selector.observe(ids, trace.outputs(ids, epoch), source="pass")
        plan = selector.plan(epoch)
        plans.append((plan.ids.tolist(), None if plan.weights is None else plan.weights.tolist()))
        for batch in plan.ids.split(BATCH):
            ids = batch[rank::world]
            selector.observe(ids, trace.outputs(ids, epoch))
            rows, _ = selector.choose(ids)
            kept.append((len(ids), ids[rows].tolist()))
    selector.set_epoch(EPOCHS)
    if selector.pass_due(EPOCHS):
        # Each rank looks at its share, as the loader's passes do, and takes over the other's.
        ids = selector.pass_ids(EPOCHS)[rank::world]
        selector.observe(ids, trace.outputs(ids, EPOCHS), source="pass")
        selector._engine.merge()
    table = selector.table()
    if selector.policy.level == "static":
        subset = selector.subset()
        plans.append((subset.ids.tolist(), None if subset.weights is None else subset.weights.tolist()))
    return plans, {name: c.tolist() for name, c in table.columns.items()}, kept


def work(rank, port, queue):
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    c10d.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    told = {recipe.name: planned(build(recipe, N, period=2), rank, 2) for recipe in recipes()}
    queue.put((rank, told))
    c10d.barrier()
    c10d.destroy_process_group()


def test_two_ranks_plan_what_one_plans():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=work, args=(rank, port, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    told = dict(queue.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    for recipe in recipes():
        policy = build(recipe, N, period=2)
        alone, zero, one = planned(policy, 0, 1), told[0][recipe.name], told[1][recipe.name]
        assert zero[0] == one[0] == alone[0], f"{recipe.name} planned differently"
        assert repr(zero[1]) == repr(one[1]), f"the ranks of {recipe.name} remember differently"
        if recipe.level in ("epoch", "static"):
            assert repr(zero[1]) == repr(alone[1]), f"{recipe.name} remembers otherwise than one process"
        for (m, first), (_, second) in zip(zero[2], one[2], strict=True):
            assert not set(first) & set(second), f"{recipe.name}: two ranks trained on one sample"
            assert len(first) <= m
