"""The Trainer's loader: batches of one's own are kept, and an epoch without one is no end of training."""

import math
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, WeightedRandomSampler
from transformers import Trainer

import samplewise as sw
from samplewise.integrations.transformers.loading import batches_of
from samplewise.integrations.transformers.refusals import refuse_uneven
from tests.integrations.trainer_runs import N, Plans, collate, selective, trained_ids, weights

pytestmark = pytest.mark.usefixtures("quick_training")


def loading(prepares=True, **given):
    """A Trainer with a train loader of its own: shuffled, and with the arguments given."""

    class Loading(Trainer):
        def get_train_dataloader(self):
            made = {"shuffle": True, "collate_fn": collate, **given}
            data = self._remove_unused_columns(self.train_dataset)
            kind = made.pop("loader", DataLoader)
            if "sampler" in made:
                made |= {"shuffle": None, "sampler": made["sampler"](data)}
            if "batch_sampler" in made:
                made |= {"shuffle": None, "batch_sampler": made["batch_sampler"](data)}
            loader = kind(data, **made)
            return self.accelerator.prepare(loader) if prepares else loader

    return Loading


@pytest.mark.parametrize("prepares", [True, False], ids=["prepared", "bare"])
@pytest.mark.parametrize(
    "given",
    [
        {"batch_size": 2},
        {"batch_size": 3, "drop_last": True},
        {"batch_sampler": lambda data: BatchSampler(RandomSampler(data), 6, False)},
    ],
    ids=["smaller", "cut", "by a batch sampler"],
)
@pytest.mark.parametrize("recipe", ["full", "eswp"])
def test_a_train_loader_of_ones_own_keeps_its_batches(recipe, given, prepares, tmp_path):
    size, cut = given.get("batch_size", 6), given.get("drop_last", False)
    ours = selective(tmp_path, recipe, kind=loading(prepares, **given), gradient_accumulation_steps=2)
    other = selective(
        tmp_path,
        recipe,
        per_device_train_batch_size=size,
        dataloader_drop_last=cut,
        gradient_accumulation_steps=2,
    )
    assert trained_ids(ours) == trained_ids(other)
    assert torch.equal(weights(ours), weights(other))
    if recipe == "full":
        assert ours.state.global_step == 3 * math.ceil((N // size if cut else math.ceil(N / size)) / 2)


def test_a_train_loader_of_ones_own_keeps_its_workers(tmp_path):
    given = {"num_workers": 1, "prefetch_factor": 3, "persistent_workers": True, "timeout": 50}
    trainer = selective(tmp_path, "full", kind=loading(False, batch_size=2, **given))
    loader = trainer.get_train_dataloader()
    assert {name: getattr(loader, name) for name in given} == given


def test_the_batches_of_a_shard_are_those_of_one_process():
    whole = BatchSampler(RandomSampler(range(10)), 3, True)
    shard = DataLoader(range(10), batch_sampler=BatchSamplerShard(whole, num_processes=2, process_index=1))
    assert batches_of(shard) == (3, True)


@pytest.mark.parametrize("drop_last", [True, False])
def test_uneven_batches_need_a_loader_that_drops_the_last(drop_last):
    two = SimpleNamespace(world_size=2, accelerator_config=SimpleNamespace(even_batches=False))
    if drop_last:
        refuse_uneven(two, True)
        return
    with pytest.raises(
        ValueError, match="with even_batches=False, processes get different numbers of batches"
    ):
        refuse_uneven(two, False)


def test_uneven_packed_batches_can_only_be_evened():
    """To drop the last ones is refused too, so the error must not advise it."""
    two = SimpleNamespace(
        world_size=2,
        accelerator_config=SimpleNamespace(even_batches=False),
        packing=True,
        packing_strategy="bfd",
    )
    with pytest.raises(ValueError, match=r"Set accelerator_config=\{'even_batches': True\}") as caught:
        refuse_uneven(two, False)
    assert "drop_last" not in str(caught.value)
    two.packing_strategy = "wrapped"
    with pytest.raises(ValueError, match="Set dataloader_drop_last=True"):
        refuse_uneven(two, False)


@pytest.mark.parametrize(("world", "strategy"), [(2, "bfd"), (1, "bfd"), (2, "wrapped")])
def test_packed_batches_of_several_processes_are_a_mean_over_all_tokens(world, strategy):
    args = SimpleNamespace(
        world_size=world,
        accelerator_config=SimpleNamespace(even_batches=True),
        packing=True,
        packing_strategy=strategy,
        average_tokens_across_devices=False,
    )
    if (world, strategy) == (2, "bfd"):
        with pytest.raises(ValueError, match="packing=True in several processes needs average_tokens"):
            refuse_uneven(args, False)
        args.average_tokens_across_devices = True
    refuse_uneven(args, False)


class Backwards(RandomSampler):
    def __iter__(self):
        return iter(range(len(self.data_source)))


class Buckets(BatchSampler):
    pass


class Doubling(DataLoader):
    pass


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"sampler": lambda data: RandomSampler(data, num_samples=5)},
            "a RandomSampler of 5 draws, replacement=F",
        ),
        (
            {"sampler": lambda data: RandomSampler(data, replacement=True)},
            r"draws, replacement=True\. Sel",
        ),
        (
            {"sampler": lambda data: WeightedRandomSampler([1.0] * N, N)},
            "a WeightedRandomSampler",
        ),
        ({"sampler": Backwards}, "a loader with a Backwards. Selection would replace"),
        ({"shuffle": False}, "a loader with a SequentialSampler"),
        (
            {"batch_sampler": lambda data: Buckets(RandomSampler(data), 4, False)},
            r"a loader with a Buckets\. Sel",
        ),
        ({"batch_size": None, "collate_fn": None}, "a loader with batch_size=None"),
        ({"loader": Doubling}, "a Doubling. Selection would replace"),
        ({"loader": lambda *_, **__: [{"labels": 1}]}, "got a list"),
    ],
    ids=[
        "fewer",
        "replacement",
        "weighted",
        "own order",
        "no order",
        "buckets",
        "rows",
        "own loader",
        "a list",
    ],
)
def test_a_train_loader_that_is_more_than_a_random_order_is_refused(given, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        selective(tmp_path, "full", kind=loading(False, **given))


@pytest.mark.parametrize(
    ("method", "said"),
    [(sw.recipes.random_dynamic(keep=0.1), "epoch 0 has no batch: 3 sa"), (Plans(9, 3, 9), None)],
    ids=["known at the start", "seen when it begins"],
)
def test_dropping_the_only_batch_of_an_epoch_is_an_error_and_not_the_end(method, said, tmp_path):
    if said:
        with pytest.raises(ValueError, match=said):
            selective(tmp_path, method, dataloader_drop_last=True)
        return
    trainer = selective(tmp_path, method, dataloader_drop_last=True)
    with pytest.raises(ValueError, match="epoch 1 has no batch: 3 samples, batch_size=4, drop_last=True"):
        trainer.train()
    assert trainer.state.global_step == 2
