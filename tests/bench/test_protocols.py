import pytest
import torch

from samplewise.bench.protocols import NOISES, flip_label_noise, uniform_label_noise
from samplewise.rng import generator

LABELS = torch.arange(1000) % 10


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("rate", [0.0, 0.0014, 0.4, 1.0])
def test_exactly_the_share_is_wrong_and_the_mask_says_which(name, rate):
    noisy = NOISES[name](LABELS, rate, 10, generator(0))
    assert int(noisy.wrong.sum()) == round(rate * 1000)
    assert torch.equal(noisy.wrong, noisy.labels != LABELS)
    assert 0 <= int(noisy.labels.min()) <= int(noisy.labels.max()) <= 9
    assert torch.equal(LABELS, torch.arange(1000) % 10)


@pytest.mark.parametrize("name", NOISES)
def test_same_generator_same_noise_and_global_generator_untouched(name):
    before = torch.get_rng_state()
    first = NOISES[name](LABELS, 0.4, 10, generator(3))
    assert torch.equal(first.labels, NOISES[name](LABELS, 0.4, 10, generator(3)).labels)
    assert not torch.equal(first.labels, NOISES[name](LABELS, 0.4, 10, generator(4)).labels)
    assert torch.equal(before, torch.get_rng_state())


def test_uniform_noise_reaches_every_other_class_alike():
    labels = torch.zeros(90_000, dtype=torch.long)
    counts = torch.bincount(uniform_label_noise(labels, 1.0, 10, generator(0)).labels)
    assert counts[0] == 0
    # 10,000 expected; 5 standard deviations of a count are about 470.
    assert (counts[1:] - 10_000).abs().max() < 470


def test_flip_noise_maps_each_class_to_one_other():
    noisy = flip_label_noise(LABELS, 0.4, 10, generator(0))
    for c in range(10):
        targets = noisy.labels[noisy.wrong & (c == LABELS)].unique()
        assert len(targets) == 1
        assert int(targets) != c


def test_flip_map_differs_between_seeds():
    maps = {
        tuple(flip_label_noise(torch.arange(10), 1.0, 10, generator(s)).labels.tolist()) for s in range(5)
    }
    assert len(maps) == 5


@pytest.mark.parametrize("name", NOISES)
def test_a_rate_outside_0_to_1_and_a_single_class_are_refused(name):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got 40"):
        NOISES[name](LABELS, 40, 10, generator(0))
    with pytest.raises(ValueError, match="classes must be at least 2"):
        NOISES[name](LABELS, 0.4, 1, generator(0))


@pytest.mark.parametrize("name", NOISES)
def test_labels_outside_the_classes_are_refused(name):
    with pytest.raises(
        ValueError, match=r"labels must be in \[0, 5\) for label noise with 5 classes, got 0 to 9"
    ):
        NOISES[name](LABELS, 0.4, 5, generator(0))


def test_flip_to_the_next_class_goes_round():
    noisy = flip_label_noise(LABELS, 0.4, 10, generator(0), next_class=True)
    assert int(noisy.wrong.sum()) == 400
    for label, was, wrong in zip(*map(torch.Tensor.tolist, (noisy.labels, LABELS, noisy.wrong)), strict=True):
        assert label == ((was + 1) % 10 if wrong else was)
