"""Ranks that are threads exchange as processes do."""

import time

import pytest
import torch

from samplewise.distributed import collectives
from samplewise.testing.ranks import on_ranks
from tests.ranks import on_ranks as on_processes


def exchanged(*_):
    rank, ids = collectives.rank(), torch.tensor([[3, 1], [1, 7], [0, 9]][collectives.rank()])
    columns = [ids.float() + rank / 4, torch.full((2, 2), rank, dtype=torch.int8)]
    found, gathered = collectives.gather(ids, columns)
    return (
        rank,
        collectives.world(),
        collectives.largest(rank * 3),
        collectives.total(rank + 1),
        collectives.add_up(torch.tensor([rank, 1])).tolist(),
        collectives.everyone(f"rank {rank}"),
        [part.tolist() for part in (found, *gathered)],
    )


def test_threads_exchange_what_processes_exchange(tmp_path):
    (processes,) = on_processes(exchanged, (3,), tmp_path).values()
    assert on_ranks(3, exchanged) == processes


def test_what_one_rank_changes_after_sending_it_is_not_seen_by_the_others():
    def work():
        mine = torch.zeros(1)
        (zeros, _) = collectives.everyone(mine)
        mine += 1 + collectives.rank()
        collectives.everyone(None)
        return zeros.item()

    assert on_ranks(2, work) == [0.0, 0.0]


def test_an_error_of_one_rank_ends_all_and_comes_out():
    def work():
        if collectives.rank() == 1:
            raise ValueError("one broke")
        collectives.everyone(1)

    begun = time.monotonic()
    with pytest.raises(ValueError, match="one broke"):
        on_ranks(3, work)
    assert time.monotonic() - begun < 30


def test_outside_of_the_ranks_nothing_is_changed():
    assert on_ranks(2, lambda: collectives.world()) == [2, 2]
    assert (collectives.world(), collectives.rank(), collectives.largest(4)) == (1, 0, 4)


@pytest.mark.parametrize("spread", [1, 100])
@pytest.mark.parametrize("sizes", [(0, 5), (40, 40), (3, 90), (64, 1)])
def test_gathered_rows_are_those_of_the_lowest_rank_that_sent_them(sizes, spread):
    def rows(rank):
        rng = torch.Generator().manual_seed(rank)
        return (torch.randint(60, (sizes[rank],), generator=rng) + 11) * spread

    def work():
        ids = rows(collectives.rank())
        places = torch.arange(len(ids)) + 1000 * collectives.rank()
        found, (gathered,) = collectives.gather(ids, [places])
        return found.tolist(), gathered.tolist()

    first = {}
    for rank in (0, 1):
        for place, id in enumerate(rows(rank).tolist()):
            first.setdefault(id, place + 1000 * rank)
    expected = (sorted(first), [first[id] for id in sorted(first)])
    assert on_ranks(2, work) == [expected, expected]
