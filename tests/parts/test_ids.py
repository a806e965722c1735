"""What arrives: ids of any whole type, class numbers, empty batches, numbers that float32 cannot hold."""

from dataclasses import replace

import pytest
import torch

import samplewise as sw
from samplewise.data.ids import ascending, first_of_each
from samplewise.policy import Policy
from samplewise.testing import Trace, build, recipes
from tests.seams.toys import plainly

WHOLE = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.uint64)
N, EPOCHS = 12, 4
EVERY = pytest.mark.parametrize("made", recipes(), ids=lambda made: made.name)


def reads_classes(made):
    policy = build(made, N, period=2)
    return isinstance(policy, Policy) and "targets" in policy.reads and policy.signals


def same(thing):
    return thing


def halves(ids):
    return torch.split(ids, 6)


def trained(made, shown=same, given=same, batches=halves):
    """Everything chosen in a run whose outputs, ids and batches are changed on their way in."""
    trace = Trace(n=N, epochs=EPOCHS)
    selector = sw.Selector(build(made, N, period=2), N, epochs=EPOCHS)
    told = []
    for epoch in range(EPOCHS + 1):
        if epoch == EPOCHS:
            selector.set_epoch(epoch)
        if selector.pass_due(epoch):
            for ids in batches(selector.pass_ids(epoch)):
                selector.observe(given(ids), shown(trace.outputs(ids, epoch)), "pass")
        if epoch == EPOCHS:
            break
        plan = selector.plan(epoch)
        told.append((plan.ids.tolist(), None if plan.weights is None else plan.weights.tolist()))
        for ids in batches(plan.ids):
            selector.observe(given(ids), shown(trace.outputs(ids, epoch)))
            rows, weights = selector.choose(given(ids))
            if len(ids):
                told.append((rows.tolist(), None if weights is None else weights.tolist()))
    if selector.policy.level == "static":
        told.append(selector.subset().ids.tolist())
    return told


@EVERY
def test_ids_and_targets_of_any_whole_type_choose_as_int64(made):
    wanted = trained(made)
    kinds = WHOLE if made.name in ("infobatch", "kakurenbo") else (torch.uint8, torch.uint32)
    for kind in kinds:
        assert trained(made, given=lambda ids, kind=kind: ids.to(kind)) == wanted
        if kind != torch.int8:
            shown = lambda outputs, kind=kind: replace(outputs, targets=outputs.targets.to(kind))  # noqa: E731
            assert trained(made, shown=shown) == wanted


@EVERY
def test_an_empty_batch_anywhere_changes_nothing(made):
    def with_empty_ones(ids):
        parts = torch.split(ids, 6)
        return [ids[:0], *parts[:1], ids[:0], *parts[1:], ids[:0]]

    assert trained(made, batches=with_empty_ones) == trained(made)


@pytest.mark.parametrize("made", list(filter(reads_classes, recipes())), ids=lambda made: made.name)
def test_a_target_that_is_no_class_is_named_at_the_first_batch_that_has_it(made):
    seen = []

    def ignored(outputs):
        targets = outputs.targets.clone()
        targets[1] = -100
        seen.append(len(targets))
        return replace(outputs, targets=targets)

    with pytest.raises(ValueError, match=r"targets must be .* \[-100\] for ids \[\d+\] in epoch \d"):
        trained(made, shown=ignored)
    assert len(seen) == 1


@EVERY
def test_features_of_any_size_are_handled_or_refused_by_name(made):
    for size in (1e-30, 1e30):
        try:
            told = trained(made, shown=lambda o, size=size: replace(o, features=o.features * size))
        except ValueError as error:
            assert "for ids [" in str(error)  # noqa: PT017 - one of two right ends
        else:
            assert told


@pytest.mark.parametrize("name", ["herding", "moderate"])
def test_the_scale_of_the_features_changes_no_choice(name):
    policy = sw.recipes.parse(f"{name}:keep=0.5")
    found = []
    for scale in (1.0, 2.0**100, 2.0**-100):
        trace = Trace(n=N, epochs=2)
        selector = sw.Selector(policy, N, epochs=2)
        for epoch in range(2):
            selector.plan(epoch)
        selector.set_epoch(2)
        shown = trace.outputs(torch.arange(N), 2)
        selector.observe(torch.arange(N), replace(shown, features=shown.features * scale), "pass")
        found.append(selector.subset().ids.tolist())
    assert found[0] == found[1] == found[2]


def test_pursuit_of_large_gradients_is_that_of_small_ones_with_a_smaller_ridge():
    rng = torch.Generator().manual_seed(0)
    features, residual = torch.randn(8, 3, generator=rng), torch.randn(8, 2, generator=rng)
    large = sw.pickers.MatchingPursuit(0.5, lam=0.5).picks((residual, features * 2.0**60), 4, rng)
    # At this size the bias's part of a gradient is nothing beside the weight's.
    small = sw.pickers.MatchingPursuit(0.5, lam=0.5 / 2.0**80).picks(
        (residual / 2.0**40, features * 2.0**60), 4, rng
    )
    assert large[0].tolist() == small[0].tolist()
    torch.testing.assert_close(large[1], small[1])


