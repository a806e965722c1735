"""Several processes in a gloo group, for tests: what each of them returns, or the first error of them."""

import gc
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as c10d
import torch.multiprocessing as mp

context = mp.get_context("forkserver")
"""Forks the processes of tests from one that has imported what takes seconds to import."""
context.set_forkserver_preload(
    ["samplewise.testing", "torch._dynamo", "torch.distributed", "accelerate", "pytest"]
)


def start(work, arguments, processes):
    """Run `work(rank, *arguments)` in so many processes. An error in one of them is raised here."""
    mp.start_processes(work, arguments, processes, start_method="forkserver")


def _work(rank, work, worlds, folder, seconds):
    torch.set_num_threads(1)
    for world in worlds:
        if rank >= world:
            continue
        c10d.init_process_group(
            "gloo",
            init_method=f"file://{folder}/{world}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=seconds),
        )
        try:
            found = work(rank, world)
            gc.collect()  # wrapped models in cycles keep threads of gloo, which abort the process at its end
            c10d.barrier()  # who leaves first may cut the other's last exchange off
        finally:
            c10d.destroy_process_group()
        torch.save(found, Path(folder, f"{rank} of {world}.pt"))


def on_ranks(work, worlds, folder, seconds=240):
    """What `work(rank, world)` returns on each rank of groups of these sizes, one after the other, by size.

    The same processes make up every group, since starting them takes longest. An error in one of them is
    raised here with its traceback, and the others are stopped. `seconds`: how long one of them waits for
    another, also at the start, where a busy machine is slow.
    """
    start(_work, (work, worlds, str(folder), seconds), max(worlds))
    return {
        world: [
            torch.load(Path(folder, f"{rank} of {world}.pt"), weights_only=False) for rank in range(world)
        ]
        for world in worlds
    }
