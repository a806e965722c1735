"""K-means of one number a sample, and the window over its groups."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samplewise.pickers import GroupWindow, Pool
from samplewise.pickers.groups import group_borders
from samplewise.rng import generator


def spread(groups):
    return sum((x - sum(group) / len(group)) ** 2 for group in groups for x in group)


def split(values, borders):
    """The groups that borders make of ascending values."""
    found = [[] for _ in range(len(borders) + 1)]
    for value in values:
        found[sum(border < value for border in borders)].append(value)
    return found


@given(st.lists(st.floats(0, 20, width=32), min_size=1, max_size=30), st.integers(1, 8))
def test_every_score_is_nearest_to_the_centre_of_its_group(scores, k):
    borders = group_borders(torch.tensor(scores, dtype=torch.float64), k).tolist()
    groups = split(sorted(scores), borders)
    assert all(groups)
    assert len(groups) <= min(k, len(set(scores)))
    centres = [sum(group) / len(group) for group in groups]
    for group, centre in zip(groups, centres, strict=True):
        for x in group:
            assert abs(x - centre) <= min(abs(x - other) for other in centres) + 1e-9


def test_well_separated_clusters_are_the_best_split():
    values = [0.0, 0.1, 0.2, 3.0, 3.1, 3.2, 3.3, 9.0, 9.1, 20.0, 20.1, 20.2]
    cuts = itertools.combinations(range(1, len(values)), 3)
    best = min(spread([values[a:b] for a, b in itertools.pairwise((0, *cut, len(values)))]) for cut in cuts)
    found = split(values, group_borders(torch.tensor(values, dtype=torch.float64), 4).tolist())
    assert spread(found) == pytest.approx(best)


def test_many_equal_scores_leave_the_other_groups_alone():
    scores = torch.tensor([0.0] * 90 + [1.0] * 4 + [5.0] * 4 + [9.0] * 2, dtype=torch.float64)
    assert group_borders(scores, 4).tolist() == [0.0, 1.0, 5.0]


@pytest.mark.parametrize(
    ("alpha", "widths"), [(0.1, [1] * 5), (0.4, [2] * 4), (0.41, [3] * 3), (0.8, [4] * 2), (1.0, [5])]
)
def test_the_window_slides_by_one_group_a_step_and_starts_again(alpha, widths):
    scores = torch.tensor([4.0, 0.0, 2.0, 3.0, 1.0])
    for step in range(12):
        picker = GroupWindow(sampled=1.0, groups=5, alpha=alpha, step=step)
        rows = picker.pick(Pool(5, generator(0, 0, "plan"), {"loss": scores}, "loss")).rows
        first = step % len(widths)
        wanted = {float(x) for x in range(first, first + widths[first])}
        found = set(range(5)) if rows is None else set(rows.tolist())
        assert {scores[row].item() for row in found} == wanted
