"""A coreset out of final scores: budgets, classes, weights, and what is refused."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samplewise import pickers, recipes, signals, trackers
from samplewise.coresets.choose import choose, ranked_column
from samplewise.coresets.parse import parse
from samplewise.pickers import Picked, Picker
from samplewise.policy import Policy

SCORES = [0.3, 0.9, -0.2, 0.9, 0.5, 0.1]


def policy(keep=0.5, **changes):
    held = {"signal": signals.loss, "tracker": trackers.Last(), "picker": pickers.TopK(keep)}
    return Policy(**(held | {"source": "training", "final": "end", "name": "mine"} | changes))


def chosen(scores=SCORES, made=None, labels=None, **wanted):
    made = policy() if made is None else made
    columns = {ranked_column(made): torch.tensor(scores)}
    return choose(made, "mine", columns, len(scores), labels, 0, **wanted)


def test_the_highest_scores_are_kept_and_ties_go_by_id():
    assert chosen().ids.tolist() == [1, 3, 4]
    assert chosen(keep=1 / 6).ids.tolist() == [1]
    assert chosen().weights is None


def test_what_was_chosen_is_said():
    said = chosen(keep=2 / 6, weights="batch_mean", normalize="mean1").provenance
    assert said["k"], said["n"] == (2, 6)
    assert (said["keep"], said["balance"], said["weights"]) == (2 / 6, False, "batch_mean")
    assert (said["normalize"], said["recipe"]) == ("mean1", "mine")


def test_infinite_scores_are_kept_first():
    assert chosen([1.0, math.inf, 2.0, 3.0], keep=0.25).ids.tolist() == [1]


def test_keep_one_is_every_sample_without_weights_whatever_the_scores():
    subset = chosen([math.nan] * 4, keep=1, weights="per_sample")
    assert (subset.ids.tolist(), subset.weights) == ([0, 1, 2, 3], None)
    assert subset.provenance["weights"] == "none"


def test_samples_that_were_never_observed_are_counted_in_the_error():
    with pytest.raises(ValueError, match="2 of 4 samples were never observed, so mine cannot rank them"):
        chosen([1.0, math.nan, 2.0, math.nan])


LABELS = torch.tensor([0, 1, 0, 1, 0, 1])
MIXED = [9.0, 1.0, 8.0, 2.0, 7.0, 3.0]


def test_balance_is_given_or_taken_away():
    assert chosen(MIXED, labels=LABELS, keep=4 / 6, balance=True).ids.tolist() == [0, 2, 3, 5]
    by_class = policy(4 / 6, picker=pickers.PerClass(pickers.TopK(4 / 6)))
    assert chosen(MIXED, by_class, LABELS).ids.tolist() == [0, 2, 3, 5]
    assert chosen(MIXED, by_class, LABELS, balance=False).ids.tolist() == [0, 2, 4, 5]
    assert chosen(MIXED, by_class, LABELS, keep=2 / 6).ids.tolist() == [0, 5]


def test_balance_needs_labels():
    with pytest.raises(ValueError, match="balance=True needs labels, but mine was recorded without labels"):
        chosen(balance=True)


@given(
    st.lists(st.integers(0, 3), min_size=8, max_size=40).filter(lambda labels: len(set(labels)) > 1),
    st.floats(0.01, 0.99),
)
def test_a_class_left_empty_is_refused_with_a_keep_that_fills_it(labels, keep):
    n, labels = len(labels), torch.tensor(labels)
    scores = list(map(float, range(n)))
    # Plain largest remainder: a whole part, then the largest fractions, lower classes first.
    k = n - math.floor((1 - keep) * n + 1e-9)
    sizes = [int((labels == c).sum()) for c in range(4)]
    places = [k * size // n for size in sizes]
    by_fraction = sorted(range(4), key=lambda c: (-(k * sizes[c] % n), c))
    for c in by_fraction[: k - sum(places)]:
        places[c] += 1
    empty = [c for c in range(4) if sizes[c] and not places[c]]
    if empty:
        with pytest.raises(ValueError, match="and none of class") as caught:
            chosen(scores, labels=labels, keep=keep, balance=True)
        assert all(f"{c} ({sizes[c]} samples)" in str(caught.value) for c in empty)
        keep = float(str(caught.value).split("keep=")[-1].split(" ")[0])
        with pytest.raises(ValueError, match="and none of class"):
            chosen(scores, labels=labels, keep=keep - 1e-4, balance=True)
    subset = chosen(scores, labels=labels, keep=keep, balance=True)
    assert set(labels[subset.ids].tolist()) == set(labels.tolist())


def slow_weights(scores):
    """Min-max over all, a zero replaced by the smallest positive one."""
    low, high = min(scores), max(scores)
    if low == high:
        return [1.0] * len(scores)
    plain = [(s - low) / (high - low) for s in scores]
    smallest = min(w for w in plain if w > 0)
    return [w if w > 0 else smallest for w in plain]


@pytest.mark.parametrize("weights", ["per_sample", "batch_mean"])
def test_weights_are_min_max_over_all_samples_before_the_choice(weights):
    subset = chosen(keep=5 / 6, weights=weights)
    expected = [slow_weights(SCORES)[i] for i in subset.ids.tolist()]
    assert subset.weights.dtype == torch.float32
    assert subset.weights.tolist() == pytest.approx(expected)
    assert subset.weighting == weights
    normal = chosen(keep=5 / 6, weights=weights, normalize="mean1")
    mean = sum(expected) / len(expected)
    assert normal.weights.tolist() == pytest.approx([w / mean for w in expected])


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=20), st.floats(0.05, 0.95))
def test_weights_are_finite_and_positive_for_all_finite_scores(scores, keep):
    for normalize in (None, "mean1"):
        weights = chosen(scores, keep=keep, weights="per_sample", normalize=normalize).weights
        assert bool((weights.isfinite() & (weights > 0)).all())


def test_equal_scores_weigh_one_each():
    assert chosen([2.0] * 4, weights="per_sample").weights.tolist() == [1.0, 1.0]


def test_the_lowest_score_gets_the_smallest_positive_weight():
    # Ids 1 and 3 are the lowest now, and the tie goes to 1; above them comes 4.
    bottom = policy(picker=pickers.TopK(5 / 6, by="minus"))
    columns = {"minus": -torch.tensor(SCORES)}
    subset = choose(bottom, "mine", columns, 6, None, 0, weights="per_sample")
    assert subset.ids.tolist() == [0, 1, 2, 4, 5]
    assert subset.weights[1] == subset.weights[3] == min(subset.weights)
    assert float(subset.weights[1]) == pytest.approx(0.4 / 1.1)


def test_a_policy_says_how_its_coreset_is_weighted():
    weighted = policy(weighting="batch_mean")
    assert chosen(made=weighted).weighting == "batch_mean"
    assert chosen(made=weighted).weights is not None
    assert chosen(made=weighted, weights="none").weights is None
    assert chosen(made=weighted, weights="none").weighting == "per_sample"


def test_weights_from_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="need finite scores, but 1 of 3 of mine are not"):
        chosen([1.0, math.inf, 2.0], weights="per_sample")


@dataclass(frozen=True)
class Own(Picker):
    """Takes the first two, and weighs them itself."""

    keep: float = 0.5

    def size(self, m, least=0):
        return 2, True

    def pick(self, pool):
        return Picked(torch.tensor([0, 1]), torch.tensor([0.5, 1.5]))


def test_a_picker_with_weights_of_its_own_gives_them_unless_told_not_to():
    made = policy(picker=Own())
    assert chosen(made=made).weights.tolist() == [0.5, 1.5]
    assert chosen(made=made).provenance["weights"] == "own"
    assert chosen(made=made, weights="none").weights is None
    with pytest.raises(ValueError, match="mine computes its own weights"):
        chosen(made=made, weights="per_sample")


def test_a_random_coreset_depends_on_the_seed_alone_and_has_no_weights_to_give():
    made = recipes.random(keep=0.3)
    first, again, other = (choose(made, "random", {}, 50, None, seed) for seed in (0, 0, 1))
    assert first.ids.tolist() == again.ids.tolist() != other.ids.tolist()
    assert len(first) == 50 - 35
    with pytest.raises(ValueError, match="random has no scores, or only an order"):
        choose(made, "random", {}, 50, None, 0, weights="per_sample")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"keep": 30}, r"subset.keep must be in \(0, 1\], got 30. Did you mean 0.3?"),
        ({"keep": 0}, r"subset.keep must be in \(0, 1\], got 0"),
    ],
)
def test_a_wrong_share_is_named(wanted, said):
    with pytest.raises(ValueError, match=said):
        choose(policy(), "mine", {"value": torch.tensor(SCORES)}, 6, None, 0, **wanted)


def test_a_policy_comes_back_from_its_repr_and_nothing_is_evaluated():
    made = recipes.tdds(keep=0.3, T=9, window=4)
    assert repr(parse(repr(made))) == repr(made)
    for written in (
        "__import__('os').getcwd()",
        "recipes.tdds(keep=open('x'))",
        "print",
        "tdds(",
        "recipes.x()",
    ):
        with pytest.raises(ValueError, match=r"must be one call|plain values|unknown method"):
            parse(written)
