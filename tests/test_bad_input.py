"""Bad input: a clear error at the start, of the right type and with the words that help."""

import inspect
import re

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import IterableDataset, TensorDataset

import samplewise as sw
from tests.seams.toys import N, Net, Tensors, forward_of, make, plainly

nan, inf = float("nan"), float("inf")


def refused(error, said):
    return pytest.raises(error, match=said)


# ------------------------------------------------------------------------- methods and numbers


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            lambda: sw.Selector("infobach", 4, epochs=1),
            "unknown method 'infobach'. Did you mean 'infobatch'? Known: ",
        ),
        (lambda: sw.recipes.parse("ucbb:keep=1"), "unknown method 'ucbb'. Did you mean 'ucb'?"),
        (
            lambda: sw.Selector("ucb:keep=0.3", 4, epochs=1),
            "To give parameters, use sw.recipes.ucb(...)",
        ),
        (
            lambda: sw.recipes.ucb(kep=0.3),
            "ucb has no parameter 'kep', only keep, period, alpha, c. Did you mean 'keep'?",
        ),
        (lambda: sw.recipes.full(keep=0.3), "full takes no parameters."),
        (
            lambda: sw.recipes.parse("ucb:0.3"),
            "parameters must be written NAME:key=value,key=value, got '0.3'",
        ),
        (lambda: sw.recipes.parse("ucb:keep=half"), "ucb.keep must be a number or a schedule, got 'half'."),
        (lambda: sw.recipes.ucb(keep=0), "ucb.keep must be in (0, 1], got 0."),
        (lambda: sw.recipes.ucb(keep=-0.5), "ucb.keep must be in (0, 1], got -0.5."),
        (lambda: sw.recipes.ucb(keep=70), "ucb.keep must be in (0, 1], got 70. Did you mean 0.7?"),
        (lambda: sw.recipes.ucb(keep=1.01), "ucb.keep must be in (0, 1], got 1.01."),
        (lambda: sw.recipes.ucb(keep=nan), "ucb.keep must be in (0, 1], got nan."),
        (lambda: sw.recipes.ucb(period=0), "ucb.period must be >= 1, got 0."),
        (lambda: sw.recipes.ucb(period=2.5), "ucb.period must be a whole number, got 2.5."),
        (lambda: sw.recipes.infobatch(keep=0.05), "infobatch.keep must be in [0.1, 1], got 0.05."),
        (
            lambda: sw.recipes.ordered_sgd(keep="adaptve"),
            "must be a number or one of 'adaptive', got 'adaptve'. Did you mean 'adaptive'?",
        ),
        (lambda: sw.recipes.kakurenbo(milestones=(0.6, 0.3, 0.8)), "milestones must be three shares"),
        (
            lambda: sw.recipes.evolved_sampling(anneal=0.5),
            "evolved_sampling.anneal must be in [0, 0.5), got 0.5.",
        ),
        (lambda: sw.Selector("full", 0, epochs=1), "the data set must have at least 1 sample, got 0."),
        (lambda: sw.Selector("full", -3, epochs=1), "the data set must have at least 1 sample, got -3."),
        (lambda: sw.Selector("full", TensorDataset(torch.ones(0)), epochs=1), "at least 1 sample, got 0."),
        (
            lambda: sw.Selector("ucb", None, epochs=1),
            "dataset must be a data set or its number of samples, got None: ucb remembers or plans every",
        ),
        (lambda: sw.Selector("full", 4, epochs=0), "Selector.epochs must be >= 1, got 0."),
        (lambda: sw.Selector("full", 4, epochs=1, batch_size=0), "Selector.batch_size must be >= 1, got 0."),
        (lambda: sw.Selector("full", 4, epochs=1, seed=-1), "Selector.seed must be >= 0, got -1."),
        (
            lambda: sw.Selector("evolved_sampling", 4, epochs=2),
            "epochs must be more than 2 x 1 annealing epochs, got 2.",
        ),
        (
            lambda: sw.Selector(sw.recipes.eswp(anneal=0.45), 4, epochs=10),
            "epochs must be more than 2 x 5 annealing epochs, got 10. Train longer, or give",
        ),
        (
            lambda: sw.Selector("loss_sampling", 4, epochs=1, batch_size=1),
            "batch_size must be at least 2, got 1: loss_sampling keeps at least 2 rows of every batch. "
            "Use a larger batch and less accumulation: batch_size of Selector, or "
            "per_device_train_batch_size of a Trainer.",
        ),
        (
            lambda: sw.Selector("full", 3, epochs=1, labels=[0, 1]),
            "labels must be 3 class numbers >= 0, got (2,)",
        ),
        (lambda: sw.Selector("full", 3, epochs=1, labels=[0, -1, 2]), "labels must be 3 class numbers >= 0"),
        (lambda: sw.Selector("full", 3, epochs=1, labels=[0.5, 1, 2]), "labels must be 3 class numbers >= 0"),
        (
            lambda: sw.Selector("full", 2, epochs=1, labels=["cat", "dog"]),
            "labels must be 2 class numbers >= 0",
        ),
        (
            lambda: sw.Selector(sw.Policy(picker=sw.pickers.PerClass(sw.pickers.Uniform(0.5))), 4, epochs=1),
            "labels must be 4 class numbers, got None: policy chooses by class. Give Selector(labels=...)",
        ),
        (
            lambda: sw.Selector("ucb", Tensors(), lambda batch: batch, epochs=1),
            "got None: ucb scores with an extra forward in eval mode. Give Selector(model=...)",
        ),
        (
            lambda: make("ucb", scoring=sw.Scoring(dataset=Tensors(7))),
            "Scoring.dataset must hold the same 40 samples, got 7.",
        ),
        (
            lambda: sw.Scoring(dtype=torch.float64),
            "Scoring.dtype must be torch.bfloat16 or torch.float16, got torch",
        ),
        (lambda: sw.Scoring(every=0), "Scoring.every must be >= 1, got 0."),
        (
            lambda: sw.Scoring(mode="evla"),
            "Scoring.mode must be one of 'eval', 'train', got 'evla'. Did you mean 'eval'",
        ),
    ],
)
def test_refused_when_it_is_built(build, said):
    with refused(ValueError, re.escape(said)):
        build()


