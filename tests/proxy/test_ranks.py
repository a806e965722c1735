"""Two processes: the narrow pass beside a model under DDP gives the mean of both ranks' gradients."""

import torch
from torch import nn

from samplewise.proxy import slim
from tests.proxy.nets import Residual, made
from tests.ranks import on_ranks


def batch(rank):
    return torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(100 + rank), dtype=torch.float64)


def gradients(wrap, rank):
    """Gradients and statistics after one step of both widths on the batch of a rank."""
    model, x = made(Residual)
    model.double()
    view = slim(model, width=0.5, example=x.double())
    full = wrap(model)
    (full(batch(rank)).square().sum() + view(batch(rank)).square().sum()).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def work(rank, world):
    return gradients(nn.parallel.DistributedDataParallel, rank)


def test_gradients_of_both_widths_are_the_mean_over_ranks(tmp_path):
    found = on_ranks(work, (2,), tmp_path)[2]
    alone = [gradients(lambda model: model, rank) for rank in range(2)]
    assert any(".narrow." in name for name in alone[0])
    for name in alone[0]:
        wanted = (alone[0][name] + alone[1][name]) / 2
        for rank in range(2):
            torch.testing.assert_close(found[rank][name], wanted, atol=1e-12, rtol=1e-9)
        assert not torch.equal(alone[0][name], alone[1][name])
