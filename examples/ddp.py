"""DistributedDataParallel on scikit-learn's digits: ESWP on one or more processes.

torchrun --nproc-per-node 2 examples/ddp.py [method] [checkpoint]
python examples/ddp.py [method] [checkpoint]

With a checkpoint it saves every 20 steps. If the file exists, it continues from it, also with another number
of processes than before.
"""

import gc
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset, random_split

import samplewise as sw

EPOCHS, BATCH, SAVE_EVERY = 20, 32, 20


def main(method: str, checkpoint: Path | None) -> None:
    """Train. Rank 0 prints the accuracy and its ledger."""
    together = "WORLD_SIZE" in os.environ
    if together:
        dist.init_process_group("gloo")
    rank = dist.get_rank() if together else 0

    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    train_set, test_set = random_split(digits, [1400, 397])
    net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    model = DistributedDataParallel(net) if together else net
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def forward(batch: list[torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return F.cross_entropy(model(x), y, reduction="none")

    selector = sw.Selector(method, train_set, forward, model=model, epochs=EPOCHS, batch_size=BATCH)
    loader = selector.loader()
    if checkpoint is not None and checkpoint.exists():
        for part, state in zip((net, optimizer, selector), sw.load(checkpoint), strict=True):
            part.load_state_dict(state)

    steps = 0
    for _ in range(selector.epoch, EPOCHS):
        for batch in loader:
            loss = selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if checkpoint is not None and steps % SAVE_EVERY == 0:
                selector.sync()  # on every rank, so that rank 0 saves what all ranks observed
                if rank == 0:
                    sw.save(checkpoint, [part.state_dict() for part in (net, optimizer, selector)])

    if rank == 0:
        x, y = test_set[:]
        accuracy = (net(x).argmax(1) == y).float().mean().item()
        print(f"{method}: test accuracy {accuracy:.1%}. Ledger of this process:\n{selector.ledger}")
    if together:
        dist.destroy_process_group()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0] if given else "eswp", Path(given[1]) if len(given) > 1 else None)
    # The wrapped model is part of a reference cycle. If Python frees it at exit, some runs abort.
    gc.collect()
