"""Two processes with clocks of their own: the gate decides on both together, at the same step."""

import time
import warnings
from unittest import mock

import pytest
import torch

import samplewise as sw
from samplewise.distributed import collectives
from tests.ranks import on_ranks

N, BATCH, EPOCHS = 320, 4, 3


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


def trained(score, epochs=EPOCHS, state=None, until=None):
    """The rows of every step, the decisions, the warnings and the state of a training on this rank."""
    torch.manual_seed(0)
    clock, rows = Clock(), []
    data = torch.utils.data.TensorDataset(torch.randn(N, 4), torch.arange(N) % 3)
    model = torch.nn.Linear(4, 3)
    classify = sw.classifier(model, head="")

    def forward(batch):
        if torch.is_grad_enabled():
            rows.append(len(batch[0]))
        clock.now += len(batch[0]) * (1.0 if torch.is_grad_enabled() else score)
        return classify(batch)

    with mock.patch.object(time, "perf_counter", clock), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        selector = sw.Selector(
            sw.recipes.loss_sampling(keep=0.5),
            data,
            forward,
            model=model,
            epochs=epochs,
            batch_size=BATCH,
            gate=True,
        )
        if state is not None:
            selector.load_state_dict(state)
        loader = selector.loader()
        for _ in range(selector.epoch, epochs):
            for batch in loader:
                selector.loss(batch).backward()
                if len(rows) == until:
                    selector.sync()
                    return rows, selector.state_dict()
    gate = [str(each.message) for each in said if "gate" in str(each.message)]
    decisions = [(d["epoch"], d["selects"], d["pays"]) for d in selector.ledger.decisions]
    return rows, decisions, [d["cost"] for d in selector.ledger.decisions], gate


def work(rank, world):
    # Alone rank 0 would keep selecting, and rank 1 would end it.
    mixed = trained(0.1 if rank == 0 else 8.0)
    both = trained(0.1)
    begun, state = trained(0.1 if rank == 0 else 8.0, until=75)
    resumed = trained(0.1 if rank == 0 else 8.0, state=state)
    return mixed, both, begun, resumed


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return on_ranks(work, [2], tmp_path_factory.mktemp("gate"))[2]


def test_two_processes_decide_together_from_the_mean_of_both(ranks):
    (first, _, _, _), (second, _, _, _) = ranks
    assert first[0] == second[0]  # as many rows in every step
    assert first[1] == second[1] == [(1, 0, 0)]
    assert first[2] == second[2] == [pytest.approx((0.6 + 8.5) / 2)]
    assert [len(first[3]), len(second[3])] == [1, 0]  # one warning, of rank 0


def test_two_processes_that_save_time_go_on(ranks):
    for _, both, _, _ in ranks:
        assert both[1] == [(1, 1, 1)]
        assert both[3] == []


def test_a_resume_of_two_processes_repeats_the_decision(ranks):
    for mixed, _, begun, resumed in ranks:
        assert begun + resumed[0] == mixed[0]
        assert resumed[1] == mixed[1]


def test_a_process_without_a_gate_is_refused(tmp_path):
    with pytest.raises(Exception, match="gate"):
        on_ranks(_unlike, [2], tmp_path)


def _unlike(rank, world):
    selector = sw.Selector("loss_sampling", 16, epochs=1, gate=bool(rank))
    selector.plan(0)
    return collectives.rank()
