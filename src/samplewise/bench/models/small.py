"""The two smallest networks: a small CNN and an MLP with three linear layers."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench.models.sizes import at_least


class Cnn(nn.Module):
    """Two convolution blocks of 32 and 64 channels with batch norm, then one linear layer.

    Images of more than 8 pixels are halved at the first convolution, and those of more than 16 again
    between the blocks. So images of 8, 28 and 32 pixels cost about the same.
    """

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        at_least(2, "cnn", image_size)
        stride = 2 if image_size > 8 else 1
        side = (image_size + stride - 1) // stride
        self.first = nn.Sequential(
            nn.Conv2d(in_channels, 32, 3, stride, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(2) if image_size > 16 else nn.Identity()
        side = side // 2 if image_size > 16 else side
        self.second = nn.Sequential(
            nn.Conv2d(32, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Linear(64 * (side // 2) ** 2, classes)
        # On a CPU, a step in this memory layout takes about two thirds of the time.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """Logits of a batch."""
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.head(self.second(self.pool(x)).flatten(1))
        return logits


class Mlp(nn.Module):
    """Two hidden layers of 256 units, for comparison: too small for batch-level selection to save time."""

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(in_channels * image_size**2, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, classes),
        )

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """Logits of a batch."""
        logits: Tensor = self.layers(x)
        return logits
