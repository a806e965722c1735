"""`random_dynamic` (METHODS B1): a fresh uniform subset at each checkpoint."""

from collections import Counter
from itertools import combinations

import pytest
import torch
from plain import EPOCHS, N, close, count

import samplewise as sw


def test_a_draw_lasts_for_its_period_and_costs_no_forward():
    selector = sw.Selector(sw.recipes.random_dynamic(keep=0.3, period=4), N, epochs=EPOCHS)
    plans = [tuple(selector.plan(epoch).ids.tolist()) for epoch in range(EPOCHS)]
    assert plans[0] == plans[1] == plans[2] == plans[3]
    assert plans[4] == plans[7]
    assert len({plans[0], plans[4], plans[8]}) > 1
    assert {len(plan) for plan in plans} == {count(N, 0.3)} == {3}
    assert selector.ledger.scoring_forwards == 0
    assert selector.ledger.samples_backpropagated == (EPOCHS - 1) * 3  # D8: T k
    times = torch.zeros(N, dtype=torch.int32)
    for begun in (0, 4, 8):
        times[list(plans[begun])] += 1
    assert torch.equal(selector.table().times_selected, times)


def test_every_subset_is_equally_likely():
    epochs = 600
    selector = sw.Selector(sw.recipes.random_dynamic(keep=0.5, period=1), 4, epochs=epochs)
    drawn = Counter(tuple(selector.plan(epoch).ids.tolist()) for epoch in range(epochs))
    assert set(drawn) == set(combinations(range(4), 2))
    assert all(close(times / epochs, 1 / 6, epochs) for times in drawn.values())


@pytest.mark.parametrize(
    ("n", "keep", "kept"), [(200, 0.995, 199), (1000, 0.5, 500), (5, 0.01, 1), (10, 0.7, 7)]
)
def test_the_budget_is_exact(n, keep, kept):
    # 0.7 * 10 is 7.000000000000001 from one side and 6.99 from the other: rounding loses a sample.
    assert len(sw.Selector(sw.recipes.random_dynamic(keep=keep), n, epochs=1).plan(0)) == kept
