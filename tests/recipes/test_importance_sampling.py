"""`importance_sampling` (METHODS C1 b): drawn with replacement, P ~ loss; weight multiplicity * w * u / b."""

import bisect
import itertools
import math
from collections import Counter

import pytest
import torch
from plain import LOSSES, N, close, count
from torch import nn

import samplewise as sw
from samplewise import pickers
from samplewise.distributed import collectives
from samplewise.pickers import Pool, repeated
from samplewise.policy import Policy, recipe
from samplewise.rng import generator
from samplewise.testing import LAWS, Trace, Training
from samplewise.testing.distributed import RANK_LAWS
from samplewise.testing.sharing import Samples, shared
from tests.ranks import on_ranks


def weights_of(scores, k):
    """w_i of the ruling, one after the other."""
    if k == 0:
        return [1.0] * len(scores)
    mean = sum(scores) / len(scores)
    v = [mean / s if s else 0.0 for s in scores]
    scale = sum(a * s for a, s in zip(v, scores, strict=True))
    scale /= sum(a**k * s for a, s in zip(v, scores, strict=True))
    return [a**k * scale for a in v]


def rows_of(drawn, scores, k, ids):
    """Row -> weight of a sequence of draws; with one row only, the best other beside it, the first by id."""
    times, w = Counter(drawn), weights_of(scores, k)
    rows = sorted(times)
    if len(rows) == 1 and len(scores) > 1:
        others = [i for i in range(len(scores)) if i != rows[0]]
        rows = sorted([rows[0], max(others, key=lambda i: (scores[i], -ids[i]))])
    u, b = len(rows), len(drawn)
    return {i: times[i] * w[i] * u / b if times[i] else u * 1e-30 for i in rows}


def drawn_by(seed, epoch, step, scores, b, rank=0):
    """The draws of one batch: points on a line that is divided in proportion to the scores."""
    ends = list(itertools.accumulate(scores))
    rng = generator(seed, epoch, "choose", step, rank)
    points = torch.rand(b, generator=rng, dtype=torch.float64).tolist()
    return [bisect.bisect_right(ends, point * ends[-1]) for point in points]


@pytest.mark.parametrize(("keep", "k"), [(0.25, 0.5), (0.5, 1.0), (0.75, 0.0), (0.9, 0.3)])
def test_the_trace_equals_plain_loops(keep, k):
    selector = sw.Selector(sw.recipes.importance_sampling(keep=keep, k=k), N, epochs=len(LOSSES), seed=3)
    repeats = 0
    for epoch, losses in enumerate(LOSSES):
        selector.plan(epoch)
        for step, ids in enumerate(([6, 1, 4, 0, 3], [7, 2, 5])):
            batch = torch.tensor(ids)
            selector.observe(batch, torch.tensor(losses)[batch])
            rows, weights = selector.choose(batch)
            scores = [losses[i] for i in ids]
            b = count(len(ids), keep, least=2)
            drawn = drawn_by(3, epoch, step, scores, b)
            expected = rows_of(drawn, scores, k, ids)
            assert rows.tolist() == sorted(expected)
            assert weights.tolist() == pytest.approx([expected[row] for row in sorted(expected)], rel=1e-6)
            repeats += len(set(drawn)) < b
    assert repeats


def expectation(scores, k, draws, gradients, monkeypatch):
    """E[mean over the rows of weight * gradient], over every sequence of draws that there is."""
    picker, total = pickers.WithReplacement(draws, k), torch.zeros(gradients.shape[1], dtype=torch.float64)
    m, chance = len(scores), [s / sum(scores) for s in scores]
    b, alone = count(m, draws, least=2), 0
    for sequence in itertools.product(range(m), repeat=b):
        monkeypatch.setattr(repeated, "_drawn", lambda *_, s=sequence: torch.tensor(s).numpy())
        pool = Pool(m, generator(0), {"loss": torch.tensor(scores)}, "loss", torch.arange(m), least=2)
        rows, weights, _ = picker.pick(pool)
        assert len(rows) >= 2
        alone += len(set(sequence)) == 1
        estimate = (weights.double()[:, None] * gradients[rows]).mean(0)
        total += math.prod(chance[i] for i in sequence) * estimate
    assert alone == m
    return total


@pytest.mark.parametrize("scores", [[0.5, 2.0, 1.0, 4.0], [1.0, 1.0, 1e-3, 7.0]])
def test_with_k_one_the_gradient_is_unbiased(scores, monkeypatch):
    gradients = torch.randn(4, 3, generator=generator("gradients"), dtype=torch.float64)
    found = expectation(scores, 1.0, 0.75, gradients, monkeypatch)
    torch.testing.assert_close(found, gradients.mean(0), rtol=1e-6, atol=1e-7)


def test_with_a_smaller_k_it_favours_what_the_weights_say(monkeypatch):
    scores = [0.5, 2.0, 1.0, 4.0]
    gradients = torch.randn(4, 3, generator=generator("gradients"), dtype=torch.float64)
    for k in (0.0, 0.5):
        found = expectation(scores, k, 0.5, gradients, monkeypatch)
        w = weights_of(scores, k)
        wanted = sum(s / sum(scores) * a * g for s, a, g in zip(scores, w, gradients, strict=True))
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)
    assert not torch.allclose(found, gradients.mean(0), rtol=1e-2)


