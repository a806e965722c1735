"""Random crop and flip of a whole batch, in the main process, with an explicit seed."""

import torch
import torch.nn.functional as F
from jaxtyping import Num
from torch import Tensor

from samplewise import rng


def crop_and_flip(
    images: Num[Tensor, "b ch side side"], seed: int, epoch: int, step: int
) -> Num[Tensor, "b ch side side"]:
    """Pad with zeros, crop to the old size at a random position, and mirror each image with probability 1/2.

    The padding is 4 pixels for images of 28 and 32 pixels, and about an eighth of the side in general. The
    random numbers depend on (seed, epoch, step) only, not on loader workers or earlier batches.
    """
    b, _, side, _ = images.shape
    pad = max(1, (side + 4) // 8)
    generator = rng.generator(seed, epoch, "augment", step)
    corner = torch.randint(0, 2 * pad + 1, (2, b, 1), generator=generator)
    mirrored = torch.rand(b, 1, generator=generator) < 0.5
    span = torch.arange(side)
    rows = corner[0] + span
    cols = corner[1] + torch.where(mirrored, side - 1 - span, span)
    padded = F.pad(images, (pad, pad, pad, pad))
    which = torch.arange(b)[:, None, None]
    # The index tensors surround the channel slice, so numpy-style indexing puts the channels last.
    return padded[which, :, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)
