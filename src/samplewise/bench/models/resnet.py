"""ResNets for small images: the stem is a 3x3 convolution without pooling; the four stages are as usual."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench.models.sizes import at_least


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut. If the shape changes, the shortcut is a 1x1 convolution."""

    widening = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: Float[Tensor, "b ci hi wi"]) -> Float[Tensor, "b co ho wo"]:
        """Features of the next depth."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3 (with the stride) and 1x1. The output has four times the channels."""

    widening = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = self.widening * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Float[Tensor, "b ci hi wi"]) -> Float[Tensor, "b co ho wo"]:
        """Features of the next depth."""
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, four stages (three of them halve the image), global mean pooling and the head."""

    name: str
    block: type[Block | Bottleneck]
    depths: tuple[int, int, int, int]

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        at_least(8, self.name, image_size)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()
        )
        stages: list[nn.Module] = []
        width = 64
        for channels, stride, depth in zip((64, 128, 256, 512), (1, 2, 2, 2), self.depths, strict=True):
            for i in range(depth):
                stages.append(self.block(width, channels, stride if i == 0 else 1))
                width = self.block.widening * channels
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """Logits of a batch."""
        logits: Tensor = self.head(self.stages(self.stem(x)).mean((2, 3)))
        return logits


class ResNet18(ResNet):
    """18 layers, 11.2 million parameters. Images need at least 8 pixels per side."""

    name, block, depths = "resnet18", Block, (2, 2, 2, 2)


class ResNet34(ResNet):
    """34 layers, 21.3 million parameters. Images need at least 8 pixels per side."""

    name, block, depths = "resnet34", Block, (3, 4, 6, 3)


class ResNet50(ResNet):
    """50 layers, 23.5 million parameters. Images need at least 8 pixels per side."""

    name, block, depths = "resnet50", Bottleneck, (3, 4, 6, 3)


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    if stride == 1 and in_channels == channels:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
