"""Pickers say themselves what the rest of the package must know of them."""

from dataclasses import dataclass, fields, is_dataclass, replace

import pytest
import torch

from samplewise import pickers, recipes
from samplewise.pickers import Given, Nested, PerClass, Picker, Pool, TopK
from samplewise.policy import Policy
from samplewise.rng import generator
from samplewise.schedules import Linear
from samplewise.subset import Subset
from tests.parts.test_subclasses import EXAMPLES, subclass

SUBSET = Subset(torch.tensor([1, 3]), torch.tensor([0.5, 1.5]), {"n": 5})
SHIPPED = [
    part
    for part in (getattr(pickers, name) for name in pickers.__all__)
    if isinstance(part, type) and issubclass(part, Picker) and is_dataclass(part)
]


@pytest.mark.parametrize("part", SHIPPED, ids=lambda part: part.__name__)
def test_a_picker_with_a_keep_takes_another_one(part):
    one = subclass(part)
    if one.keeps is None:
        assert one.share == 1
        with pytest.raises(ValueError, match=r"Mine takes no keep: it does not choose a share\."):
            one.with_keep(0.25)
        return
    other = one.with_keep(0.25)
    assert (other.share, other.keeps, other.mine) == (0.25, 0.25, 7)
    assert type(other) is type(one)


@pytest.mark.parametrize("part", SHIPPED, ids=lambda part: part.__name__)
def test_a_picker_has_a_keep_exactly_where_it_or_the_one_inside_has_the_field(part):
    named = {field.name for field in fields(part)}
    assert (subclass(part).keeps is not None) == bool(named & {"keep", "inner"})


def test_what_holds_another_picker_passes_on_what_that_one_says():
    for inner in (pickers.Weighted(0.5, by="score"), pickers.MedianBlock(0.25), pickers.TopK(0.5)):
        for outer in (PerClass(inner), Nested(inner)):
            assert outer.keeps == inner.keeps
            assert (outer.by, outer.random, outer.nonnegative) == (inner.by, inner.random, inner.nonnegative)
    assert PerClass(pickers.MedianBlock(0.25)).ranks == "rank"


def test_balancing_and_taking_it_back_gives_the_same_picker():
    for plain in (TopK(0.5), pickers.Strata(0.25), pickers.Uniform(0.5)):
        assert plain.balanced(False) is plain
        assert plain.balanced(True) == PerClass(plain)
        assert plain.balanced(True).balanced(True) == PerClass(plain)
        assert plain.balanced(True).balanced(False) == plain
    greedy = pickers.Herding(0.5)
    assert greedy.balanced(True) is greedy  # the budget is divided by class already
    with pytest.raises(ValueError, match="Accepted cannot choose inside each class"):
        pickers.Accepted().balanced(True)


def test_the_share_of_a_schedule_is_asked_for_after_it_was_resolved():
    with pytest.raises(TypeError, match="must be resolved"):
        _ = TopK(Linear(0.5, 0.3)).share


@pytest.mark.parametrize("part", SHIPPED, ids=lambda part: part.__name__)
def test_only_pickers_that_say_so_choose_otherwise_with_another_seed(part):
    given = EXAMPLES.get(part.__name__) or {f.name: 0.5 for f in fields(part) if f.name == "keep"}
    one = replace(part(**given), **{name: 0.5 for name, v in given.items() if isinstance(v, Linear)})
    if isinstance(one, PerClass | Nested):
        one = replace(one, inner=TopK(0.5))
    if isinstance(one, pickers.AdaptiveTopK):
        one = one.settle({"best_accuracy": torch.tensor(0.9)})
    draws = torch.Generator().manual_seed(3)
    values = {
        "score": torch.rand(40, generator=draws),
        "loss": torch.rand(40, generator=draws),
        "probability": torch.rand(40, generator=draws),
        "distance": torch.rand(40, generator=draws),
        "confidence": torch.rand(40, generator=draws),
        "correct": torch.rand(40, generator=draws) < 0.7,
        "margins": torch.rand(40, 3, generator=draws),
        "features": torch.randn(40, 60, generator=draws),
        "residual": torch.randn(40, 3, generator=draws),
    }
    labels = torch.arange(40) % 3
    found = {
        tuple(picked.tolist())
        for seed in range(6)
        if (picked := one.pick(Pool(40, generator(seed), values, "score", labels=labels)).rows) is not None
    }
    assert (len(found) > 1) == one.random


def test_a_coreset_that_was_given_says_so():
    assert recipes.fixed(SUBSET).fixed_subset is SUBSET
    assert Policy(picker=TopK(0.5), final=0).fixed_subset is None
    assert Policy().fixed_subset is None
    assert Given(SUBSET).own_weights
    assert not Given(replace(SUBSET, weights=None)).own_weights


def test_a_picker_of_ones_own_needs_no_trait():
    @dataclass(frozen=True)
    class First(Picker):
        k: int

        def size(self, m, least=0):
            return min(m, self.k), True

        def pick(self, pool):
            return pickers.Picked(torch.arange(self.k))

    one = First(2)
    assert (one.keeps, one.share, one.by, one.counts, one.mean_over(8, 2)) == (None, 1.0, None, "size", 2)
    assert not any([one.uneven, one.random, one.by_class, one.nested, one.own_weights])


def test_the_mean_of_draws_with_replacement_is_over_the_draws():
    assert pickers.WithReplacement(0.5).mean_over(8, 3) == 4
    assert not pickers.WithReplacement(0.5).uneven
    assert pickers.Accepted().uneven
    assert not TopK(0.5).uneven
