"""Trackers of whole epochs, and the signals they follow, against plain Python loops."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise import signals, trackers
from samplewise.rng import generator

N = 5
NAN = math.nan
fast = settings(max_examples=60, deadline=None, derandomize=True)


def epochs_of(values):
    """A few epochs, each a list of (id, value) in the order of presentation; samples may be missing."""
    visit = st.tuples(st.integers(0, N - 1), values)
    return st.lists(st.lists(visit, max_size=N, unique_by=lambda v: v[0]), min_size=1, max_size=8)


numbers = epochs_of(st.floats(-2, 2, width=32))
answers = epochs_of(st.booleans())


def feed(tracker, epochs, cut=N, dtype=torch.float32, n=N, state=None):
    """The state after the epochs, each observed in chunks of `cut` rows."""
    for epoch in epochs:
        ids = torch.tensor([i for i, _ in epoch], dtype=torch.int64)
        values = torch.tensor([value for _, value in epoch], dtype=dtype)
        state = tracker.start(n, {"signal": values[:1]}) if state is None else state
        for some, what in zip(ids.split(cut), values.split(cut), strict=True):
            tracker.observe(state, some, {"signal": what})
        tracker.close(state)
    return state


def same(column, expected, tolerance=1e-5):
    assert column.tolist() == pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True)


@fast
@given(numbers)
def test_mean_is_the_loop_over_the_epochs_in_which_a_sample_was_seen(epochs):
    tracker = trackers.Mean()
    seen = [[dict(epoch)[i] for epoch in epochs if i in dict(epoch)] for i in range(N)]
    state = feed(tracker, epochs)
    expected = [statistics.fmean(values) if values else NAN for values in seen]
    same(tracker.read(state)["mean"], expected)
    same(tracker.read(state, torch.tensor([3, 0]))["mean"], [expected[3], expected[0]])


def forgotten(epochs, never):
    scores = []
    for i in range(N):
        count, before, learned, seen = 0, False, False, False
        for epoch in epochs:
            if i in dict(epoch):
                right = dict(epoch)[i]
                count += before and not right
                before, learned, seen = right, learned or right, True
        stubborn = {"inf": math.inf, "zero": count, "epochs": count + len(epochs)}[never]
        scores.append((count if learned else stubborn) if seen else NAN)
    return scores


@fast
@given(answers, st.sampled_from(["inf", "zero", "epochs"]))
def test_forgotten_is_the_loop_over_presentations(epochs, never):
    tracker = trackers.Forgotten(never)
    state = feed(tracker, epochs, dtype=torch.bool)
    same(tracker.read(state)["forgotten"], forgotten(epochs, never))


def test_a_sample_shown_once_was_never_forgotten_or_never_learned():
    tracker = trackers.Forgotten()
    state = feed(tracker, [[(0, True)], [(1, False)]], dtype=torch.bool, n=3)
    same(tracker.read(state)["forgotten"], [0.0, math.inf, NAN])


@fast
@given(numbers, st.integers(2, 4))
def test_spread_is_the_loop_over_windows_without_a_gap(epochs, window):
    tracker = trackers.WindowSpread(window)
    expected = []
    for i in range(N):
        series = [dict(epoch).get(i) for epoch in epochs]
        windows = [series[first : first + window] for first in range(len(series) - window + 1)]
        spreads = [statistics.stdev(w) for w in windows if None not in w]
        expected.append(statistics.fmean(spreads) if spreads else NAN)
    same(tracker.read(feed(tracker, epochs))["spread"], expected)


@fast
@given(numbers, st.integers(2, 4))
def test_difficulty_times_spread_is_the_loop_over_windows_without_a_gap(epochs, window):
    tracker = trackers.DifficultySpread(window=window)
    scores, means = [], []
    for i in range(N):
        series = [dict(epoch).get(i) for epoch in epochs]
        windows = [series[first : first + window] for first in range(len(series) - window + 1)]
        found = [(1 - statistics.fmean(w)) * statistics.stdev(w) for w in windows if None not in w]
        seen = [value for value in series if value is not None]
        scores.append(statistics.fmean(found) if found else NAN)
        means.append(statistics.fmean(seen) if seen else NAN)
    columns = tracker.read(feed(tracker, epochs))
    same(columns["score"], scores)
    same(columns["probability"], means)


EACH = [
    (trackers.Mean(), torch.float32),
    (trackers.Forgotten(), torch.bool),
    (trackers.WindowSpread(3), torch.float32),
    (trackers.DifficultySpread(window=3), torch.float32),
]
each = pytest.mark.parametrize(("tracker", "dtype"), EACH, ids=lambda p: type(p).__name__)


def drawn(dtype, epochs=7, n=40, order="order"):
    """Epochs of every sample; the values depend on epoch and id only, the order on `order`."""
    rows = torch.randn(epochs, n, generator=generator("values"))
    rows = rows > 0 if dtype is torch.bool else rows
    orders = [torch.randperm(n, generator=generator(order, e)).tolist() for e in range(epochs)]
    return [[(i, rows[e, i].item()) for i in orders[e]] for e in range(epochs)]


@each
def test_order_and_cuts_change_no_bit(tracker, dtype):
    once = feed(tracker, drawn(dtype), cut=40, dtype=dtype, n=40)
    for cut, order in ((1, "order"), (7, "another"), (39, "third")):
        again = feed(tracker, drawn(dtype, order=order), cut=cut, dtype=dtype, n=40)
        assert once.keys() == again.keys()
        # A NaN differs from itself, so bits are compared.
        assert all(once[name].numpy().tobytes() == again[name].numpy().tobytes() for name in once)


@each
def test_permuting_the_samples_permutes_the_score(tracker, dtype):
    epochs, to = drawn(dtype), torch.randperm(40, generator=generator("to"))
    moved = [[(int(to[i]), value) for i, value in epoch] for epoch in epochs]
    plain = tracker.read(feed(tracker, epochs, dtype=dtype, n=40))[tracker.ranks]
    assert torch.equal(tracker.read(feed(tracker, moved, dtype=dtype, n=40))[tracker.ranks][to], plain)


@each
def test_an_epoch_that_begins_again_counts_once(tracker, dtype):
    epochs = drawn(dtype)
    # Two of those seen before the break do not come again.
    epochs[4] = [(i, value) for i, value in epochs[4] if i not in (3, 20)]
    straight = feed(tracker, epochs, dtype=dtype, n=40)
    state = feed(tracker, epochs[:4], dtype=dtype, n=40)
    for wrong in (torch.zeros(25, dtype=dtype), torch.ones(25, dtype=dtype)):
        broken = {name: c.clone() for name, c in state.items()}
        tracker.observe(broken, torch.arange(25), {"signal": wrong})
        tracker.restart(broken)
        resumed = feed(tracker, epochs[4:], dtype=dtype, n=40, state=broken)
        column = tracker.read(straight)[tracker.ranks]
        assert torch.equal(tracker.read(resumed)[tracker.ranks], column)


@each
def test_only_the_columns_that_are_read_are_left_when_final(tracker, dtype):
    state = feed(tracker, drawn(dtype), dtype=dtype, n=40)
    columns = tracker.read(state)
    column = columns[tracker.ranks].clone()
    tracker.finish(state)
    assert state.keys() == columns.keys()
    assert state[tracker.ranks].dtype == torch.float32
    assert torch.equal(tracker.read(state)[tracker.ranks], column)
    assert torch.equal(tracker.read(state, torch.tensor([7, 3]))[tracker.ranks], column[[7, 3]])


def test_what_depends_on_the_length_of_the_training_is_filled_in():
    assert trackers.Mean(most=10).within(4).enough == 4
    assert trackers.Mean(most=10).within(30).enough == 10
    assert trackers.Mean(first=3, most=10).within(4).enough == 3
    assert trackers.Mean().within(4).enough is None
    assert trackers.WindowSpread().within(30).window == 10
    assert trackers.WindowSpread().within(6).window == 6
    assert trackers.WindowSpread(3).within(6).window == 3


def test_a_training_too_short_is_refused_by_name():
    with pytest.raises(ValueError, match=r"Mean.first must fit into a training of 3 epochs, got 4"):
        trackers.Mean(first=4).within(3)
    with pytest.raises(ValueError, match=r"WindowSpread.window must fit into a training of 6 epochs, got 7"):
        trackers.WindowSpread(7).within(6)
    with pytest.raises(ValueError, match=r"WindowSpread.window must fit into a training of 1 epoch, got 2"):
        trackers.WindowSpread().within(1)
    with pytest.raises(ValueError, match=r"WindowSpread.window must be >= 2, got 1"):
        trackers.WindowSpread(1)


def softmax(row):
    exps = [math.exp(z - max(row)) for z in row]
    return [e / sum(exps) for e in exps]


rows = st.integers(2, 6).flatmap(
    lambda c: st.tuples(st.lists(st.floats(-30, 30, width=32), min_size=c, max_size=c), st.integers(0, c - 1))
)


@fast
@given(rows)
def test_each_signal_is_its_formula_and_stays_in_its_range(row):
    logits, target = row
    z, y = torch.tensor([logits]), torch.tensor([target])
    p = softmax(logits)
    hit = [float(c == target) for c in range(len(p))]
    el2n, margin = signals.el2n(z, y).item(), signals.negative_margin(z, y).item()
    assert el2n == pytest.approx(math.dist(p, hit), abs=1e-5)
    assert 0 <= el2n <= math.sqrt(2)
    assert margin == pytest.approx(max(q for c, q in enumerate(p) if c != target) - p[target], abs=1e-5)
    assert -1 <= margin <= 1
    others = max(value for c, value in enumerate(logits) if c != target)
    assert signals.negative_logit_margin(z, y).item() == pytest.approx(others - logits[target], abs=1e-4)
    assert signals.target_log_probability(z, y).item() == pytest.approx(
        logits[target] - max(logits) - math.log(sum(math.exp(v - max(logits)) for v in logits)), abs=1e-4
    )
    assert signals.probabilities(z)[0].tolist() == pytest.approx(p, abs=1e-5)


@fast
@given(rows, st.floats(-50, 50, width=16))
def test_a_constant_added_to_all_logits_of_a_sample_changes_nothing(row, constant):
    z, y = torch.tensor([row[0]]), torch.tensor([row[1]])
    for signal in (
        signals.el2n,
        signals.negative_margin,
        signals.negative_logit_margin,
        signals.target_log_probability,
    ):
        assert torch.allclose(signal(z, y), signal(z + constant, y), atol=1e-4)
    assert torch.allclose(signals.probabilities(z), signals.probabilities(z + constant), atol=1e-5)


def test_signals_leave_the_logits_as_they_were():
    z, y = torch.randn(6, 4, generator=generator("z")), torch.tensor([0, 1, 2, 3, 0, 1])
    before = z.clone()
    for signal in (signals.el2n, signals.negative_margin, signals.negative_logit_margin):
        signal(z, y)
    signals.probabilities(z)
    assert torch.equal(z, before)
