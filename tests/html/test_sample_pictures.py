"""Samples as images, text or rows."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from samplewise.html.pictures import LETTERS, SIDE, picture


def opened(sample):
    found = picture(sample)
    assert found.kind == "image"
    head, _, data = found.content.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_small_images_keep_every_pixel():
    pixels = torch.arange(3 * 8 * 8).reshape(3, 8, 8).to(torch.uint8)
    assert np.array_equal(np.asarray(opened(pixels)), pixels.numpy().transpose(1, 2, 0))
    grey = pixels[:1]
    for sample in (grey, grey[0], grey.permute(1, 2, 0).numpy(), Image.fromarray(grey[0].numpy())):
        assert np.array_equal(np.asarray(opened(sample)), grey[0].numpy())


def test_floats_are_stretched_and_nan_is_black():
    image = torch.linspace(-2, 2, 25).reshape(5, 5)
    image[0, 0] = float("nan")
    assert np.asarray(opened(image)).max() == 255


def test_large_images_are_made_smaller():
    image = opened(np.random.default_rng(0).integers(0, 256, (3, 300, 200), dtype=np.uint8))
    assert image.size == (SIDE * 200 // 300, SIDE)


def test_the_image_of_a_tuple_or_a_mapping_is_shown():
    image = torch.zeros(1, 8, 8)
    for sample in ((image, 3), {"id": 1, "image": image}, [3, image]):
        assert opened(sample).size == (8, 8)


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("a text", "a text"),
        (np.array(["one", "two"]), "one\ntwo"),
        (torch.tensor([0.5, 1.0]), "0.5 1"),
        ({"question": "why", "n": 2}, "question: why\nn: 2"),
        (("a text", 1), "a text\n1"),
        (b"\xff<b>", "\ufffd<b>"),
        (torch.zeros(7, 1, 1), "0 0 0 0 0 0 0"),
        (torch.arange(30), " ".join(map(str, range(24))) + " and 6 more"),
        (object(), "object"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_samples_are_text(sample, said):
    found = picture(sample)
    assert (found.kind, found.content) == ("text", said)


def test_a_long_text_ends():
    assert len(picture("x" * 5000).content) == LETTERS + 4
