"""`ordered_sgd` (METHODS C2): the mean of the largest losses; the adaptive rule by hand."""

import pytest
import torch
from plain import LOSSES, N, count, largest

import samplewise as sw


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.3, 0.9, 1.0])
def test_the_largest_losses_of_the_batch_train(keep):
    selector = sw.Selector(sw.recipes.ordered_sgd(keep=keep), N, epochs=len(LOSSES))
    for epoch, losses in enumerate(LOSSES):
        selector.plan(epoch)
        for ids in ([6, 1, 4, 0, 3], [7, 2, 5]):
            batch = torch.tensor(ids)
            selector.observe(batch, torch.tensor(losses)[batch])
            rows, weights = selector.choose(batch)
            # Equal losses are ordered by sample, not by their place in the batch.
            by_id = sorted(range(len(ids)), key=lambda row: (-losses[ids[row]], ids[row]))
            assert rows.tolist() == sorted(by_id[: count(len(ids), keep, least=2)])
            assert weights is None


def test_in_one_batch_it_is_the_top_of_all():
    selector = sw.Selector("ordered_sgd", N, epochs=1)
    selector.plan(0)
    selector.observe(torch.arange(N), torch.tensor(LOSSES[0]))
    assert selector.choose(torch.arange(N))[0].tolist() == largest(LOSSES[0], 2)


def adaptive(accuracies, size=200):
    """The share kept in every epoch, when epoch e ends with `accuracies[e]` percent right."""
    selector = sw.Selector(sw.recipes.ordered_sgd(keep="adaptive"), size, epochs=len(accuracies) + 1)
    ids, targets = torch.arange(size), torch.ones(size, dtype=torch.int64)
    kept = []
    for epoch, accuracy in enumerate([*accuracies, 0.0]):
        selector.plan(epoch)
        right = ids < round(accuracy / 100 * size)
        logits = torch.stack([~right, right], dim=1).float()
        selector.observe(ids, sw.Outputs(torch.rand(size), logits, targets))
        kept.append(len(selector.choose(ids)[0]))
    return kept


@pytest.mark.parametrize(
    ("accuracy", "kept"),
    [(79.5, 200), (80, 100), (89.5, 100), (90, 50), (94.5, 50), (95, 25), (99, 25), (99.5, 13), (100, 13)],
)
def test_the_adaptive_share_follows_the_accuracy_of_the_epoch_before(accuracy, kept):
    # 200 / 16 = 12.5 rows are 13 by the budget rule.
    assert adaptive([accuracy]) == [200, kept]


def test_the_adaptive_share_never_grows_back():
    assert adaptive([50, 85, 60, 96, 91, 10, 99.5, 0]) == [200, 200, 100, 100, 25, 25, 25, 13, 13]


def test_the_adaptive_rule_needs_logits_and_says_so():
    selector = sw.Selector(sw.recipes.ordered_sgd(keep="adaptive"), N, epochs=2)
    selector.plan(0)
    with pytest.raises(ValueError, match="ordered_sgd needs logits"):
        selector.observe(torch.arange(N), torch.tensor(LOSSES[0]))


def test_a_word_that_is_not_adaptive_is_refused():
    with pytest.raises(
        ValueError, match=r"ordered_sgd.keep must be .*'adaptive'.* Did you mean 'adaptive'\?"
    ):
        sw.recipes.ordered_sgd(keep="adaptiv")
