"""One of several processes goes wrong: the others end too, soon, and say why."""

import os
import re
import select
import signal
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as c10d
import torch.multiprocessing as mp

import samplewise as sw
from samplewise.engine import memory
from samplewise.testing import Trace
from tests.ranks import on_ranks
from tests.seams.toys import Net, Tensors, make, step

WORLD, N, BATCH = 3, 40, 4


class Spoilt(Tensors):
    """Samples of which some have no finite loss from an epoch on."""

    def __init__(self, bad):
        super().__init__(N)
        self.x[bad, 1] = torch.nan


def stopped_by(recipe, bad, sync_every=None):
    """The steps taken where the ids `bad` have no finite loss, the error that ended it, and the epoch."""
    net = Net(dropout=0.0).eval()  # in train mode a batch norm spreads one NaN over the batch
    selector, _ = make(recipe, Spoilt(bad), model=net, batch_size=BATCH, period=2, sync_every=sync_every)
    steps = 0
    try:
        for _ in range(2):
            for batch in selector.loader():
                selector.loss(batch).backward()  # without a step of an optimizer, which makes all losses NaN
                steps += 1
    except ValueError as error:
        return steps, str(error), selector.epoch
    return steps, "nothing", selector.epoch


def spoilt(rank, world):
    """NaN losses on rank 1 alone: by the end of the epoch, sooner where ranks meet sooner, and in a pass."""
    told = {}
    for name, every in (("infobatch", None), ("infobatch", 1), ("eswp", None), ("ucb", None), ("aum", 2)):
        sampler = make(name, Tensors(N), batch_size=BATCH, period=2)[0].sampler("sharded")
        # Seen by this rank in its first step; a pass deals the ids in turns.
        bad = [rank, rank + world] if name == "ucb" else sorted(list(sampler)[:2])
        told[f"{name} {every}"] = (bad, *stopped_by(name, bad if rank == 1 else [], every))
    bad = sorted(list(make("infobatch", Tensors(N), batch_size=BATCH)[0].sampler("sharded"))[:2])
    with mock.patch.object(memory, "_CHECK_EVERY", 2):  # of 32, which is more than these epochs have
        told["infobatch asked"] = (bad, *stopped_by("infobatch", bad if rank == 1 else []))
    trace = Trace(N, 4)
    selector = sw.Selector("evolved_sampling", N, epochs=4)
    selector.plan(1)
    ids = torch.arange(N)[rank::world]
    outputs = trace.outputs(ids, 1)
    if rank == 2:
        outputs.loss[:2] = torch.inf
    selector.observe(ids, outputs)
    try:
        selector.sync()
    except ValueError as error:
        told["sync"] = str(error)
    return told


def test_every_process_stops_and_names_the_ids_whose_losses_are_nan_in_one(tmp_path):
    ranks = on_ranks(spoilt, [WORLD], tmp_path, seconds=20)[WORLD]
    for name in ranks[0]:
        if name == "sync":
            continue
        bad = ranks[1][name][0]
        told = {rank[name][1:] for rank in ranks}
        assert len(told) == 1, f"{name}: the ranks stopped differently: {told}"
        ((_, error, epoch),) = told
        assert re.search(
            rf"not finite( and >= 0)? for ids {re.escape(str(bad))} in epoch {epoch}\. Did", error
        ), name
    # 13 samples a rank in batches of 4: at the end of the epoch, but where they meet after each step then.
    assert [ranks[0][f"infobatch {when}"][1] for when in (None, 1, "asked")] == [4, 1, 2]
    assert ranks[0]["ucb None"][1] == 0
    said = "loss is not finite and >= 0 for ids [2, 5] in epoch 1. Did training diverge?"
    assert {rank["sync"] for rank in ranks} == {said}


def held(fifo):
    """For DataLoader workers: something that a process outside sees as long as the worker lives."""

    def hold(_):
        os.write(os.open(fifo, os.O_WRONLY), b"x")

    return hold


def ends(rank, folder, seconds, how):
    """Train; rank 1 ends in mid-epoch of epoch 1. What stops the others is written down."""
    torch.set_num_threads(1)
    c10d.init_process_group(
        "gloo",
        init_method=f"file://{folder}/group",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=seconds),
    )
    selector, model = make("infobatch", Tensors(N), batch_size=BATCH, model=Net(dropout=0.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = selector.loader(
        num_workers=1,
        multiprocessing_context="fork",
        worker_init_fn=held(f"{folder}/workers"),
        drop_last=True,
    )
    try:
        for _ in range(selector.epochs):
            for batch in loader:
                if (rank, selector.epoch) == (1, 1):
                    Path(folder, "1.txt").touch()
                    os.kill(os.getpid(), how)
                step(selector, optimizer, batch)
    except RuntimeError as error:
        Path(folder, f"{rank}.txt").write_text(str(error))
        raise


@pytest.mark.parametrize(
    ("how", "seconds"), [(signal.SIGKILL, 20), (signal.SIGSTOP, 3)], ids=["dies", "hangs"]
)
def test_when_one_process_ends_or_hangs_the_others_end_with_a_clear_error(how, seconds, tmp_path, capfd):
    os.mkfifo(tmp_path / "workers")
    alive = os.open(tmp_path / "workers", os.O_RDONLY | os.O_NONBLOCK)
    context = mp.get_context("spawn")
    ranks = [context.Process(target=ends, args=(rank, str(tmp_path), seconds, how)) for rank in range(WORLD)]
    for rank in ranks:
        rank.start()
    for rank in (ranks[0], ranks[2]):
        rank.join(120)
    ranks[1].kill()
    ranks[1].join(20)
    assert [rank.exitcode for rank in ranks] == [1, -signal.SIGKILL, 1]
    for rank in (0, 2):
        told = tmp_path / f"{rank}.txt"
        assert told.stat().st_mtime - (tmp_path / "1.txt").stat().st_mtime < seconds + 5
        error = told.read_text()
        assert error.startswith(
            f"rank {rank} could not exchange data with the 2 other processes: one of them has"
        )
    watch = select.poll()
    watch.register(alive, 0)
    assert watch.poll(20_000) == [(alive, select.POLLHUP)], "a DataLoader worker outlives its process"
    # One worker a rank and epoch: rank 1 had two epochs' workers, the others as many.
    assert len(os.read(alive, 100)) == 2 * WORLD
    os.close(alive)
    assert "could not exchange" in capfd.readouterr().err
