"""Trackers against plain Python loops over visits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise import trackers
from samplewise.schedules import Linear, resolve

N = 6
visits = st.lists(
    st.lists(
        st.tuples(st.integers(0, N - 1), st.floats(0, 100, width=32)), max_size=N, unique_by=lambda v: v[0]
    ),
    min_size=1,
    max_size=6,
)
rates = st.sampled_from([0.0, 0.1, 0.8, 1.0])
fast = settings(max_examples=60, deadline=None, derandomize=True)


def run(tracker, visits, signal="loss"):
    """Every visit through the tracker: the columns it reads in the end, and what each visit emitted."""
    state, emitted = None, []
    for visit in visits:
        ids = torch.tensor([i for i, _ in visit], dtype=torch.int64)
        values = {signal: torch.tensor([value for _, value in visit], dtype=torch.float32)}
        if state is None:
            state = tracker.start(N, values)
        emitted.append(tracker.observe(state, ids, values))
    return state, emitted


def same(column, expected):
    assert column.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5, nan_ok=True)


@fast
@given(visits)
def test_last_is_the_last_value_and_nan_before_any(visits):
    tracker = trackers.Last()
    state, _ = run(tracker, visits)
    last = [math.nan] * N
    for visit in visits:
        for i, value in visit:
            last[i] = value
    same(tracker.read(state)["loss"], last)


@fast
@given(visits, rates, st.sampled_from(["first", "zero"]))
def test_ema_is_the_loop(visits, rate, start_at):
    tracker = trackers.Ema(rate, start_at=start_at)
    state, emitted = run(tracker, visits)
    mean = [math.nan] * N
    for visit, (ids, values) in zip(visits, emitted, strict=True):
        for i, value in visit:
            old = mean[i]
            if math.isnan(old):
                old = value if start_at == "first" else 0.0
            mean[i] = rate * value + (1 - rate) * old
        same(values["mean"], [mean[i] for i in ids.tolist()])
    same(tracker.read(state)["mean"], mean)


@fast
@given(visits, rates, st.sampled_from([0.0, 0.5, 2.0]))
def test_moments_and_their_upper_bound_are_the_loop(visits, rate, c):
    tracker = trackers.EmaMoments(rate) | trackers.UpperBound(c)
    state, _ = run(tracker, visits)
    mean, variance = [math.nan] * N, [math.nan] * N
    for visit in visits:
        for i, value in visit:
            if math.isnan(mean[i]):
                mean[i], variance[i] = value, 0.0
            else:
                variance[i] = (1 - rate) * variance[i] + rate * (value - mean[i]) ** 2
                mean[i] = rate * value + (1 - rate) * mean[i]
    read = tracker.read(state)
    assert read["mean"].tolist() == pytest.approx(mean, rel=1e-3, abs=1e-3, nan_ok=True)
    assert read["variance"].tolist() == pytest.approx(variance, rel=1e-3, abs=1e-2, nan_ok=True)
    bound = [m + c * v for m, v in zip(read["mean"].tolist(), read["variance"].tolist(), strict=True)]
    same(read["upper_bound"], bound)
    assert state.keys() == {"mean", "variance"}


@fast
@given(visits, rates, rates)
def test_the_decoupled_average_weighs_with_the_score_before_the_visit(visits, rate, weight_rate):
    tracker = trackers.DecoupledEma(rate, weight_rate)
    state, _ = run(tracker, visits)
    score, weight = [1 / N] * N, [math.nan] * N
    for visit in visits:
        for i, value in visit:
            weight[i] = (1 - weight_rate) * score[i] + weight_rate * value
            score[i] = (1 - rate) * score[i] + rate * value
    read = tracker.read(state)
    same(read["score"], score)
    same(read["weight"], weight)


@fast
@given(visits)
def test_count_counts_what_is_not_zero(visits):
    tracker = trackers.Count()
    state, _ = run(tracker, visits)
    count = [0] * N
    for visit in visits:
        for i, value in visit:
            count[i] += value != 0
    assert tracker.read(state)["count"].tolist() == count


def test_count_of_correct_counts_hits():
    tracker = trackers.Count()
    ids, hits = torch.arange(3), torch.tensor([True, False, True])
    state = tracker.start(3, {"correct": hits})
    for _ in range(2):
        tracker.observe(state, ids, {"correct": hits})
    assert tracker.read(state)["count"].tolist() == [2, 0, 2]


@pytest.mark.parametrize(
    "tracker",
    [
        trackers.Last(),
        trackers.Ema(0.3),
        trackers.Ema(0.3, start_at="zero"),
        trackers.EmaMoments(0.3),
        trackers.DecoupledEma(0.1, 0.8),
        trackers.Count(),
        trackers.EmaMoments(0.3) | trackers.UpperBound(1.0),
        trackers.Ema(0.5) | trackers.Count(),
    ],
    ids=repr,
)
def test_an_id_twice_in_one_call_counts_once(tracker):
    once, twice = torch.tensor([4, 1]), torch.tensor([4, 1, 4, 4])
    losses = torch.tensor([2.0, 3.0, 2.0, 2.0])
    states = []
    for ids in (once, twice):
        state = tracker.start(N, {"loss": losses[: len(ids)]})
        for scale in (1.0, 0.5, 3.0):
            tracker.observe(state, ids, {"loss": scale * losses[: len(ids)]})
        states.append(tracker.read(state))
    for name, column in states[0].items():
        assert torch.equal(column.nan_to_num(-1), states[1][name].nan_to_num(-1)), name


def test_reading_some_ids_is_reading_all_and_picking():
    tracker = trackers.EmaMoments(0.3) | trackers.UpperBound(2.0)
    state, _ = run(tracker, [[(i, float(i)) for i in range(N)], [(2, 9.0), (4, 0.0)]])
    ids = torch.tensor([4, 0, 2])
    some, every = tracker.read(state, ids), tracker.read(state)
    assert some.keys() == every.keys() == {"mean", "variance", "upper_bound"}
    assert all(torch.equal(some[name], every[name][ids]) for name in some)


def test_a_pipe_feeds_on_and_ranks_by_its_last_stage():
    pipe = trackers.Ema(0.5) | trackers.Count()
    state, emitted = run(pipe, [[(1, 2.0)], [(1, 4.0)]])
    assert pipe.ranks == "count"
    assert emitted[-1][1].keys() == {"count"}
    assert pipe.read(state)["mean"][1].item() == 3.0
    longer = (trackers.Last() | trackers.Ema(0.5)) | trackers.Count()
    assert longer == trackers.Last() | (trackers.Ema(0.5) | trackers.Count())
    assert len(longer.stages) == 3


def test_a_stage_is_fed_what_the_one_before_emits_and_nothing_else():
    pipe = trackers.DecoupledEma(0.5, 0.5) | trackers.Ema(0.5)
    state, _ = run(pipe, [[(0, 3.0)], [(0, 1.0)]])
    weights = [0.5 / N + 1.5, 0.5 * (0.5 / N + 1.5) + 0.5]
    assert state["mean"][0].item() == pytest.approx(sum(weights) / 2)
    bounded = trackers.EmaMoments(0.5) | trackers.UpperBound(1.0) | trackers.Count()
    state, _ = run(bounded, [[(0, 3.0)], [(0, 1.0)]])
    assert bounded.read(state)["count"][0].item() == 2


def test_a_pipe_refuses_one_column_twice():
    with pytest.raises(ValueError, match=r"two trackers of one pipe both keep a column 'mean'"):
        run(trackers.Ema(0.5) | trackers.Ema(0.1), [[(0, 1.0)]])


def test_the_upper_bound_must_follow_the_moments():
    with pytest.raises(
        ValueError, match=r"UpperBound must follow EmaMoments, got .* Use EmaMoments\(rate\) \| UpperBound"
    ):
        run(trackers.Ema(0.5) | trackers.UpperBound(1.0), [[(0, 1.0)]])


def test_an_average_follows_one_signal():
    values = {"loss": torch.ones(2), "correct": torch.ones(2, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"Ema must follow one signal, got \['correct', 'loss'\]"):
        trackers.Ema(0.5).start(N, values)


def test_best_accuracy_follows_correct_and_never_falls():
    tracker = trackers.Last() | trackers.BestAccuracy()
    with pytest.raises(ValueError, match="BestAccuracy must follow a tracker of the signal `correct`"):
        tracker.start(4, {"loss": torch.ones(4)})
    state, ids, seen = None, torch.arange(4), []
    for hits in ([1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]):
        values = {"correct": torch.tensor(hits).bool()}
        state = tracker.start(4, values) if state is None else state
        tracker.observe(state, ids, values)
        tracker.close(state)
        seen.append(state["best_accuracy"].item())
    assert seen == [0.75, 0.75, 1.0]


def test_trackers_write_only_into_their_state():
    losses, ids = torch.tensor([1.0, 2.0]), torch.tensor([3, 0])
    for tracker in (trackers.Last(), trackers.Ema(0.5), trackers.DecoupledEma(0.5, 0.5), trackers.Count()):
        state = tracker.start(N, {"loss": losses})
        tracker.observe(state, ids, {"loss": losses})
        assert losses.tolist() == [1.0, 2.0]
        assert ids.tolist() == [3, 0]


def test_a_scheduled_rate_is_resolved_before_it_is_used():
    tracker = trackers.Ema(Linear(1.0, 0.0))
    with pytest.raises(TypeError, match="must be resolved for an epoch"):
        run(tracker, [[(0, 1.0)]])
    assert resolve(tracker, 1, 4) == trackers.Ema(0.75)
    assert resolve(tracker | trackers.Count(), 2, 4) == trackers.Ema(0.5) | trackers.Count()


def test_a_tracker_inside_a_pipe_is_told_that_the_choice_is_made():
    pipe = trackers.Last() | trackers.Margins()
    state = pipe.start(3, {"class_margins": torch.ones(3, 2)})
    assert "margins" in state
    pipe.chosen(state)
    assert state.keys() == {"class_margins", "nearest"}


def test_a_tracker_after_one_that_emits_nothing_is_refused():
    with pytest.raises(ValueError, match=r"Pipe.stages must have Mean last, .* got Last after it"):
        (trackers.Mean() | trackers.Last()).start(3, {"loss": torch.ones(3)})
