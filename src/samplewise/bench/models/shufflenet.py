"""ShuffleNet-v2 for small images: each unit convolves half of the channels and then shuffles all channels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench.models.sizes import at_least

# (channels, units): width 1 of table 5 of arXiv:1807.11164. The stem keeps the size, and there is no pooling.
STAGES = ((116, 4), (232, 8), (464, 4))


class Unit(nn.Module):
    """Convolve one half of the channels and pass the other half unchanged. Stride 1, same width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = _branch(channels // 2, channels // 2, 1)

    def forward(self, x: Float[Tensor, "b co h w"]) -> Float[Tensor, "b co h w"]:
        """Features of the next depth."""
        passed, worked = x.chunk(2, 1)
        return shuffle(torch.cat([passed, self.layers(worked)], 1))


class Halving(nn.Module):
    """Two branches convolve all channels with stride 2. Their outputs are concatenated."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.short = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, 2, 1, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            *_pointwise(in_channels, half),
        )
        self.layers = _branch(in_channels, half, 2)

    def forward(self, x: Float[Tensor, "b ci hi wi"]) -> Float[Tensor, "b co ho wo"]:
        """Features of the next depth."""
        return shuffle(torch.cat([self.short(x), self.layers(x)], 1))


class ShuffleNetV2(nn.Module):
    """Width 1, 1.3 million parameters. Images need at least 8 pixels per side."""

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        at_least(8, "shufflenet_v2", image_size)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 24, 3, 1, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        stages: list[nn.Module] = []
        width = 24
        for channels, units in STAGES:
            stages.append(Halving(width, channels))
            stages += [Unit(channels) for _ in range(units - 1)]
            width = channels
        self.stages = nn.Sequential(*stages)
        self.last = nn.Sequential(*_pointwise(width, 1024))
        self.head = nn.Linear(1024, classes)

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """Logits of a batch."""
        logits: Tensor = self.head(self.last(self.stages(self.stem(x))).mean((2, 3)))
        return logits


def shuffle(x: Float[Tensor, "b ch h w"]) -> Float[Tensor, "b ch h w"]:
    """Interleave the channels of the two halves.

    >>> shuffle(torch.arange(4.0).view(1, 4, 1, 1)).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """
    b, ch, h, w = x.shape
    return x.view(b, 2, ch // 2, h, w).transpose(1, 2).flatten(1, 2)


def _branch(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *_pointwise(in_channels, channels),
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        *_pointwise(channels, channels),
    )


def _pointwise(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
