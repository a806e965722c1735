import math
from fractions import Fraction

import pytest

from samplewise.bench.protocols import equalised_epochs, samples_seen, scaled_milestones, strategy

KEEPS = ["1", "0.9", "0.7", "0.5", "0.4", "0.3", "0.25", "0.2", "0.1", "0.05"]


@pytest.mark.parametrize(
    ("keep", "batch_size"),
    # 1 - 0.8 and 0.3 - 0.1 are a little less than 0.2, the sum of three less one a little more.
    [(1, 128), (0.5, 128), (0.21, 128), (0.2, 64), (1 - 0.8, 64), (0.3 - 0.1, 64),
     (0.1 + 0.1 + 0.1 - 0.1, 64), (0.11, 64), (0.1, 32), (1 - 0.9, 32), (0.3 - 0.2, 32), (0.01, 32)],
)  # fmt: skip
def test_strategy_e_keeps_the_epochs_and_narrows_the_batches_of_small_coresets(keep, batch_size):
    assert strategy("E", keep, 200, 128) == (200, batch_size)
    assert strategy("E", keep, 200, 128, fixed_batch=True) == (200, 128)


@pytest.mark.parametrize(
    ("given", "half", "quarter"), [(25, 12, 6), (5, 2, 2), (3, 2, 2), (2, 2, 2), (1, 1, 1)]
)
def test_narrowed_batches_have_two_rows_unless_there_is_one(given, half, quarter):
    assert strategy("E", 0.2, 10, given).batch_size == half
    assert strategy("E", 0.1, 10, given).batch_size == quarter


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("epochs", [1, 5, 15, 199, 200])
def test_strategy_p_stretches_the_epochs_rounded_half_up(keep, epochs):
    exact = math.floor(epochs / Fraction(keep) + Fraction(1, 2))
    assert strategy("P", float(keep), epochs, 128) == (exact, 128)
    assert equalised_epochs(epochs, float(keep)) == exact


def test_equalised_runs_see_as_many_samples_to_half_an_epoch():
    for keep in map(float, KEEPS):
        seen = samples_seen(50_000, keep, equalised_epochs(200, keep))
        assert abs(seen - 200 * 50_000) <= keep * 50_000 / 2


def test_samples_seen_counts_the_exact_budget():
    # 7 - floor(0.75 x 7) = 2 of 7.
    assert samples_seen(7, 0.25, 3) == 6
    assert samples_seen(7, 0.25, 0) == 0


def test_milestones_keep_their_share_of_the_training():
    assert scaled_milestones((60, 120, 160), 200, 1000) == (300, 600, 800)
    assert scaled_milestones((60, 120, 160), 200, 100) == (30, 60, 80)
    assert scaled_milestones((1,), 2, 5) == (3,)
    with pytest.raises(ValueError, match=r"milestones must be in \[0, 90\].*got \[120, 160\]"):
        scaled_milestones((60, 120, 160), 90, 1000)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("e", 0.5, 10, 128), r"strategy must be 'E' or 'P', got 'e'"),
        (("P", 30, 10, 128), r"strategy\.keep must be in \(0, 1\], got 30\. Did you mean 0\.3\?"),
        (("E", 0, 10, 128), r"strategy\.keep must be in \(0, 1\], got 0"),
        (("E", 0.5, 0, 128), r"strategy\.epochs must be >= 1, got 0"),
        (("P", 0.5, 10, 0), r"strategy\.batch_size must be >= 1, got 0"),
    ],
)
def test_what_is_no_strategy_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        strategy(*arguments)