@pytest.mark.parametrize("k", [0.0, 0.3, 0.5, 1.0])
def test_the_weighted_scores_keep_their_sum(k):
    scores = torch.tensor([0.5, 2.0, 1.0, 4.0, 0.0])
    w = pickers.WithReplacement(0.5, k).weights(scores)
    assert w.tolist() == pytest.approx(weights_of(scores.tolist(), k))
    if k == 0:
        assert w.tolist() == [1.0] * 5
        return
    v = pickers.WithReplacement(0.5, 1.0).weights(scores)
    assert float(w @ scores.double()) == pytest.approx(float(v @ scores.double()))


@pytest.mark.parametrize("k", [0.3, 1.0])
@pytest.mark.parametrize("scale", [2.0**-120, 2.0**-40, 2.0**100])
def test_the_scale_of_the_losses_changes_nothing(k, scale):
    scores = torch.tensor([0.5, 2.0, 1.0, 4.0, 0.0])
    picker = pickers.WithReplacement(0.75, k)

    def picked(found):
        pool = Pool(5, generator("scale"), {"loss": found}, "loss", torch.arange(5), least=2)
        rows, weights, _ = picker.pick(pool)
        return rows, weights

    for one, other in zip(picked(scores), picked(scores * scale), strict=True):
        assert torch.equal(one, other)
    assert picker.weights(scores * scale).tolist() == picker.weights(scores).tolist()


def test_draws_follow_the_scores_and_never_a_zero():
    scores = torch.tensor([0.0, 1.0, 3.0, 0.0, 4.0, 0.0]).double().numpy()
    drawn = Counter(repeated._drawn(scores, 4000, generator("draws")).tolist())
    assert set(drawn) == {1, 2, 4}
    for i, chance in ((1, 1 / 8), (2, 3 / 8), (4, 4 / 8)):
        assert close(drawn[i] / 4000, chance, 4000)


def test_scores_that_are_all_zero_are_drawn_uniformly_with_weight_one():
    selector = sw.Selector(sw.recipes.importance_sampling(keep=0.9), 4, epochs=1)
    selector.plan(0)
    selector.observe(torch.arange(4), torch.zeros(4))
    seen = Counter()
    for _ in range(300):
        rows, weights = selector.choose(torch.arange(4))
        seen.update(rows.tolist())
        assert float(weights.mean()) == pytest.approx(1)  # sum of multiplicities / b
    assert len(seen) == 4


def test_scores_never_observed_count_as_the_mean_of_the_others():
    nan = float("nan")
    w = pickers.WithReplacement(0.5, 1.0).weights(torch.tensor([1.0, nan, 3.0]))
    assert w.tolist() == pytest.approx([2.0, 1.0, 2 / 3])
    assert pickers.WithReplacement(0.5, 1.0).weights(torch.tensor([nan, nan])).tolist() == [1.0, 1.0]


class Normed(nn.Module):
    """A batch norm, which refuses one row in train mode."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))

    def forward(self, x):
        return self.net(x).squeeze(1).square()


def test_one_row_drawn_every_time_trains_beside_a_row_without_weight():
    model = Normed()
    x = torch.randn(6, 2, generator=generator("x"))
    given = [torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0, 0.0])]

    def forward(data):
        return given.pop() if given else model(data)

    policy = sw.recipes.importance_sampling(keep=0.5)
    selector = sw.Selector(policy, list(x), forward, model=model, epochs=1, batch_size=6)
    selector.plan(0)
    batch = sw.Batch(torch.arange(6), x)
    chosen = selector.narrow(batch)
    assert chosen.ids.tolist() == [0, 2]  # of equal scores the first
    losses = model(chosen.data)
    loss = selector.reduce(losses)
    # Three draws of row 2, each of weight v = 1 / 6, are the mean over six rows of which five have no loss.
    assert loss.item() == pytest.approx(losses[1].item() / 6, rel=1e-6)
    loss.backward()
    assert selector.ledger.samples_backpropagated == 2


def smoothed(rate):
    """A policy whose scores are smoothed, and the constant added in plain numbers before each choice."""
    return sw.recipes.importance_sampling(keep=0.5, smoothing=0.25, adaptive=rate is not None)


@pytest.mark.parametrize("rate", [None, 0.1])
def test_smoothing_adds_a_constant_or_a_share_of_the_running_mean(rate):
    selector = sw.Selector(smoothed(rate), N, epochs=len(LOSSES), seed=1)
    mean = None
    for epoch, losses in enumerate(LOSSES):
        selector.plan(epoch)
        for step, ids in enumerate(([6, 1, 4, 0, 3], [7, 2, 5])):
            batch = torch.tensor(ids)
            selector.observe(batch, torch.tensor(losses)[batch])
            seen = [losses[i] for i in ids]
            new = sum(seen) / len(seen)
            mean = new if mean is None else 0.9 * mean + 0.1 * new
            scores = [loss + 0.25 * (1 if rate is None else mean) for loss in seen]
            assert selector.score()[batch].tolist() == pytest.approx(scores, rel=1e-6)
            rows, weights = selector.choose(batch)
            drawn = drawn_by(1, epoch, step, scores, count(len(ids), 0.5, least=2))
            expected = rows_of(drawn, scores, 0.5, ids)
            assert rows.tolist() == sorted(expected)
            assert weights.tolist() == pytest.approx([expected[row] for row in sorted(expected)], rel=1e-5)


def adaptive() -> Policy:
    """Memory: 4 bytes a sample."""
    return smoothed(0.1)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_of_the_adaptive_form(law):
    exempt = {"one_rank_equals_two": "draws repeat rows, each rank its own"}
    law(recipe(paper="-", level="batch", source="training", exempt=exempt)(adaptive))


def drawn_of(samples, epoch, rank, ids, step, k):
    """The sum of w times the gradient over a process's draws of one batch, and how many draws."""
    losses = samples.outputs(samples.net, (samples.x[ids], samples.targets[ids]), epoch).loss.tolist()
    b, w = count(len(ids), 0.75, least=2), weights_of(losses, k)
    drawn = drawn_by(0, epoch, step, losses, b, rank)
    weights = torch.tensor([w[i] for i in drawn])
    return samples.gradient(ids[drawn], weights, epoch) * b, b


