"""`selective_backprop`: rows are accepted by the share of the last losses that are smaller, to a power."""

import math
from collections import deque

import pytest
import torch
from plain import LOSSES, N, close

import samplewise as sw
from samplewise.pickers import Accepted, Pool
from samplewise.rng import generator, seed_of
from samplewise.trackers import Last, Percentile
from tests.seams.toys import Net, make, step

TRACE = LOSSES[:5] + LOSSES[::-1]
"""Losses that fall, so that few are accepted, and rise again."""
BATCHES = ([6, 1, 4, 0], [3, 7], [2, 5])


class Fifo:
    """The last losses, one after the other."""

    def __init__(self, history):
        self.last = deque(maxlen=history)

    def chances(self, losses, beta):
        """Append a batch, then say with which probability each of it is accepted."""
        for loss in losses:
            self.last.append(loss)
        return [(sum(old < loss for old in self.last) / len(self.last)) ** beta for loss in losses]


def accept(chances, ids, drawn):
    """The rows whose draw is below their probability; two at least, the likeliest, then the first ids."""
    rows = [row for row, chance in enumerate(chances) if drawn[row] < chance]
    for row in sorted(range(len(ids)), key=lambda row: (-chances[row], ids[row])):
        if len(rows) < min(2, len(ids)) and row not in rows:
            rows.append(row)
    return sorted(rows)


@pytest.mark.parametrize("history", [3, 11, 1024])
@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_a_run_is_the_published_rule(beta, history):
    policy = sw.recipes.selective_backprop(beta=beta, history=history)
    selector, fifo = sw.Selector(policy, N, epochs=len(TRACE), seed=3), Fifo(history)
    numbers = set()
    for epoch, losses in enumerate(TRACE):
        selector.plan(epoch)
        step = 0
        for ids in BATCHES:
            batch = torch.tensor(ids)
            shown = [losses[i] for i in ids]
            selector.observe(batch, torch.tensor(shown))
            rows, weights = selector.choose(batch)
            assert weights is None
            chances = fifo.chances(shown, beta)
            if epoch == 0:
                assert rows.tolist() == list(range(len(ids)))
                continue
            rng = torch.Generator().manual_seed(seed_of(3, epoch, "choose", step, 0))
            drawn = torch.rand(len(ids), dtype=torch.float64, generator=rng).tolist()
            assert rows.tolist() == accept(chances, ids, drawn)
            numbers.add(len(rows))
            step += 1
    assert 2 in numbers
    assert history == 3 or len(numbers) > 1


@pytest.mark.parametrize("beta", [0.43, 1.0, 2.0, 3.0])
def test_one_in_beta_plus_one_is_accepted(beta):
    """Losses all different from one law: the share accepted is 1 / (beta + 1), within 4.5 standard errors."""
    n, b = 20_000, 500
    rng = generator("different losses", int(100 * beta))
    selector = sw.Selector(sw.recipes.selective_backprop(beta=beta), n, epochs=2)
    accepted = 0
    for epoch in range(2):
        selector.plan(epoch)
        for ids in torch.randperm(n, generator=rng).split(b):
            selector.observe(ids, torch.rand(b, generator=rng))
            rows, _ = selector.choose(ids)
            accepted += len(rows) * epoch
    expected = 1 / (beta + 1)
    assert abs(accepted / n - expected) <= 4.5 * math.sqrt(expected * (1 - expected) / n)


def test_each_row_is_accepted_as_often_as_it_should_be():
    values, draws = torch.tensor([0.9, 0.5, 0.8, 0.7, float("nan")]), 2000
    rng, times = generator("often"), [0] * 5
    for _ in range(draws):
        for row in Accepted(power=2.0).pick(Pool(5, rng, {"p": values}, "p")).rows.tolist():
            times[row] += 1
    for row, p in enumerate([0.81, 0.25, 0.64, 0.49, 1.0]):
        assert close(times[row] / draws, p, draws)


def test_two_rows_are_kept_the_likeliest_and_of_equal_ones_the_first_samples():
    values = torch.tensor([0.0, 1e-9, 0.0, 0.0])
    ids = torch.tensor([9, 3, 4, 7])
    pool = Pool(4, generator("none"), {"p": values}, "p", ids=ids, least=2)
    assert Accepted(power=3.0).pick(pool).rows.tolist() == [1, 2]
    assert Accepted(power=0.0).pick(pool).rows is None


