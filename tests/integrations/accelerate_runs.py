"""Runs with Accelerate that tests compare, in one process or in two."""

import os
import socket
import traceback

import torch
from torch import nn

import samplewise as sw
from samplewise.integrations.accelerate import prepare
from tests.ranks import context

N, EPOCHS, BATCH = 45, 4, 8


class Numbered(torch.utils.data.Dataset):
    """Each sample carries its id."""

    def __init__(self):
        rng = torch.Generator().manual_seed(0)
        self.x = torch.randn(N, 4, generator=rng)
        self.targets = torch.arange(N) % 3

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.x[i], self.targets[i], i


def policy_of(name):
    if name == "ucb":
        return sw.recipes.ucb(keep=0.6, period=2)
    return sw.recipes.kakurenbo(keep=0.7) if name == "kakurenbo" else sw.recipes.get(name)()


def built(method, accelerator, **arguments):
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()  # so that sums in another order stay equal
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.5))

    def forward(data):
        logits = model(data[0].double())
        loss = nn.functional.cross_entropy(logits, data[1], reduction="none")
        return sw.Outputs(loss, logits, data[1])

    each = 2 * BATCH // accelerator.num_processes
    selector = sw.Selector(
        policy_of(method), Numbered(), forward, model=model, epochs=EPOCHS, batch_size=each
    )
    return selector, prepare(selector, accelerator, **arguments), model, optimizer


def trained(accelerator, selector, loader, model, optimizer, stop=None):
    """Per epoch its plan, and per step the ids of this process and the rows it trained on; then weights."""
    told = []
    for epoch in range(selector.epoch, EPOCHS):
        told.append(([], []))
        for step, batch in enumerate(loader):
            assert batch.data[2].tolist() == batch.ids.tolist()
            before = selector.ledger.samples_backpropagated
            accelerator.backward(selector.loss(batch))
            optimizer.step()
            optimizer.zero_grad()
            told[-1][0].extend(selector.plan(epoch).ids.tolist() if not step else [])
            told[-1][1].append((batch.ids.tolist(), selector.ledger.samples_backpropagated - before))
            if stop == (epoch, step):
                return told, None
    weights = accelerator.unwrap_model(model).state_dict().values()
    return told, [whole(value).tolist() for value in weights]


def whole(value):
    """A tensor, gathered if it is sharded."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def _work(rank, port, tell, folder, queue):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        queue.put((rank, tell(folder)))
    except BaseException:
        queue.put((rank, traceback.format_exc()))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def on_two(tell, folder):
    """What `tell(folder)` returns on each of two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = context.Queue()
    arguments = [(rank, port, tell, str(folder), queue) for rank in (0, 1)]
    workers = [context.Process(target=_work, args=given, daemon=True) for given in arguments]
    for worker in workers:
        worker.start()
    told = dict(queue.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join(30)
    assert not [report for report in told.values() if isinstance(report, str)], told
    return told[0], told[1]
