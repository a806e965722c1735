"""Batches of unequal size on several processes: who gets which, and the weights of their rows by tokens."""

import pytest
import torch

import samplewise as sw
from samplewise.distributed import collectives
from samplewise.testing.ranks import on_ranks

N, EPOCHS, SIZES = 20, 2, [3, 1, 4, 2, 5, 3, 2]
LOSSES = torch.linspace(0.1, 3, N)


def cut(order):
    """Batches of these sizes, as far as the order goes."""
    ends = torch.tensor(SIZES).cumsum(0)
    return [*ends[ends < len(order)].tolist(), len(order)]


def steps(recipe, by_tokens=True):
    """For each epoch its order and the real batches of this process; at the end its ledger.

    A process without a batch of its own gets the first one once more, as from Accelerate.
    """
    selector = sw.Selector(
        recipe, LOSSES, lambda data: data, model=torch.nn.Linear(1, 1), epochs=EPOCHS, batch_size=3
    )
    position, engine = selector.timeline.position, selector.timeline.engine
    position.cut, choose, chosen = cut, engine.choose, []
    engine.choose = lambda ids: chosen.append(choose(ids)) or chosen[-1]
    rank, world, found = collectives.rank(), collectives.world(), []
    for epoch in range(EPOCHS):
        selector.set_epoch(epoch)
        plan, order = selector.plan(epoch), torch.tensor(list(selector.sampler("global")))
        weight_of = torch.ones(N)
        if plan.weights is not None:
            weight_of[plan.ids] = plan.weights
        batches, mine = order.tensor_split(cut(order)[:-1]), []
        for first in range(0, len(batches), world):
            real = first + rank < len(batches)
            ids = batches[first + rank if real else 0]
            kept = selector.narrow(sw.Batch(ids, LOSSES[ids]))
            wanted = chosen.pop()[1] if chosen else weight_of[kept.ids]
            wanted = torch.ones(len(kept.ids)) if wanted is None else wanted
            if by_tokens:
                weights = selector.timeline.step.weigh(kept.data, by_tokens=True)
                torch.testing.assert_close(weights, wanted * real)
            else:
                rows = torch.cat(batches[first : first + world])
                mean = collectives.add_up(selector.reduce(kept.data)) / world
                torch.testing.assert_close(mean, (weight_of[rows] * LOSSES[rows]).mean())
            mine.append(ids.tolist() if real else [])
            assert position.done == sum(map(len, batches[: first + world]))
            assert selector.progress == (epoch + position.done / len(order)) / EPOCHS
        found.append((order.tolist(), mine))
    selector.set_epoch(EPOCHS)
    return found, selector.ledger


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize(
    "recipe",
    [
        sw.recipes.infobatch(until=1.0),
        sw.recipes.ordered_sgd(keep=0.5),
        sw.recipes.selective_backprop(),
        sw.recipes.importance_sampling(keep=0.5),
    ],
    ids=lambda recipe: recipe.name,
)
def test_processes_take_the_batches_in_turns_and_weigh_rows_as_one_process_does(recipe, world):
    ranks = on_ranks(world, lambda: steps(recipe))
    for epoch in range(EPOCHS):
        order = ranks[0][0][epoch][0]
        dealt = zip(*(found[epoch][1] for found, _ in ranks), strict=True)
        assert [i for at_once in dealt for ids in at_once for i in ids] == order
    assert sum(ledger.ordinary_samples for _, ledger in ranks) == pytest.approx(EPOCHS * N)
    scoring = {"infobatch": 0, "selective_backprop": EPOCHS - 1}.get(recipe.name, EPOCHS)
    assert sum(ledger.scoring_forwards for _, ledger in ranks) == scoring * N


@pytest.mark.parametrize("world", [2, 3])
def test_a_mean_over_rows_is_over_the_rows_of_all_processes(world):
    on_ranks(world, lambda: steps(sw.recipes.infobatch(until=1.0), by_tokens=False))