def test_the_share_counts_only_what_is_strictly_smaller_and_was_seen():
    tracker = Percentile(history=4)
    state = tracker.start(6, {"loss": torch.zeros(0)})
    assert tracker.read(state)["percentile"].isnan().all()
    _, shown = tracker.observe(state, torch.tensor([0, 1]), {"loss": torch.tensor([2.0, 1.0])})
    assert shown["percentile"].tolist() == [0.5, 0.0]
    tracker.observe(state, torch.tensor([2, 3, 4]), {"loss": torch.tensor([2.0, 3.0, 0.5])})
    # The last four are 1, 2, 3, 1/2.
    assert state["recent"].tolist() == [1.0, 2.0, 3.0, 0.5]
    found = tracker.read(state)["percentile"]
    assert found[:5].tolist() == [0.5, 0.25, 0.5, 0.75, 0.0]
    assert found[5].isnan()


def test_the_first_epoch_trains_on_everything_and_fills_the_history():
    selector = sw.Selector("selective_backprop", N, epochs=2)
    selector.plan(0)
    for ids in BATCHES:
        batch = torch.tensor(ids)
        selector.observe(batch, torch.tensor(LOSSES[0])[batch])
        assert selector.choose(batch)[0].tolist() == list(range(len(ids)))
    recent = selector.state_dict()["engine"]["beside"][0]["recent"]
    assert recent[-N:].tolist() == [LOSSES[0][i] for ids in BATCHES for i in ids]
    assert recent[:-N].isnan().all()


def test_a_training_of_one_epoch_would_select_nothing_and_is_refused():
    with pytest.raises(ValueError, match="epochs must be at least 2 for selective_backprop, got 1"):
        sw.Selector("selective_backprop", N, epochs=1)


def test_the_columns_go_by_the_samples_and_the_history_does_not():
    """n = history is no exception: what is no column is not exchanged, indexed or taken for one."""
    for history in (N, 5):
        selector = sw.Selector(sw.recipes.selective_backprop(history=history), N, epochs=2)
        selector.plan(0)
        selector.observe(torch.arange(N), torch.tensor(LOSSES[0]))
        engine = selector.state_dict()["engine"]
        assert list(engine["memory"]) == ["last"]
        assert [list(own) for own in engine["beside"]] == [["recent"]]
        assert sorted(selector.table().columns) == ["last", "percentile"]
        assert selector.engine.memory.exchanged() == ["last"]


def test_a_batch_with_a_bad_loss_leaves_the_history_alone():
    """As on an accelerator, and with several processes, where the error comes later."""
    engine = sw.Selector("selective_backprop", N, epochs=2).engine
    engine.plan(0)
    ids = torch.arange(4)
    for losses in ([1.0, 2.0, 3.0, 4.0], [5.0, math.nan, 6.0, 7.0]):
        shown = torch.tensor(losses)
        engine.memory.remember(ids, sw.Outputs(shown), "training", torch.isfinite(shown))
    columns = engine.memory.columns
    assert columns["recent"][-4:].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert columns["last"][:4].tolist() == [5.0, 2.0, 6.0, 7.0]


def test_behind_another_tracker_it_keeps_its_history_too():
    pipe = Last() | Percentile(history=3)
    state = pipe.start(4, {"loss": torch.zeros(0)})
    assert pipe.local == ("recent",)
    assert pipe.whole_batches
    assert sorted(state) == ["last", "loss", "recent"]


def test_losses_are_reused_between_scorings():
    """StaleSB: what the chosen rows show in training enters neither the history nor their last loss."""
    selector, model = make(
        sw.recipes.selective_backprop(beta=1.0), epochs=5, scoring=sw.Scoring(every=2), model=Net(dropout=0.0)
    )
    kept, optimizer = [], torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        for batch in selector.loader():
            step(selector, optimizer, batch)
        engine = selector.state_dict()["engine"]
        kept.append(engine["memory"]["last"].tolist() + engine["beside"][0]["recent"][-40:].tolist())
    # Everything trains in epoch 0, then 1 and 3 score.
    assert kept[1] == kept[2]
    assert kept[3] == kept[4]
    assert kept[0] != kept[1] != kept[3]
    assert selector.ledger.scoring_forwards == 2 * 40
    assert selector.ledger.samples_backpropagated < 5 * 40


def test_percentiles_are_counts_of_smaller_losses_to_the_last_bit():
    tracker, torch_rng = Percentile(history=11), torch.Generator().manual_seed(3)
    state = tracker.start(20, {"loss": torch.zeros(1)})
    for _ in range(6):
        ids = torch.randint(20, (5,), generator=torch_rng)
        values = torch.randint(4, (5,), generator=torch_rng) / 3
        values = values[(ids[:, None] == ids).int().argmax(1)]  # a repeated id has one value
        _, passed_on = tracker.observe(state, ids, {"loss": values})
        recent = [x for x in state["recent"].tolist() if x == x]
        for last, found in zip(state["last"], tracker.derive(state)["percentile"], strict=True):
            below = torch.tensor(sum(x < float(last) for x in recent))
            assert found.isnan() if last.isnan() else found == below / torch.tensor(len(recent))
        assert passed_on["percentile"].equal(tracker.derive(state, ids)["percentile"])
