"""`selective_backprop(assemble=True)`: full batches of accepted samples, through the loader alone."""

import io
import itertools
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

import samplewise as sw
from samplewise.distributed import collectives
from samplewise.integrations.lightning.checks import refuse_settings
from samplewise.integrations.wrapped import bare
from samplewise.pickers import TopK
from samplewise.policy import Policy
from samplewise.rng import seed_of
from samplewise.trackers import Last
from tests.seams.toys import N, Net, Tensors, make, step

B, EPOCHS = 8, 4


def assembling(beta=1.0, workers=0, epochs=EPOCHS, batch_size=B, scoring=None):
    policy = sw.recipes.selective_backprop(beta=beta, history=32, assemble=True)
    selector, model = make(
        policy, epochs=epochs, batch_size=batch_size, model=Net(dropout=0.0), scoring=scoring
    )
    return selector, model, selector.loader(num_workers=workers), torch.optim.SGD(model.parameters(), lr=0.05)


def run(selector, loader, optimizer):
    """Train to the end: (epoch, ids, loss) of every step."""
    log = []
    while (epoch := selector.epoch) < selector.epochs:
        log += [(epoch, batch.ids.tolist(), step(selector, optimizer, batch)) for batch in loader]
    return log


class ByHand:
    """The published loop, on the same order of samples and the same draws."""

    def __init__(self, beta, history=32):
        self.beta, self.history, self.last, self.queue = beta, history, [], []
        self.data, self.model = Tensors(), Net(dropout=0.0)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.log, self.scored = [], 0

    def losses(self, ids):
        x, y = default_collate([self.data[i] for i in ids])
        return F.cross_entropy(self.model(x), y, reduction="none")

    def train(self, epoch, ids):
        loss = self.losses(ids).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.log.append((epoch, ids, loss.item()))

    def remember(self, losses):
        self.last = (self.last + losses)[-self.history :]

    def score(self, ids):
        self.model.eval()
        with torch.no_grad():
            losses = self.losses(ids).tolist()
        self.model.train()
        self.scored += len(ids)
        self.remember(losses)
        return losses

    def run(self, orders):
        for epoch, order in enumerate(orders):
            for number, start in enumerate(range(0, len(order), B)):
                ids = order[start : start + B]
                if epoch == 0:
                    losses = self.losses(ids)
                    self.optimizer.zero_grad()
                    losses.mean().backward()
                    self.optimizer.step()
                    self.remember(losses.tolist())
                    self.log.append((epoch, ids, losses.mean().item()))
                    continue
                losses = self.score(ids)
                rng = torch.Generator().manual_seed(seed_of(0, epoch, "choose", number, 0))
                drawn = torch.rand(len(ids), dtype=torch.float64, generator=rng).tolist()
                chances = [
                    (sum(old < new for old in self.last) / len(self.last)) ** self.beta for new in losses
                ]
                rows = [row for row in range(len(ids)) if drawn[row] < chances[row]]
                for row in sorted(range(len(ids)), key=lambda row: (-chances[row], ids[row])):
                    if len(rows) < 2 and row not in rows:
                        rows.append(row)
                self.queue += [ids[row] for row in sorted(rows)]
                while len(self.queue) >= B:
                    self.train(epoch, self.queue[:B])
                    self.queue = self.queue[B:]
        return self


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_it_is_the_published_loop(beta):
    selector, model, loader, optimizer = assembling(beta)
    orders, log = [], []
    for epoch in range(EPOCHS):
        batches = iter(loader)
        orders.append(selector.timeline.order().tolist())
        log += [(epoch, batch.ids.tolist(), step(selector, optimizer, batch)) for batch in batches]
    plain = ByHand(beta).run(orders)
    assert [entry[:2] for entry in log] == [entry[:2] for entry in plain.log]
    assert [entry[2] for entry in log] == pytest.approx([entry[2] for entry in plain.log], rel=1e-5)
    for ours, theirs in zip(model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert selector.timeline.waiting.ids == plain.queue
    ledger = selector.ledger
    full = sum(epoch > 0 for epoch, _, _ in log)
    assert ledger.scoring_forwards == plain.scored == (EPOCHS - 1) * N
    assert ledger.samples_backpropagated == ledger.training_forwards == N + full * B
    assert {len(ids) for epoch, ids, _ in log if epoch} == {B}
    assert full >= 2


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def interrupted(stop, before):
    """A run up to `stop` steps, and its states: after the last step, or with the next batch in hand."""
    selector, model, loader, optimizer = assembling()
    log = []
    while True:
        for batch in loader:
            if len(log) < stop:
                log.append((selector.epoch, batch.ids.tolist(), step(selector, optimizer, batch)))
            if len(log) == stop and not before:
                return log, (selector.state_dict(), model.state_dict(), optimizer.state_dict())
            before = before and len(log) < stop


@pytest.mark.parametrize("before", [False, True])
def test_resumed_at_any_step_it_is_the_uninterrupted_run(before):
    selector, _, loader, optimizer = assembling()
    whole = run(selector, loader, optimizer)
    ended, counts = selector.state_dict(), selector.ledger
    for stop in range(4 + before, len(whole), 2):
        log, states = interrupted(stop, before)
        selector, model, loader, optimizer = assembling()
        for part, state in zip((selector, model, optimizer), through_a_file(states), strict=True):
            part.load_state_dict(state)
        log += run(selector, loader, optimizer)
        assert log == whole, stop
        again = selector.state_dict()
        assert again["waiting"] == ended["waiting"]
        assert again["engine"]["times_selected"].tolist() == ended["engine"]["times_selected"].tolist()
        for count in ("samples_backpropagated", "training_forwards", "scoring_forwards"):
            assert getattr(selector.ledger, count) == getattr(counts, count)


def test_workers_change_nothing():
    logs = []
    for workers in (0, 2):
        selector, _, loader, optimizer = assembling(workers=workers, epochs=3)
        logs.append(run(selector, loader, optimizer))
    assert logs[0] == logs[1]


def test_who_waits_carries_over_epochs_and_the_last_ones_are_left():
    selector, _, loader, optimizer = assembling()
    carried = []
    for _ in range(EPOCHS):
        for batch in loader:
            step(selector, optimizer, batch)
        carried.append(len(selector.timeline.waiting.ids))
    assert carried[0] == 0
    assert any(carried)
    assert all(waiting < B for waiting in carried)
    accepted = int(selector.table().times_selected.sum())
    assert accepted - (selector.ledger.samples_backpropagated - N) == carried[-1]


def test_lengths_bound_the_batches_and_progress_ends_at_one():
    selector, _, loader, optimizer = assembling()
    shares = []
    for epoch in range(EPOCHS):
        waiting = len(selector.timeline.waiting.ids)
        batches, most = 0, selector.epoch_steps(epoch)
        for batch in loader:
            batches += 1
            assert len(loader) == (N // B if epoch == 0 else (waiting + N) // B)
            step(selector, optimizer, batch)
            shares.append(selector.progress)
            assert epoch / EPOCHS < shares[-1] <= (epoch + 1) / EPOCHS
        assert batches <= most
    assert shares == sorted(shares)
    assert selector.progress == 1.0


def test_a_break_begins_the_epoch_again_with_those_who_waited_then():
    selector, _, loader, optimizer = assembling()
    while selector.epoch < 2:
        for batch in loader:
            step(selector, optimizer, batch)
    waited = list(selector.timeline.waiting.ids)
    for batch in loader:
        first = batch.ids.tolist()
        break  # a look at a batch is no training
    for batch in loader:
        assert batch.ids.tolist()[: len(waited)] == first[: len(waited)] == waited
        step(selector, optimizer, batch)
        break
    scored = selector.ledger.scoring_forwards
    with pytest.warns(UserWarning, match="epoch 2 starts again"):
        batch = next(iter(loader))
    assert batch.ids.tolist()[: len(waited)] == waited
    assert selector.ledger.scoring_forwards > scored
    assert selector.timeline.where()["done"] < N


def test_a_batch_that_is_passed_over_is_gone():
    selector, _, loader, optimizer = assembling()
    seen, trained = [], 0
    for _ in range(3):
        for number, batch in enumerate(loader):
            seen.append(batch.ids.tolist())
            if number % 2:
                step(selector, optimizer, batch)
                trained += len(batch.ids)
    assert selector.ledger.samples_backpropagated == trained
    assert all(one != other for one, other in itertools.pairwise(seen))


def test_a_batch_is_trained_on_once_and_no_other():
    selector, _, loader, optimizer = assembling()
    for batch in loader:
        step(selector, optimizer, batch)
    batch = next(iter(loader))
    with pytest.raises(ValueError, match="with assemble=True, train on every batch"):
        selector.loss(sw.Batch(batch.ids.flip(0), batch.data))
    selector.loss(batch)
    before = selector.progress, selector.state_dict()["waiting"]
    selector.loss(batch)  # as SAM does: the same step
    assert (selector.progress, selector.state_dict()["waiting"]) == before


def test_scored_every_second_epoch_the_remembered_losses_accept():
    selector, _, loader, optimizer = assembling(scoring=sw.Scoring(every=2))
    log = run(selector, loader, optimizer)
    assert selector.ledger.scoring_forwards == 2 * N
    assert {epoch for epoch, ids, _ in log if len(ids) == B} == set(range(EPOCHS))


def test_the_time_of_scoring_is_not_the_datas_too():
    selector, _, loader, optimizer = assembling(epochs=3)
    forward, work = selector.forward, torch.ones(400, 400)

    def slow_to_score(batch):
        for _ in range(0 if torch.is_grad_enabled() else 20):
            torch.mm(work, work)
        return forward(batch)

    selector.forward = slow_to_score
    run(selector, loader, optimizer)
    seconds = selector.ledger.seconds
    assert 0 < seconds["data"] < seconds["scoring"] / 2


REFUSED = {
    "sampler": lambda s, batch: s.sampler(),
    "narrow": lambda s, batch: s.narrow(batch),
    "reduce": lambda s, batch: s.reduce(torch.ones(B)),
    "weigh": lambda s, batch: s.weigh(torch.ones(B)),
    "observe": lambda s, batch: s.observe(batch.ids, torch.ones(B)),
    "choose": lambda s, batch: s.choose(batch.ids),
    "look": lambda s, batch: s.look(*batch),
}


@pytest.mark.parametrize("call", REFUSED)
def test_other_calls_are_refused_by_name(call):
    selector, _, loader, _ = assembling()
    batch = next(iter(loader))
    with pytest.raises(ValueError, match=rf"selective_backprop\(assemble=True\) cannot be used with.*{call}"):
        REFUSED[call](selector, batch)


def test_the_engine_alone_and_streams_are_refused():
    with pytest.raises(ValueError, match="cannot be used with the engine alone"):
        sw.Selector(sw.recipes.selective_backprop(assemble=True), N, epochs=2)


def test_frameworks_are_refused_when_they_take_the_selector():
    selector, *_ = assembling()
    with pytest.raises(
        ValueError, match=r"cannot be used with selector\.sampler, nor with a framework's adapter"
    ):
        bare(selector, False, {})
    trainer = SimpleNamespace()
    with pytest.raises(ValueError, match="cannot be used with Lightning"):
        refuse_settings(trainer, selector)


def test_several_processes_are_refused_whenever_they_come_together():
    selector, _, loader, _ = assembling()
    with mock.patch.object(collectives, "world", return_value=2):
        for take in (selector.loader, lambda: next(iter(loader))):
            with pytest.raises(ValueError, match="cannot be used with 2 processes, which need equal numbers"):
                take()


def test_only_pickers_that_accept_can_assemble():
    with pytest.raises(ValueError, match=r"Policy\.assemble needs batch_picker=pickers\.Accepted"):
        Policy(
            signal=sw.signals.loss, tracker=Last(), batch_picker=TopK(0.5), source="training", assemble=True
        )
