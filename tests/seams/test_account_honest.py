"""What is not saved is not called saved: forgotten losses, dropped batches, streams, broken epochs."""

import warnings

import pytest
import torch

import samplewise as sw
from tests.ranks import on_ranks
from tests.seams.toys import N, Net, Tensors, make

WEIGHTED = sw.Subset(torch.arange(0, N, 2), torch.arange(1.0, N // 2 + 1), {"n": N})
UNWEIGHTED = sw.Subset(torch.arange(0, N, 2), None, {"n": N})
FORGOTTEN = {
    "random_batch": (sw.recipes.random_batch(keep=0.25), "narrowed no batch", 2 * N),
    "fixed": (sw.recipes.fixed(WEIGHTED), "trained on without their weights", N),
    "craig_dynamic": (sw.recipes.craig_dynamic(keep=0.5, period=1), "trained on without", N + N // 2),
    "gradmatch_dynamic": (sw.recipes.gradmatch_dynamic(keep=0.5, period=1), "trained on without", N + N // 2),
    "infobatch": (sw.recipes.infobatch(), "saw no loss", 2 * N),
    "loss_sampling": (sw.recipes.loss_sampling(keep=0.25), "saw no loss", 2 * N),
}


def loop(selector, **arguments):
    """A loop that never calls the selector."""
    for _ in range(selector.epoch, selector.epochs):
        for _ in selector.loader(**arguments):
            pass


@pytest.mark.parametrize("name", FORGOTTEN)
def test_a_forgotten_loss_is_told_once_and_not_called_saved(name):
    policy, said, trained = FORGOTTEN[name]
    selector, _ = make(policy, epochs=2)
    with pytest.warns(UserWarning, match=f"ended without selector.loss.*{said}") as told:
        loop(selector)
    assert len([w for w in told if "ended without" in str(w.message)]) == 1
    ledger = selector.ledger
    assert ledger.samples_backpropagated == ledger.training_forwards == trained
    assert ledger.ordinary_samples == 2 * N
    if trained == 2 * N:
        assert ledger.promised == 0


@pytest.mark.parametrize("own", ["loader", "sampler", "broken off"])
def test_every_way_of_looping_is_told(own):
    selector, _ = make("random_batch", epochs=2)
    if own == "sampler":
        list(selector.sampler("sharded"))
    elif own == "broken off":
        next(iter(selector.loader()))
    with pytest.warns(UserWarning, match="narrowed no batch"):
        list(selector.loader()) if own == "loader" else selector.set_epoch(1)


class Reading:
    """A method of one's own that reads training and selects by epoch."""

    level = "epoch"

    def observe(self, ids, outputs, source):
        pass

    def plan(self, epoch):
        return torch.arange(N)

    def choose(self, ids):
        return torch.arange(len(ids)), None

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_method_of_ones_own_that_reads_training_is_told():
    selector, _ = make(Reading(), epochs=1)
    with pytest.warns(UserWarning, match="saw no loss"):
        loop(selector)


@pytest.mark.parametrize(
    "policy",
    [
        sw.recipes.full(),
        sw.recipes.random_dynamic(keep=0.5, period=1),
        sw.recipes.fixed(UNWEIGHTED),
        sw.recipes.random(keep=0.5),
        sw.recipes.ucb(keep=0.5, period=2),
    ],
    ids=lambda p: p.name,
)
def test_where_the_plan_alone_acts_no_loss_is_needed(policy):
    selector, model = make(policy, epochs=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop(selector)
    ledger = selector.ledger
    rows = N if policy.name == "full" else N // 2
    assert ledger.samples_backpropagated == 4 * rows
    assert ledger.baseline == "estimated"
    scored = sum(r for r, _, graph in model.calls if not graph)
    assert ledger.promised == pytest.approx(1 - (3 * rows * 4 + scored) / (3 * 4 * N))


@pytest.mark.parametrize("batch_size", [7, 16, 40])
def test_ordinary_training_drops_the_same_rows(batch_size):
    for name, keep in (("full", 1), ("random_batch", 0.5)):
        policy = "full" if name == "full" else sw.recipes.random_batch(keep=keep)
        selector, _ = make(policy, epochs=3, batch_size=batch_size)
        kept = 0
        for _ in range(3):
            for batch in selector.loader(drop_last=True):
                selector.loss(batch)
                kept += max(2, round(keep * batch_size + 1e-9))
                assert selector.ledger.promised == pytest.approx(
                    1 - selector.ledger.training_forwards / selector.ledger.ordinary_samples
                )
        assert selector.ledger.ordinary_samples == 3 * (N - N % batch_size)
        assert (selector.ledger.promised == 0) == (name == "full")


def test_an_endless_stream_is_counted_by_what_came():
    model = Net(dropout=0.0)
    data = Tensors()
    for by_step in (True, False):
        selector = sw.Selector(
            sw.recipes.loss_sampling(keep=0.25), None, None, model=model, epochs=3, batch_size=8
        )
        for epoch in range(3):
            selector.plan(epoch)
            for ids in torch.arange(N).split(8):
                losses = torch.rand(len(ids), generator=torch.Generator().manual_seed(0))
                if by_step:
                    selector.forward = lambda _, losses=losses: losses[: len(_[0])]
                    selector.loss(sw.Batch(ids + N * epoch, (data.x[ids], data.targets[ids])))
                else:
                    selector.observe(ids, losses)
                    selector.choose(ids)
            assert selector.ledger.ordinary_samples == (epoch + 1) * N
        ledger = selector.ledger
        assert (ledger.training_forwards, ledger.scoring_forwards) == (3 * N // 4, 3 * N)
        assert ledger.promised == pytest.approx(1 - (3 / 4 + 1) / 3)


def test_an_epoch_that_was_ended_early_saves_nothing():
    selector, _ = make("full", epochs=4)
    for epoch in range(3):
        for batch in selector.loader():
            selector.loss(batch)
            break
        selector.set_epoch(epoch + 1)
    ledger = selector.ledger
    assert (ledger.samples_backpropagated, ledger.ordinary_samples, ledger.promised) == (24, 24, 0)


def test_epochs_that_were_left_out_are_not_saved():
    selector, _ = make("infobatch", epochs=4)
    selector.set_epoch(3)
    with pytest.warns(UserWarning, match="training begins at epoch 3 without a loaded state"):
        batches = iter(selector.loader())
    for batch in batches:
        selector.loss(batch)
    assert (selector.ledger.ordinary_samples, selector.ledger.promised) == (N, 0)


@pytest.mark.parametrize("epoch_done", [3, 5])
def test_an_account_goes_on_from_a_state_in_an_epoch(epoch_done):
    def halves(stop):
        selector, _ = make("eswp", epochs=6)
        loader = selector.loader()
        for epoch in range(selector.epoch, 6):
            for step, batch in enumerate(loader):
                selector.loss(batch)
                if stop == (epoch, step):
                    other, _ = make("eswp", epochs=6)
                    other.load_state_dict(selector.state_dict())
                    for _ in range(epoch, 6):
                        for batch in other.loader():
                            other.loss(batch)
                    return other.ledger
        return selector.ledger

    whole, resumed = halves(None), halves((3, epoch_done % 2))
    assert resumed.ordinary_samples == whole.ordinary_samples == 6 * N
    assert resumed.promised == whole.promised


def shares(rank, world):
    """On a number of samples that the processes cannot divide: what is called saved, by method."""
    found = {}
    for name in ("full", "tdds", "random_batch"):
        for drop_last in (False, True):
            if name == "tdds" and drop_last:
                continue
            policy = sw.recipes.random_batch(keep=0.5) if name == "random_batch" else name
            selector, _ = make(policy, Tensors(21), epochs=20, batch_size=4, model=Net(dropout=0.0).eval())
            for _ in range(2):
                for batch in selector.loader(drop_last=drop_last):
                    selector.loss(batch)
            selector.sync()
            found[name, drop_last] = selector.ledger.promised
    alone = sw.Selector("full", 21, epochs=3)
    for epoch in range(3):
        alone.plan(epoch)
    alone.set_epoch(3)
    found["engine", False] = alone.ledger.promised
    return found


def test_processes_save_nothing_by_dividing_the_samples(tmp_path):
    for rank in on_ranks(shares, (4,), tmp_path)[4]:
        halved = [saved for (name, _), saved in rank.items() if name == "random_batch"]
        assert all(0.3 < saved <= 0.5 for saved in halved)
        assert {saved for (name, _), saved in rank.items() if name != "random_batch"} == {0.0}


def test_a_loop_that_begins_later_with_a_state_is_not_told():
    selector, _ = make("infobatch", epochs=4)
    for batch in selector.loader():
        selector.loss(batch)
    other, _ = make("infobatch", epochs=4)
    other.load_state_dict(selector.state_dict())
    other.set_epoch(2)
    assert len(list(other.loader())) > 0


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("name", ["kakurenbo", "infobatch", "ucb", "random_dynamic", "full"])
def test_the_length_is_exact_from_iter_on_and_a_bound_before(name, drop_last):
    policy = sw.recipes.kakurenbo(keep=0.5, tau=0.0) if name == "kakurenbo" else name
    selector, _ = make(policy, epochs=6, batch_size=6)
    loader, inexact = selector.loader(drop_last=drop_last), 0
    for _ in range(6):
        bound, lengths = len(loader), []
        for batch in loader:
            selector.loss(batch)
            lengths.append(len(loader))
        assert set(lengths) == {len(lengths)}
        assert bound >= len(lengths)
        inexact += bound > len(lengths)
    assert inexact > 0 or name != "kakurenbo"
