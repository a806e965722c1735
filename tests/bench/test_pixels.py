"""Pixels of files and arrays: every format becomes 0 to 255 by its own range, or is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from samplewise.bench import pixels
from tests.bench.images import colour, encoded, grey

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000


def opened(raw):
    return Image.open(io.BytesIO(raw))


def read(image, fmt="PNG", **options):
    return pixels.of_file(opened(encoded(image, fmt, **options)))


def of_files(raws, size=None):
    return pixels.of_pictures(raws, opened, "set", size)


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "PPM"])
def test_16_bit_files_keep_every_value_in_units_of_255(fmt):
    found, own_unit = read(RAMP, fmt)
    assert found.dtype == np.float32
    assert np.abs(found - RAMP / 65535 * 255).max() < 1e-4
    assert len(np.unique(found)) == 64
    assert not own_unit


def test_16_bit_files_of_the_other_byte_order_are_the_same():
    big = Image.frombytes("I;16B", (8, 8), RAMP.astype(">u2").tobytes())
    found, _ = read(big, "TIFF")
    assert np.abs(found - RAMP / 257).max() < 1e-4


def test_16_bit_arrays_are_scaled_as_files_are():
    for order in "<>":
        array = np.stack([RAMP, RAMP + 1]).astype(f"{order}u2")
        found = pixels.of_array(array, "x", None)
        assert torch.allclose(found.values[:, 0], torch.from_numpy(array / 257).float(), atol=1e-4)
        assert not found.own_unit


def test_float_files_stay_as_they_are():
    ramp = np.linspace(-1, 3, 64, dtype=np.float32).reshape(8, 8)
    found, own_unit = read(ramp, "TIFF")
    assert (found == ramp).all()
    assert own_unit


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA"])
def test_what_has_8_bits_or_one_becomes_grey_or_colour(mode):
    """White stays white and black stays black, whatever the mode."""
    image = Image.new("RGB", (2, 1))
    image.putpixel((1, 0), (255, 255, 255))
    fmt = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
    found, own_unit = read(image.convert(mode), fmt)
    assert found.dtype == np.uint8
    assert found.reshape(2, -1)[:, 0].tolist() == [0, 255]
    assert (found.ndim == 2) == (mode in ("1", "L", "LA"))
    assert not own_unit


def test_bool_arrays_become_black_and_white():
    found = pixels.of_array(np.eye(8, dtype=bool)[None], "x", None)
    assert torch.equal(found.values[0, 0], 255 * torch.eye(8, dtype=torch.uint8))


def transparent(mode):
    image = Image.fromarray(colour()).convert(mode)
    image.putalpha(100)
    return encoded(image)


def palette():
    return encoded(Image.fromarray(grey() % 4).convert("P"), transparency=0)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (transparent("RGB"), "transparent pixels"),
        (transparent("L"), "transparent pixels"),
        (palette(), "transparent pixels"),
        (encoded(Image.fromarray(RAMP), transparency=1000), "transparent pixels"),
        (encoded(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), "32 bits or a sign"),
        (encoded(np.full((8, 8), np.inf, np.float32), "TIFF"), "must be finite"),
        (encoded(grey())[:-30], "not readable"),
        (b"junk", "cannot identify"),
    ],
)
def test_files_without_a_defined_white_are_refused_by_row(raw, said):
    with pytest.raises(ValueError, match=rf"set: image 1 is not readable: .*({said})|set: image 1 is {said}"):
        of_files([encoded(grey()), raw])


def test_a_huge_header_is_refused_without_reading_on(monkeypatch):
    for limit in (40, 20):  # above the limit and above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"image 0 is not readable: .*decompression bomb"):
            of_files([encoded(grey())])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint32", "uint64", "complex64"])
def test_arrays_without_a_known_white_are_refused(dtype):
    with pytest.raises(ValueError, match=rf"x must be bool, uint8, uint16 or floating point, got {dtype}"):
        pixels.of_array(np.ones((2, 8, 8), dtype), "x", None)


def test_floats_beside_integers_are_refused():
    with pytest.raises(ValueError, match="image 0 is integers and image 1 is floating point"):
        of_files([encoded(grey()), encoded(np.ones((8, 8), np.float32), "TIFF")])
    floats, integers = (pixels.of_array(np.ones((2, 8, 8), d), "x", None) for d in ("float32", "uint8"))
    with pytest.raises(ValueError, match="train images are floating point and test images are integers"):
        floats.alike(integers, "set")


def test_floats_in_two_units_are_refused():
    small, large = (pixels.of_array(np.full((2, 8, 8), top), "x", None) for top in (0.9, 255.0))
    with pytest.raises(ValueError, match=r"units differ\. Scale both splits to one range"):
        small.alike(large, "set")
    standard = pixels.of_array(np.full((2, 8, 8), -0.7), "x", None)
    small.alike(standard, "set")


def test_float64_that_float32_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="must be finite in float32"):
        pixels.of_array(np.full((2, 8, 8), 1e300), "x", None)


def test_grey_among_colour_is_repeated_for_each_channel():
    first, second, third = colour(), grey(), RAMP
    found = of_files([encoded(image) for image in (first, second, third)]).values
    assert found.shape == (3, 3, 8, 8)
    assert torch.equal(found[0], torch.from_numpy(first).permute(2, 0, 1).float())
    assert (found[1] == torch.from_numpy(second)).all()
    assert torch.allclose(found[2], torch.from_numpy(third / 257).float(), atol=1e-4)


def test_more_images_than_are_joined_at_once_stay_in_order():
    images = [np.full((2, 2), i % 256, np.uint8) for i in range(600)]
    images[300] = np.zeros((2, 2, 3), np.uint8)
    found = of_files([encoded(image) for image in images]).values
    assert found.shape == (600, 3, 2, 2)
    wanted = [i % 256 for i in range(600)]
    wanted[300] = 0
    assert found[:, 2, 1, 1].tolist() == wanted


def test_size_crops_the_centre_and_resizes():
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    for size in (2, 4, 9):
        assert (of_files([encoded(wide), encoded(wide.T)], size).values == 200).all()
        assert (pixels.of_array(wide[None], "x", size).values == 200).all()
    assert of_files([encoded(wide), encoded(colour(30, 20))], 6).values.shape == (2, 3, 6, 6)


def test_size_halves_by_means():
    """At half the side, bilinear with antialiasing keeps the mean of a linear ramp."""
    ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    (found,) = pixels.of_array(ramp[None], "x", 4).values
    assert found[0, 0, 1:3].tolist() == pytest.approx([2.5, 4.5], abs=1e-5)


def test_several_sizes_and_rectangles_name_the_option():
    with pytest.raises(ValueError, match=r"image 0 is \(8, 8\) and image 1 is \(9, 9\)\. Use --size S"):
        of_files([encoded(grey(8)), encoded(grey(9))])
    with pytest.raises(ValueError, match=r"image 0 is \(8, 9\)\. Use --size S"):
        of_files([encoded(grey(8, 9))])
    with pytest.raises(ValueError, match=r"got shape \(2, 8, 9\)\. Use --size S"):
        pixels.of_array(np.zeros((2, 8, 9), np.uint8), "x", None)
    small, large = (pixels.of_array(np.zeros((2, s, s), np.uint8), "x", None) for s in (8, 9))
    with pytest.raises(ValueError, match=r"must have one shape.*Use --size S"):
        small.alike(large, "set")


def test_rectangles_in_arrays_take_a_size_in_both_layouts():
    x = colour(8, 12)[None].repeat(300, 0)
    last = pixels.of_array(x, "x", 8).values
    first = pixels.of_array(x.transpose(0, 3, 1, 2), "x", 8).values
    assert torch.equal(last, first)
    assert torch.equal(last[299], torch.from_numpy(x[0, :, 2:10].copy()).permute(2, 0, 1))


def test_channels_that_could_be_first_or_last_are_not_guessed():
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 3\) could have channels first or last"):
        pixels.of_array(np.zeros((2, 3, 3, 3), np.uint8), "x", None)
    assert pixels.of_array(np.zeros((2, 1, 1, 3), np.uint8), "x", None).values.shape == (2, 3, 1, 1)
    assert pixels.of_array(np.zeros((2, 3, 1, 1), np.uint8), "x", None).values.shape == (2, 3, 1, 1)


def test_the_camera_s_orientation_is_followed():
    from PIL import ExifTags

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3  # upside down
    half = np.zeros((8, 8), np.uint8)
    half[:4] = 255
    found, _ = read(half, "PNG", exif=exif)
    assert (found == half[::-1]).all()


def test_a_size_that_no_memory_holds_is_refused():
    with pytest.raises(ValueError, match=r"need .* GiB of memory\. Use a smaller --size"):
        pixels.of_array(np.zeros((2, 8, 9), np.uint8), "x", 2**40)


def test_vectors_have_a_mean_for_each_number():
    x = np.arange(12).reshape(4, 3)
    found = pixels.of_array(x, "x", None)
    assert found.vectors
    assert torch.equal(found.values[:, :, 0, 0], torch.from_numpy(x).float())
    with pytest.raises(ValueError, match="--size needs images"):
        pixels.of_array(x, "x", 8)
    with pytest.raises(ValueError, match=r"integers up to 2\*\*24"):
        pixels.of_array(x + 2**40, "x", None)
    with pytest.raises(ValueError, match="must have one length, got 3 and 2"):
        found.alike(pixels.of_array(x[:, :2], "x", None), "set")


def test_vectors_whose_differences_float32_would_lose_are_refused():
    x = np.random.default_rng(0).normal(size=(50, 3))
    with pytest.raises(ValueError, match=r"x: component 1 of the vectors lies between .*Subtract an offset"):
        pixels.of_array(x + np.array([0, 1.7e9, 0]), "x", None)
    for kept in (x, x + 100, x * 1e30, np.full((50, 3), 0.1), x.astype(np.float32) + np.float32(1.7e9)):
        assert pixels.of_array(kept, "x", None).vectors


def tiff(data, bits, sample_format=1, photometric=1):
    """A TIFF file of one strip of 2 x 1 grey pixels, as no library here writes it."""
    tags = {
        256: 2,
        257: 1,
        258: bits,
        259: 1,
        262: photometric,
        273: 8 + 2 + 12 * 10 + 4,
        277: 1,
        278: 1,
        279: len(data),
    }
    tags[339] = sample_format
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def test_12_bits_are_scaled_by_12_bits():
    found, _ = pixels.of_file(opened(tiff(bytes([0xFF, 0xF8, 0x00]), 12)))
    assert found[0].tolist() == pytest.approx([255, 2048 / 4095 * 255], abs=1e-4)


def test_16_bits_with_a_sign_are_refused():
    with pytest.raises(ValueError, match="32 bits or a sign"):
        pixels.of_file(opened(tiff(struct.pack("<hh", -5, 300), 16, sample_format=2)))


def test_8_bits_with_a_sign_are_refused():
    with pytest.raises(ValueError, match="a sign"):
        pixels.of_file(opened(tiff(struct.pack("<bb", -5, 100), 8, sample_format=2)))


def test_numbers_of_which_0_is_white_are_turned_round():
    eight, _ = pixels.of_file(opened(tiff(bytes([0, 55]), 8, photometric=0)))
    sixteen, _ = pixels.of_file(opened(tiff(struct.pack("<HH", 0, 55 * 257), 16, photometric=0)))
    assert eight[0].tolist() == [255, 200]
    assert sixteen[0].tolist() == pytest.approx([255, 200])
    with pytest.raises(ValueError, match="0 as white have no known value for black"):
        pixels.of_file(opened(tiff(struct.pack("<ff", 0.0, 1.0), 32, sample_format=3, photometric=0)))


def test_16_bit_colour_keeps_its_upper_8_bits():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">6H", 65535, 32768, 0, 256, 511, 12345)
    raw = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    found, own_unit = pixels.of_file(opened(raw))
    assert found.tolist() == [[[255, 128, 0], [1, 1, 12345 >> 8]]]
    assert not own_unit
