"""FSDP2 through Accelerate on two processes: the run of one process with the double batch, also resumed."""

import pytest
import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule

from tests.integrations.accelerate_runs import BATCH, built, on_two, trained

EPOCH_LEVEL = ["full", "infobatch", "ucb", "kakurenbo"]
BATCH_LEVEL = ["loss_sampling", "eswp"]


def sharding():
    """An Accelerator that shards models on CPU processes. Accelerate itself does so on accelerators only."""
    AcceleratorState._reset_state(reset_partial_state=False)
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="no_wrap")
    accelerator = Accelerator(cpu=True, fsdp_plugin=plugin)
    for state in (PartialState(), accelerator.state):
        state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin
    assert accelerator.is_fsdp2
    return accelerator


def sharded(folder):
    """All that one process of two does."""
    plain = Accelerator(cpu=True)
    told = {f"{name} whole": trained(plain, *built(name, plain, name=name)) for name in BATCH_LEVEL}
    for name in (*EPOCH_LEVEL, *BATCH_LEVEL):
        accelerator = sharding()
        run = built(name, accelerator)
        assert isinstance(run[2], FSDPModule)
        assert {type(value).__name__ for value in run[2].parameters()} == {"DTensor"}
        told[name] = trained(accelerator, *run)
    for name in ("infobatch", "eswp"):
        saving = sharding()
        begun = trained(saving, *built(name, saving), stop=(1, 0))
        saving.save_state(f"{folder}/{name}")
        loading = sharding()
        run = built(name, loading)
        loading.load_state(f"{folder}/{name}")
        told[f"resumed {name}"] = begun[0], trained(loading, *run)
    return told


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return on_two(sharded, tmp_path_factory.mktemp("states"))


def same(weights, others):
    for value, other in zip(weights, others, strict=True):
        torch.testing.assert_close(torch.tensor(value), torch.tensor(other), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", EPOCH_LEVEL)
def test_a_sharded_model_plans_and_steps_as_one_process_with_the_double_batch(both, name):
    accelerator = Accelerator(cpu=True)
    alone, weights = trained(accelerator, *built(name, accelerator))
    for epoch, (plan, steps) in enumerate(alone):
        first, second = (rank[name][0][epoch] for rank in both)
        assert first[0] == second[0] == plan
        for (ids, rows), (mine, some), (others, more) in zip(steps, first[1], second[1], strict=True):
            assert (mine + others)[: len(ids)] == ids  # padding comes after
            assert some + more == rows
    same(both[0][name][1], weights)
    same(both[1][name][1], weights)


@pytest.mark.parametrize("name", BATCH_LEVEL)
def test_choices_inside_batches_are_those_of_models_that_are_not_sharded(both, name):
    for rank in both:
        told, weights = rank[f"{name} whole"]
        assert rank[name][0] == told
        assert any(rows < len(ids) == BATCH for _, steps in told for ids, rows in steps)
        same(rank[name][1], weights)


@pytest.mark.parametrize("name", ["infobatch", "eswp"])
def test_a_resumed_run_is_the_uninterrupted_one(both, name):
    for rank in both:
        whole, weights = rank[name]
        begun, (rest, resumed) = rank[f"resumed {name}"]
        joined = [*begun[:-1], (rest[0][0], begun[-1][1] + rest[0][1]), *rest[1:]]
        assert [plan for plan, _ in joined] == [plan for plan, _ in whole]
        assert [rows for _, steps in joined for _, rows in steps] == [
            rows for _, steps in whole for _, rows in steps
        ]
        same(resumed, weights)
