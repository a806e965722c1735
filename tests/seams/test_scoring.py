"""Scoring forwards: eval or train mode, bf16, every k-th epoch, other data - and no trace left."""

import warnings

import pytest
import torch
import torch.distributed as c10d
from torch import nn

import samplewise as sw
from tests.seams.toys import N, Net, Random, Tensors, forward_of, make, outputs_of, step, train


def state_of(model):
    """Parameters, buffers and flags."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return tensors, [module.training for module in model.modules()]


def same(one, other):
    return one[1] == other[1] and all(torch.equal(one[0][name], other[0][name]) for name in one[0])


def scorings(model):
    return [call for call in model.calls if not call[2]]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_pass_leaves_the_model_as_found(mode):
    selector, model = make("ucb", scoring=sw.Scoring(mode=mode, batch_size=7))
    model.body[1].eval()
    before = state_of(model)
    selector.set_epoch(0)
    assert same(state_of(model), before)
    assert scorings(model) == model.calls
    assert [rows for rows, _, _ in model.calls] == [7] * 5 + [5]
    assert {training for _, training, _ in model.calls} == {mode == "train"}
    assert selector.ledger.scoring_forwards == N


def test_a_model_that_was_in_eval_mode_stays_there():
    selector, model = make("ucb", model=Net().eval(), scoring=sw.Scoring(mode="train"))
    selector.set_epoch(0)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_scoring_inside_a_step_moves_no_buffer(mode):
    selector, model = make(sw.recipes.ordered_sgd(keep=0.5), scoring=sw.Scoring(mode=mode))
    batch = next(iter(selector.loader()))
    selector.loss(batch)
    assert model.calls == [(8, mode == "train", False), (4, True, True)]
    rows = torch.topk(selector.score()[batch.ids], 4).indices.sort().values
    alone = Net()
    alone(batch.data[0][rows])
    assert torch.equal(model.body[1].running_mean, alone.body[1].running_mean)
    assert model.body[1].num_batches_tracked == 1


def test_flags_and_buffers_come_back_when_the_forward_fails():
    model = Net()

    def forward(batch):
        model(batch[0])
        raise RuntimeError("the user's own failure")

    selector, _ = make("ucb", model=model, forward=forward, scoring=sw.Scoring(mode="train"))
    before = state_of(model)
    with pytest.raises(RuntimeError, match="the user's own failure"):
        selector.set_epoch(0)
    assert same(state_of(model), before)
    assert torch.is_grad_enabled()


def test_eval_and_train_mode_see_different_losses():
    scores = []
    for mode in ("eval", "train"):
        selector, _ = make("ucb", scoring=sw.Scoring(mode=mode))
        selector.set_epoch(0)
        scores.append(selector.score())
    assert not torch.allclose(*scores)


def test_bf16_scoring_is_close_and_recorded_in_float32():
    scores = []
    for dtype in (None, torch.bfloat16):
        selector, model = make("ucb", scoring=sw.Scoring(dtype=dtype))
        seen = []
        model.fc.register_forward_hook(lambda _, inputs, output, seen=seen: seen.append(output.dtype))
        selector.set_epoch(0)
        assert set(seen) == {dtype or torch.float32}
        scores.append(selector.score())
    assert scores[1].dtype == torch.float32
    assert torch.allclose(*scores, atol=0.05)
    assert not torch.equal(*scores)


def test_bf16_scoring_in_a_step_leaves_the_training_forward_in_float32():
    selector, model = make(sw.recipes.ordered_sgd(keep=0.5), scoring=sw.Scoring(dtype=torch.bfloat16))
    seen = []
    model.fc.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    selector.loss(next(iter(selector.loader())))
    assert seen == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("method", [sw.recipes.ordered_sgd(keep=0.5), "ucb"])
def test_a_forward_that_turns_autocast_off_is_warned_of(method):
    model = Net()
    outputs = outputs_of(model)

    def forward(batch):
        with torch.autocast("cpu", enabled=False):
            return outputs(batch)

    bf16 = sw.Scoring(dtype=torch.bfloat16)
    selector, _ = make(method, model=model, forward=forward, scoring=bf16)
    with pytest.warns(UserWarning, match=r"Scoring.dtype=torch.bfloat16 has no effect: forward turns auto"):
        selector.loss(next(iter(selector.loader())))
    assert not model._forward_pre_hooks
    selector, _ = make(method, scoring=bf16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selector.loss(next(iter(selector.loader())))


def test_a_compiled_model_scores_in_bf16_without_a_hook():
    model = Net()
    model.compile(backend="eager")
    selector, _ = make(
        sw.recipes.ordered_sgd(keep=0.5), model=model, scoring=sw.Scoring(dtype=torch.bfloat16)
    )
    hooks = []
    model.fc.register_forward_pre_hook(lambda _, inputs: hooks.append(len(model._forward_pre_hooks)))
    selector.loss(next(iter(selector.loader())))
    assert hooks == [0, 0]


def test_every_kth_active_epoch_scores_and_between_them_only_the_chosen_are_observed():
    policy = sw.recipes.evolved_sampling(keep=0.5, anneal=0.1)
    selector, model = make(policy, epochs=8, scoring=sw.Scoring(every=3))
    loader, optimizer, forwards = selector.loader(), torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(8):
        model.calls.clear()
        before = selector.score()
        chosen = selector.table().times_selected
        for batch in loader:
            step(selector, optimizer, batch)
        forwards.append(len(scorings(model)))
        moved = selector.score() != before
        trained = selector.table().times_selected > chosen
        if forwards[-1] == 0 and selector.epoch not in (1, 8):
            assert torch.equal(moved, trained)
        else:
            assert moved.all()
    # One annealing epoch at either end; active epochs 1, 4 score, and 7 is annealing.
    assert forwards == [0, 5, 0, 0, 5, 0, 0, 0]
    assert selector.ledger.scoring_forwards == 2 * N
    assert selector.ledger.samples_backpropagated == 2 * N + 6 * N // 2


class Shifted(Tensors):
    """The same samples, recognisably other."""

    def __getitem__(self, i):
        return self.x[i] + 100, self.targets[i]


def test_passes_read_the_data_set_for_scoring_and_training_the_other():
    seen = []

    def forward(batch):
        seen.append(float(batch[0][:, 0].min()) >= 100)
        return batch[0][:, 0]

    selector, _ = make(
        sw.recipes.uncertainty(keep=0.5), forward=forward, scoring=sw.Scoring(dataset=Shifted())
    )
    for batch in selector.loader():
        selector.loss(batch)
    assert seen == [True] * 5 + [False] * 3
    assert selector.engine.last_plan.ids.tolist() == list(range(20, 40))
    assert selector.provenance()["scored_without_augmentation"] is True
    assert make("ucb")[0].provenance()["scored_without_augmentation"] is False


def test_a_pass_through_workers_is_a_pass_without():
    scores = []
    for workers in (0, 2):
        selector, _ = make("ucb", scoring=sw.Scoring(num_workers=workers))
        selector.set_epoch(0)
        scores.append(selector.score())
    assert torch.equal(*scores)


def test_the_hidden_are_seen_again_in_a_pass_and_the_last_epoch_needs_none():
    selector, model = make(sw.recipes.kakurenbo(keep=0.5, tau=0.0), epochs=4, model=Net(dropout=0.0))
    loader, optimizer, passed = (
        selector.loader(drop_last=True),
        torch.optim.SGD(model.parameters(), lr=0.1),
        [],
    )
    hidden = []
    for _ in range(4):
        model.calls.clear()
        for batch in loader:
            step(selector, optimizer, batch)
        passed.append(sum(rows for rows, _, _ in scorings(model)))
        hidden.append(N - len(selector.engine.last_plan))
    assert passed == [0, *hidden[:-1]]
    assert any(hidden)
    assert selector.ledger.scoring_forwards == sum(hidden[:-1])


def test_a_recipe_at_keep_one_makes_no_pass():
    selector, model = make(sw.recipes.ucb(keep=1.0))
    train(selector, model, until=1)
    assert not scorings(model)
    assert selector.ledger.scoring_forwards == 0


@pytest.fixture
def one_process_group(tmp_path):
    """A gloo group of this process alone."""
    c10d.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    c10d.destroy_process_group()


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_scoring_through_a_ddp_wrapper(one_process_group, mode):
    model = Net(dropout=0.0)
    wrapped = nn.parallel.DistributedDataParallel(model)
    for name in ("ordered_sgd", "ucb"):
        selector, _ = make(
            name, model=wrapped, forward=forward_of(wrapped), epochs=2, scoring=sw.Scoring(mode=mode)
        )
        train(selector, wrapped)
    assert model.training
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_random_transform_in_a_pass_is_the_users_and_leaves_no_trace_in_training():
    """The training losses after a pass are those without one."""
    logs = []
    for policy in (sw.recipes.full(), sw.recipes.uncertainty(keep=0.999)):
        torch.manual_seed(1)
        selector, model = make(policy, Random(), epochs=1)
        logs.append((train(selector, model), [p.detach() for p in model.parameters()]))
    assert logs[0][0] == logs[1][0]
    # Python's random state is drawn from by the shape checker, numpy's and torch's by the transform alone.
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(logs[0][1], logs[1][1], strict=True))
