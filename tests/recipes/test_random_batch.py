"""`random_batch` (METHODS C0): the control, k uniform rows of each meta-batch, no scoring forward."""

import warnings
from collections import Counter
from itertools import combinations

import pytest
import torch
from plain import LOSSES, N, close, count

import samplewise as sw


def test_rows_are_uniform_without_weights():
    selector = sw.Selector(sw.recipes.random_batch(keep=0.5), 4, epochs=1)
    selector.plan(0)
    drawn = Counter()
    for _ in range(600):
        rows, weights = selector.choose(torch.arange(4))
        assert weights is None
        drawn[tuple(rows.tolist())] += 1
    assert set(drawn) == set(combinations(range(4), 2))
    assert all(close(times / 600, 1 / 6, 600) for times in drawn.values())


@pytest.mark.parametrize(("m", "kept"), [(8, 2), (7, 2), (5, 2), (3, 2), (2, 2), (1, 1), (9, 3)])
def test_every_batch_has_its_own_count_and_at_least_two_rows(m, kept):
    assert count(m, 0.25, least=2) == kept
    selector = sw.Selector("random_batch", 16, epochs=1)
    selector.plan(0)
    assert len(selector.choose(torch.arange(m))[0]) == kept


def told(policy, sizes):
    """The warnings of a selector that chooses from batches of these sizes, each in an epoch of its own."""
    selector = sw.Selector(policy, 128, epochs=len(sizes))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch, sizes_now in enumerate(sizes):
            selector.plan(epoch)
            for m in sizes_now:
                selector.choose(torch.arange(m))
    return [str(warning.message) for warning in caught]


def test_a_share_of_less_than_two_rows_says_so_once():
    small = sw.recipes.random_batch(keep=1 / 128)
    (said,) = told(small, [[128, 128], [128]])
    assert said.startswith("random_batch keeps 2 of the 128 rows of a batch, not the 1 row of keep=0.007812")
    assert said.endswith("Use a larger batch (and less accumulation), or a keep above 0.007812.")
    assert told(sw.recipes.random_batch(keep=1.01 / 128), [[128]]) == []
    # A short last batch, or a batch of one row, is no reason to give another share.
    assert told(sw.recipes.random_batch(keep=0.25), [[8, 3, 1]]) == []
    assert told(sw.recipes.random_batch(keep=0.25), [[1]]) == []
    assert len(told(sw.recipes.random_batch(keep=0.25), [[8], [4, 4], [4]])) == 1


def test_losses_do_not_matter_and_nothing_is_scored():
    chosen = []
    for scale in (1.0, -5.0):
        selector = sw.Selector("random_batch", N, epochs=1)
        selector.plan(0)
        ids = torch.arange(N)
        selector.observe(ids, scale * torch.tensor(LOSSES[0]))
        chosen.append(selector.choose(ids)[0].tolist())
        assert selector.ledger.scoring_forwards == 0
        assert selector.ledger.samples_backpropagated == 2
    assert chosen[0] == chosen[1]
