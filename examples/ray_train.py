"""Ray Train on scikit-learn's digits: two workers, and each trains on its share of every plan.

python examples/ray_train.py [method]
"""

import logging
import sys

import ray
import ray.train.torch
import torch
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset, random_split

import samplewise as sw
from samplewise.integrations.ray import prepare

EPOCHS, BATCH = 20, 32


def train(config: dict[str, str]) -> None:
    """The training function of each worker."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    train_set, test_set = random_split(digits, [1400, 397])
    net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    model = ray.train.torch.prepare_model(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def forward(batch: list[torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return torch.nn.functional.cross_entropy(model(x), y, reduction="none")

    selector = sw.Selector(config["method"], train_set, forward, model=model, epochs=EPOCHS, batch_size=BATCH)
    loader = prepare(selector)

    for _ in range(selector.epoch, EPOCHS):
        for batch in loader:
            loss = selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    if ray.train.get_context().get_world_rank() == 0:
        x, y = test_set[:]
        accuracy = (model(x).argmax(1) == y).float().mean().item()
        print(f"{config['method']}: test accuracy {accuracy:.1%}\n{selector.ledger}")


def main(method: str) -> None:
    """Start two workers on this machine."""
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR)
    trainer = TorchTrainer(
        train, train_loop_config={"method": method}, scaling_config=ScalingConfig(num_workers=2)
    )
    trainer.fit()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "infobatch")
