"""Accelerate: the choices and weights of the plain loop, also resumed, accumulated and in bf16."""

import gc
import pickle
import weakref

import pytest
import torch
from accelerate import Accelerator, DataLoaderConfiguration, skip_first_batches
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType
from torch import nn

import samplewise as sw
from samplewise.integrations.accelerate import prepare
from tests.seams.toys import Net, Random, Tensors, forward_of, make, train

KINDS = [
    "full", "infobatch", "ucb", "kakurenbo", "loss_sampling", "evolved_sampling", "eswp"
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_state_of_another_test():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def built(policy, accelerator, dataset=None, **arguments):
    """A selector whose forward runs the prepared model, its loader, and model and optimizer."""
    net = Net()
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.05))
    selector, _ = make(policy, dataset, model=model, period=2)
    loader = prepare(selector, accelerator, **{"drop_last": True, **arguments})
    return selector, loader, model, optimizer


def trained(accelerator, selector, loader, model, optimizer, stop=None):
    """The usual loop of Accelerate, to the end or to (epoch, step); the ids of every batch, by epoch."""
    seen = []
    for epoch in range(selector.epoch, selector.epochs):
        seen.append([])
        for step, batch in enumerate(loader):
            with accelerator.accumulate(model):
                loss = selector.loss(batch)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            seen[-1].append(batch.ids.tolist())
            if stop == (epoch, step):
                return seen
    return seen


def assert_same_weights(one, other):
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("policy", KINDS)
def test_choices_and_weights_are_those_of_the_plain_loop(policy):
    selector, net = make(policy, period=2)
    expected = train(selector, net)
    accelerator = Accelerator()
    run = built(policy, accelerator)
    assert trained(accelerator, *run) == expected
    assert_same_weights(net, run[2])
    assert str(run[0].table().columns) == str(selector.table().columns)


def test_workers_and_their_random_transforms_are_those_of_the_plain_loop():
    selector, net = make("eswp", Random(), period=2)
    expected = train(selector, net, selector.loader(num_workers=2, drop_last=True))
    accelerator = Accelerator()
    run = built("eswp", accelerator, Random(), num_workers=2)
    assert trained(accelerator, *run) == expected
    assert_same_weights(net, run[2])


@pytest.mark.parametrize("policy", ["infobatch", "eswp"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_resumed_in_mid_epoch_is_the_uninterrupted_one(policy, workers, tmp_path):
    accelerator = Accelerator()
    whole = built(policy, accelerator, num_workers=workers)
    torch.manual_seed(1)  # dropout draws from the global state, which Accelerate saves
    expected = trained(accelerator, *whole)

    accelerator = Accelerator()
    torch.manual_seed(1)
    run = built(policy, accelerator, num_workers=workers)
    torch.manual_seed(1)
    begun = trained(accelerator, *run, stop=(1, 1))
    accelerator.save_state(tmp_path)

    torch.manual_seed(2)
    accelerator = Accelerator()
    run = built(policy, accelerator, num_workers=workers)
    accelerator.load_state(tmp_path)
    rest = trained(accelerator, *run)
    assert [*begun[:-1], begun[-1] + rest[0], *rest[1:]] == expected
    assert_same_weights(whole[2], run[2])


def test_an_accumulated_group_ends_with_the_epoch():
    accelerator = Accelerator(gradient_accumulation_steps=2)
    selector, loader, model, _ = built("full", accelerator)
    synced = []
    for batch in loader:
        with accelerator.accumulate(model):
            accelerator.backward(selector.loss(batch))
            synced.append(accelerator.sync_gradients)
    assert synced == [False, True, False, True, True]


def test_accumulation_gives_the_weights_of_the_plain_loop_that_divides_by_the_group():
    accelerator = Accelerator(gradient_accumulation_steps=2)
    run = built("infobatch", accelerator)
    torch.manual_seed(1)
    expected = trained(accelerator, *run)
    selector, net = make("infobatch", period=2)
    torch.manual_seed(1)
    loader, optimizer = selector.loader(drop_last=True), torch.optim.SGD(net.parameters(), lr=0.05)
    for epoch in range(4):
        for step, batch in enumerate(loader):
            (selector.loss(batch) / 2).backward()
            if step % 2 or step + 1 == len(expected[epoch]):
                optimizer.step()
                optimizer.zero_grad()
    assert_same_weights(net, run[2])


def test_bf16_trains_with_the_choices_of_autocast_around_the_forward():
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    run = built("eswp", accelerator)
    seen = trained(accelerator, *run)
    net = Net()

    def forward(batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(batch[0])
        return nn.functional.cross_entropy(logits.float(), batch[1], reduction="none")

    selector, _ = make("eswp", model=net, forward=forward, period=2)
    assert train(selector, net) == seen
    assert run[2].fc.weight.dtype is torch.float32


def test_batches_are_on_the_accelerator_and_keep_their_form():
    _, loader, _, _ = built("full", Accelerator())
    batch = next(iter(loader))
    assert type(batch) is sw.Batch
    assert batch.data[0][:, 0].tolist() == batch.ids.tolist()


def test_metrics_of_a_subset_are_gathered_whole():
    accelerator = Accelerator()
    net = Net()
    selector, _ = make(sw.recipes.random_dynamic(keep=0.8, period=1), Tensors(49), model=net)
    gathered = []
    for batch in prepare(selector, accelerator):
        selector.loss(batch)
        gathered.extend(accelerator.gather_for_metrics(batch.ids).tolist())
    assert sorted(gathered) == selector.table().ids[selector.table().times_selected > 0].tolist()


def test_a_loop_that_breaks_off_starts_the_epoch_again_and_says_so():
    selector, loader, _, _ = built("full", Accelerator())
    for batch in loader:
        selector.loss(batch)
        break
    with pytest.warns(UserWarning, match="the loop over the loader ended early"):
        assert len([selector.loss(batch) for batch in loader]) == len(loader) == 5


def test_the_length_follows_the_plan():
    accelerator = Accelerator()
    run = built("infobatch", accelerator)
    lengths = []
    for _ in range(4):
        lengths.append(len(run[1]))
        lengths.append(len([run[0].loss(batch) for batch in run[1]]))
    assert lengths[0::2] == lengths[1::2]
    assert min(lengths) < 5


# ------------------------------------------------------------------------------------ checkpoints


class Evil:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_malicious_checkpoint_is_not_run(tmp_path):
    accelerator = Accelerator()
    built("infobatch", accelerator)
    accelerator.save_state(tmp_path)
    for write in (torch.save, lambda what, to: to.write_bytes(pickle.dumps(what))):
        write({"policy": Evil(tmp_path / "ran")}, tmp_path / "samplewise.pt")
        assert not (tmp_path / "ran").exists()
        with pytest.raises(ValueError, match=r"samplewise\.pt is damaged"):
            accelerator.load_state(tmp_path)
        assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Evil(tmp_path / "ran"))).close()  # which would have shown
    assert (tmp_path / "ran").exists()


def test_a_checkpoint_without_selection_or_of_another_method_is_refused(tmp_path):
    accelerator = Accelerator()
    accelerator.save_state(tmp_path / "without")
    built("infobatch", accelerator)
    accelerator.save_state(tmp_path / "infobatch")
    accelerator = Accelerator()
    built("eswp", accelerator)
    with pytest.raises(FileNotFoundError, match=r"no samplewise\.pt: it was saved without prepare"):
        accelerator.load_state(tmp_path / "without")
    with pytest.raises(ValueError, match=r"the state is of policy=recipes\.infobatch"):
        accelerator.load_state(tmp_path / "infobatch")


def test_two_selectors_of_one_accelerator_need_two_names(tmp_path):
    accelerator = Accelerator()
    built("infobatch", accelerator)
    with pytest.raises(ValueError, match=r"saves another selector as samplewise\.pt"):
        built("full", accelerator)
    first = built("full", accelerator, name="second")
    prepare(first[0], accelerator, num_workers=1)  # another loader of the same selector
    accelerator.save_state(tmp_path)
    assert {path.name for path in tmp_path.glob("*.pt")} == {"samplewise.pt", "second.pt"}


def test_registering_the_selector_by_hand_continues_as_well(tmp_path):
    accelerator = Accelerator()
    expected = trained(accelerator, *built("infobatch", accelerator))
    accelerator = Accelerator()
    run = built("infobatch", accelerator)
    accelerator.register_for_checkpointing(run[0])
    trained(accelerator, *run, stop=(1, 0))
    accelerator.save_state(tmp_path)
    accelerator = Accelerator()
    again = built("infobatch", accelerator)
    accelerator.register_for_checkpointing(again[0])
    accelerator.load_state(tmp_path)
    assert trained(accelerator, *again)[0] == expected[1][1:] != []


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("setting", ["dispatch_batches", "use_stateful_dataloader"])
def test_ways_of_loading_that_selection_cannot_count_are_refused_by_name(setting):
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(**{setting: True}))
    with pytest.raises(ValueError, match=f"{setting}=True.*does not work with selection"):
        built("full", accelerator)


