"""The nuclear norm and the random projection of matrices of logits, and the memory of what was chosen."""

import math

import numpy as np
import pytest
import torch

import samplewise as sw
from samplewise import matrices, signals, trackers


def test_the_nuclear_norm_is_the_sum_of_the_singular_values():
    rng = np.random.default_rng(0)
    for t, c in ((1, 7), (3, 7), (7, 3), (4, 4)):
        logits = rng.normal(size=(5, t, c))
        expected = [math.fsum(np.sqrt(np.linalg.eigvalsh(m @ m.T).clip(0))) for m in logits]
        found = matrices.nuclear_norm(torch.tensor(logits))
        assert found.tolist() == pytest.approx(expected)
        padded = np.concatenate([logits, np.zeros((5, 2, c))], axis=1)
        assert matrices.nuclear_norm(torch.tensor(padded)).tolist() == pytest.approx(expected)


def test_one_row_of_logits_is_a_matrix_of_one_row():
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(matrices.nuclear_norm(logits), matrices.nuclear_norm(logits[:, None]))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_hartley_transform_is_that_of_its_definition(n):
    turns = 2 * math.pi * np.outer(np.arange(n), np.arange(n)) / n
    plain = np.array([[math.cos(a) + math.sin(a) for a in row] for row in turns])
    found = matrices.hartley(torch.eye(n, dtype=torch.float64))
    assert np.allclose(found.numpy(), plain / math.sqrt(n))


def test_a_projection_keeps_distances_on_average():
    """Over 400 pairs the mean ratio of squared distances is 1, with the spread that 4 x 16 numbers allow."""
    rng = torch.Generator().manual_seed(1)
    pairs = torch.randn(2, 400, 12, 300, generator=rng)
    project = matrices.Projection(width=16, depth=4, length=20)
    z, other = project(pairs[0]), project(pairs[1])
    assert z.shape == (400, 64)
    ratio = (z - other).square().sum(1) / (pairs[0] - pairs[1]).flatten(1).square().sum(1)
    assert abs(float(ratio.mean()) - 1) < 0.05
    assert float(ratio.std()) < 0.4


def test_an_axis_that_is_short_enough_stays_as_it_is():
    logits = torch.randn(3, 10, generator=torch.Generator().manual_seed(2))
    assert torch.equal(matrices.Projection()(logits), logits)
    tokens = torch.randn(3, 2, 10, generator=torch.Generator().manual_seed(3))
    assert torch.equal(matrices.Projection(length=2)(tokens), tokens.flatten(1))


def test_padding_with_zeros_changes_no_projection():
    tokens = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(4))
    project = matrices.Projection(width=8, depth=2, length=9)
    padded = torch.nn.functional.pad(tokens, (0, 0, 0, 3))
    assert torch.allclose(project(tokens), project(padded), atol=1e-6)


def test_a_signal_says_by_its_annotation_whether_it_takes_tokens():
    both = (matrices.nuclear_norm, matrices.Projection())
    assert signals.take_tokens(both)
    assert signals.take_tokens((signals.loss, *both))
    assert not signals.take_tokens((signals.entropy, *both))
    assert not signals.take_tokens((signals.loss,))


def test_novelty_refuses_other_signals():
    with pytest.raises(ValueError, match=r"must follow two signals, a number and then a vector"):
        trackers.Novelty().start(4, {"loss": torch.zeros(0)})


def test_novelty_beside_another_method_follows_the_choices_of_its_batches():
    policy = sw.combine(sw.recipes.infobatch(), sw.recipes.uds(0.5))
    selector = sw.Selector(policy, 6, epochs=1, batch_size=3)
    selector.plan(0)
    for ids, rows in (([0, 1, 2], [[3.0, 0.0], [0.0, 4.0], [1.0, 0.0]]), ([3, 4, 5], [[0.0, 0.0]] * 3)):
        logits = torch.tensor(rows)
        selector.observe(torch.tensor(ids), sw.Outputs(loss=torch.ones(3), logits=logits))
        selector.choose(torch.tensor(ids))
    assert selector.score().tolist()[3:] == pytest.approx([(3 + 4) / 2] * 3)
