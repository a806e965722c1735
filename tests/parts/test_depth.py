"""The memory of TDDS against the closed formulas of METHODS A10, written over whole trajectories in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise import signals
from samplewise.pickers import ranking
from samplewise.rng import generator
from samplewise.trackers import DualDepth

EPS = 1e-8


def trajectory(epochs, n, classes=4, seed=0, speed=0.6, noise=0.6):
    """Logits of a training in which some samples are learned faster than others, and the targets."""
    g = generator("trajectory", seed)
    targets = torch.randint(classes, (n,), generator=g)
    pull = torch.rand(n, generator=g) * speed
    z = torch.zeros(n, classes)
    logits = []
    for _ in range(epochs):
        z = z * 0.95 + torch.randn(n, classes, generator=g) * noise
        z[torch.arange(n), targets] += pull
        logits.append(z.clone())
    return torch.stack(logits), targets


def recorded(tracker, values, cut=None, ids=None):
    """The score after all epochs of `values` (T, n) or (T, n, C), each cut into chunks."""
    n = values.shape[1]
    state = tracker.start(n, {"p": values[0, :1]})
    for epoch in values:
        order = torch.arange(n) if ids is None else ids
        for some in order.split(cut or n):
            tracker.observe(state, some, {"p": epoch[some]})
        tracker.close(state)
    return tracker.read(state)["score"]


def reference(p, window, beta=0.9, absolute="inside", sqrt=True, average="ema", series="kl"):
    """R = sum_k beta (1 - beta)^(T - K - k) R_k over every snapshot at once, in float64."""
    p = np.asarray(p, dtype=np.float64)
    epochs = len(p)
    if series == "kl":
        terms = p[1:] * (np.log(p[1:] + EPS) - np.log(p[:-1] + EPS))
        moves = np.abs(terms).sum(2) if absolute == "inside" else terms.sum(2)
    else:
        moves = p if series == "el2n" else p[1:] - p[:-1]
    moves = moves if absolute == "none" else np.abs(moves)
    inside = window if series == "el2n" else window - 1
    spreads = []
    for k in range(epochs - window + 1):
        part = moves[k : k + inside]
        squares = ((part - part.mean(0)) ** 2).sum(0)
        spreads.append(np.sqrt(squares) if sqrt else squares)
    if average == "mean":
        return np.mean(spreads, axis=0)
    return sum(beta * (1 - beta) ** (epochs - window - k) * spread for k, spread in enumerate(spreads))


@settings(max_examples=60)
@given(
    st.integers(3, 6),
    st.integers(0, 6),
    st.sampled_from([0.5, 0.85, 0.9, 1.0]),
    st.sampled_from(["inside", "outside"]),
    st.booleans(),
    st.sampled_from(["ema", "mean"]),
    st.integers(0, 100),
)
def test_epoch_by_epoch_equals_the_formula_over_the_whole_trajectory(
    window, more, beta, absolute, sqrt, average, seed
):
    p = trajectory(window + more, 6, seed=seed)[0].softmax(2)
    tracker = DualDepth(window + more, window, beta, "kl", absolute, sqrt, average)
    expected = reference(p, window, beta, absolute, sqrt, average)
    np.testing.assert_allclose(recorded(tracker, p), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("absolute", ["inside", "outside", "none"])
def test_the_change_of_the_loss_and_the_spread_of_el2n_are_their_formulas(absolute):
    logits, targets = trajectory(9, 20, seed=3)
    logp = torch.stack([signals.target_log_probability(z, targets) for z in logits])
    el2n = torch.stack([signals.el2n(z, targets) for z in logits])
    for series, values in (("ce", logp), ("el2n", el2n)):
        tracker = DualDepth(9, 4, depth1=series, absolute=absolute)
        expected = reference(values, 4, absolute=absolute, series=series)
        np.testing.assert_allclose(recorded(tracker, values), expected, rtol=1e-3, atol=1e-6)


def test_a_trajectory_that_does_not_move_scores_zero():
    p = trajectory(1, 10)[0].softmax(2).expand(7, 10, 4)
    assert recorded(DualDepth(7, 4), p).tolist() == [0.0] * 10


def test_equal_changes_score_zero():
    # Back and forth between a distribution and its mirror image: the terms' sizes stay the same.
    there = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
    p = torch.stack([there, there.flip(1)] * 4)
    assert recorded(DualDepth(8, 4), p).tolist() == [0.0, 0.0]
    steady = torch.linspace(-3, -1, 8)[:, None].expand(8, 2)
    assert recorded(DualDepth(8, 4, depth1="ce"), steady).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_naming_the_classes_the_other_way_round_changes_nothing():
    p = trajectory(9, 50, classes=7, seed=1)[0].softmax(2)
    torch.testing.assert_close(recorded(DualDepth(9, 5), p), recorded(DualDepth(9, 5), p.flip(2)))


def test_a_constant_added_to_all_logits_of_a_sample_changes_nothing():
    logits, _ = trajectory(9, 50, seed=2)
    shift = torch.randn(9, 50, 1, generator=generator("shift")) * 5
    plain, moved = (recorded(DualDepth(9, 5), z.softmax(2)) for z in (logits, logits + shift))
    torch.testing.assert_close(plain, moved, rtol=1e-3, atol=1e-5)


def test_order_and_cuts_change_no_bit():
    p = trajectory(6, 300, seed=4)[0].softmax(2)
    once = recorded(DualDepth(6, 4), p)
    for cut in (1, 7, 299):
        order = torch.randperm(300, generator=generator("order", cut))
        assert torch.equal(recorded(DualDepth(6, 4), p, cut, order), once)


def test_a_data_set_larger_than_what_is_worked_on_at_once_is_scored_row_by_row():
    p = trajectory(4, 3000, classes=100, seed=5)[0].softmax(2)
    whole = recorded(DualDepth(4, 3), p)
    for some in (slice(0, 100), slice(2600, 2700), slice(2900, 3000)):
        torch.testing.assert_close(recorded(DualDepth(4, 3), p[:, some]), whole[some])


def test_permuting_the_samples_permutes_the_score():
    p = trajectory(6, 300, seed=6)[0].softmax(2)
    to = torch.randperm(300, generator=generator("to"))
    torch.testing.assert_close(recorded(DualDepth(6, 4), p[:, to]), recorded(DualDepth(6, 4), p)[to])


def test_two_snapshots_and_the_changes_of_one_window_are_all_that_is_held():
    p = trajectory(12, 10, classes=6)[0].softmax(2)
    for half, width in ((False, 4), (True, 2)):
        tracker = DualDepth(12, 5, half=half)
        state = tracker.start(10, {"p": p[0]})
        for epoch in p:
            tracker.observe(state, torch.arange(10), {"p": epoch})
            tracker.close(state)
            held = sum(c.numel() * c.element_size() for c in state.values() if c.ndim)
            assert held == 10 * (2 * width * 6 + 4 * 5 + 1)
        tracker.finish(state)
        assert {name: c.dtype for name, c in state.items()} == {"score": torch.float32}


def kept(score, keep):
    return set(ranking.top(score, ranking.budget(len(score), keep)).tolist())


@pytest.mark.parametrize(("speed", "least"), [(0.6, 0.99), (3.0, 0.96)], ids=["learning", "nearly learned"])
def test_half_precision_keeps_nearly_the_same_samples(speed, least):
    p = trajectory(30, 2000, classes=10, seed=7, speed=speed)[0].softmax(2)
    exact, half = recorded(DualDepth(30, 10), p), recorded(DualDepth(30, 10, half=True), p)
    assert not torch.equal(exact, half)
    for keep in (0.9, 0.7, 0.5, 0.3, 0.1):
        both = kept(exact, keep)
        assert len(both & kept(half, keep)) / len(both) >= least


def test_no_score_before_the_first_window_is_full():
    p = trajectory(4, 3)[0].softmax(2)
    assert recorded(DualDepth(6, 4), p[:3]).isnan().all()
    assert (recorded(DualDepth(6, 4), p[:4]) > 0).all()


def test_an_epoch_that_begins_again_counts_once():
    p = trajectory(5, 6, seed=8)[0].softmax(2)
    tracker = DualDepth(5, 3)
    state = tracker.start(6, {"p": p[0]})
    for e, epoch in enumerate(p):
        if e in (0, 2, 3):
            tracker.observe(state, torch.tensor([4, 1]), {"p": torch.full((2, 4), 0.25)})
            tracker.restart(state)
        tracker.observe(state, torch.arange(6), {"p": epoch})
        tracker.close(state)
    assert torch.equal(tracker.read(state)["score"], recorded(tracker, p))


def test_missing_and_repeated_samples_are_refused_with_ids_and_epoch():
    p = trajectory(3, 20)[0].softmax(2)
    tracker = DualDepth(3, 3)
    state = tracker.start(20, {"p": p[0]})
    tracker.observe(state, torch.arange(20), {"p": p[0]})
    tracker.close(state)
    tracker.observe(state, torch.arange(9), {"p": p[1, :9]})
    with pytest.raises(ValueError, match=r"once in an epoch, but ids \[3, 5\] came again in epoch 1"):
        tracker.observe(state, torch.tensor([3, 12, 5]), {"p": p[1, [3, 12, 5]]})
    with pytest.raises(ValueError, match=r"but ids \[9, 10, .*, 13, ... 6 more\] were not seen in epoch 1"):
        tracker.close(state)
    tracker.observe(state, torch.arange(9, 20), {"p": p[1, 9:]})
    tracker.close(state)


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"DualDepth.window must be >= 3, got 2"):
        DualDepth(5, 2)
    with pytest.raises(ValueError, match=r"DualDepth.T must be at least the window of 6, got 5"):
        DualDepth(5, 6)
    with pytest.raises(ValueError, match=r"DualDepth.T must be >= 3, got 2"):
        DualDepth(2)
    with pytest.raises(ValueError, match=r"DualDepth.beta must be in \(0, 1\], got 0"):
        DualDepth(beta=0)
    with pytest.raises(ValueError, match=r"DualDepth.T must fit into a training of 8 epochs, got 9"):
        DualDepth(9, 3).within(8)
    with pytest.raises(ValueError, match=r"DualDepth.T must fit into a training of 3 epochs, got 4"):
        DualDepth().within(3)


@pytest.mark.parametrize(
    ("given", "epochs", "filled"),
    [
        ((None, None, (90, 10)), 200, (90, 10)),
        ((None, None, (90, 10)), 15, (7, 6)),  # floor(90 * 15 / 200 + 0.5) = 7
        ((None, None, (90, 10)), 25, (11, 10)),
        ((None, None, (10, 5)), 15, (4, 3)),  # one scaled epoch, so the smallest window and one more
        ((None, None, (10, 5)), 100, (5, 4)),
        ((None, 8, (10, 5)), 100, (9, 8)),
        ((7, None, (90, 10)), 15, (7, 6)),
        ((3, None, (90, 10)), 15, (3, 3)),
        ((20, None, (90, 10)), 30, (20, 10)),
        ((12, 4, (90, 10)), 12, (12, 4)),
    ],
)
def test_the_published_numbers_are_scaled_to_the_training(given, epochs, filled):
    last, window, published = given
    tracker = DualDepth(last, window, published=published).within(epochs)
    assert (tracker.T, tracker.window) == filled
    assert tracker.enough == filled[0]
