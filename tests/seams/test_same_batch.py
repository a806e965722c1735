"""The loss of one batch evaluated more than once: SAM, LBFGS and other closures make one step of it."""

import itertools

import pytest
import torch
from torch.nn import functional as F

import samplewise as sw
from tests.ranks import on_ranks
from tests.seams.toys import N, Net, Tensors, make, outputs_of

NAMES = [  # every kind of memory, choice and weight
    "full", "infobatch", "kakurenbo", "ucb", "eswp", "evolved_sampling", "selective_backprop",
    "importance_sampling", "auto_assist", "rho_loss", "random_batch", "craig_dynamic", "dynams_proxy", "tdds",
]  # fmt: skip


def note(forward, log):
    """A forward that writes down the ids it sees with a graph: the first feature is the id."""

    def noting(data):
        if torch.is_grad_enabled():
            log.append(data[0][:, 0].long().tolist())
        return forward(data)

    if hasattr(forward, "proxy"):
        noting.proxy = forward.proxy
    return noting


def noted(policy, log, **more):
    """A selector over the toy data whose training forwards are written down."""
    model = Net(dropout=0.0)
    return make(policy, model=model, forward=note(outputs_of(model), log), **more)


def perturb(model, sign, radius=0.05):
    """SAM's step up the gradient, or back from it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.add_(sign * radius * torch.sign(parameter.grad))


def memory(selector):
    """Everything that is remembered, as numbers."""
    columns = selector.state_dict()["engine"]
    kept = {name: column.nan_to_num(-1).tolist() for name, column in columns["memory"].items()}
    return kept, columns["times_selected"].tolist(), columns["step"]


@pytest.mark.parametrize("name", NAMES)
def test_a_second_loss_trains_the_same_rows_and_remembers_nothing(name):
    log = []
    selector, model = noted(name, log, period=2, epochs=4, batch_size=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(4):
        for batch in selector.loader():
            loss = selector.loss(batch)
            before = memory(selector), selector.progress, selector.timeline.where()
            loss.backward()
            perturb(model, 1)
            selector.loss(batch.to("cpu"))
            assert log[-1] == log[-2]
            assert (memory(selector), selector.progress, selector.timeline.where()) == before
            perturb(model, -1)
            optimizer.step()
            optimizer.zero_grad()
        assert selector.epoch == epoch + 1


@pytest.mark.parametrize(
    "name", ["full", "infobatch", "loss_sampling", "random_batch", "importance_sampling"]
)
def test_the_second_loss_has_the_weights_of_the_first(name):
    selector, _ = make(name, epochs=4, model=Net(dropout=0.0).eval())
    for _ in range(4):
        for batch in selector.loader():
            first = selector.loss(batch)
            second, outputs = selector.loss(sw.Batch(batch.ids.clone(), batch.data), return_outputs=True)
            assert second.item() == pytest.approx(first.item(), rel=1e-6)
            assert outputs.loss.requires_grad


@pytest.mark.parametrize("name", ["full", "infobatch", "random_batch", "loss_sampling", "random_dynamic"])
def test_the_ledger_has_the_extra_forward_and_saves_what_it_saves_without_it(name):
    saved, trained = [], []
    for times in (1, 2, 3):
        selector, model = make(name, epochs=4, model=Net(dropout=0.0))
        for _ in range(4):
            for batch in selector.loader():
                for _ in range(times):
                    selector.loss(batch)
        ledger = selector.ledger
        assert ledger.samples_backpropagated == ledger.training_forwards
        assert ledger.training_forwards == sum(rows for rows, _, graph in model.calls if graph)
        assert ledger.scoring_forwards == sum(rows for rows, _, graph in model.calls if not graph)
        trained.append(ledger.training_forwards)
        scored = ledger.scoring_forwards
        # By hand: ordinary training evaluates every sample as often.
        assert ledger.promised == pytest.approx(1 - (3 * trained[-1] + scored) / (3 * 4 * N * times))
        saved.append(ledger.promised)
    if name in ("full", "random_batch"):
        assert trained[1:] == [2 * trained[0], 3 * trained[0]]
        assert saved == pytest.approx([saved[0]] * 3)
    if name == "full":
        assert saved[0] == 0


def test_an_evaluation_without_gradient_costs_a_forward():
    selector, _ = make("full", epochs=1)
    for batch in selector.loader():
        selector.loss(batch)
        with torch.no_grad():
            selector.loss(batch)
    ledger = selector.ledger
    assert (ledger.training_forwards, ledger.samples_backpropagated) == (2 * N, N)
    assert ledger.promised == 0


@pytest.mark.parametrize("kept", [True, False], ids=["evaluated together", "evaluated as they come"])
@pytest.mark.parametrize("name", ["random_batch", "evolved_sampling:anneal=0"])
def test_accumulation_evaluates_several_batches_again(name, kept):
    log = []
    selector, _ = noted(sw.recipes.parse(name), log, dataset=Tensors(32), epochs=2, batch_size=8)
    batches = iter(selector.loader())
    while group := list(itertools.islice(batches, 2)) if kept else []:
        for batch in [*group, *group]:
            selector.loss(batch)
    group = []
    for batch in [] if kept else batches:
        group.append(batch)
        selector.loss(batch)
        if len(group) == 2:
            for again in group:
                selector.loss(again)
            group = []
    for first in (0, 4):
        assert log[first : first + 2] == log[first + 2 : first + 4]
    assert selector.epoch == 1
    assert selector.ledger.ordinary_samples == 32
    assert selector.ledger.scoring_forwards == (32 if "evolved" in name else 0)


@pytest.mark.parametrize("name", ["full", "infobatch", "loss_sampling", "el2n"])
def test_a_group_that_the_end_of_an_epoch_leaves_is_evaluated_again(name):
    log, seen = [], []
    selector, _ = noted(name, log, epochs=4, batch_size=8)
    for _ in range(4):
        batches, first = [], len(log)
        for batch in selector.loader():
            batches.append(batch)
            selector.loss(batch)
        before = memory(selector)
        for batch in batches:
            selector.loss(batch)
        rows = log[first:]
        assert rows[len(batches) :] == rows[: len(batches)]
        assert memory(selector) == before
        seen += rows
    assert selector.ledger.training_forwards == sum(map(len, seen))
    assert selector.ledger.ordinary_cost == pytest.approx(2 * 3 * 4 * N)


def test_a_batch_of_a_closed_epoch_that_was_never_evaluated_is_refused():
    selector, _ = make("infobatch", epochs=2)
    batches = []
    for batch in selector.loader():
        batches.append(batch)
        selector.loss(batches[0])
    with pytest.raises(ValueError, match=r"no epoch is open: .* before you ask the loader for another"):
        selector.loss(batches[-1])


def test_lbfgs_calls_its_closure_as_often_as_it_likes():
    log = []
    selector, model = noted("loss_sampling", log, epochs=2, batch_size=8)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    for _ in range(2):
        for batch in selector.loader():
            del log[:]

            def closure(batch=batch):
                optimizer.zero_grad()
                loss = selector.loss(batch.to("cpu"))
                loss.backward()
                return loss

            optimizer.step(closure)
            assert len(log) > 1
            assert all(rows == log[0] for rows in log)
    assert selector.ledger.scoring_forwards == 2 * N


@pytest.mark.parametrize("size", [N, 3 * N])
def test_one_batch_an_epoch_is_a_new_step_in_every_epoch(size):
    selector, _ = make("random_batch", epochs=4, batch_size=size)
    chosen = []
    for _ in range(4):
        chosen += [selector.narrow(batch).ids.tolist() for batch in selector.loader()]
    assert len(chosen) == 4
    assert chosen[0] != chosen[1] != chosen[2]
    assert selector.ledger.samples_backpropagated == sum(map(len, chosen))


def test_an_epoch_that_begins_again_makes_its_steps_anew():
    selector, _ = make("infobatch", batch_size=N)
    loader = selector.loader()
    for batch in loader:
        selector.loss(batch)
        break
    with pytest.warns(UserWarning, match="starts again"):
        again = iter(loader)
    for batch in again:
        selector.loss(batch)
    assert selector.ledger.samples_backpropagated == 2 * N
    assert selector.ledger.ordinary_again == 0


def test_batches_made_by_hand_are_told_by_their_ids():
    selector, _ = make("random_batch", epochs=2)
    data = Tensors()

    def batch(*ids):
        return sw.Batch(torch.tensor(ids), (data.x[list(ids)], data.targets[list(ids)]))

    selector.plan(0)
    first = selector.narrow(batch(*range(8))).ids.tolist()
    assert selector.narrow(batch(*range(8))).ids.tolist() == first
    selector.narrow(batch(*range(8, 16)))
    assert selector.timeline.where()["done"] == 16
    selector.plan(1)
    assert selector.narrow(batch(*range(8))).ids.tolist() != first
    assert selector.timeline.where()["done"] == 8


def test_a_tensor_of_ids_that_is_written_anew_is_another_batch():
    selector, _ = make("full")
    data, ids = Tensors(), torch.arange(8)
    selector.plan(0)
    for begin in (0, 8):
        ids.copy_(torch.arange(begin, begin + 8))
        selector.loss(sw.Batch(ids, (data.x[ids], data.targets[ids])))
    assert selector.timeline.where()["done"] == 16


def test_a_copy_of_ids_is_compared_with_the_last_step_if_tensors_of_ids_are_written_in_turns():
    selector, _ = make("full")
    data, buffers = Tensors(), (torch.arange(8), torch.arange(8))
    selector.plan(0)
    for step in range(3):
        ids = buffers[step % 2]
        ids.copy_(torch.arange(8 * step, 8 * step + 8))
        for same in (ids, ids.clone()):
            selector.loss(sw.Batch(same, (data.x[ids], data.targets[ids])))
    assert selector.timeline.where()["done"] == 24
    assert selector.ledger.ordinary_again == 3 * 24  # forward and backward


def test_a_batch_that_was_refused_does_not_hide_the_last_step():
    fails, model = [], Net(dropout=0.0)

    def forward(batch):
        if fails:
            raise RuntimeError(fails.pop())
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    selector, _ = make("loss_sampling", model=model, forward=forward)
    data = Tensors()

    def batch(begin):
        return sw.Batch(
            torch.arange(begin, begin + 8), (data.x[begin : begin + 8], data.targets[begin : begin + 8])
        )

    selector.plan(0)
    selector.loss(batch(0))
    fails.append("scoring failed")
    with pytest.raises(RuntimeError, match="scoring failed"):
        selector.loss(batch(8))
    selector.loss(batch(0))
    assert selector.timeline.where()["done"] == 8


def test_a_stream_whose_ids_mean_nothing_is_told_by_its_data():
    selector, _ = noted_stream()
    ids, data = torch.arange(8), Tensors()
    one, two = ((data.x[i : i + 8], data.targets[i : i + 8]) for i in (0, 8))
    for given in (one, two, two):
        selector.loss(sw.Batch(ids, given))
    ledger = selector.ledger
    assert ledger.scoring_forwards == 16
    assert ledger.ordinary_samples == 16


def noted_stream():
    """A selector without n, with its first epoch open."""
    model = Net(dropout=0.0)
    selector = sw.Selector(
        sw.recipes.loss_sampling(keep=0.25), None, outputs_of(model), model=model, epochs=1
    )
    selector.plan(0)
    return selector, model


def test_a_loop_of_ones_own_may_narrow_or_reduce_twice():
    expected = None
    for narrowing in (True, False):
        model = Net(dropout=0.0)
        selector, _ = make("loss_sampling", epochs=1, model=model)
        forward, losses = outputs_of(model), []
        for batch in selector.loader():
            chosen = selector.narrow(batch)
            first = selector.reduce(forward(chosen.data))
            if narrowing:
                again = selector.narrow(batch)
                assert torch.equal(again.ids, chosen.ids)
            losses.append(selector.reduce(forward(chosen.data)).item())
            assert losses[-1] == pytest.approx(first.item())
            assert selector.weigh(forward(chosen.data)).tolist() == [1.0] * len(chosen.ids)
        expected = expected or losses
        assert losses == expected
        assert selector.ledger.samples_backpropagated == sum(r for r, _, graph in model.calls if graph)


def test_a_narrowed_batch_whose_losses_wait_may_be_narrowed_again():
    selector, model = make("infobatch")
    batches = iter(selector.loader())
    batch = next(batches)
    selector.narrow(batch)
    chosen = selector.narrow(batch)
    selector.reduce(outputs_of(model)(chosen.data))
    assert selector.ledger.samples_backpropagated == 8
    assert int((~selector.score().isnan()).sum()) == 8


def test_a_forward_that_failed_is_tried_again_as_the_same_step():
    fails, model = [False, True], Net(dropout=0.0)

    def forward(batch):
        x, y = batch
        if torch.is_grad_enabled() and fails and fails.pop():
            raise RuntimeError("out of memory")
        return F.cross_entropy(model(x), y, reduction="none")

    selector, _ = make("infobatch", model=model, forward=forward)
    batch = next(iter(selector.loader()))
    with pytest.raises(RuntimeError, match="out of memory"):
        selector.loss(batch)
    selector.loss(batch)
    assert int((~selector.score().isnan()).sum()) == 8
    assert selector.ledger.samples_backpropagated == 8
    assert selector.timeline.where()["done"] == 8


def test_autocast_and_whole_batches_of_accepted_samples_go_with_it():
    selector, _ = make(sw.recipes.selective_backprop(beta=0.5, assemble=True), epochs=4)
    for _ in range(4):
        for batch in selector.loader():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                first = selector.loss(batch)
            assert torch.isfinite(first)
            assert torch.isfinite(selector.loss(batch))
    ledger = selector.ledger
    steps = ledger.samples_backpropagated // 2
    assert ledger.samples_backpropagated == 2 * steps
    assert ledger.ordinary_samples == 4 * N
    assert 0 < ledger.ordinary_again <= 3 * 4 * N


def both_evaluations(rank, world):
    """Rows of both evaluations, and the account."""
    log = []
    selector, _ = noted("selective_backprop", log, dataset=Tensors(26), epochs=3, batch_size=8)
    for _ in range(3):
        for batch in selector.loader():
            selector.loss(batch)
            selector.loss(batch)
    selector.sync()
    return log, selector.ledger.ordinary_again, selector.ledger.ordinary_samples


def test_two_processes_evaluate_their_batches_again(tmp_path):
    for log, again, ordinary in on_ranks(both_evaluations, (2,), tmp_path)[2]:
        assert log[::2] == log[1::2]
        assert again == 3 * ordinary == 3 * 3 * 13
