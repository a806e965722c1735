"""`Fast`: a narrow residual network behind a whitening layer, for CIFAR-10 in a minute of one CPU core."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench.models.sizes import at_least

WIDTHS = (48, 96, 128)
"""The channels of the three stages."""
PATCH, STRIDE = 3, 2
"""The side of a patch of the whitening layer, and the distance of two patches, in pixels."""
DIRECTIONS = 12
"""The most directions of patches that the whitening layer keeps."""
NOISE = 5e-3
"""Added to the variances of patches, in units of normalized pixels: it keeps directions of noise small."""
SCALE = 0.2
"""Factor of the features. It makes the steps of the head small beside those of the convolutions."""
_AT_ONCE = 50


class Whitening(nn.Module):
    """A fixed convolution that gives patches uncorrelated channels of variance 1, each with both signs.

    Its filters are the eigenvectors with the largest eigenvalues of the covariance of 3x3 patches, divided by
    the square root of the eigenvalue plus `NOISE`. `prepare` computes them. Before it they are random
    directions. They are a buffer: saved with the model, but not trained.
    """

    filters: Tensor

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        size = in_channels * PATCH**2
        directions = nn.init.orthogonal_(torch.empty(min(DIRECTIONS, size), size))
        self.register_buffer("filters", directions.view(-1, in_channels, PATCH, PATCH))

    @property
    def channels(self) -> int:
        """The channels of the output."""
        return 2 * len(self.filters)

    @torch.no_grad()
    def prepare(self, images: Float[Tensor, "m ch side side"]) -> None:
        """Compute the filters from all patches of these images. The same images give the same filters."""
        size, count = self.filters[0].numel(), 0
        total, products = (torch.zeros(size, *more, dtype=torch.float64) for more in ((), (size,)))
        for some in torch.split(images.cpu(), _AT_ONCE):  # all patches at once would take much memory
            patches = F.unfold(some.double(), PATCH).transpose(0, 1).flatten(1)
            total += patches.sum(1)
            products += patches @ patches.T
            count += patches.shape[1]
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        kept = torch.arange(size - 1, size - 1 - len(self.filters), -1)
        directions = vectors.T[kept]
        # An eigenvector has no sign. With a positive largest entry, the order of the channels is fixed.
        largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
        scales = largest.sign() / (values[kept].clamp(min=0) + NOISE).sqrt()[:, None]
        self.filters.copy_((directions * scales).view_as(self.filters))

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b whitened h w"]:
        """Project every second patch of each row and column. The second half of the channels is negated."""
        found = F.conv2d(x, self.filters, stride=STRIDE, padding=PATCH // 2)
        return torch.cat([found, -found], 1)


class Stage(nn.Module):
    """A 3x3 convolution, halving by the maximum, and a 3x3 convolution that is added to its input."""

    def __init__(self, in_channels: int, channels: int, halves: bool, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
        self.pool = nn.MaxPool2d(2) if halves else nn.Identity()
        self.bn = nn.BatchNorm2d(channels)
        self.residual = _unit(channels) if residual else None

    def forward(self, x: Float[Tensor, "b ci hi wi"]) -> Float[Tensor, "b co ho wo"]:
        """Features of the next depth."""
        x = F.relu(self.bn(self.pool(self.conv(x))))
        return x if self.residual is None else x + self.residual(x)


class Fast(nn.Module):
    """A whitening layer and three stages, 0.4 million parameters. Images need at least 8 pixels per side.

    An image of 32 x 32 pixels becomes 16 x 16, then 8 x 8 and 4 x 4. The maximum of each last channel goes to
    the head. `prepare` must be called with training images before the first step; the trainer does it.
    """

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        at_least(8, "fast", image_size)
        self.whitening = Whitening(in_channels)
        first, second, third = WIDTHS
        self.stages = nn.Sequential(
            Stage(self.whitening.channels, first, halves=True, residual=False),
            Stage(first, second, halves=True, residual=True),
            Stage(second, third, halves=False, residual=True),
        )
        self.head = nn.Linear(third, classes, bias=False)
        # On a CPU, a step in this memory layout takes about two thirds of the time.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    def prepare(self, images: Float[Tensor, "m ch side side"]) -> None:
        """Compute the filters of the whitening layer from normalized training images."""
        self.whitening.prepare(images)

    def forward(self, x: Float[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """Logits of a batch."""
        x = F.relu(self.whitening(x.contiguous(memory_format=torch.channels_last)))
        logits: Tensor = self.head(SCALE * self.stages(x).amax((2, 3)))
        return logits


def _unit(channels: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())
