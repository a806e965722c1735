"""Dealing an epoch's order to processes, against plain loops over the order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.distributed.shares import deal, real_rows

ORDER = torch.randperm(100, generator=torch.Generator().manual_seed(3))


@settings(max_examples=200)
@given(k=st.integers(0, 40), world=st.integers(1, 5), steps=st.integers(0, 4), b=st.integers(1, 5))
def test_shares_are_equal_disjoint_and_the_rest_of_the_order(k, world, steps, b):
    order = ORDER[:k]
    done = min(k, steps * b * world)
    shares = [deal(order, done, rank, world, covers=False).tolist() for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    rest = order.tolist()[done:]
    # In turns: the first of everyone, then the second of everyone.
    assert [share[i] for i in range(len(shares[0])) for share in shares] == rest[: len(rest) // world * world]


@settings(max_examples=200)
@given(k=st.integers(1, 40), world=st.integers(1, 5), done=st.integers(0, 60))
def test_covering_shares_hold_every_id_and_are_padded_from_the_front(k, world, done):
    order = ORDER[:k]
    shares = [deal(order, done, rank, world, covers=True).tolist() for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    rest = order.tolist()[done:]
    dealt = [share[i] for i in range(len(shares[0])) for share in shares]
    assert dealt[: len(rest)] == rest
    padding = dealt[len(rest) :]
    assert len(padding) < world
    assert padding == [order.tolist()[i % k] for i in range(len(padding))]


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("sharded", [True, False])
def test_the_rows_that_are_no_padding_are_counted_as_by_hand(world, sharded):
    for k in range(1, 40):
        for b in (1, 3, 4):
            order = list(range(k))
            padded = order + [-1] * (world * b)
            for step in range(-(-k // (world * b))):
                held = padded[step * world * b : (step + 1) * world * b]
                if sharded:
                    rows = [held[rank::world] for rank in range(world)]
                else:
                    rows = [held[rank * b : (rank + 1) * b] for rank in range(world)]
                real = [sum(row >= 0 for row in mine) for mine in rows]
                for rank in range(world):
                    share = real_rows(k - step * world * b, b, rank, world, sharded)
                    if sum(real) == world * b:
                        assert share is None
                    else:
                        assert share == (real[rank], sum(real))
