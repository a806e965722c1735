"""Two methods in one policy: one plans epochs, the other chooses inside their batches."""

import math

import pytest
import torch

import samplewise as sw
from samplewise import pickers, recipes, signals, trackers
from samplewise.testing import Trace, Training, run

N, EPOCHS, BATCH = 24, 6, 6


def coreset():
    """TDDS of a first training, as a subset."""
    trace = Trace(N, EPOCHS)
    return run(recipes.tdds(keep=0.5, T=4, window=3), trace).selector.subset("tdds")


def pairs():
    return {
        "a coreset of TDDS": recipes.fixed(coreset()),
        "InfoBatch": recipes.infobatch(keep=0.5),
        "UCB": recipes.ucb(keep=0.5, period=2),
        "DynaMS": recipes.dynams(keep=0.6, period=2),
    }


@pytest.mark.parametrize("name", ["a coreset of TDDS", "InfoBatch", "UCB", "DynaMS"])
def test_evolved_sampling_trains_inside_the_epochs_of_another_method(name):
    """The plans are those of the other method alone, and the batches hold the rows of Evolved Sampling."""
    policy = sw.combine(pairs()[name], "evolved_sampling:keep=0.5,anneal=0.2")
    assert policy.level == "epoch+batch"
    trace = Trace(N, EPOCHS)
    both, alone = (run(each, trace, batch=BATCH) for each in (policy, pairs()[name]))
    if "training" not in policy.source or name == "a coreset of TDDS":  # else other samples are observed
        assert [e.ids.tolist() for e in both.of("plan")] == [e.ids.tolist() for e in alone.of("plan")]
    for event in both.of("step"):
        annealed = event.epoch in (0, EPOCHS - 1)
        b = len(event.ids)
        assert len(event.rows) == (b if annealed else min(b, max(2, b - b // 2)))
    real = Training(policy, trace, real=True).finish()
    ledger = real.selector.ledger
    assert ledger.samples_backpropagated == real.model.rows_backward
    assert ledger.samples_backpropagated < N * EPOCHS


def plain_dynamics(trace, history, beta1, beta2):
    """The weights of Evolved Sampling, from the batches that it saw, by the two lines of the paper."""
    score, weight = [1 / N] * N, [math.nan] * N
    for event in history.of("step"):
        for i in event.ids.tolist():
            loss = float(trace.losses[event.epoch, i])
            weight[i] = beta1 * score[i] + (1 - beta1) * loss
            score[i] = beta2 * score[i] + (1 - beta2) * loss
    return score, weight


def plain_margins(trace, epoch, i):
    """The distances of a sample to the boundaries of its class with every other class, in plain Python."""
    weight, logits, y = trace.head[0].tolist(), trace.logits[epoch, i].tolist(), int(trace.targets[i])
    found = []
    for c, other in enumerate(weight):
        if c != y:
            norm = math.sqrt(sum((a - b) ** 2 for a, b in zip(weight[y], other, strict=True)))
            found.append(abs(logits[y] - logits[c]) / norm)
    return found


def test_dynams_and_evolved_sampling_is_the_computation_by_hand():
    """Margins come from passes only, and the two averages of the loss from batches only."""
    trace = Trace(N, EPOCHS)
    policy = sw.combine(recipes.dynams(keep=0.6, period=2), recipes.evolved_sampling(keep=0.5))
    history = run(policy, trace, batch=BATCH)
    selector = history.selector
    score, weight = plain_dynamics(trace, history, beta1=0.2, beta2=0.9)
    assert selector.score("score").tolist() == pytest.approx(score, rel=1e-5)
    assert selector.score("weight").tolist() == pytest.approx(weight, rel=1e-5, nan_ok=True)
    passes = [event.epoch for event in history.of("pass")]
    assert passes == [2, 4]
    nearest = [-min(plain_margins(trace, passes[-1], i)) for i in range(N)]
    assert selector.score("nearest").tolist() == pytest.approx(nearest, rel=1e-4)


def test_ucb_and_evolved_sampling_is_the_computation_by_hand():
    trace = Trace(N, EPOCHS)
    policy = sw.combine(recipes.ucb(keep=0.5, period=2, alpha=0.8, c=1.0), recipes.evolved_sampling(keep=0.5))
    history = run(policy, trace, batch=BATCH)
    mean, variance, plans = [0.0] * N, [0.0] * N, {}
    for number, epoch in enumerate(event.epoch for event in history.of("pass")):
        for i in range(N):
            loss = float(trace.losses[epoch, i])
            old = mean[i]
            mean[i] = loss if not number else 0.8 * loss + 0.2 * old
            variance[i] = 0.0 if not number else 0.8 * (loss - old) ** 2 + 0.2 * variance[i]
        bound = [m + v for m, v in zip(mean, variance, strict=True)]
        plans[epoch] = sorted(sorted(range(N), key=lambda i: -bound[i])[: N // 2])
    assert plans
    for event in history.of("plan"):
        assert event.ids.tolist() == plans[event.epoch - event.epoch % 2]
    _, weight = plain_dynamics(trace, history, beta1=0.2, beta2=0.9)
    assert history.selector.score().tolist() == pytest.approx(weight, rel=1e-5, nan_ok=True)


def test_methods_with_one_memory_share_it():
    policy = sw.combine("infobatch", "loss_sampling")
    assert policy.batch_tracker is None
    memory = run(policy, Trace(N, EPOCHS)).selector.state_dict()["engine"]["memory"]
    assert list(memory) == ["loss"]


def test_two_columns_of_one_name_are_two_columns():
    """The losses of passes and the losses of batches differ, and each picker ranks by its own."""
    trace = Trace(N, EPOCHS)
    policy = sw.combine("dyna_ce:keep=0.6,period=2", "loss_sampling")
    selector = run(policy, trace, batch=BATCH).selector
    columns = selector.engine.columns()
    assert sorted(columns) == ["epoch/loss", "loss"]
    assert torch.equal(columns["epoch/loss"], trace.losses[4])
    assert torch.equal(selector.score(), columns["loss"])


def test_signals_below_0_are_accepted_for_the_method_that_does_not_draw_by_them():
    """Signed margins are negative for mistakes. Evolved Sampling draws by its losses, which are not."""
    policy = sw.combine("dynams:keep=0.6,period=2,signed=True", "evolved_sampling")
    selector = run(policy, Trace(N, EPOCHS), batch=BATCH).selector
    assert (selector.score("nearest") > 0).any()


def test_a_random_method_of_either_level_needs_no_second_memory():
    assert sw.combine("rs2", "evolved_sampling").source == "training"
    assert sw.combine("ucb", "random_batch").signal is signals.loss


@pytest.mark.parametrize(
    ("epoch", "batch", "said"),
    [
        (
            "tdds",
            "evolved_sampling",
            r"must be a method of level epoch, got tdds of level static\. Score first",
        ),
        (
            "evolved_sampling",
            "ucb",
            r"got evolved_sampling of level batch\. Give the method of level epoch first",
        ),
        (
            "ucb",
            "eswp",
            r"combine\(batch=\.\.\.\) must be .* got eswp of level epoch\+batch\. It is a combination",
        ),
        ("dynams_proxy", "evolved_sampling", "no method with a proxy, got dynams_proxy: .*Use dynams"),
        ("ucb", "selective_backprop:assemble=True", "no method with assemble=True.*Leave out assemble"),
        ("ucb", "auto_assist", "combine takes policies, got 'auto_assist'.* object of its own cannot be"),
        ("ubc", "evolved_sampling", "unknown method 'ubc'. Did you mean 'ucb'"),
    ],
)
def test_what_cannot_be_combined_is_refused(epoch, batch, said):
    with pytest.raises(ValueError, match=said):
        sw.combine(epoch, batch)


def test_a_batch_signal_needs_its_memory_and_two_pickers():
    parts = {"signal": signals.margins, "tracker": trackers.Margins(), "source": "pass"}
    parts |= {"picker": pickers.TopK(0.5), "batch_signal": signals.loss}
    with pytest.raises(ValueError, match=r"Policy\.batch_signal and batch_tracker must come together"):
        sw.Policy(**parts)
    with pytest.raises(ValueError, match="beside signal, tracker and two pickers"):
        sw.Policy(**parts, batch_tracker=trackers.Last())


def test_batches_cannot_be_chosen_before_they_are_observed():
    policy = sw.combine("ucb:keep=0.5,period=1", "evolved_sampling:keep=0.5,anneal=0.0")
    trace = Trace(N, EPOCHS)
    selector = sw.Selector(policy, N, epochs=EPOCHS)
    for epoch in range(2):
        ids = selector.pass_ids(epoch)
        selector.observe(ids, trace.outputs(ids, epoch), source="pass")
        plan = selector.plan(epoch)
    with pytest.raises(ValueError, match="chooses by scores: call observe"):
        selector.choose(plan.ids[:4])
