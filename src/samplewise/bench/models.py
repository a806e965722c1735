"""Small networks for images, by name or by `package.module:function`."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench.resnet import ResNet18
from samplewise.checks import nearest

Builder = Callable[[int, int, int], nn.Module]


class Cnn(nn.Module):
    """Two convolution blocks of 32 and 64 channels with batch norm, then one linear layer.

    Images above 8 pixels are halved at the first convolution and those above 16 once more
    between the blocks, so that 8, 28 and 32 pixels all cost about the same.
    """

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
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
        # On CPU this layout runs a step in about two thirds of the time.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """Logits of a batch."""
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.head(self.second(self.pool(x)).flatten(1))
        return logits


class Mlp(nn.Module):
    """Two hidden layers of 256, for comparison: too small for batch-level selection to pay."""

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


BUILDERS: dict[str, Builder] = {"cnn": Cnn, "mlp": Mlp, "resnet18": ResNet18}


def builder(name: str) -> Builder:
    """The function that builds a model from (in_channels, classes, image_size).

    `name` is one of `BUILDERS` or `package.module:function`.
    """
    if name in BUILDERS:
        return BUILDERS[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(
            f"--model must be one of {', '.join(BUILDERS)} or package.module:function, "
            f"got {name!r}.{nearest(name, list(BUILDERS))}"
        )
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--model {name} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"--model {name} is not a function")
    made: Builder = found
    return made


def build(name: str, in_channels: int, classes: int, image_size: int, seed: int) -> nn.Module:
    """Build a model whose first weights depend on `seed` only; the global RNG stays as found."""
    make = builder(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = make(in_channels, classes, image_size)
    if not isinstance(model, nn.Module):
        raise ValueError(f"--model {name} must return a torch.nn.Module, got {type(model)}")
    return model
