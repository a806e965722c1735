"""VGG-16 for small images: 13 convolutions with batch norm, and one linear layer instead of three."""

from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench.models.sizes import at_least

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class Vgg16(nn.Module):
    """13 convolutions and the head, 14.7 million parameters. Images need at least 8 pixels per side.

    Each of the five blocks ends with pooling that halves the image. Odd sides are rounded up, so images of 28
    pixels keep at least one pixel. The convolutions have no bias, because batch norm would remove it.
    """

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        at_least(8, "vgg16", image_size)
        layers: list[nn.Module] = []
        width = in_channels
        for channels, depth in BLOCKS:
            for _ in range(depth):
                layers += [
                    nn.Conv2d(width, channels, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                ]
                width = channels
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """Logits of a batch."""
        logits: Tensor = self.head(self.layers(x).mean((2, 3)))
        return logits
