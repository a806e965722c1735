"""Each way to spoil an image against plain loops over its pixels, and the drawing of the images."""

import math

import numpy as np
import pytest
import torch

from samplewise.bench.protocols import CORRUPTIONS, corrupt_images, effects
from samplewise.rng import generator


def photographs(n, channels, side, seed=0):
    """Smooth random images, with structure that a blur or a small size shows."""
    coarse = torch.rand(n, channels, 6, 6, generator=generator(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return (smooth * 255).round().to(torch.uint8)


def differences(found, expected):
    return np.abs(found.numpy().astype(int) - np.asarray(expected).astype(int))


@pytest.mark.parametrize("side", [8, 28, 32])
def test_fog_follows_its_formula_pixel_by_pixel(side):
    images = photographs(2, 3, side)
    expected = np.zeros(images.shape)
    for i, c, row, col in np.ndindex(*images.shape):
        distance = math.sqrt((row - side // 2) ** 2 + (col - side // 2) ** 2)
        t = math.exp(-0.4 * (math.sqrt(side) - 0.04 * distance))
        expected[i, c, row, col] = math.floor((float(images[i, c, row, col]) / 255 * t + 0.5 * (1 - t)) * 255)
    assert not differences(effects.fog(images), expected).any()


def test_fog_leaves_a_picture_and_the_reference_makes_it_black():
    images = photographs(2, 3, 32)
    assert effects.fog(images).min() > 100
    assert not effects.fog(images, reference_bugs=True).any()


def test_gaussian_noise_is_clipped_to_the_range_pixel_by_pixel():
    images = photographs(3, 3, 8)
    noise = torch.randn(images.shape, generator=generator(5), dtype=torch.float64)
    found, wrapped = (effects.gaussian(images, generator(5), bugs) for bugs in (False, True))
    for place in np.ndindex(*images.shape):
        value = float(images[place]) / 255 + 0.2 + float(noise[place])
        assert int(found[place]) == int(min(max(value, 0), 1) * 255)
        # What a cast of a negative float to uint8 does: cut off the fraction, keep the last 8 bits.
        assert int(wrapped[place]) == int(min(max(value, -1), 1) * 255) % 256


def test_gaussian_noise_has_mean_a_fifth_and_deviation_one():
    black = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    spoilt = effects.gaussian(black, generator(0))
    # Shares of a normal law of mean 0.2 below 1/255 and from 1 on; the deviation of either is about 0.001.
    assert abs(float((spoilt == 0).double().mean()) - 0.4222) < 0.006
    assert abs(float((spoilt == 255).double().mean()) - 0.2119) < 0.006
    assert (effects.gaussian(black, generator(0), reference_bugs=True) == 0).double().mean() < 0.01


@pytest.mark.parametrize(("side", "first", "last"), [(32, 5, 20), (28, 4, 17), (64, 10, 41), (8, 1, 4)])
def test_occlusion_is_a_black_rectangle_with_inclusive_corners(side, first, last):
    images = photographs(2, 3, side).clamp(min=1)
    spoilt = effects.occlusion(images, generator(0))
    for i, c, row, col in np.ndindex(*images.shape):
        hidden = first <= row <= last and first <= col <= last
        assert int(spoilt[i, c, row, col]) == (0 if hidden else int(images[i, c, row, col]))


def test_occlusion_at_random_positions_lies_inside_and_anywhere():
    images = torch.ones(2000, 1, 8, 8, dtype=torch.uint8)
    black = effects.occlusion(images, generator(0), random_position=True)[:, 0] == 0
    corners = set()
    for square in black.numpy():
        rows, cols = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
        assert len(rows) == len(cols) == rows[-1] - rows[0] + 1 == cols[-1] - cols[0] + 1 == 4
        assert square.sum() == 16
        corners.add((rows[0], cols[0]))
    assert corners == {(row, col) for row in range(5) for col in range(5)}


def bicubic(line, size):
    """One line of pixels at another size: cubic convolution, stretched over what is left out."""
    ratio = len(line) / size
    stretch, out = max(ratio, 1.0), []
    for i in range(size):
        centre = (i + 0.5) * ratio
        weights = []
        for j in range(len(line)):
            x = abs(j + 0.5 - centre) / stretch
            near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
            weights.append(near if x < 1 else far if x < 2 else 0.0)
        value = sum(w * p for w, p in zip(weights, line, strict=True)) / sum(weights)
        out.append(min(max(math.floor(value + 0.5), 0), 255))
    return out


def resized(plane, size):
    rows = [bicubic(row, size) for row in plane]
    return np.array([bicubic(column, size) for column in zip(*rows, strict=True)]).T


@pytest.mark.parametrize(("side", "small"), [(32, 8), (28, 7)])
def test_resolution_shrinks_to_a_quarter_and_enlarges_again(side, small):
    images = photographs(2, 2, side)
    found = effects.resolution(images)
    for i, c in np.ndindex(2, 2):
        expected = resized(resized(images[i, c].tolist(), small).tolist(), side)
        # Pillow's fixed-point sums round a value near one half otherwise now and then.
        assert differences(found[i, c], expected).max() <= 1
        assert differences(found[i, c], expected).mean() < 0.05


def rotated_diagonal(degree):
    """Each pixel looks up where it came from, and mixes the four pixels round that place."""
    cos, sin, centre = math.cos(math.pi / 4), math.sin(math.pi / 4), degree / 2
    forward = np.array([
        [cos, sin, (1 - cos) * centre - sin * centre],
        [-sin, cos, sin * centre + (1 - cos) * centre],
        [0, 0, 1],
    ])  # fmt: skip
    back, kernel = np.linalg.inv(forward), np.zeros((degree, degree))
    for y, x in np.ndindex(degree, degree):
        from_x, from_y, _ = back @ (x, y, 1)
        left, top = math.floor(from_x), math.floor(from_y)
        for i, j in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            if i == j and 0 <= i < degree:
                kernel[y, x] += (1 - abs(from_x - i)) * (1 - abs(from_y - j))
    return kernel / degree


@pytest.mark.parametrize("degree", [3, 13, 15])
def test_the_blur_kernel_is_a_diagonal_turned_by_45_degrees(degree):
    kernel = effects.blur_kernel(degree).numpy()
    np.testing.assert_allclose(kernel, rotated_diagonal(degree), atol=1e-12)
    # Counter-clockwise on screen the falling diagonal comes to lie level, on the two middle rows.
    assert set(np.flatnonzero(kernel.sum(1) > 1e-9)) <= {degree // 2, degree // 2 + 1}


@pytest.mark.parametrize(("side", "degree"), [(32, 15), (28, 13), (8, 5)])
def test_motion_blur_filters_and_stretches_pixel_by_pixel(side, degree):
    images, kernel, pad = photographs(2, 3, side), rotated_diagonal(degree), degree // 2
    found = effects.motion_blur(images)
    for image, spoilt in zip(images.numpy(), found, strict=True):
        mirrored = np.pad(image.astype(float), ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
        blurred = np.zeros(image.shape)
        for c, row, col in np.ndindex(*image.shape):
            window = mirrored[c, row : row + degree, col : col + degree]
            blurred[c, row, col] = round(min(max(float((window * kernel).sum()), 0), 255))
        low, high = blurred.min(), blurred.max()
        expected = np.rint((blurred - low) * 255 / (high - low))
        assert differences(spoilt, expected).max() <= 1
        assert int(spoilt.min()) == 0
        assert int(spoilt.max()) == 255


def test_an_image_of_one_colour_stays_under_blur_and_the_reference_makes_it_black():
    images = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
    images[1, 0, 0, 0] = 255
    assert torch.equal(effects.motion_blur(images)[0], images[0])
    spoilt = effects.motion_blur(images, reference_bugs=True)
    assert not spoilt[0].any()
    assert spoilt[1].any()


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
@pytest.mark.parametrize("bugs", [False, True])
def test_each_kind_spoils_its_exact_share_and_no_other_image(channels, side, bugs):
    images = photographs(100, channels, side)
    before = images.clone()
    spoilt, kind = corrupt_images(images, generator(0), reference_bugs=bugs)
    assert torch.bincount(kind, minlength=6).tolist() == [80, 4, 4, 4, 4, 4]
    assert torch.equal(images, before)
    assert torch.equal((spoilt != images).flatten(1).any(1), kind > 0)
    assert spoilt.dtype == torch.uint8


def test_codes_name_what_was_done_also_over_many_chunks():
    images = photographs(6000, 1, 8)
    spoilt, kind = corrupt_images(images, generator(0), share=0.2)
    assert torch.bincount(kind).tolist() == [0, 1200, 1200, 1200, 1200, 1200]
    by_name = {name: (images[kind == code], spoilt[kind == code]) for code, name in enumerate(CORRUPTIONS)}
    for name, effect in (
        ("occlusion", lambda x: effects.occlusion(x, generator(0))),
        ("resolution", effects.resolution),
        ("fog", effects.fog),
        ("motion_blur", effects.motion_blur),
    ):
        clean, found = by_name[name]
        assert torch.equal(found, effect(clean)), name
    noise = by_name["gaussian"][1]
    # No chunk repeats the noise of another.
    assert len(noise.flatten(1).unique(dim=0)) == 1200
    assert ((noise == 0) | (noise == 255)).double().mean() > 0.4


def test_the_share_rounds_down_and_may_be_nothing():
    images = photographs(49, 1, 8)
    assert torch.bincount(corrupt_images(images, generator(0)).kind).tolist() == [44, 1, 1, 1, 1, 1]
    assert torch.equal(corrupt_images(images, generator(0), share=0).images, images)
    # A share that is meant to be a tenth comes out a hair less, and 2 of 20 with it.
    tenth = corrupt_images(images[:20], generator(0), share=1 - 0.9)
    assert torch.bincount(tenth.kind).tolist() == [10, 2, 2, 2, 2, 2]


def test_the_generator_alone_decides_and_global_ones_stay():
    images, before = photographs(100, 1, 8), torch.get_rng_state()
    first, again, other = (corrupt_images(images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.kind, again.kind)
    assert not torch.equal(first.kind, other.kind)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_position_and_reference_bugs_reach_the_kinds_they_name():
    images = photographs(500, 1, 8).clamp(min=1)
    plain, kind = corrupt_images(images, generator(0))
    for option, changed in (("random_position", {"occlusion"}), ("reference_bugs", {"gaussian", "fog"})):
        other = corrupt_images(images, generator(0), **{option: True})
        assert torch.equal(other.kind, kind)
        differing = kind[(other.images != plain).flatten(1).any(1)]
        # Where the square is drawn, nothing else draws after it.
        assert {CORRUPTIONS[code] for code in differing.tolist()} == changed


def test_only_the_named_kinds_are_made():
    images = photographs(40, 1, 8)
    found = corrupt_images(images, generator(1), share=0.5, kinds=("fog", "resolution"))
    assert torch.bincount(found.kind).tolist() == [0, 0, 0, 20, 20]
    chosen = found.kind == CORRUPTIONS.index("fog")
    assert torch.equal(found.images[chosen], effects.fog(images[chosen]))
    with pytest.raises(ValueError, match=r"kinds must be of gaussian.*got 'frog'\. Did you mean 'fog'"):
        corrupt_images(images, generator(1), kinds=["frog"])


@pytest.mark.parametrize(
    ("images", "share", "said"),
    [
        (torch.zeros(10, 1, 8, 8), 0.04, r"needs uint8 images, got torch\.float32"),
        (
            torch.zeros(10, 3, 32, 28, dtype=torch.uint8),
            0.04,
            "square images of at least 8 pixels, got 32 x 28",
        ),
        (torch.zeros(10, 3, 7, 7, dtype=torch.uint8), 0.04, "square images of at least 8 pixels, got 7 x 7"),
        (torch.zeros(10, 3, 8, 8, dtype=torch.uint8), 0.21, "share must be at most 1 / 5.*got 0.21"),
    ],
)
def test_images_and_shares_that_do_not_fit_are_refused(images, share, said):
    with pytest.raises(ValueError, match=said):
        corrupt_images(images, generator(0), share=share)
