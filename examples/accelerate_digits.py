"""Accelerate on scikit-learn's digits: ESWP, stopped in the middle of an epoch and resumed.

python examples/accelerate_digits.py [method]
accelerate launch --cpu --num_processes 2 examples/accelerate_digits.py [method]
"""

import sys
import tempfile

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import TensorDataset, random_split

import samplewise as sw
from samplewise.integrations.accelerate import prepare

EPOCHS, BATCH = 20, 64


def train(method: str, folder: str, resumes: bool) -> None:
    """Train up to a checkpoint in the middle of an epoch, or from the checkpoint to the end."""
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    train_set, test_set = random_split(digits, [1400, 397])
    net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))

    def forward(batch: list[torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return F.cross_entropy(model(x), y, reduction="none")

    selector = sw.Selector(method, train_set, forward, model=model, epochs=EPOCHS, batch_size=BATCH)
    loader = prepare(selector, accelerator)
    if resumes:
        accelerator.load_state(folder)

    for epoch in range(selector.epoch, EPOCHS):
        for step, batch in enumerate(loader):
            accelerator.backward(selector.loss(batch))
            optimizer.step()
            optimizer.zero_grad()
            if not resumes and (epoch, step) == (EPOCHS // 2, 2):
                accelerator.save_state(folder)
                return

    x, y = test_set[:]
    accuracy = (model(x).argmax(1) == y).float().mean().item()
    accelerator.print(f"{method}: test accuracy {accuracy:.1%}\n{selector.ledger}")


def main(method: str) -> None:
    """Train in two halves. The second half uses new objects."""
    with tempfile.TemporaryDirectory() as folder:
        shared = [folder]
        if Accelerator(cpu=True).num_processes > 1:
            torch.distributed.broadcast_object_list(shared)
        train(method, shared[0], resumes=False)
        train(method, shared[0], resumes=True)
        Accelerator(cpu=True).wait_for_everyone()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "eswp")