def test_a_stream_is_shown_the_engine():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([1, 2])

    with refused(
        TypeError, r"must have a length, but Stream has none\. For a stream, build Selector\(policy, n\)"
    ):
        sw.Selector("full", Stream(), epochs=1)


def test_a_policy_must_be_one():
    with refused(
        TypeError, "policy must be a recipe's name, a Policy, or an object with level, observe, plan, choose"
    ):
        sw.Selector(sw.pickers.TopK(0.5), 4, epochs=1)
    with refused(TypeError, "policy must be a recipe's name, a Policy"):
        sw.Selector(sw.recipes.ucb, 4, epochs=1)


def test_labels_of_a_data_set_that_are_no_classes_are_not_taken_for_them():
    negative = TensorDataset(torch.ones(4, 1), torch.tensor([0, -100, 1, 2]))
    assert sw.Selector("full", negative, epochs=1).labels is None
    per_class = sw.Policy(picker=sw.pickers.PerClass(sw.pickers.Uniform(0.5)))
    with refused(ValueError, "chooses by class"):
        sw.Selector(per_class, negative, epochs=1)


# ---------------------------------------------------------------------------- losses and batches


def first_loss(policy, forward, **more):
    selector, _ = make(policy, forward=forward, **more)
    return selector.loss(next(iter(selector.loader())))


