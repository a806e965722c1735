"""`online_batch_selection` (METHODS C3): epochs drawn by the rank of the last loss, renewed by passes."""

import math
import random

import pytest
import torch
from plain import EPOCHS, LOSSES, N, close, count, inclusion, shares

import samplewise as sw
from samplewise import pickers
from samplewise.pickers import Pool
from samplewise.pickers.drawn import by_rank, gumbel_top
from samplewise.policy import Policy
from samplewise.recipes.online_batch_selection import Easing
from samplewise.rng import generator
from samplewise.schedules import Constant
from samplewise.testing import Trace, Training


def pressure(epoch, epochs, start=100.0):
    return start ** (1 - epoch / (epochs - 1)) if epochs > 1 else start


def order_of(losses):
    """The samples from the largest last loss to the smallest: unseen first, equal ones in order."""
    return sorted(range(len(losses)), key=lambda i: (-math.inf if math.isnan(losses[i]) else -losses[i], i))


def drawn(losses, k, s, rng):
    """The k samples with the largest log-odds plus Gumbel noise, one after the other."""
    uniform = torch.empty(len(losses), dtype=torch.float64).uniform_(generator=rng).tolist()
    n = len(losses)
    # The rank counts from 1; a constant more or less in all log-odds changes nothing.
    keys = [-math.log(s) * (rank + 1) / n - math.log(-math.log(1 - u)) for rank, u in enumerate(uniform)]
    ranks = sorted(range(n), key=lambda rank: -keys[rank])[:k]
    ordered = order_of(losses)
    return sorted(ordered[rank] for rank in ranks)


@pytest.mark.parametrize(("keep", "refresh", "start"), [(0.5, 5, 100.0), (0.3, 2, 1e6), (0.75, 20, 3.0)])
def test_the_trace_equals_plain_loops(keep, refresh, start):
    policy = sw.recipes.online_batch_selection(keep=keep, pressure=start, refresh=refresh)
    selector = sw.Selector(policy, N, epochs=EPOCHS, seed=4)
    last, passes = [math.nan] * N, 0
    for epoch, losses in enumerate(LOSSES):
        ids = selector.pass_ids(epoch)
        assert selector.pass_due(epoch) == (epoch % refresh == 0)
        assert ids.tolist() == (list(range(N)) if epoch % refresh == 0 else [])
        if epoch % refresh == 0:
            # What the pass sees are the losses before the epoch; training sees the epoch's own.
            last = [loss + 0.25 for loss in losses]
            selector.observe(ids, torch.tensor(last), source="pass")
            passes += N
        plan = selector.plan(epoch)
        k = count(N, keep)
        expected = drawn(last, k, pressure(epoch, EPOCHS, start), generator(4, epoch, "plan"))
        assert plan.ids.tolist() == expected
        assert plan.weights is None
        assert not selector.pass_due(epoch)
        selector.observe(plan.ids, torch.tensor(losses)[plan.ids])
        for i in expected:
            last[i] = losses[i]
    assert selector.ledger.scoring_forwards == passes == -(-EPOCHS // refresh) * N


def test_the_probability_of_a_rank_falls_by_the_pressure():
    losses, s, draws = [0.5, 3.0, 1.0, 2.0, 0.25], 50.0, 3000
    scores = {"loss": torch.tensor(losses)}
    rng, picker = generator("odds"), pickers.RankDrawn(0.4, s)
    found = shares([picker.pick(Pool(5, rng, scores, "loss")).rows.tolist() for _ in range(draws)])
    odds = [0.0] * 5
    for rank, i in enumerate(order_of(losses), start=1):
        odds[i] = math.exp(-math.log(s) * rank / 5)
    for i, chance in enumerate(inclusion(odds, 2)):
        assert close(found[i], chance, draws), (i, found[i], chance)


def test_the_pressure_eases_to_a_uniform_draw():
    assert [Easing(100.0).at(e, 5) for e in range(5)] == pytest.approx([100, 100**0.75, 10, 100**0.25, 1])
    assert Easing(100.0).at(4, 5) == 1
    assert Easing(100.0).at(0, 1) == 100  # a training of one epoch
    policy = sw.recipes.online_batch_selection(pressure=Constant(7.0))
    assert [policy.at(e, 5).picker.pressure for e in (0, 4)] == [7.0, 7.0]
    rng, draws = generator("uniform"), 2000
    picker = sw.recipes.online_batch_selection().at(8, 9).picker
    scores = {"loss": torch.tensor([5.0, 4.0, 3.0, 2.0])}
    found = shares([picker.pick(Pool(4, rng, scores, "loss")).rows.tolist() for _ in range(draws)])
    assert all(close(found[i], 0.5, draws) for i in range(4))


def test_the_hardest_pressure_takes_the_largest_losses_and_overflows_nothing():
    losses = torch.tensor([0.5, 3.0, 1.0, 2.0, 0.25, 4.0])
    picker = pickers.RankDrawn(0.5, 1e300)  # neighbours in rank differ by 1e50
    for seed in range(20):
        rows = picker.pick(Pool(6, generator(seed), {"loss": losses}, "loss")).rows
        assert rows.tolist() == [1, 3, 5]


def test_log_weights_far_beyond_any_exponential_draw_as_their_ratio_says():
    logs, draws = torch.tensor([5000.0, 5000.0 - math.log(3), -5000.0, 5000.0], dtype=torch.float64), 3000
    rng = generator("logs")
    found = shares([gumbel_top(logs, 1, rng).tolist() for _ in range(draws)])
    for i, chance in ((0, 3 / 7), (1, 1 / 7), (3, 3 / 7)):
        assert close(found[i], chance, draws)
    assert 2 not in found
    unseen = torch.tensor([1.0, math.nan, 2.0, math.nan], dtype=torch.float64)
    assert gumbel_top(unseen, 2, rng).tolist() == [1, 3]


def test_ranking_is_a_stable_sort_with_unseen_samples_first():
    draw = random.Random(0)
    values = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, -1.5, 1e-40, 3e38, 2.5, 2.5]
    for _ in range(200):
        scores = [draw.choice(values) for _ in range(draw.randint(1, 40))]
        ranked = by_rank(torch.tensor(scores)).tolist()
        seen = [not math.isnan(score) for score in scores]
        falls = [-score if known else 0.0 for score, known in zip(scores, seen, strict=True)]
        assert ranked == sorted(range(len(scores)), key=list(zip(seen, falls, strict=True)).__getitem__)


