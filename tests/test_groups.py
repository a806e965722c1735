"""Groups of samples: the shares of a budget, computed by hand, and the choice inside each group."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

import samplewise as sw
from samplewise import recipes
from samplewise.pickers.per_group import quotas
from samplewise.testing import Trace, run

N, EPOCHS = 40, 6
DOMAINS = ["web"] * 24 + ["code"] * 12 + ["maths"] * 4
NAMES = ["code", "maths", "web"]
SIZES = {"code": 12, "maths": 4, "web": 24}


def divided(k, shares, sizes):
    """Largest remainder with a limit for each group, in exact fractions: the slow reference."""
    found, left, open_ = [0] * len(sizes), min(k, sum(sizes)), [size > 0 for size in sizes]
    while True:
        total = sum(share for share, is_open in zip(shares, open_, strict=True) if is_open)
        wanted = [left * s / total if o else Fraction(0) for s, o in zip(shares, open_, strict=True)]
        full = [i for i, o in enumerate(open_) if o and wanted[i] >= sizes[i]]
        if not full:
            break
        for i in full:
            found[i], left, open_[i] = sizes[i], left - sizes[i], False
        if not any(open_):
            return found
    down = [math.floor(w) for w in wanted]
    rest = sorted((i for i, o in enumerate(open_) if o), key=lambda i: (-(wanted[i] - down[i]), i))
    for i in rest[: left - sum(down)]:
        down[i] += 1
    return [a + b for a, b in zip(found, down, strict=True)]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30)), min_size=1, max_size=6), st.integers(0, 120)
)
def test_quotas_are_those_of_exact_fractions(groups, k):
    parts, sizes = zip(*groups, strict=True)
    shares = [Fraction(part, sum(parts)) for part in parts]
    found = quotas(k, np.array([float(share) for share in shares]), np.array(sizes))
    assert found.tolist() == divided(k, shares, sizes)
    assert found.sum() == min(k, sum(sizes))


def members(name):
    return [i for i, domain in enumerate(DOMAINS) if domain == name]


def counts(ids):
    return [sum(DOMAINS[i] == name for i in ids) for name in NAMES]


def trained(method, groups, trace=None, **settings):
    """The selector after a training in which every planned sample is observed."""
    trace = Trace(N, EPOCHS) if trace is None else trace
    selector = sw.Selector(method, N, epochs=EPOCHS, groups=groups, **settings)
    return selector, list(plans(selector, trace))


def plans(selector, trace, start=0, stop=EPOCHS):
    for epoch in range(start, stop):
        if len(wanted := selector.pass_ids(epoch)):
            selector.observe(wanted, trace.outputs(wanted, epoch), source="pass")
        ids = selector.plan(epoch).ids
        yield ids.tolist()
        selector.observe(ids, trace.outputs(ids, epoch))


def test_fixed_shares_give_the_highest_losses_of_each_group():
    trace = Trace(N, EPOCHS)
    shares = {"web": 2, "code": 1, "maths": 1}
    _, found = trained(recipes.uncertainty(keep=0.3, period=1), sw.Groups(DOMAINS, shares), trace)
    quota = dict(
        zip(NAMES, divided(12, [Fraction(1, 4), Fraction(1, 4), Fraction(1, 2)], [12, 4, 24]), strict=True)
    )
    assert quota == {"code": 3, "maths": 3, "web": 6}
    for epoch, ids in enumerate(found):
        expected = []
        for name, count in quota.items():
            ranked = sorted(members(name), key=lambda i: (-float(trace.losses[epoch, i]), -i))
            expected += ranked[:count]
        assert ids == sorted(expected)


def test_groups_alone_have_shares_by_their_sizes():
    selector, found = trained(recipes.random_dynamic(keep=0.5, period=1), DOMAINS)
    assert all(counts(ids) == [6, 2, 12] for ids in found)
    assert selector.ledger.selections[0] == {
        "epoch": 0,
        "share code": 0.3,
        "share maths": 0.1,
        "share web": 0.6,
    }


def last_means(known):
    """The mean of the last losses of each group; the mean of those means where there is none."""
    found = {}
    for name in NAMES:
        values = [known[i] for i in members(name) if i in known]
        found[name] = sum(values) / len(values) if values else None
    seen = [value for value in found.values() if value is not None]
    return [sum(seen) / len(seen) if found[name] is None else found[name] for name in NAMES]


def normed(weights):
    return [w / sum(weights) for w in weights]


def by_hand(weights):
    exact = [Fraction(w).limit_denominator(10**12) for w in weights]
    return divided(12, exact, [SIZES[name] for name in NAMES])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 50.0])
def test_temperature_follows_the_last_losses_of_the_groups(temperature):
    trace, known = Trace(N, EPOCHS), {}
    groups = sw.Groups(DOMAINS, "temperature", temperature=temperature)
    _, found = trained(recipes.random_dynamic(keep=0.3, period=1), groups, trace)
    for epoch, ids in enumerate(found):
        weights = [SIZES[name] / N for name in NAMES]
        if known:
            means = last_means(known)
            weights = [w * math.exp(m / temperature) for w, m in zip(weights, means, strict=True)]
        assert counts(ids) == by_hand(normed(weights))
        known |= {i: float(trace.losses[epoch, i]) for i in ids}


@pytest.mark.parametrize("period", [1, 2])
def test_online_mixing_multiplies_the_weights_at_every_choice(period):
    trace, known = Trace(N, EPOCHS), {}
    groups = sw.Groups(DOMAINS, "online", rate=0.8, explore=0.2)
    method = recipes.random_dynamic(keep=0.3, period=period)
    selector, found = trained(method, groups, trace)
    weights = [SIZES[name] / N for name in NAMES]
    for epoch, ids in enumerate(found):
        if known and epoch % period == 0:
            means = last_means(known)
            weights = normed([w * math.exp(0.8 * m) for w, m in zip(weights, means, strict=True)])
        if epoch % period == 0:
            shares = [0.8 * w + 0.2 * SIZES[name] / N for w, name in zip(weights, NAMES, strict=True)]
            assert counts(ids) == by_hand(shares)
            noted = next(row for row in selector.ledger.selections if row["epoch"] == epoch)
            assert [noted[f"weight {name}"] for name in NAMES] == pytest.approx(weights)
        known |= {i: float(trace.losses[epoch, i]) for i in ids}
    assert len({tuple(counts(ids)) for ids in found}) > 1  # the shares did move


def test_a_state_holds_the_weights_of_online_mixing():
    trace = Trace(N, EPOCHS)
    groups = sw.Groups(DOMAINS, "online", rate=3.0)

    def fresh():
        return sw.Selector(recipes.random_dynamic(keep=0.3, period=1), N, epochs=EPOCHS, groups=groups)

    first, whole = fresh(), fresh()
    expected = list(plans(whole, trace))
    before = list(plans(first, trace, stop=3))
    second = fresh()
    second.load_state_dict(first.state_dict())
    assert before + list(plans(second, trace, start=3)) == expected
    forgetful = first.state_dict()
    forgetful["engine"] = forgetful["engine"] | {"carried": {}}
    third = fresh()
    third.load_state_dict(forgetful)
    assert [counts(ids) for ids in plans(third, trace, start=3)] != [counts(ids) for ids in expected[3:]]


def test_a_state_of_other_groups_is_refused():
    method = recipes.random_dynamic(keep=0.3, period=1)
    state = sw.Selector(method, N, epochs=EPOCHS, groups=DOMAINS).state_dict()
    swapped = ["code"] * 24 + ["web"] * 16
    with pytest.raises(ValueError, match="the state is of policy"):
        sw.Selector(method, N, epochs=EPOCHS, groups=swapped).load_state_dict(state)


def test_a_batch_keeps_its_rows_by_the_shares_of_the_groups_in_it():
    trace = Trace(N, EPOCHS)
    groups = sw.Groups(DOMAINS, {"code": 0.5, "maths": 0.1, "web": 0.4})
    selector = sw.Selector(recipes.ordered_sgd(keep=0.5), N, epochs=EPOCHS, groups=groups)
    selector.plan(0)
    for start in range(0, N, 8):
        ids = (torch.arange(start, start + 8) * 7) % N
        selector.observe(ids, trace.outputs(ids, 0))
        rows, _ = selector.choose(ids)
        here = ids.tolist()
        sizes = counts(here)
        quota = divided(4, [Fraction(5, 10), Fraction(1, 10), Fraction(4, 10)], sizes)
        expected = []
        for name, count in zip(NAMES, quota, strict=True):
            mine = [i for i in here if DOMAINS[i] == name]
            expected += sorted(mine, key=lambda i: -float(trace.losses[0, i]))[:count]
        assert sorted(ids[rows].tolist()) == sorted(expected)


def test_the_shares_of_batches_follow_the_losses_of_the_epoch_before():
    trace = Trace(N, EPOCHS)
    groups = sw.Groups(DOMAINS, "temperature", temperature=0.2)
    selector = sw.Selector(recipes.ordered_sgd(keep=0.5), N, epochs=EPOCHS, groups=groups)
    ids, weights, moved = torch.arange(N), [SIZES[name] / N for name in NAMES], []
    for epoch in range(3):
        selector.plan(epoch)
        if epoch:
            means = last_means({i: float(trace.losses[epoch - 1, i]) for i in range(N)})
            weights = [SIZES[n] / N * math.exp(m / 0.2) for n, m in zip(NAMES, means, strict=True)]
        selector.observe(ids, trace.outputs(ids, epoch))
        rows, _ = selector.choose(ids)
        exact = [Fraction(w).limit_denominator(10**9) for w in normed(weights)]
        moved.append(counts(ids[rows].tolist()))
        assert moved[-1] == divided(20, exact, [12, 4, 24])
    assert moved[0] != moved[1]


def test_a_coreset_has_the_shares_of_its_groups():
    trace = Trace(N, EPOCHS)
    shares = {"web": 0.5, "code": 0.25, "maths": 0.25}
    selector = sw.Selector(recipes.el2n(keep=0.3, at=2), N, epochs=EPOCHS, groups=sw.Groups(DOMAINS, shares))
    list(plans(selector, trace))
    score = selector.score().tolist()
    expected = []
    for name, count in zip(NAMES, [3, 3, 6], strict=True):
        expected += sorted(members(name), key=lambda i: -score[i])[:count]
    assert selector.subset().ids.tolist() == sorted(expected)
    alone = sorted(range(N), key=lambda i: -score[i])[:12]
    assert selector.table().subset("el2n").ids.tolist() == sorted(alone)  # a table has no groups


def test_a_group_that_is_too_small_is_kept_whole():
    _, found = trained(
        recipes.random_dynamic(keep=0.5, period=1), sw.Groups(DOMAINS, {"web": 1, "code": 1, "maths": 8})
    )
    assert all(counts(ids) == [8, 4, 8] for ids in found)


def test_a_budget_of_all_samples_keeps_all():
    keep = sw.schedules.Linear(1.0, 0.5)
    _, found = trained(recipes.random_dynamic(keep=keep, period=1), DOMAINS)
    assert len(found[0]) == N
    assert counts(found[-1]) == [7, 3, 14]  # 24 samples: 7.2, 2.4 and 14.4; equal remainders go to the first


def test_groups_come_from_a_column_of_a_data_set():
    data = Dataset.from_dict({"x": list(range(N)), "domain": DOMAINS}).with_format("torch", columns=["x"])
    selector = sw.Selector(recipes.random_dynamic(keep=0.5, period=1), data, epochs=2, groups="domain")
    assert counts(selector.plan(0).ids.tolist()) == [6, 2, 12]
    with pytest.raises(ValueError, match=r"or a column of the data set.*Columns: x, domain"):
        sw.Selector("random_dynamic", data, epochs=2, groups="source")


def test_numbers_are_groups_too():
    codes = torch.tensor([0] * 30 + [7] * 10)
    selector = sw.Selector(
        recipes.random_dynamic(keep=0.5, period=1), N, epochs=2, groups=sw.Groups(codes, {0: 1, 7: 1})
    )
    ids = selector.plan(0).ids
    assert (codes[ids] == 7).sum() == 10


def test_another_seed_draws_other_samples_of_the_same_counts():
    (_, first), (_, second) = (
        trained(recipes.random_dynamic(keep=0.5, period=1), DOMAINS, seed=s) for s in (0, 1)
    )
    assert first != second
    assert [counts(ids) for ids in first] == [counts(ids) for ids in second]


BAD = {
    "full": (DOMAINS, "keeps an exact share below 1, got full"),
    "token_random:keep=0.5": (DOMAINS, "cannot divide token_random of level token: it trains every sample"),
    "infobatch": (DOMAINS, "keeps an exact share below 1, got infobatch"),
    "evolved_sampling:keep=0.5": (
        sw.Groups(DOMAINS, "temperature"),
        "keeps the losses, got evolved_sampling",
    ),
    "random_batch:keep=0.5": (sw.Groups(DOMAINS, "temperature"), "keeps the losses, got random_batch"),
    "loss_sampling:keep=0.5": (sw.Groups(DOMAINS, "online"), "numbers or 'sizes' or temperature"),
    "craig_dynamic:keep=0.5": (DOMAINS, "whose weights are for a choice from all samples"),
    "uds:keep=0.5": (sw.Groups(DOMAINS, "temperature"), "keeps the losses, got uds"),
    "el2n:keep=0.5": (sw.Groups(DOMAINS, "online"), "of level static"),
    "random_dynamic:keep=0.5": (DOMAINS[:-1], "for each of the 40 samples, got 39"),
    "random_dynamic:keep=0.4": (sw.Groups(DOMAINS, {"web": 1, "code": 1}), "has none for maths"),
    "random_dynamic:keep=0.3": (
        sw.Groups(DOMAINS, {"web": 1, "code": 1, "math": 1, "maths": 1}),
        "names 'math', which no sample is in. Did you mean 'maths'",
    ),
    "random_dynamic:keep=0.2": (
        sw.Groups(DOMAINS, {"web": 0, "code": 1, "maths": 1}),
        "must be a number above 0",
    ),
    "random_dynamic:keep=0.1": ([1.5] * N, "must hold names or whole numbers, got 1.5"),
    "uncertainty:keep=0.1": ([1, "1"] * (N // 2), "got both for one group"),
}


@pytest.mark.parametrize("method", BAD)
def test_bad_groups_are_refused_at_the_start(method):
    groups, told = BAD[method]
    with pytest.raises(ValueError, match=told):
        sw.Selector(sw.coresets.parse.parse(method), N, epochs=EPOCHS, groups=groups)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="temperature"):
        sw.Groups(DOMAINS, "temperature", temperature=0.0)
    with pytest.raises(ValueError, match="shares"):
        sw.Groups(DOMAINS, "equal")


def test_a_run_in_batches_counts_what_it_trains():
    trace = Trace(N, EPOCHS)
    history = run(sw.Groups(DOMAINS).applied(recipes.loss_sampling(keep=0.5), N, None), trace, batch=8)
    assert all(len(event.rows) == 4 for event in history.of("step"))


def test_classes_are_divided_inside_each_group():
    labels = torch.tensor([i % 2 for i in range(24)] + [0] * 4 + [1] * 8 + [0, 0, 1, 1])
    policy = recipes.random(keep=0.5, balance=True)
    selector = sw.Selector(policy, N, epochs=1, labels=labels, groups=DOMAINS)
    ids = selector.plan(0).ids.tolist()
    found = {
        (name, c): sum(DOMAINS[i] == name and labels[i] == c for i in ids) for name in NAMES for c in (0, 1)
    }
    assert found == {
        ("code", 0): 2,
        ("code", 1): 4,
        ("maths", 0): 1,
        ("maths", 1): 1,
        ("web", 0): 6,
        ("web", 1): 6,
    }


def test_an_epoch_that_is_resumed_keeps_the_shares_it_began_with():
    """The losses of its first half are remembered in the state, and must not change the shares."""
    trace = Trace(N, EPOCHS)
    groups = sw.Groups(DOMAINS, "temperature", temperature=0.2)

    def fresh():
        return sw.Selector(recipes.ordered_sgd(keep=0.5), N, epochs=EPOCHS, groups=groups)

    def half(selector, epoch, start):
        ids = torch.arange(start, N, 2)
        selector.observe(ids, trace.outputs(ids, 3 * epoch))
        return counts(ids[selector.choose(ids)[0]].tolist())

    whole = fresh()
    for epoch in range(2):
        whole.plan(epoch)
        first = half(whole, epoch, 0)
        state = whole.state_dict()
        second = half(whole, epoch, 1)
    resumed = fresh()
    resumed.load_state_dict(state)
    assert half(resumed, 1, 1) == second
    assert first != [3, 1, 6]  # the shares have moved from the sizes
