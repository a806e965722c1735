"""Two processes: each chooses among the tokens of its own rows. Rows that pad the last batch have none."""

import math

import pytest
import torch
from torch.utils.data import default_collate

import samplewise as sw
from samplewise.distributed import collectives
from samplewise.testing.ranks import on_ranks
from tests.tokens.toys import Rows, Tiny

N, B = 21, 4


def dealt(selector):
    """Every second batch of the order, as frameworks deal them: filled up from its start."""
    order = list(selector.sampler("global"))
    places = range(collectives.rank() * B, 24, 2 * B)
    for place in places:
        ids = [order[i % N] for i in range(place, place + B)]
        yield sw.Batch(torch.tensor(ids), default_collate([selector.dataset[i] for i in ids]))


def work(sharded):
    """For each step the losses of the tokens, their targets, the gradient of each, and the loss."""
    model, seen, found = Tiny(), [], []
    own = sw.language_model(model)

    def forward(data):
        outputs = own(data)
        outputs.token_losses.retain_grad()
        seen.append(outputs)
        return outputs

    policy = sw.recipes.token_topk(keep=0.5)
    selector = sw.Selector(policy, Rows(N), forward, model=model, epochs=1, batch_size=B)
    for batch in selector.loader() if sharded else dealt(selector):
        loss = selector.loss(batch)
        loss.backward()
        losses = seen[-1].token_losses
        found.append((losses.detach(), seen[-1].token_targets, losses.grad, loss.item()))
    selector.set_epoch(1)
    return found, (selector.ledger.tokens, selector.ledger.tokens_trained)


def largest(losses, targets, rows):
    """The half of the tokens of these rows with the largest losses, and the number of all of them."""
    places = [(r, c) for r in rows for c in range(targets.shape[1]) if targets[r, c] != -100]
    k = len(places) - math.floor(0.5 * len(places) + 1e-9)
    return set(sorted(places, key=lambda at: (-losses[at].item(), at))[:k]), len(places)


@pytest.mark.parametrize(("sharded", "real"), [(True, [[4, 4, 2]] * 2), (False, [[4, 4, 4], [4, 4, 1]])])
def test_each_process_chooses_among_its_own_rows_and_no_padding_is_chosen(sharded, real):
    ranks = on_ranks(2, lambda: work(sharded))
    numbers = []
    for (steps, counted), rows in zip(ranks, real, strict=True):
        chosen = [largest(*step[:2], range(b)) for step, b in zip(steps, rows, strict=True)]
        for (_, _, gradient, _), (places, _) in zip(steps, chosen, strict=True):
            assert {tuple(at) for at in gradient.nonzero().tolist()} == places
        numbers.append([len(places) for places, _ in chosen])
        assert counted == (sum(count for _, count in chosen), sum(numbers[-1]))
    for (steps, _), own in zip(ranks, numbers, strict=True):
        for number, (losses, _, gradient, loss) in enumerate(steps):
            divisor = own[number]
            if not sharded and number == 2:  # with padding, by the tokens of all processes
                divisor = sum(each[number] for each in numbers) / 2
            total = losses[gradient != 0].sum().item()
            assert loss == pytest.approx(total / divisor, rel=1e-5)
