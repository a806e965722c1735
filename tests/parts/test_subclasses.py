"""A subclass of a shipped part stays what it is, with its own fields, wherever the part is made anew."""

from dataclasses import dataclass, fields, is_dataclass, replace
from inspect import isabstract

import pytest
import torch

import samplewise as sw
from samplewise import pickers, recipes, schedules, signals, trackers
from samplewise.coresets.choose import choose
from samplewise.pickers import Picker
from samplewise.pickers.per_group import Membership, Mixing, PerGroup
from samplewise.policy import Policy
from samplewise.recipes.kakurenbo import Relaxed
from samplewise.recipes.online_batch_selection import Easing
from samplewise.recipes.selective_backprop import FromSecond
from samplewise.schedules import Linear, Schedule
from samplewise.trackers import Pipe, Tracker
from samplewise.trackers.levels import Levels

IDS = torch.arange(4)
EXAMPLES = {
    "IrreducibleLosses": None,  # data, not a part
    "Pipe": {"stages": (trackers.Mean(), trackers.Last())},
    "Reducible": {"losses": trackers.IrreducibleLosses(IDS, torch.ones(4))},
    "UpperBound": {"c": Linear(0.0, 1.0)},
    "Ema": {"rate": Linear(0.1, 0.2)},
    "EmaMoments": {"rate": 0.5},
    "DecoupledEma": {"rate": 0.5, "weight_rate": Linear(0.1, 0.2)},
    "Smoothed": {"amount": 0.1, "rate": Linear(0.1, 0.2)},
    "PerClass": {"inner": pickers.TopK(Linear(0.5, 0.3))},
    "PerGroup": {
        "inner": pickers.TopK(Linear(0.5, 0.3)),
        "groups": Membership(("one", "two"), torch.tensor([0, 1, 0, 1], dtype=torch.int32)),
        "mixing": Mixing("temperature"),
    },
    "Nested": {"inner": pickers.TopK(Linear(0.5, 0.3))},
    "Always": {"subset": recipes.always_set.toy(4).picker.subset, "keep": Linear(0.5, 0.3)},
    "Given": {"subset": recipes.fixed.toy(4).picker.subset},
    "WithReplacement": {"draws": Linear(0.5, 0.3)},
    "AtLeast": {"threshold": Linear(0.5, 0.3)},
    "MedianBlock": {"keep": 0.5},
    "MessagePassing": {"keep": 0.5, "by": "loss"},
    "Strata": {"keep": 0.5},
    "Constant": {"value": 0.5},
    "Linear": {"start": 1.0, "stop": 0.5},
    "Cosine": {"start": 1.0, "stop": 0.5},
    "Exponential": {"start": 1.0, "stop": 0.5},
    "Power": {"start": 1.0, "stop": 0.5},
    "Between": {"inside": 0.5, "outside": Linear(1.0, 0.5)},
    "Annealed": {"inside": 0.5},
    "Every": {"period": 2, "value": 1.0, "otherwise": 0.5},
    "WarmUp": {"then": 0.5, "period": 2},
    "Complement": {"of": Linear(0.1, 0.2)},
    "Relaxed": {"keep": 0.5, "milestones": (0.3, 0.6, 0.8)},
    "Periods": {"keep": 0.6, "period": 2},
    "Easing": {"start": 10.0},
    "FromSecond": {"then": 3.0},
    "Levels": {"epoch": trackers.Margins(), "batch": trackers.Last()},
}
PARTS = [
    part
    for module in (trackers, pickers, schedules)
    for part in (getattr(module, name) for name in module.__all__)
    if isinstance(part, type) and is_dataclass(part) and EXAMPLES.get(part.__name__, {}) is not None
] + [Relaxed, Easing, FromSecond, Levels, PerGroup]


def subclass(part):
    """An instance of a subclass with a field of its own."""

    @dataclass(frozen=True)
    class Mine(part):
        mine: int = 0

    given = EXAMPLES.get(part.__name__)
    if given is None:
        given = {f.name: 0.5 for f in fields(part) if f.name == "keep"}
    return Mine(**given, mine=7)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_a_subclass_is_kept_with_its_own_fields(part):
    one = subclass(part)
    made = [replace(one)]
    if hasattr(one, "within"):
        made.append(one.within(20))
    if hasattr(one, "sized"):
        made.append(one.sized(30))
    if not isinstance(one, Schedule):
        made += [schedules.resolve(one, 3, 20), schedules.sized(one, 30)]
    if hasattr(one, "settle") and not isinstance(one, pickers.AdaptiveTopK):
        made.append(one.settle({}))
    for other in made:
        assert type(other) is type(one)
        assert other.mine == 7