@EVERY
def test_an_id_outside_is_refused_before_anything_is_written(made):
    trace = Trace(n=N, epochs=EPOCHS)
    selector = sw.Selector(build(made, N, period=2), N, epochs=EPOCHS)
    everyone = torch.arange(N)
    if selector.pass_due(0):
        selector.observe(everyone, trace.outputs(everyone, 0), "pass")
    selector.plan(0)
    selector.observe(everyone, trace.outputs(everyone, 0))
    before = selector.state_dict()["engine"]
    shown = trace.outputs(torch.tensor([0, 1, 2]), 1)
    calls = [
        lambda ids: selector.observe(ids, shown),
        lambda ids: selector.observe(ids, shown, "pass"),
        selector.choose,
    ]
    if made.name == "auto_assist":
        calls.append(lambda ids: selector.look(ids, shown.features))
    for outside in (-1, N, 2**40):
        for call in calls:
            with pytest.raises(ValueError, match=rf"ids \[{outside}\] are outside the data set of {N} "):
                call(torch.tensor([0, 1, outside]))
    after = selector.state_dict()["engine"]
    assert str(after["memory"]) == str(before["memory"])
    assert torch.equal(after["times_selected"], before["times_selected"])


def test_weights_of_ids_outside_are_refused():
    selector = sw.Selector("infobatch", 4, epochs=4)
    selector.plan(0)
    selector.observe(torch.arange(4), torch.tensor([0.1, 0.1, 5.0, 5.0]))
    selector.plan(1)
    for outside in (-1, 4):
        with pytest.raises(ValueError, match=rf"ids \[{outside}\] are outside the data set of 4 samples"):
            selector.engine.weights(torch.tensor([0, outside]))


def test_ids_that_are_no_positions_are_refused_in_words():
    code = """
import torch, samplewise as sw
for name in ("full", "infobatch", "loss_sampling", "importance_sampling", "random_batch", "auto_assist"):
    s = sw.Selector(name, 8, epochs=4)
    s.plan(0)
    bad = torch.tensor([0.0, 1.0]), torch.tensor([True, False]), torch.tensor(1), torch.ones(2, 1).long()
    for ids in (*bad, [0, 1]):
        for call in (
            lambda: s.observe(ids, torch.ones(2)),
            lambda: s.choose(ids),
            lambda: s.look(ids, torch.ones(2, 1)),
        ):
            try:
                call()
            except (ValueError, TypeError) as error:
                print(str(error).split(",")[0])
            else:
                print("nothing", name, ids)
losses = torch.tensor([0.1, 0.1, 5.0, 5.0])
s = sw.Selector("infobatch", list(range(4)), lambda d: losses[d], epochs=8, batch_size=4)
for epoch in range(2):
    for batch in s.loader():
        print(float(s.loss(sw.Batch(batch.ids.int(), batch.data))))
"""
    said = plainly(code).splitlines()
    assert len(said) == 6 * 5 * 3 + 2
    calls = ("observe", "choose", "look")
    for line, call in zip(said[:-2], calls * 30, strict=True):
        assert line in (
            f"{call} needs a 1-D tensor of int64 ids",
            f"{call} needs ids as a torch tensor of int64",
        )
    assert [float(line) for line in said[-2:]] == pytest.approx([10.2 / 4, 10.2 / 3])


# ------------------------------------------------------------------------- what float32 can hold


@EVERY
def test_a_loss_that_float32_cannot_hold_is_refused_and_nothing_is_written(made):
    trace = Trace(n=N, epochs=EPOCHS)
    selector = sw.Selector(build(made, N, period=2), N, epochs=EPOCHS)
    if selector.pass_due(0):
        selector.observe(torch.arange(N), trace.outputs(torch.arange(N), 0), "pass")
    selector.plan(0)
    shown = trace.outputs(torch.arange(N), 0)
    before = str(selector.state_dict()["engine"]["memory"])
    large = shown.loss.double()
    large[[2, 5]] = 1e300
    with pytest.raises(ValueError, match=r"loss is too large for ids \[2, 5\] in epoch 0.* at most 3.4e38"):
        selector.observe(torch.arange(N), replace(shown, loss=large))
    assert str(selector.state_dict()["engine"]["memory"]) == before


def test_a_signal_that_float32_cannot_hold_is_refused_by_name():
    policy = sw.Policy(
        sw.signals.negative_logit_margin, sw.trackers.Last(), sw.pickers.TopK(0.5), source="training"
    )
    selector = sw.Selector(policy, 2, epochs=2)
    selector.plan(0)
    logits = torch.tensor([[0.0, 1e300], [1.0, 0.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"negative_logit_margin is not finite for ids \[0\]"):
        selector.observe(torch.arange(2), sw.Outputs(torch.ones(2), logits, torch.zeros(2).long()))


@pytest.mark.parametrize(
    "tracker",
    [sw.trackers.Ema(0.5), sw.trackers.EmaMoments(0.5), sw.trackers.DecoupledEma(0.2, 0.5)],
    ids=lambda tracker: type(tracker).__name__,
)
def test_averages_of_finite_losses_stay_finite(tracker):
    ids = torch.arange(2)
    state = tracker.start(2, {"loss": torch.zeros(0)})
    for loss in (1e-38, 3e38, 0.0, 1e20, 3e38, 1.0):
        tracker.observe(state, ids, {"loss": torch.full((2,), loss)})
        assert all(column.isfinite().all() for column in tracker.read(state).values())


@pytest.mark.parametrize("ids", [[], [3], [5, 5, 2, 9, 2, 5, 0], [1, 2, 3]])
def test_the_first_of_each_id_is_where_a_loop_finds_it_first(ids):
    seen, rows = set(), []
    for row, i in enumerate(ids):
        if i not in seen:
            rows.append(row)
        seen.add(i)
    assert first_of_each(torch.tensor(ids, dtype=torch.int64)).tolist() == rows


@pytest.mark.parametrize("n", [1, 5, 60, 1000])
@pytest.mark.parametrize("b", [0, 1, 7, 100])
def test_ascending_ids_are_those_of_a_sorted_set(n, b):
    ids = torch.randint(n, (b,), generator=torch.Generator().manual_seed(n + b))
    assert ascending(ids, n).tolist() == sorted(set(ids.tolist()))
