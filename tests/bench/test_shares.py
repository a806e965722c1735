import pytest
import torch

from samplewise.bench.protocols import downsampled, imbalanced
from samplewise.rng import generator

LABELS = torch.arange(50_000) % 10


@pytest.mark.parametrize(
    ("ids", "counts"),
    [
        (imbalanced(LABELS, generator(0)), [1250] * 2 + [2500] * 3 + [3750] * 2 + [5000] * 3),
        (downsampled(LABELS, generator(0)), [1000] * 10),
        (downsampled(LABELS, generator(0), per_class=7), [7] * 10),
        (imbalanced(LABELS[:30], generator(0), shares=[0.5] * 9 + [0.01]), [2] * 9 + [1]),
    ],
    ids=["imbalanced", "downsampled", "seven", "odd"],
)
def test_every_class_has_its_exact_count_and_ids_ascend(ids, counts):
    assert torch.bincount(LABELS[ids], minlength=10).tolist() == counts
    assert (ids.diff() > 0).all()


@pytest.mark.parametrize("protocol", [imbalanced, downsampled])
def test_the_generator_alone_decides_which(protocol):
    before = torch.get_rng_state()
    first, again, other = (protocol(LABELS, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_sample_of_a_class_is_as_likely():
    labels = torch.zeros(8, dtype=torch.long)
    drawn = torch.cat([imbalanced(labels, generator(seed), shares=[0.25]) for seed in range(2000)])
    # 500 expected of each; 5 standard deviations of a count are about 97.
    assert (torch.bincount(drawn, minlength=8) - 500).abs().max() < 97


def test_a_class_that_does_not_occur_has_no_samples():
    labels = torch.tensor([0, 0, 2, 2])
    assert downsampled(labels, generator(0), per_class=2).tolist() == [0, 1, 2, 3]
    assert imbalanced(labels, generator(0), shares=[1, 0.5, 1]).tolist() == [0, 1, 2, 3]


def test_shares_and_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"imbalanced\.shares must be in \(0, 1\], got 25"):
        imbalanced(LABELS, generator(0), shares=[25] * 10)
    with pytest.raises(ValueError, match="because shares has 3 entries, got 0 to 9"):
        imbalanced(LABELS, generator(0), shares=[0.5] * 3)
    with pytest.raises(ValueError, match=r"got 4: class 1 has 3, class 4 has 1\."):
        downsampled(torch.tensor([0] * 4 + [1] * 3 + [4]), generator(0), per_class=4)
    with pytest.raises(ValueError, match=r"downsampled\.per_class must be >= 1, got 0"):
        downsampled(LABELS, generator(0), per_class=0)