@pytest.mark.parametrize(
    "part", [trackers.Mean, trackers.WindowSpread, trackers.DualDepth, trackers.DifficultySpread]
)
def test_what_a_training_fills_in_is_filled_in_for_a_subclass_too(part):
    own, plain = subclass(part).within(20), part().within(20)
    assert {f.name: getattr(own, f.name) for f in fields(plain)} == {
        f.name: getattr(plain, f.name) for f in fields(plain)
    }


def test_mean_keeps_its_meaning_in_a_training():
    assert trackers.Mean(most=9).within(4) == trackers.Mean(first=4)
    assert trackers.Mean(first=3, most=9).within(4) == trackers.Mean(first=3)
    assert trackers.Mean().within(4) == trackers.Mean()


def test_a_subclass_of_pipe_stays_whole_in_a_longer_pipe():
    one = subclass(Pipe)
    assert (one | trackers.Last()).stages == (one, trackers.Last())
    assert (trackers.Last() | one).stages == (trackers.Last(), one)
    plain = trackers.Last() | trackers.Mean()
    assert (plain | trackers.Last()).stages == (trackers.Last(), trackers.Mean(), trackers.Last())


def test_a_selector_records_with_a_subclass_as_it_is():
    @dataclass(frozen=True)
    class Doubled(trackers.Mean):
        def observe(self, state, ids, values):
            return super().observe(state, ids, {"loss": 2 * values["loss"]})

    policy = Policy(
        signals.loss, Doubled(most=1), pickers.TopK(0.5), source="training", final="end", name="doubled"
    )
    selector = sw.Selector(policy, 4, epochs=1)
    selector.plan(0)
    selector.observe(IDS, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    selector.set_epoch(1)
    assert selector.score().tolist() == [2.0, 4.0, 6.0, 8.0]


def final_scores(policy):
    selector = sw.Selector(policy, 6, epochs=12)
    rng = torch.Generator().manual_seed(0)
    for epoch in range(12):
        ids = selector.plan(epoch).ids
        logits, seen = torch.randn(6, 3, generator=rng), torch.rand(6, 2, generator=rng)
        shown = sw.Outputs(logits[:, 0].exp(), logits, torch.arange(6) % 3, seen, (torch.eye(3, 2), None))
        selector.observe(ids, replace_rows(shown, ids))
    selector.set_epoch(12)
    return selector.score()


def replace_rows(shown, ids):
    named = ("loss", "logits", "targets", "features")
    return replace(shown, **{name: getattr(shown, name)[ids] for name in named})


@pytest.mark.parametrize("name", ["el2n", "forgetting", "dyn_unc", "dual", "tdds"])
def test_what_a_subclass_makes_of_the_columns_it_reads_is_done_once(name):
    policy = replace(sw.recipes.get(name)(), picker=pickers.TopK(0.5), final="end")
    shipped = type(policy.tracker)

    @dataclass(frozen=True)
    class Turned(shipped):
        def read(self, state, ids=None):
            return {key: -value for key, value in super().read(state, ids).items()}

    given = {field.name: getattr(policy.tracker, field.name) for field in fields(policy.tracker)}
    turned = replace(policy, tracker=Turned(**given))
    plain = final_scores(policy)
    assert plain.abs().max() > 0
    assert torch.equal(final_scores(turned), -plain)


def test_a_subclass_of_batch_is_a_batch():
    class Mine(sw.Batch):
        pass

    selector = sw.Selector("full", 3, lambda data: data, epochs=1)
    selector.plan(0)
    assert float(selector.loss(Mine(torch.arange(3), torch.tensor([1.0, 2.0, 6.0])))) == 3.0


def test_a_coreset_by_class_with_another_share_is_chosen_by_the_subclass():
    @dataclass(frozen=True)
    class First(pickers.PerClass):
        def pick(self, pool):
            return pickers.Picked(torch.tensor([0]))

    policy = Policy(signals.loss, trackers.Last(), First(pickers.TopK(0.5)), source="training", final="end")
    found = choose(policy, "first", {"loss": torch.ones(4)}, 4, torch.tensor([0, 0, 1, 1]), 0, keep=0.75)
    assert found.ids.tolist() == [0]


def test_every_shipped_part_is_tried():
    for kind in (Tracker, Schedule, Picker):
        shipped = {part for part in below(kind) if part.__module__.startswith("samplewise.")}
        assert {part for part in shipped if not isabstract(part)} <= set(PARTS)


def below(kind):
    """All subclasses, theirs too."""
    return set(kind.__subclasses__()).union(*map(below, kind.__subclasses__()))