def shared_gradients(rank, world):
    """How far the gradients of steps are from the mean over all draws, and how many steps were padded."""
    samples, policy = Samples(23), sw.recipes.importance_sampling(keep=0.75, k=1.0)
    mine = shared(policy, samples, "global", 2, 4)
    ranks = collectives.everyone(mine)
    far, padded = 0.0, 0
    for place, at_once in enumerate(zip(*(run.steps for run in ranks), strict=True)):
        total, draws = torch.zeros_like(at_once[0].gradient), 0
        for r, step in enumerate(at_once):
            done = sum(len(s.given) > 1 for s in ranks[r].steps[:place] if s.epoch == step.epoch)
            if len(step.given) > 1:
                part, b = drawn_of(samples, step.epoch, r, torch.tensor(step.given), done, 1.0)
            else:
                ids = torch.tensor(step.given, dtype=torch.int64)
                b = len(ids)
                part = samples.gradient(ids, torch.ones(b), step.epoch) * b if b else 0.0
            total, draws = total + part, draws + b
        padded += len({len(step.given) for step in at_once}) > 1
        got = torch.stack([step.gradient for step in at_once]).mean(0)
        far = max(far, float((got - total / draws).abs().max() / got.abs().max()))
    return far, padded


def planned(rank, world):
    """What does not hold of the adaptive form on several processes."""
    form = recipe(paper="-", level="batch", source="training")(adaptive)
    said = []
    for law in RANK_LAWS[:2]:
        try:
            law(form)
        except AssertionError as sentence:
            said.append(str(sentence))
    return said


def together(rank, world):
    """Both, in one start of the processes, which takes longest."""
    return shared_gradients(rank, world), planned(rank, world)


def test_on_two_processes_the_gradient_is_the_mean_over_all_draws_and_the_adaptive_form_keeps_the_laws(
    tmp_path,
):
    for (far, padded), said in on_ranks(together, (2,), tmp_path)[2]:
        assert far < 1e-5
        assert padded == 2
        assert not said


def test_the_ledger_counts_distinct_rows_and_whole_scoring_forwards():
    trace = Trace(n=24, epochs=5)
    training = Training(sw.recipes.importance_sampling(keep=0.5), trace, batch=8).finish()
    ledger, model = training.selector.ledger, training.model
    assert ledger.scoring_forwards == model.rows_without_grad == 5 * 24
    assert ledger.samples_backpropagated == model.rows_backward
    assert (
        5 * 3 * 2 <= ledger.samples_backpropagated < 5 * 3 * 4
    )  # u <= b = 4 rows of each batch, some repeat


def test_keep_one_takes_every_row_unweighted():
    selector = sw.Selector(sw.recipes.importance_sampling(keep=1.0), N, epochs=2)
    selector.plan(0)
    rows, weights = selector.choose(torch.arange(N))
    assert rows.tolist() == list(range(N))
    assert weights is None


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"smoothing must be > 0 with adaptive=True"):
        sw.recipes.importance_sampling(adaptive=True)
    selector = sw.Selector("importance_sampling", N, epochs=2)
    selector.plan(0)
    with pytest.raises(ValueError, match=r"importance_sampling needs losses >= 0.* ids \[2\] in epoch 0"):
        selector.observe(torch.arange(4), torch.tensor([1.0, 2.0, -0.5, 1.0]))
    with pytest.raises(ValueError, match=r"Smoothed\.rate must be in \[0, 1\], got 2"):
        sw.trackers.Smoothed(0.1, rate=2)
    with pytest.raises(ValueError, match="Smoothed must follow a tracker of loss"):
        sw.trackers.Smoothed(0.1).start(3, {"correct": torch.zeros(0)})
