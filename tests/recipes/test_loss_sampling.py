"""`loss_sampling` (METHODS C1 a): drawn without replacement, P ~ loss, no weights."""

import pytest
import torch
from plain import LOSSES, N, close, count, inclusion, shares

import samplewise as sw

DRAWS = 600


def drawn(policy, losses, epoch=0, epochs=1, before=()):
    """Many draws from one meta-batch whose losses are `losses`."""
    n = len(losses)
    ids = torch.arange(n)
    selector = sw.Selector(policy, n, epochs=epochs)
    for passed, seen in enumerate(before):
        selector.plan(passed)
        selector.observe(ids, torch.tensor(seen))
    selector.plan(epoch)
    selector.observe(ids, torch.tensor(losses))
    draws = []
    for _ in range(DRAWS):
        rows, weights = selector.choose(ids)
        assert weights is None
        draws.append(rows.tolist())
    return draws


def test_the_reference_gives_the_published_example():
    assert inclusion((1, 1, 2), 2) == pytest.approx([7 / 12, 7 / 12, 5 / 6])


@pytest.mark.parametrize(
    ("losses", "keep"),
    [([1.0, 1.0, 2.0], 2 / 3), ([0.5, 2.0, 1.0, 4.0], 0.5), (LOSSES[0][:5], 0.4), (LOSSES[4][:6], 0.5)],
)
def test_inclusion_frequencies_follow_the_law(losses, keep):
    draws = drawn(sw.recipes.loss_sampling(keep=keep), losses)
    k = count(len(losses), keep, least=2)
    assert {len(rows) for rows in draws} == {k}
    found = shares(draws)
    for i, expected in enumerate(inclusion(losses, k)):
        assert close(found.get(i, 0.0), expected, DRAWS), (i, found.get(i), expected)


def test_equal_losses_are_drawn_uniformly():
    found = shares(drawn(sw.recipes.loss_sampling(keep=0.5), [0.3] * 6))
    assert all(close(found[i], 0.5, DRAWS) for i in range(6))


def test_losses_of_zero_are_drawn_only_to_fill_up():
    draws = drawn(sw.recipes.loss_sampling(keep=0.5), [0.0, 1.0, 0.0, 2.0, 0.0, 0.0])
    assert all({1, 3} <= set(rows) for rows in draws)
    found = shares(draws)
    assert all(close(found[i], 1 / 4, DRAWS) for i in (0, 2, 4, 5))


def test_losses_that_are_all_zero_are_drawn_uniformly():
    found = shares(drawn(sw.recipes.loss_sampling(keep=0.5), [0.0] * 4))
    assert all(close(found[i], 0.5, DRAWS) for i in range(4))


def test_a_negative_loss_is_refused_with_its_id():
    selector = sw.Selector("loss_sampling", N, epochs=2)
    selector.plan(0)
    with pytest.raises(ValueError, match=r"loss_sampling needs losses >= 0.* ids \[2\] in epoch 0"):
        selector.observe(torch.arange(4), torch.tensor([1.0, 2.0, -0.5, 1.0]))


def test_keep_one_takes_every_row():
    selector = sw.Selector(sw.recipes.loss_sampling(keep=1.0), N, epochs=2)
    selector.plan(0)
    assert selector.choose(torch.arange(N))[0].tolist() == list(range(N))
