import pytest
import torch

from samplewise.bench.augment import crop_and_flip


def slow(images, seed, epoch, step):
    """The same, one image and one pixel at a time."""
    from samplewise import rng

    b, _, side, _ = images.shape
    pad = {28: 4, 32: 4, 8: 1}[side]
    g = rng.generator(seed, epoch, "augment", step)
    corner = torch.randint(0, 2 * pad + 1, (2, b, 1), generator=g)
    mirrored = torch.rand(b, 1, generator=g) < 0.5
    out = torch.zeros_like(images)
    for i in range(b):
        for y in range(side):
            for x in range(side):
                sy = y + int(corner[0, i]) - pad
                sx = (side - 1 - x if mirrored[i] else x) + int(corner[1, i]) - pad
                if 0 <= sy < side and 0 <= sx < side:
                    out[i, :, y, x] = images[i, :, sy, sx]
    return out


@pytest.mark.parametrize(("ch", "side"), [(1, 8), (3, 8), (1, 28)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_and_flip_equals_a_pixel_loop(ch, side, dtype):
    images = torch.randint(1, 255, (5, ch, side, side), dtype=torch.uint8).to(dtype)
    assert torch.equal(crop_and_flip(images, 0, 1, 2), slow(images, 0, 1, 2))


def test_what_is_drawn_depends_on_seed_epoch_and_step_only():
    images = torch.arange(64 * 64, dtype=torch.float32).reshape(64, 1, 8, 8)
    before = torch.get_rng_state()
    base = crop_and_flip(images, 0, 0, 0)
    assert torch.equal(base, crop_and_flip(images, 0, 0, 0))
    for keys in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not torch.equal(base, crop_and_flip(images, *keys))
    assert torch.equal(before, torch.get_rng_state())


def test_about_half_is_mirrored_and_every_shift_occurs():
    ramp = torch.arange(1, 29, dtype=torch.float32).expand(2000, 1, 28, 28).contiguous()
    out = crop_and_flip(ramp, 0, 0, 0)
    middle = out[:, 0, 14, 13:15]
    mirrored = (middle[:, 0] > middle[:, 1]).float().mean()
    assert 0.45 < mirrored < 0.55
    assert len(middle[:, 0].unique()) >= 9