@pytest.mark.parametrize(
    ("forward", "error", "said"),
    [
        (lambda batch: batch[0].mean(), ValueError, 'one loss for the whole batch.* Use reduction="none"'),
        (lambda batch: batch[0][:5, 0], ValueError, r"must return losses of shape \(8,\), got \(5,\)"),
        (lambda batch: batch[0][:, :1], ValueError, r"got \(8, 1\)\. Did you mean loss\.squeeze\(1\)\?"),
        (
            lambda batch: batch[0].sum(1).tolist(),
            TypeError,
            r"per-sample losses \(b,\) or sw\.Outputs.*, got list",
        ),
        (
            lambda batch: torch.full((8,), nan),
            ValueError,
            r"loss is not finite for ids \[.*3 more\] in epoch 0",
        ),
        (
            lambda batch: torch.full((8,), inf),
            ValueError,
            r"loss is not finite for ids \[.*3 more\] in epoch 0",
        ),
    ],
)
@pytest.mark.parametrize("policy", ["full", "infobatch", "loss_sampling", "evolved_sampling"])
def test_a_loss_that_cannot_be_meant(policy, forward, error, said):
    with refused(error, said):
        first_loss(policy, forward)


def test_one_bad_loss_names_its_id_and_epoch():
    selector = sw.Selector("infobatch", 10, epochs=3)
    selector.plan(0)
    selector.plan(1)
    for bad in (nan, inf, -inf):
        with refused(ValueError, r"^loss is not finite for ids \[7\] in epoch 1\. Did"):
            selector.observe(torch.tensor([2, 7, 5]), torch.tensor([1.0, bad, 2.0]))
    with refused(ValueError, r"loss is not finite for ids \[3, 7\] in epoch 1"):
        selector.observe(torch.tensor([3, 7]), torch.tensor([inf, -inf]))
    assert selector.score().isnan().all()


def test_large_finite_losses_are_fine():
    selector = sw.Selector("infobatch", 4, epochs=3)
    selector.plan(0)
    huge = torch.tensor([3e38, 3e38, -3e38, 3e38])
    selector.observe(torch.arange(4), huge)
    assert torch.equal(selector.score(), huge)
    selector.observe(torch.arange(4), torch.full((4,), 60000.0, dtype=torch.float16))
    assert (selector.score() == 60000).all()


@pytest.mark.parametrize("name", ["loss_sampling", "evolved_sampling", "eswp"])
def test_a_negative_loss_where_none_may_be(name):
    with refused(
        ValueError, rf"{name} needs losses >= 0, but the loss is negative for ids \[.*\] in epoch 0"
    ):
        first_loss(name, lambda batch: -1.0 - batch[0][:, 0])
    assert first_loss("ordered_sgd", lambda batch: -1.0 - batch[0][:, 0]) < 0


@pytest.mark.parametrize("policy", ["full", "infobatch", "ucb", "evolved_sampling", "eswp"])
@pytest.mark.parametrize("outside", [-1, 10, 2**40])
def test_ids_out_of_range(policy, outside):
    selector = sw.Selector(policy, 10, epochs=4)
    if selector.pass_due(0):
        selector.observe(torch.arange(10), torch.ones(10), source="pass")
    selector.plan(0)
    for source in ("training", "pass"):
        with refused(
            ValueError, rf"ids \[{outside}\] are outside the data set of 10 samples\. Ids are positions"
        ):
            selector.observe(torch.tensor([outside, 3]), torch.ones(2), source=source)


def test_a_recipe_says_at_the_first_batch_what_forward_must_return():
    model = Net()
    with refused(
        ValueError,
        r"needs logits and targets: return sw\.Outputs\(loss=\.\.\., logits=\.\.\., targets=\.\.\.\)",
    ):
        first_loss("kakurenbo", forward_of(model), model=model)

    def no_targets(batch):
        logits = model(batch[0])
        return sw.Outputs(F.cross_entropy(logits, batch[1], reduction="none"), logits=logits)

    with refused(ValueError, r"ordered_sgd needs targets: return sw\.Outputs\(loss=\.\.\., targets=\.\.\.\)"):
        first_loss(sw.recipes.ordered_sgd(keep="adaptive"), no_targets, model=model)


