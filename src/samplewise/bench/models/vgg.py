"""VGG-16 for small images: thirteen convolutions with batch norm, and one linear layer for three."""

from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench.models.sizes import at_least

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class Vgg16(nn.Module):
    """Thirteen convolutions and the head, 14.7 million parameters, for images of 8 pixels and more.

    Each of five blocks ends by halving the image, an odd side rounded up, and so 28 pixels do not
    shrink to none. The convolutions have no bias: batch norm would take it off again.
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