def test_deepspeed_is_refused_with_the_way_out(monkeypatch):
    accelerator = Accelerator()
    selector, _ = make("full")
    monkeypatch.setitem(accelerator.state._shared_state, "distributed_type", DistributedType.DEEPSPEED)
    with pytest.raises(ValueError, match=r"must not use DeepSpeed.*Use FSDP2.*fsdp_version=2"):
        prepare(selector, accelerator)


def test_what_is_prepared_cannot_be_prepared_or_skipped_again():
    accelerator = Accelerator()
    _, loader, _, _ = built("full", accelerator)
    assert accelerator.prepare(loader) is loader
    with pytest.raises(AttributeError, match=r"Do not call accelerator\.prepare or skip_first_batches"):
        skip_first_batches(loader, 2)


def test_arguments_of_the_wrong_kind_are_refused():
    accelerator = Accelerator()
    selector, _ = make("full")
    with pytest.raises(ValueError, match=r"loader\(\) takes no shuffle"):
        prepare(selector, accelerator, shuffle=True)
    bare = sw.Selector("full", Tensors(), forward_of(Net()), epochs=2)
    with pytest.raises(ValueError, match="the loader needs a batch size"):
        prepare(bare, accelerator)


def test_our_own_loader_is_no_loader_for_accelerate_and_says_so():
    accelerator = Accelerator()
    selector, _ = make("infobatch")
    with pytest.raises(
        RuntimeError, match=r"For Accelerate use samplewise\.integrations\.accelerate\.prepare"
    ):
        next(iter(accelerator.prepare(selector.loader())))


def references_of_a_prepared_pair():
    accelerator, net = Accelerator(cpu=True), Net()

    def forward(batch):
        with accelerator.autocast():
            return forward_of(net)(batch)

    selector, _ = make("infobatch", model=net, forward=forward)
    prepare(selector, accelerator)
    return weakref.ref(accelerator), weakref.ref(selector)


def test_a_selector_whose_forward_uses_the_accelerator_is_freed_with_it():
    gone = references_of_a_prepared_pair()
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_a_second_name_for_one_selector_is_refused():
    accelerator = Accelerator(cpu=True)
    selector, _ = make("infobatch")
    prepare(selector, accelerator)
    prepare(selector, accelerator, num_workers=1)
    with pytest.raises(ValueError, match=r"already saved as samplewise\.pt, so name must not be 'other'"):
        prepare(selector, accelerator, name="other")