@pytest.mark.parametrize("name", ["full", "infobatch", "loss_sampling"])
def test_a_batch_that_is_not_the_loaders(name):
    selector, _ = make(name)
    selector.set_epoch(0)
    x, y = torch.ones(8, 4), torch.zeros(8, dtype=torch.int64)
    for batch in (x, (x, y), [x, y], {"x": x}, (y, x, x)):
        # Below the shape checker, which would refuse most of these first.
        with refused(TypeError, r"loss takes a batch of selector\.loader\(\) or sw\.Batch\(ids, data\), got"):
            inspect.unwrap(sw.Selector.narrow)(selector, batch)


def test_a_batch_holding_what_rows_cannot_be_picked_from():
    def collate(samples):
        return {"x": torch.stack([x for x, _ in samples]), "odd": {"a", "set"}}

    selector, _ = make("ordered_sgd", forward=lambda batch: batch["x"].sum(1))
    with refused(TypeError, r"batch\['odd'\] is a set, and rows cannot be picked from it"):
        selector.loss(next(iter(selector.loader(collate_fn=collate))))


def test_the_order_of_calls():
    selector, _ = make("infobatch")
    batch = sw.Batch(torch.arange(8), (torch.ones(8, 4), torch.zeros(8, dtype=torch.int64)))
    with refused(
        ValueError, r"no epoch is open: take batches from selector\.loader\(\), or call plan\(epoch\)"
    ):
        selector.loss(batch)
    with refused(ValueError, r"no epoch is open: call plan\(0\) before observing training"):
        selector.observe(torch.arange(8), torch.ones(8))
    engine = sw.Selector("loss_sampling", 10, epochs=2)
    with refused(ValueError, r"no epoch is open: call plan\(0\) before choosing"):
        engine.choose(torch.arange(8))
    engine.plan(0)
    with refused(ValueError, r"chooses by scores: call observe\(ids, \.\.\.\) before choose\(ids\)"):
        engine.choose(torch.arange(8))
    engine.plan(1)
    with refused(ValueError, r"epoch must be at least 1, got 0: earlier epochs are over"):
        engine.plan(0)
    with refused(ValueError, r"epoch must be in \[0, 2\), got 2: this Selector has epochs=2"):
        engine.plan(2)


def test_an_epoch_is_a_whole_number_and_becomes_a_plain_int():
    """A state with a number of numpy would be refused by the safe `torch.load`."""
    code = """
import numpy as np, torch, samplewise as sw
for call in ("plan", "set_epoch", "epoch_steps", "lr_factor", "pass_due", "pass_ids"):
    for epoch in (1.5, 1.0, "1", None, True, [1], torch.tensor(1.0), np.int64(1), torch.tensor(1)):
        selector = sw.Selector("kakurenbo", 8, epochs=4, batch_size=4)
        try:
            getattr(selector, call)(epoch)
            said = "fine"
        except ValueError as error:
            said = str(error)
        assert said == "fine" or not selector.engine.opened, said
        print(call, type(selector.epoch).__name__, said.partition(":")[0])
"""
    said = plainly(code).splitlines()
    for k, call in enumerate(["plan", "set_epoch", "epoch_steps", "lr_factor", "pass_due", "pass_ids"]):
        *wrong, numpy, torchs = said[9 * k : 9 * k + 9]
        assert all(line.startswith(f"{call} int epoch must be a whole number, got ") for line in wrong), wrong
        assert numpy == torchs == f"{call} int fine"


def test_scores_by_an_unknown_name():
    selector = sw.Selector("eswp", 4, epochs=4)
    selector.plan(0)
    with refused(ValueError, r"unknown score column 'wieght'\. Columns: none yet"):
        selector.score("wieght")
    selector.observe(torch.arange(4), torch.ones(4))
    with refused(
        ValueError, r"unknown score column 'wieght'\. Did you mean 'weight'\? Columns: weight, score"
    ):
        selector.score("wieght")
    with refused(ValueError, r"random_batch keeps no scores"):
        sw.Selector("random_batch", 4, epochs=1).score()


