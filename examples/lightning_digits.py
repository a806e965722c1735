"""Lightning on scikit-learn's digits: InfoBatch with a callback and one line in training_step.

python examples/lightning_digits.py [method]
"""

import logging
import sys
import warnings

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

import samplewise as sw
from samplewise.integrations.lightning import SelectionCallback, weighted_mean

EPOCHS, BATCH = 20, 64


class Digits(L.LightningModule):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(512, 10),
        )

    def losses(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """A loss for each sample. This is the Selector's forward."""
        x, y = batch
        return F.cross_entropy(self.net(x), y, reduction="none")

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The usual step, with `weighted_mean` instead of `.mean()`."""
        return weighted_mean(self, self.losses(batch))

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """Accuracy."""
        x, y = batch
        self.log("accuracy", (self.net(x).argmax(1) == y).float().mean(), on_epoch=True, batch_size=len(y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main(method: str) -> None:
    """Train, and print the accuracy and the ledger."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")  # about the number of workers, for example
    L.seed_everything(0, verbose=False)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    digits = TensorDataset(x, torch.tensor(labels))
    train_set, test_set = random_split(digits, [1400, 397])
    net = Digits()

    selector = sw.Selector(method, train_set, net.losses, model=net, epochs=EPOCHS, batch_size=BATCH)
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        callbacks=[SelectionCallback(selector)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(net, selector.loader(), DataLoader(test_set, 397))

    print(f"{method}: test accuracy {trainer.callback_metrics['accuracy']:.1%}")
    print(selector.ledger)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "infobatch")
