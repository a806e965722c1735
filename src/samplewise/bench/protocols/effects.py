"""Five corruptions of square images, as in the experiments of moderate coreset and TDDS.

Sizes are given for 32 pixels and scale with the side. "The script" is the published code. With
`reference_bugs=True`, a function reproduces the bugs of the script.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from samplewise.checks import require

Images = UInt8[Tensor, "b ch side side"]


def gaussian(images: Images, rng: torch.Generator, reference_bugs: bool = False) -> Images:
    """Add Gaussian noise of mean 0.2 and standard deviation 1 to pixels in [0, 1], then clip to [0, 1].

    Each channel has its own noise. The script clips at -1, so values below 0 wrap around to bright uint8
    values.
    """
    noise = torch.randn(images.shape, generator=rng, dtype=torch.float64)
    noisy = images.double() / 255 + (0.2 + noise)
    if reference_bugs:
        return (noisy.clamp(-1, 1) * 255).long().remainder(256).to(torch.uint8)
    return _truncated(noisy.clamp(0, 1))


def occlusion(images: Images, rng: torch.Generator, random_position: bool = False) -> Images:
    """Draw a black square of half the side: rows and columns 5 to 20 of 32, both included.

    The position is fixed, as in the script. With `random_position`, it is drawn for each image.
    """
    b, _, side, _ = images.shape
    size = side // 2
    if random_position:
        corner = torch.randint(0, side - size + 1, (2, b, 1), generator=rng)
    else:
        corner = torch.full((2, b, 1), _scaled(5, side))
    inside = (torch.arange(side) >= corner) & (torch.arange(side) < corner + size)
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def resolution(images: Images) -> Images:
    """Reduce to a quarter of the side and enlarge again, with the bicubic filter of Pillow."""
    image = require("PIL.Image", "bench")
    side = images.shape[-1]
    small, large = (side // 4, side // 4), (side, side)
    planes = [
        torch.frombuffer(
            bytearray(
                image.fromarray(plane.numpy())
                .resize(small, image.Resampling.BICUBIC)
                .resize(large, image.Resampling.BICUBIC)
                .tobytes()
            ),
            dtype=torch.uint8,
        )
        for plane in images.flatten(0, 1)
    ]
    return torch.stack(planes).view_as(images)


def fog(images: Images, reference_bugs: bool = False) -> Images:
    """Blend with grey: x t + 0.5 (1 - t) with t = exp(-0.4 D). The fog is thickest at the centre.

    D = sqrt(side) - 0.04 * distance, where distance is in pixels from the pixel (side // 2, side // 2). The
    script writes values in [0, 1] into uint8, so the image becomes black.
    """
    side = images.shape[-1]
    span = torch.arange(side, dtype=torch.float64) - side // 2
    distance = (span[:, None].square() + span.square()).sqrt()
    clear = torch.exp(-0.4 * (math.sqrt(side) - 0.04 * distance))
    veiled = images.double() / 255 * clear + 0.5 * (1 - clear)
    return veiled.to(torch.uint8) if reference_bugs else _truncated(veiled)


def motion_blur(images: Images, reference_bugs: bool = False) -> Images:
    """Blur along a line of 15 of 32 pixels, then stretch the contrast of each image to 0..255.

    Borders are mirrored without repeating the edge pixel. If the blurred image has one value only, its
    contrast cannot be stretched and the original image is returned. The script makes it black.
    """
    side = images.shape[-1]
    kernel = blur_kernel(2 * _scaled(7, side) + 1)
    padded = F.pad(images.double(), (len(kernel) // 2,) * 4, mode="reflect")
    blurred = torch.zeros(images.shape, dtype=torch.float64)
    for row, col in kernel.nonzero().tolist():
        blurred += kernel[row, col] * padded[..., row : row + side, col : col + side]
    # The script filters in uint8, so values are rounded before they are stretched.
    blurred = blurred.round_().clamp_(0, 255)
    low, high = blurred.amin((1, 2, 3), keepdim=True), blurred.amax((1, 2, 3), keepdim=True)
    flat = high == low
    stretched = ((blurred - low) * 255 / torch.where(flat, 1, high - low)).round().to(torch.uint8)
    return stretched if reference_bugs else torch.where(flat, images, stretched)


def blur_kernel(degree: int) -> Float[Tensor, "degree degree"]:
    """The diagonal matrix of 1 / degree, rotated by 45 degrees around (degree / 2, degree / 2).

    Interpolation is bilinear. That point is half a pixel away from the centre, as in the script, so the line
    covers two rows. The weights do not sum to 1; the contrast stretch after the filter corrects the scale.
    """
    centre, half = degree / 2, math.sqrt(0.5)
    span = torch.arange(degree, dtype=torch.float64) - centre
    source_x = centre + half * (span - span[:, None])
    source_y = centre + half * (span + span[:, None])
    # Bilinear interpolation of the diagonal: each of its ones is a pyramid with a radius of one pixel.
    ones = torch.arange(degree, dtype=torch.float64)[:, None, None]
    pyramids = (1 - (source_x - ones).abs()).clamp(min=0) * (1 - (source_y - ones).abs()).clamp(min=0)
    return pyramids.sum(0) / degree


def _truncated(unit: Tensor) -> Tensor:
    return (unit * 255).to(torch.uint8)


def _scaled(pixels: int, side: int) -> int:
    """Scale a length from images of 32 pixels to images of `side` pixels, rounded half up."""
    return (2 * pixels * side + 32) // 64