# ----------------------------------------------------------------------------------- the loader


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("sampler", "The selector's own sampler gives the plan's order"),
        ("shuffle", r"The selector shuffles by \(seed, epoch\)"),
        ("batch_size", r"Set it in Selector\(batch_size=\.\.\.\)"),
        ("batch_sampler", "The selector's own sampler gives the plan's order"),
        ("generator", "has its own generator, so the global one does not change"),
    ],
)
def test_loader_arguments_that_are_the_selectors(word, why):
    with refused(ValueError, rf"loader\(\) takes no {word}\. .*{why}"):
        make("full")[0].loader(**{word: None})


def test_loader_arguments_that_do_not_exist():
    with refused(ValueError, r"loader\(\) has no argument 'num_worker'\. Did you mean 'num_workers'\?"):
        make("full")[0].loader(num_worker=2)


def test_a_loader_needs_a_batch_size():
    selector = sw.Selector("full", Tensors(), epochs=1)
    with refused(ValueError, r"the loader needs a batch size, got None. Give Selector\(batch_size=\.\.\.\)"):
        selector.loader()
    with refused(ValueError, r"epoch_steps needs a batch size, got None. Give Selector\(batch_size=\.\.\.\)"):
        selector.epoch_steps(0)


def test_a_step_needs_a_forward():
    selector = sw.Selector("full", Tensors(), epochs=1, batch_size=4)
    with refused(
        ValueError, r"forward must return per-sample losses, got None. Give Selector\(forward=\.\.\.\)"
    ):
        selector.loss(next(iter(selector.loader())))


# ----------------------------------------------------------- what the shape checker would see first


def test_words_out_of_a_list_are_refused_with_the_list():
    code = """
import torch, samplewise as sw
from samplewise.coresets.table import ScoreTable
s = sw.Selector("infobatch", 4, epochs=2)
s.plan(0)
t = s.table()
for call in (
    lambda: s.observe(torch.arange(2), torch.ones(2), source="trainig"),
    lambda: s.sampler("shard"),
    lambda: ScoreTable.combine([t], how="median"),
    lambda: s.observe(torch.arange(2).float(), torch.ones(2)),
    lambda: s.observe(torch.arange(3), torch.ones(2)),
    lambda: s.observe(torch.arange(2), torch.tensor(1.0)),
    lambda: sw.Selector("full", 4, epochs=1.5),
    lambda: sw.Selector("full", object(), epochs=1),
    lambda: sw.Selector("full", 2.5, epochs=1),
):
    try:
        call()
    except (ValueError, TypeError) as error:
        print(type(error).__name__, error)
    else:
        print("nothing")
"""
    said = plainly(code).splitlines()
    expected = [
        "ValueError source must be one of 'training', 'pass', got 'trainig'.",
        "ValueError mode must be one of 'global', 'sharded', got 'shard'.",
        "ValueError combine.how must be one of 'mean', 'sum', 'spread', 'ucb', got 'median'.",
        "ValueError observe needs a 1-D tensor of int64 ids, got torch.float32 of shape (2,)",
        "ValueError forward must return losses of shape (3,), got (2,).",
        "ValueError forward returned one loss for the whole batch",
        "ValueError Selector.epochs must be a whole number, got 1.5.",
        "TypeError the data set must have a length, but object has none.",
        "TypeError the data set must have a length, but float has none.",
    ]
    assert len(said) == len(expected)
    for line, start in zip(said, expected, strict=True):
        assert line.startswith(start), line


def test_nothing_is_refused_that_is_fine():
    assert sw.Selector("full", N, epochs=1).n == N
    assert sw.Selector("evolved_sampling", 4, epochs=3).policy.level == "batch"
    assert sw.Selector(sw.recipes.evolved_sampling(anneal=0), 4, epochs=1).epochs == 1
