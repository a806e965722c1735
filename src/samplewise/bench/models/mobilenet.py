"""MobileNet-v2 for small images: inverted residual blocks, with fewer strides than the original."""

from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench.models.sizes import at_least

# (expansion, channels, depth, stride of the first): table 2 of arXiv:1801.04381. But the second row and the
# stem have stride 1 instead of 2: images of 32 x 32 become 4 x 4. The original would reduce them to one
# pixel.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Inverted(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection without activation; residual if shapes agree."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * in_channels
        widen = _unit(in_channels, wide, 1) if expansion > 1 else nn.Identity()
        self.layers = nn.Sequential(
            widen,
            _unit(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Float[Tensor, "b ci hi wi"]) -> Float[Tensor, "b co ho wo"]:
        """Features of the next depth."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """Width 1, 2.2 million parameters, no dropout. Images need at least 8 pixels per side."""

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        at_least(8, "mobilenet_v2", image_size)
        self.stem = _unit(in_channels, 32, 3)
        stages: list[nn.Module] = []
        width = 32
        for expansion, channels, depth, stride in STAGES:
            for i in range(depth):
                stages.append(Inverted(width, channels, stride if i == 0 else 1, expansion))
                width = channels
        self.stages = nn.Sequential(*stages)
        self.last = _unit(width, 1280, 1)
        self.head = nn.Linear(1280, classes)

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """Logits of a batch."""
        logits: Tensor = self.head(self.last(self.stages(self.stem(x))).mean((2, 3)))
        return logits


def _unit(in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6())
