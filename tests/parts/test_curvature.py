"""The second difference of losses, and the threshold that compares it."""

import pytest
import torch

from samplewise.pickers import AtLeast, Pool
from samplewise.rng import generator
from samplewise.trackers import SecondDifference


def second(values, differences):
    found = [abs(values[t] - 2 * values[t - 1] + values[t - 2]) for t in range(2, len(values))]
    return sum(found[-differences:]) / differences if len(found) >= differences else None


@pytest.mark.parametrize("differences", [1, 2, 3])
def test_it_is_the_mean_over_the_newest_values_of_each_sample(differences):
    tracker = SecondDifference(differences)
    told = {0: [], 1: [], 2: []}
    state = tracker.start(3, {"loss": torch.empty(0)})
    for epoch in range(7):
        ids = [i for i in told if (epoch + i) % 3 or i == 0]  # some samples miss epochs
        losses = [((7 * epoch + 3 * i) % 11) / 4 for i in ids]
        twice = torch.tensor(ids + ids[:1])  # a sampler repeats an id
        tracker.observe(state, twice, {"loss": torch.tensor(losses + losses[:1])})
        for i, loss in zip(ids, losses, strict=True):
            told[i].append(loss)
        found = tracker.derive(state)["second_difference"].tolist()
        for i, values in told.items():
            wanted = second(values, differences)
            assert found[i] != found[i] if wanted is None else found[i] == pytest.approx(wanted)
        tracker.chosen(state)


def test_a_second_value_before_the_choice_replaces_the_first():
    tracker = SecondDifference()
    state = tracker.start(1, {"loss": torch.empty(0)})
    for value in (4.0, 2.0):
        tracker.observe(state, torch.tensor([0]), {"loss": torch.tensor([value])})
        tracker.chosen(state)
    for value in (9.0, 1.5):
        tracker.observe(state, torch.tensor([0]), {"loss": torch.tensor([value])})
    assert tracker.derive(state)["second_difference"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("threshold", "kept"), [(0.0, None), (0.5, [0, 1, 2, 4]), (0.6, [0, 1, 4]), (2.0, [0, 4]), (9.0, [0, 4])]
)
def test_the_threshold_itself_is_kept_and_so_is_a_row_without_a_score(threshold, kept):
    scores = torch.tensor([2.0, 1.0, 0.5, 0.1, float("nan")])
    rows = AtLeast(threshold).pick(Pool(5, generator(0, 0, "plan"), {"loss": scores}, "loss")).rows
    assert (None if rows is None else rows.tolist()) == kept
