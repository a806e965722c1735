"""The ledger through whole trainings: its counts are the model's own and the closed forms."""

import pytest
import torch

import samplewise as sw
from tests.seams.toys import N, Net, make, train


def counted(calls):
    """Rows forwarded with a graph, and without one."""
    graph = sum(rows for rows, _, grad in calls if grad)
    return graph, sum(rows for rows, _, _ in calls) - graph


@pytest.mark.parametrize("name", sorted(sw.recipes.all()))
def test_counts_are_the_models_own(name):
    selector, model = make(name, epochs=5, period=2, batch_size=10, model=Net(dropout=0.0))
    train(selector, model, selector.loader())
    ledger = selector.ledger
    assert (ledger.training_forwards, ledger.scoring_forwards) == counted(model.calls)
    assert ledger.samples_backpropagated == ledger.training_forwards
    assert ledger.ordinary_samples == 5 * N
    own = ledger.assistant_flops / (ledger.forward_flops or 1)
    along, looked = counted(model.narrow_calls)
    assert ledger.proxy_scoring_forwards == looked
    narrow = (3 * along + looked) * (4 * 3) / (4 * 8 + 8 * 3)
    cost = 3 * ledger.training_forwards + ledger.scoring_forwards + own + narrow
    assert ledger.cost == pytest.approx(cost, rel=1e-12)
    assert ledger.promised == pytest.approx(1 - ledger.cost / (15 * N))


def test_the_closed_forms():
    cases = {
        sw.recipes.full(): (5 * N, 0),
        sw.recipes.random_dynamic(keep=0.25, period=2): (5 * N // 4, 0),
        sw.recipes.random_batch(keep=0.2): (5 * N // 5, 0),
        sw.recipes.ucb(keep=0.5, period=2): (5 * N // 2, 3 * N),
        sw.recipes.loss_sampling(keep=0.2): (5 * N // 5, 5 * N),
        sw.recipes.evolved_sampling(keep=0.2): (2 * N + 3 * N // 5, 3 * N),
        sw.recipes.eswp(keep=0.2, keep_epoch=0.5): (2 * N + 3 * N // 2 // 5, 3 * N // 2),
    }
    for policy, (trained, scored) in cases.items():
        selector, model = make(policy, epochs=5, batch_size=10)
        train(selector, model)
        ledger = selector.ledger
        assert (ledger.samples_backpropagated, ledger.scoring_forwards) == (trained, scored), policy


def test_the_account_is_right_in_the_middle_of_an_epoch():
    selector, model = make("full", batch_size=8)
    train(selector, model, until=1)
    for done, batch in enumerate(selector.loader(), start=1):
        selector.loss(batch)
        ledger = selector.ledger
        assert ledger.samples_backpropagated == N + 8 * done
        assert ledger.ordinary_samples == pytest.approx(N + 8 * done)
        assert ledger.promised == pytest.approx(0)
        if done == 3:
            break


def test_a_repeated_epoch_is_paid_for_twice():
    selector, _ = make("full", batch_size=8)
    loader = selector.loader()
    for batch in loader:
        selector.loss(batch)
        break
    with pytest.warns(UserWarning, match="starts again"):
        again = iter(loader)
    for batch in again:
        selector.loss(batch)
    assert selector.ledger.samples_backpropagated == N + 8
    assert selector.ledger.ordinary_samples == N


def test_seconds_are_stages_of_the_wall_clock():
    selector, model = make("evolved_sampling", epochs=4)
    train(selector, model)
    ledger = selector.ledger
    assert all(ledger.seconds[stage] > 0 for stage in ("data", "scoring", "selecting", "training"))
    assert ledger.wall == pytest.approx(sum(ledger.seconds.values()))
    assert 0 < ledger.overhead < 1


def test_the_time_of_ordinary_training_is_estimated_from_steps_that_were_not_narrowed():
    selector, model = make("evolved_sampling", epochs=4)
    train(selector, model)
    ledger = selector.ledger
    assert ledger.baseline == "estimated"
    per_sample = ledger.plain_seconds / ledger.plain_samples
    assert ledger.plain_samples == 2 * N
    assert ledger.realised == pytest.approx(1 - ledger.wall / (per_sample * 4 * N))
    ledger.baseline_seconds = 2 * ledger.wall
    assert (selector.ledger.baseline, selector.ledger.realised) == ("given", pytest.approx(0.5))
    assert "(given)" in str(selector.ledger)


def test_without_a_plain_step_the_time_is_not_measured():
    selector, model = make("loss_sampling", epochs=2)
    train(selector, model)
    assert (selector.ledger.baseline, selector.ledger.realised) == ("not measured", None)


def test_observations_that_a_method_does_not_use_are_counted_and_ignored():
    selector, _ = make("uncertainty", epochs=2)
    selector.set_epoch(0)
    before = selector.score()
    for batch in selector.loader(drop_last=True):
        selector.loss(batch)
    assert torch.equal(selector.score(), before)
    assert selector.ledger.ignored_observations == 16
    assert make("full")[0].ledger.ignored_observations == 0


def test_the_engine_alone_charges_the_plan():
    selector = sw.Selector(sw.recipes.random_dynamic(keep=0.5, period=1), 10, epochs=3)
    for epoch in range(3):
        selector.plan(epoch)
    selector.plan(2)
    assert selector.ledger.samples_backpropagated == 10
    assert selector.ledger.ordinary_samples == 20