def test_an_unseen_sample_ranks_first_whatever_the_bits_of_its_nan():
    negative = torch.copysign(torch.tensor(math.nan), torch.tensor(-1.0)).item()
    assert by_rank(torch.tensor([5.0, negative, math.inf, math.nan])).tolist() == [1, 3, 2, 0]


def test_a_pass_that_is_due_must_come_before_the_plan():
    selector = sw.Selector("online_batch_selection", N, epochs=7)
    with pytest.raises(ValueError, match=r"online_batch_selection needs a pass before epoch 0: 8 samples"):
        selector.plan(0)
    selector.observe(torch.arange(4), torch.ones(4), source="pass")
    assert selector.pass_due(0)
    selector.observe(torch.arange(4, 8), torch.ones(4), source="pass")
    assert not selector.pass_due(0)
    for epoch in range(5):
        assert len(selector.plan(epoch)) == 4
    with pytest.raises(ValueError, match="needs a pass before epoch 5"):
        selector.plan(5)


def test_the_counted_cost_is_the_closed_form():
    trace = Trace(n=24, epochs=7)
    training = Training(sw.recipes.online_batch_selection(keep=0.25, refresh=3), trace, batch=5).finish()
    ledger, model = training.selector.ledger, training.model
    assert ledger.samples_backpropagated == model.rows_backward == 7 * 6
    assert ledger.scoring_forwards == model.rows_without_grad == 3 * 24


def test_keep_one_needs_no_pass():
    selector = sw.Selector(sw.recipes.online_batch_selection(keep=1.0), N, epochs=3)
    assert not selector.pass_due(0)
    assert len(selector.plan(0)) == N


def test_a_refresh_without_its_source_is_refused():
    with pytest.raises(ValueError, match=r"Policy\.refresh needs source='training\+pass', got 'none'"):
        Policy(picker=pickers.Uniform(0.5), refresh=5)
    with pytest.raises(ValueError, match=r"online_batch_selection\.refresh must be >= 1, got 0"):
        sw.recipes.online_batch_selection(refresh=0)
    with pytest.raises(ValueError, match=r"online_batch_selection\.pressure must be >= 1, got 0\.5"):
        sw.recipes.online_batch_selection(pressure=0.5)
