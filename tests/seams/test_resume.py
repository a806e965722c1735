"""State saved in the middle of an epoch and loaded elsewhere: nothing that follows changes."""

import io

import pytest
import torch

import samplewise as sw
from tests.seams.toys import N, Net, Tensors, make, step, train


def through_a_file(state):
    """What `torch.save` and the safe `torch.load` make of it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


class Interrupted(Exception):  # noqa: N818 - a signal, not an error
    """The run ends here."""


def build(name, workers):
    selector, model = make(name, epochs=4, model=Net(dropout=0.0), batch_size=6)
    loader = selector.loader(num_workers=workers, drop_last=True)
    return selector, model, torch.optim.SGD(model.parameters(), lr=0.1), loader


def run(selector, optimizer, loader, log, stop=None):
    """Train on; every step is logged, and after `stop` of them all is dropped."""
    while selector.epoch < 4:
        for batch in loader:
            loss = step(selector, optimizer, batch)
            log.append((selector.epoch, batch.ids.tolist(), round(loss, 6)))
            if len(log) == stop:
                raise Interrupted


RECIPES = ["infobatch", "ucb", "eswp", "kakurenbo", "random_dynamic", "ordered_sgd"]


@pytest.mark.parametrize(("name", "workers"), [*((name, 0) for name in RECIPES), ("infobatch", 2)])
def test_a_resumed_run_is_the_uninterrupted_one(name, workers):
    whole = []
    selector, _, optimizer, loader = build(name, workers)
    run(selector, optimizer, loader, whole)
    expected = selector.table()
    counts = selector.ledger
    for stop in (1, 8, len(whole) - 1) if workers == 0 else (8,):
        selector, model, optimizer, loader = build(name, workers)
        log = []
        with pytest.raises(Interrupted):
            run(selector, optimizer, loader, log, stop)
        saved = through_a_file(
            {"s": selector.state_dict(), "m": model.state_dict(), "o": optimizer.state_dict()}
        )
        selector, model, optimizer, loader = build(name, workers)
        model.load_state_dict(saved["m"])
        optimizer.load_state_dict(saved["o"])
        selector.load_state_dict(saved["s"])
        run(selector, optimizer, loader, log)
        assert log == whole
        table = selector.table()
        assert torch.equal(table.times_selected, expected.times_selected)
        for column, values in expected.columns.items():
            assert torch.equal(table[column].nan_to_num(-1.0), values.nan_to_num(-1.0))
        ledger = selector.ledger
        for count in ("samples_backpropagated", "training_forwards", "scoring_forwards", "ordinary_samples"):
            assert getattr(ledger, count) == getattr(counts, count), count


def test_a_state_between_epochs_plans_the_next():
    selector, model = make("infobatch", epochs=3)
    train(selector, model, until=1)
    state = through_a_file(selector.state_dict())
    other, _ = make("infobatch", epochs=3)
    other.load_state_dict(state)
    assert (other.epoch, other.progress) == (1, selector.progress)
    mine, theirs = selector.plan(1), other.plan(1)
    assert torch.equal(mine.ids, theirs.ids)
    assert torch.equal(mine.weights, theirs.weights)


def test_length_and_progress_continue():
    selector, _ = make("full", batch_size=8)
    for done, batch in enumerate(selector.loader(), start=1):
        selector.loss(batch)
        if done == 2:
            break
    other, _ = make("full", batch_size=8)
    other.load_state_dict(through_a_file(selector.state_dict()))
    assert (other.progress, other.epoch_steps(0)) == (selector.progress, 5)
    loader = other.loader()
    assert len([other.loss(batch) for batch in loader]) == 3
    assert other.progress == 0.25
    assert len([other.loss(batch) for batch in loader]) == 5


def test_prefetched_batches_do_not_count():
    selector, _ = make("full", batch_size=8)
    iterator = iter(selector.loader(num_workers=2, prefetch_factor=2))
    first = next(iterator)
    selector.loss(first)
    waiting = next(iterator)
    other, _ = make("full", batch_size=8)
    other.load_state_dict(through_a_file(selector.state_dict()))
    assert next(iter(other.loader())).ids.tolist() == waiting.ids.tolist()


def test_a_framework_that_skips_itself_gets_the_whole_epoch():
    selector, _ = make("full", batch_size=8)
    expected = list(selector.sampler())
    for batch in selector.loader():
        selector.loss(batch)
        break
    other, _ = make("full", batch_size=8)
    other.load_state_dict(through_a_file(selector.state_dict()))
    assert list(other.sampler("global")) == list(other.sampler("sharded")) == expected


def test_a_break_after_loading_repeats_the_whole_epoch():
    selector, _ = make("full", batch_size=8)
    for batch in selector.loader():
        selector.loss(batch)
        break
    other, _ = make("full", batch_size=8)
    other.load_state_dict(through_a_file(selector.state_dict()))
    loader = other.loader()
    for batch in loader:
        other.loss(batch)
        break
    with pytest.warns(UserWarning, match="epoch 0 starts again"):
        assert len([other.loss(batch) for batch in loader]) == 5


def test_a_state_is_a_snapshot():
    selector, model = make("infobatch", epochs=3)
    train(selector, model, until=1)
    state = selector.state_dict()
    memory = state["engine"]["memory"]["loss"].clone()
    ledger = dict(state["ledger"]["seconds"])
    train(selector, model)
    assert torch.equal(state["engine"]["memory"]["loss"], memory)
    assert state["ledger"]["seconds"] == ledger
    other, model = make("infobatch", epochs=3)
    other.load_state_dict(state)
    train(other, model)
    assert torch.equal(state["engine"]["memory"]["loss"], memory)


def test_the_engine_resumes_at_any_call():
    def play(restore_at):
        selector, log, call = sw.Selector("eswp", 12, epochs=4, seed=3), [], 0
        for epoch in range(4):
            plan = selector.plan(epoch).ids
            for part in plan.split(5):
                selector.observe(part, part.float() + epoch)
                rows, _ = selector.choose(part)
                log.append(part[rows].tolist())
                call += 1
                if call == restore_at:
                    state = through_a_file(selector.state_dict())
                    selector = sw.Selector("eswp", 12, epochs=4, seed=3)
                    selector.load_state_dict(state)
        return log, selector.score()

    whole, score = play(None)
    for at in range(1, len(whole) + 1):
        log, again = play(at)
        assert log == whole
        assert torch.equal(again, score)


def test_the_plan_is_kept_and_not_drawn_again():
    """Scores that change after the plan was made must not change what is left of the epoch."""
    losses = torch.arange(N).float()
    selector, _ = make(
        sw.recipes.infobatch(keep=0.5), Tensors(), forward=lambda batch: losses[batch[0][:, 0].long()]
    )
    loader = selector.loader()
    for batch in loader:
        selector.loss(batch)
    rest = []
    for done, batch in enumerate(loader):
        if done:
            rest.append(batch.ids.tolist())
            continue
        losses = losses.flip(0)
        selector.loss(batch)
        state = through_a_file(selector.state_dict())
    other, _ = make(
        sw.recipes.infobatch(keep=0.5), Tensors(), forward=lambda batch: losses[batch[0][:, 0].long()]
    )
    other.load_state_dict(state)
    assert [batch.ids.tolist() for batch in other.loader()] == rest


def test_another_batch_size_goes_on_at_the_same_sample():
    first, _ = make("full", epochs=2, model=Net(dropout=0.0), batch_size=6)
    batches = iter(first.loader())
    for _ in range(2):
        first.loss(next(batches))
    other, _ = make("full", epochs=2, model=Net(dropout=0.0), batch_size=4)
    other.load_state_dict(through_a_file(first.state_dict()))
    assert other.progress == pytest.approx(3 / -(-N // 4) / 2)
    rest = [i for batch in other.loader() for i in batch.ids.tolist()]
    assert rest == [i for batch in batches for i in batch.ids.tolist()]


class FewScores:
    """A method of one's own that keeps half of a batch, and stops scoring after `enough` observations."""

    level, enough = "batch", 3

    def __init__(self):
        self.seen, self.scores = 0, True

    def plan(self, epoch):
        return torch.arange(N)

    def observe(self, ids, outputs, source):
        self.seen += 1
        self.scores = self.seen < self.enough

    def choose(self, ids):
        return torch.arange(len(ids) // 2), None

    def state_dict(self):
        return {"seen": self.seen, "scores": self.scores}

    def load_state_dict(self, state):
        self.seen, self.scores = state["seen"], state["scores"]


def test_a_method_that_stops_scoring_inside_an_epoch_continues_alike():
    def rows(saved_after):
        selector, model = make(FewScores(), epochs=1, batch_size=8)
        for count, batch in enumerate(selector.loader()):
            if count == saved_after:
                break
            selector.loss(batch)
        else:
            return model.calls
        after, made = make(FewScores(), epochs=1, batch_size=8, model=model)
        after.load_state_dict(through_a_file(selector.state_dict()))
        for batch in after.loader():
            after.loss(batch)
        return made.calls

    whole = rows(None)
    assert [n for n, _, graph in whole if not graph] == [8] * FewScores.enough
    assert rows(4) == whole


class LateNarrowing(FewScores):
    """One that keeps the batches of the first epoch whole until it saw a loss."""

    def __init__(self):
        super().__init__()
        self.scores, self.narrows = True, False

    def plan(self, epoch):
        self.narrows = epoch > 0
        return super().plan(epoch)

    def observe(self, ids, outputs, source):
        self.narrows = True

    def state_dict(self):
        return {"narrows": self.narrows}

    def load_state_dict(self, state):
        self.narrows = state["narrows"]


def test_scoring_every_few_epochs_counts_from_the_first_epoch_that_opened_narrowed():
    def scored(resumes):
        method, epochs = LateNarrowing(), 4
        selector, model = make(method, epochs=epochs, batch_size=8, scoring=sw.Scoring(every=2))
        found = []
        for _ in range(epochs):
            before = selector.ledger.scoring_forwards
            for count, batch in enumerate(selector.loader()):
                selector.loss(batch)
                if resumes and selector.epoch == 0 and count == 2:
                    state = through_a_file(selector.state_dict())
                    selector, _ = make(
                        method, epochs=epochs, batch_size=8, scoring=sw.Scoring(every=2), model=model
                    )
                    selector.load_state_dict(state)
                    break
            if selector.timeline.engine.opened:
                for batch in selector.loader():
                    selector.loss(batch)
            found.append(selector.ledger.scoring_forwards - before > 0)
        return found

    assert scored(resumes=True)[1:] == scored(resumes=False)[1:] == [True, False, True]
