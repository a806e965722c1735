"""`dynams`, its proxy and its controls (METHODS B6 to B8) against plain loops over a toy training."""

import math

import pytest
import torch
from plain import count

import samplewise as sw
from samplewise.schedules import Periods
from samplewise.testing import Trace

N, EPOCHS, Q, C = 23, 12, 2, 3


def distances(outputs, signed):
    """The margins of every sample of a trace's outputs, number by number."""
    h, w, b = outputs.features.tolist(), outputs.head[0].tolist(), outputs.head[1].tolist()
    matrix = []
    for x, y in zip(h, outputs.targets.tolist(), strict=True):
        z = [sum(p * q for p, q in zip(x, row, strict=True)) + bias for row, bias in zip(w, b, strict=True)]
        row = [
            math.inf if c == y else (z[y] - z[c] if signed else abs(z[y] - z[c])) / math.dist(w[y], w[c])
            for c in range(len(w))
        ]
        row[y] = min(row)
        matrix.append(row)
    return matrix


def class_balanced(matrix, k, among):
    """Algorithm 1: column after column the smallest of those left."""
    taken = []
    for c in range(C):
        left = sorted((i for i in among if i not in taken), key=lambda i: (matrix[i][c], i))
        taken += left[: k // C + (1 if c < k % C else 0)]
    return sorted(taken)


def shares(kind):
    """1 and five shares that average to 0.6, with sizes by largest remainder of 23 samples."""
    constant = [1.0] + [(6 * 0.6 - 1) / 5] * 5
    exact = constant if kind == "constant" else [1 - k * 0.16 for k in range(6)]
    sizes = [math.floor(share * N + 1e-9) for share in exact]
    left = math.floor(6 * 0.6 * N + 0.5) - sum(sizes)
    for k in sorted(range(6), key=lambda k: (-round(exact[k] * N - sizes[k], 9), k))[:left]:
        sizes[k] += 1
    return sizes


def head_trace():
    """A trace whose logits are those of its head for its features, as a model's are."""
    trace = Trace(N, EPOCHS, classes=C)
    weight, bias = trace.head
    trace.logits = trace.features @ weight.T + bias
    return trace


def plans(policy, trace, seed=0):
    selector, found, passes = sw.Selector(policy, N, epochs=EPOCHS, seed=seed), [], {}
    for epoch in range(EPOCHS):
        if selector.pass_due(epoch):
            ids = selector.pass_ids(epoch)
            passes[epoch] = len(ids)
            for part in ids.flip(0).split(5):
                selector.observe(part, trace.outputs(part, epoch), "pass")
        found.append(selector.plan(epoch).ids.tolist())
        for part in torch.tensor(found[-1]).split(6):
            selector.observe(part, trace.outputs(part, epoch))
    return found, passes, selector


@pytest.mark.parametrize("name", ["dynams", "dynams_proxy"])
@pytest.mark.parametrize("kind", ["constant", "linear"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_every_period_takes_what_algorithm_1_takes(name, kind, signed, nested):
    trace = head_trace()
    policy = getattr(sw.recipes, name)(schedule=kind, period=Q, signed=signed, nested=nested)
    found, passes, selector = plans(policy, trace)
    sizes, chosen, expected = shares(kind), list(range(N)), {}
    assert sum(sizes) == 83  # of 0.6 * 6 * 23 = 82.8
    for k, size in enumerate(sizes):
        among = chosen if nested else range(N)
        expected[k * Q] = len(among)
        if k:
            matrix = distances(trace.outputs(torch.arange(N), k * Q), signed)
            chosen = class_balanced(matrix, size, among)
        assert found[2 * k] == found[2 * k + 1] == chosen
    assert passes == {epoch: seen for epoch, seen in expected.items() if epoch}
    nearest = torch.tensor([-min(row) for row in matrix])
    if not nested:
        torch.testing.assert_close(selector.score(), nearest)
    assert set(selector.state_dict()["engine"]["memory"]) == {"nearest"}


def test_the_sign_changes_what_is_chosen():
    trace = head_trace()
    without, _, _ = plans(sw.recipes.dynams(period=Q), trace)
    signed, _, _ = plans(sw.recipes.dynams(period=Q, signed=True), trace)
    assert without != signed


@pytest.mark.parametrize("kind", ["constant", "linear"])
def test_dyna_ce_takes_the_largest_losses_of_all_classes(kind):
    trace = Trace(N, EPOCHS, classes=C)
    found, passes, _ = plans(sw.recipes.dyna_ce(schedule=kind, period=Q), trace)
    for k, size in enumerate(shares(kind)):
        losses = trace.losses[2 * k].tolist()
        expected = sorted(sorted(range(N), key=lambda i: (-losses[i], i))[:size]) if k else list(range(N))
        assert found[2 * k] == found[2 * k + 1] == expected
    assert list(passes) == [2, 4, 6, 8, 10]


def test_dyna_random_draws_as_many_uniformly_and_anew_every_period():
    trace, counted = Trace(N, EPOCHS, classes=C), [0] * N
    for seed in range(300):
        found, passes, _ = plans(sw.recipes.dyna_random(period=Q), trace, seed)
        assert passes == {}
        assert [len(ids) for ids in found[::2]] == shares("linear")
        assert found[2] == found[3] != found[4]
        for i in found[6]:
            counted[i] += 1
    share = shares("linear")[3] / N
    assert all(abs(times - 300 * share) < 4.5 * math.sqrt(300 * share * (1 - share)) for times in counted)


def test_online_ms_keeps_the_rows_nearest_to_any_boundary():
    trace = head_trace()
    selector = sw.Selector("online_ms", N, epochs=EPOCHS)
    selector.plan(0)
    for ids in torch.arange(N).flip(0).split(9):
        selector.observe(ids, trace.outputs(ids, 0))
        rows, weights = selector.choose(ids)
        matrix = distances(trace.outputs(ids, 0), signed=False)
        ranked = sorted(range(len(ids)), key=lambda i: (min(matrix[i]), int(ids[i])))
        assert rows.tolist() == sorted(ranked[: count(len(ids), 0.6, 2)])
        assert weights is None


def test_the_published_schedule_is_that_of_the_recipe():
    policy = sw.recipes.dynams(period=Q, schedule="power", fit=False)
    assert policy.picker.keep == Periods(0.6, "power", Q, "imagenet", fit=False)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"keep": 0.5, "period": 6}, "the schedule never reaches its budget"),
        ({"period": 7}, "period must be at most half the 12 epochs"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_when_the_selector_is_built(policy, words):
    for name in ("dynams", "dynams_proxy", "dyna_random", "dyna_ce"):
        with pytest.raises(ValueError, match=words):
            sw.Selector(getattr(sw.recipes, name)(**policy), N, epochs=EPOCHS)


def test_margins_wait_in_the_state_between_a_pass_and_its_choice():
    trace = head_trace()
    whole, _, _ = plans(sw.recipes.dynams(period=Q), trace)
    selector = sw.Selector(sw.recipes.dynams(period=Q), N, epochs=EPOCHS)
    for epoch in (0, 1):
        selector.plan(epoch)
    selector.set_epoch(1)
    ids = selector.pass_ids(2)
    selector.observe(ids[:9], trace.outputs(ids[:9], 2), "pass")
    state = selector.state_dict()
    assert state["engine"]["memory"]["margins"].shape == (N, C)
    other = sw.Selector(sw.recipes.dynams(period=Q), N, epochs=EPOCHS)
    other.load_state_dict(state)
    assert other.pass_due(2)
    other.observe(ids[9:], trace.outputs(ids[9:], 2), "pass")
    assert other.plan(2).ids.tolist() == whole[2]


def test_classes_with_equal_weights_have_no_boundary_and_stop_no_training():
    trace = head_trace()
    trace.head[0][2] = trace.head[0][1]  # as in a head that begins with zeros
    trace.logits = trace.features @ trace.head[0].T + trace.head[1]
    found, _, _ = plans(sw.recipes.dynams(period=Q), trace)
    assert [len(ids) for ids in found[::2]] == shares("linear")
    trace.logits[4, 3] = math.nan
    with pytest.raises(ValueError, match="margins is not finite for ids"):
        plans(sw.recipes.dynams(period=Q), trace)


@pytest.mark.parametrize("schedule", ["constant", "linear", "power"])
def test_data_has_no_effect_on_a_fitted_schedule(schedule):
    for keep in (0.6, 0.65, 0.7):
        one, other = (
            sw.schedules.Periods(keep, schedule, 10, data).shares(200) for data in ("imagenet", "cifar10")
        )
        assert one == other
