"""When samples leave the plan: counted one by one, and what is refused."""

import time

import pytest
import torch

from samplewise.analysis import class_counts, leaving, leaving_groups
from samplewise.coresets.history import SelectionHistory
from samplewise.coresets.table import ScoreTable


def history_of(plans, n):
    history = SelectionHistory(n)
    for epoch, ids in plans.items():
        history.add(epoch, torch.tensor(sorted(ids), dtype=torch.int64))
    return history


def drawn(n=40, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {epoch: set(torch.randperm(n, generator=rng)[: n // 3].tolist()) for epoch in (0, 3, 4, 9, 10, 12)}


def test_every_sample_is_followed_as_a_loop_over_epochs_follows_it():
    plans, n, end = drawn(), 40, 15
    found = leaving(history_of(plans, n), epochs=end)
    for i in range(n):
        taken = [i in ids for ids in plans.values()]
        inside, at = 0, False
        for epoch in range(end):
            at = i in plans[epoch] if epoch in plans else at
            inside += at
        first = taken.index(True) if any(taken) else len(taken)
        back = sum(now and not before for before, now in zip(taken[first:], taken[first + 1 :], strict=False))
        gone = [e for e, ids in plans.items() if all(i not in later for f, later in plans.items() if f >= e)]
        assert int(found.epochs_in[i]) == inside
        assert int(found.times[i]) == sum(taken)
        assert int(found.returns[i]) == back
        assert int(found.left[i]) == min(gone, default=end)


def test_the_groups_hold_every_sample_once_and_their_periods_hold_its_leaving():
    found = leaving(history_of(drawn(), 40), epochs=15)
    for most in (1, 2, 3, 30):
        groups = leaving_groups(found, most)
        assert sorted(torch.cat([group.ids for group in groups]).tolist()) == list(range(40))
        assert sum(group.kind == "left" for group in groups) <= most
        for group in groups:
            left = found.left[group.ids]
            assert bool(((left >= group.first) & (left <= group.last)).all())
    labels = torch.arange(40) % 4
    counts = class_counts(groups, labels)
    assert counts.sum(0).tolist() == [10] * 4
    assert counts.sum(1).tolist() == [len(group.ids) for group in groups]
    with pytest.raises(ValueError, match="sample 39 has none of the 30"):
        class_counts(groups, labels[:30])


def test_one_selection_has_only_samples_that_stay_and_that_are_never_taken():
    groups = leaving_groups(leaving(history_of({2: [1]}, 3), epochs=4))
    assert [(group.name, group.ids.tolist()) for group in groups] == [
        ("never in the plan", [0, 2]),
        ("in the last plan", [1]),
    ]


def test_a_table_without_selections_is_refused():
    ids, times = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"no history of selections.*--history.*selects in batches"):
        leaving(ScoreTable(ids, {}, times))
    with pytest.raises(ValueError, match="no selection: the method had not chosen yet"):
        leaving(ScoreTable(ids, {}, times, history=SelectionHistory(3)))
    with pytest.raises(ValueError, match="epochs must be > 5, the epoch of the last selection, got 5"):
        leaving(history_of({0: [1], 5: [1]}, 3), epochs=5)
    with pytest.raises(ValueError, match="must ascend"):
        leaving(history_of({5: [1], 0: [1]}, 3))
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        leaving_groups(leaving(history_of({0: [1]}, 3)), 0)


@pytest.mark.slow
def test_a_million_samples_take_seconds():
    history = SelectionHistory(10**6)
    for epoch in range(30):
        history.add(epoch, torch.randperm(10**6)[: 10**5].sort().values)
    begun = time.process_time()
    leaving_groups(leaving(history, epochs=30))
    assert time.process_time() - begun < 10
