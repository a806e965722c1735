"""Every law bites: for each a fault is planted, and the law must say so."""

import contextlib
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch

from samplewise import pickers, signals, trackers
from samplewise.checks import checked
from samplewise.coresets.choose import choose
from samplewise.cost.ledger import Ledger
from samplewise.distributed import collectives
from samplewise.engine.bad_losses import BadLosses
from samplewise.engine.buffer import Buffer
from samplewise.engine.dynamic import Dynamic
from samplewise.engine.engine import Engine
from samplewise.engine.memory import Memory
from samplewise.engine.records import Records
from samplewise.engine.static import Static
from samplewise.loop.early import Early
from samplewise.loop.epochs import Timeline
from samplewise.loop.gate import Comparison
from samplewise.loop.gating import Gating
from samplewise.loop.scoring import without_trace
from samplewise.loop.second_model import SecondModel
from samplewise.loop.tokens import Tokens
from samplewise.pickers import Budgeted, Keep, Picked, Picker
from samplewise.policy import REGISTRY, Policy, recipe
from samplewise.rng import generator, seed_of
from samplewise.schedules import Periods, Schedule, periods
from samplewise.selector import Selector
from samplewise.subset import Subset
from samplewise.testing import LAWS, Trace, build, ensure, law, recipes, run
from samplewise.tokens import TokenChoice
from samplewise.tokens.choice import largest
from samplewise.trackers import Tracker

laws = SimpleNamespace(**{law.__name__: law for law in LAWS})
FAULTS = []


def fault(broken_law, words):
    """A test function that plants a fault and returns the recipe that must break the law."""

    def register(plant):
        FAULTS.append(pytest.param(broken_law, words, plant, id=f"{broken_law.__name__}-{plant.__name__}"))
        return plant

    return register


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(("broken_law", "words", "plant"), FAULTS)
def test_the_law_bites(broken_law, words, plant, monkeypatch):
    faulty = plant(monkeypatch)
    with pytest.raises(AssertionError, match=f"{faulty.name} breaks {broken_law.__name__}: .*{words}"):
        broken_law(faulty)


def test_every_law_has_a_planted_fault():
    assert {param.values[0] for param in FAULTS} == set(LAWS)


# ------------------------------------------------------------------------------ faulty parts


def epoch_recipe(picker, tracker=None, **options):
    """A registered recipe `faulty(keep)` with one part made by the test."""

    @recipe(paper="-", level="epoch", source="training", **options)
    def faulty(keep: Keep = 0.5) -> Policy:
        """Memory: 4 bytes a sample."""
        made = picker(keep) if isinstance(picker, type) else picker
        return Policy(signals.loss, tracker or trackers.Last(), made, source="training")

    return faulty


def batch_recipe(picker, tracker=None):
    @recipe(paper="-", level="batch", source="training")
    def faulty(keep: Keep = 0.5) -> Policy:
        """Memory: 4 bytes a sample."""
        return Policy(signals.loss, tracker or trackers.Last(), batch_picker=picker(keep), source="training")

    return faulty


@dataclass(frozen=True)
class Wild(Picker):
    """Whatever the test says, for m candidates."""

    answer: object

    def size(self, m, least=0):
        return m, False

    def pick(self, pool):
        return self.answer(pool)


class AnySubset(Subset):
    """A subset that looks at nothing."""

    def __init__(self, ids, weights=None, provenance=None, weighting="per_sample"):
        vars(self).update(ids=ids, weights=weights, provenance=provenance, weighting=weighting)


def _unchecked_subsets(monkeypatch):
    for module in ("engine.dynamic", "engine.static", "coresets.choose"):
        monkeypatch.setattr(f"samplewise.{module}.Subset", AnySubset)


@dataclass(frozen=True)
class OnTheObject(trackers.Last):
    """Remembers the largest loss of every sample in the tracker itself, which all runs of a policy share."""

    largest: dict = field(default_factory=dict, compare=False, repr=False)

    def observe(self, state, ids, values):
        for i, loss in zip(ids.tolist(), values["loss"].tolist(), strict=True):
            self.largest[i] = max(loss, self.largest.get(i, loss))
        return super().observe(state, ids, {"loss": torch.tensor([self.largest[i] for i in ids.tolist()])})


@fault(laws.the_way_of_training_does_not_change_the_plan, "changed a plan")
def remembers_on_the_tracker(monkeypatch):
    return epoch_recipe(pickers.TopK, OnTheObject())


@fault(laws.ids_are_unique_and_weights_positive, "repeat or do not rise")
def repeats_an_id(monkeypatch):
    _unchecked_subsets(monkeypatch)
    return epoch_recipe(Wild(lambda pool: Picked(torch.tensor([0, 3, 3]))))


@fault(laws.ids_are_unique_and_weights_positive, "not inside")
def plans_an_id_outside(monkeypatch):
    return batch_recipe(lambda keep: Wild(lambda pool: Picked(torch.empty(0, dtype=torch.int64))))


@fault(laws.ids_are_unique_and_weights_positive, "not finite and positive")
def gives_weight_zero(monkeypatch):
    _unchecked_subsets(monkeypatch)
    return epoch_recipe(Wild(lambda pool: Picked(torch.tensor([0, 3]), torch.tensor([1.0, 0.0]))))


@checked
@dataclass(frozen=True)
class OneShort(Budgeted):
    keep: Keep

    def take(self, pool, k):
        return torch.arange(max(1, k - 1))


@fault(laws.budget_is_met, "kept in the plan")
def keeps_199_of_200(monkeypatch):
    return epoch_recipe(OneShort)


@fault(laws.budget_is_met, "was asked for")
def swaps_keep_and_drop(monkeypatch):
    return _swapped()


def _swapped():
    @recipe(paper="-", level="epoch", source="none")
    def faulty(keep: Keep = 0.5) -> Policy:
        return Policy(picker=pickers.Uniform(1 - keep))

    return faulty


@fault(laws.budget_is_met, "were planned in all, the budget is")
def forgets_the_warm_up_in_its_budget(monkeypatch):
    periods._shares.cache_clear()
    monkeypatch.setattr(
        periods, "fit_budget", lambda shares, lengths, keep: (1.0, *([keep] * len(shares[1:])))
    )
    monkeypatch.setattr(periods, "_shares", periods._shares.__wrapped__)
    monkeypatch.setattr(periods, "_sizes", periods._sizes.__wrapped__)
    return REGISTRY["dyna_random"]


@fault(laws.budget_is_met, "the average is to be")
def doubles_the_average_that_was_asked_for(monkeypatch):
    @recipe(paper="-", level="epoch", source="none")
    def faulty(keep: Keep = 0.5) -> Policy:
        return Policy(picker=pickers.Uniform(Periods(min(1.0, 2 * keep), period=3)), every=3)

    return faulty


@fault(laws.budget_is_met, "low ones kept")
def drops_too_few_of_the_low_set(monkeypatch):
    monkeypatch.setattr("samplewise.pickers.ranking.uniform", lambda m, k, rng: torch.arange(min(m, k + 1)))
    return REGISTRY["infobatch"]


@fault(laws.budget_is_met, "the least is")
def hides_more_than_it_may(monkeypatch):
    monkeypatch.setattr("samplewise.pickers.ranking.budget", lambda m, keep, least=0: int(keep * m) // 2)
    monkeypatch.setattr("samplewise.pickers.ranked.number", lambda value: 0.0 if value == 0.7 else value)
    return REGISTRY["kakurenbo"]


@fault(laws.budget_is_met, "the share grew back")
def grows_back(monkeypatch):
    accuracies = iter([0.5, 0.96, 0.5, 0.96] * 20)

    def forgets_the_best(self, state):
        state["best_accuracy"].fill_(next(accuracies))

    monkeypatch.setattr(trackers.BestAccuracy, "close", forgets_the_best)

    @recipe(paper="-", level="batch", source="training")
    def faulty() -> Policy:
        return REGISTRY["ordered_sgd"](keep="adaptive")

    return faulty


@fault(laws.budget_is_met_by_class, "kept in the plan")
def one_class_budget_for_all(monkeypatch):
    monkeypatch.setattr("samplewise.pickers.ranking.largest_remainder", lambda k, sizes: sizes.clamp(max=2))
    return REGISTRY["random_dynamic"]


@fault(laws.budget_is_met_by_class, "its share is")
def gives_the_first_class_everything(monkeypatch):
    monkeypatch.setattr("samplewise.pickers.ranking.largest_remainder", _first_class_first)
    return REGISTRY["random_batch"]


def _first_class_first(k, sizes):
    before = sizes.cumsum(0) - sizes
    return (k - before).clamp(min=0).minimum(sizes)


def _global_draw(pool):
    return Picked(torch.randperm(pool.m)[:8].sort().values)


@fault(laws.same_seed_same_choice, "two runs with the same seed")
def draws_from_the_global_generator(monkeypatch):
    return epoch_recipe(Wild(_global_draw))


@fault(laws.same_seed_same_choice, "another seed drew the same")
def draws_without_the_seed(monkeypatch):
    monkeypatch.setattr("samplewise.pickers.ranking.uniform", lambda m, k, rng: torch.arange(k))
    return REGISTRY["random_dynamic"]


@fault(laws.global_rng_is_as_found, "the engine moved")
def moves_the_global_generator(monkeypatch):
    return epoch_recipe(Wild(_global_draw))


@fault(laws.global_rng_is_as_found, "scoring in eval mode moved the global random state of numpy")
def passes_move_numpy(monkeypatch):
    monkeypatch.setattr("samplewise.loop.passes.HostLent.window", lambda lent: contextlib.nullcontext())
    return REGISTRY["uncertainty"]


@contextlib.contextmanager
def _only_no_grad(model, scoring):
    model.train(scoring.mode == "train")
    with torch.no_grad():
        yield
    model.train()


@fault(laws.global_rng_is_as_found, "scoring in train mode moved the global random state of torch")
def dropout_moves_torch(monkeypatch):
    monkeypatch.setattr("samplewise.loop.step.without_trace", _only_no_grad)
    return REGISTRY["loss_sampling"]


@fault(laws.scoring_leaves_no_trace, "scoring in eval mode changed the model's flags")
def wakes_a_frozen_layer(monkeypatch):
    monkeypatch.setattr("samplewise.loop.step.without_trace", _only_no_grad)
    return REGISTRY["loss_sampling"]


@contextlib.contextmanager
def _moves_buffers(model, scoring, lent=True):
    with without_trace(model, scoring, lent):
        yield
        for buffer in model.buffers():
            buffer.add_(1)


@fault(laws.scoring_leaves_no_trace, "changed the model's parameters and buffers")
def moves_batch_norm(monkeypatch):
    monkeypatch.setattr("samplewise.loop.passes.without_trace", _moves_buffers)
    return REGISTRY["kakurenbo"]


@fault(laws.cheap_scores_cost_what_they_compute, "with a view, the ledger says 0 cheap scoring forwards")
def charges_no_view(monkeypatch):
    monkeypatch.setattr(Ledger, "scored_cheaply", lambda self, rows, flops: None)
    return REGISTRY["loss_sampling"]


@fault(laws.cheap_scores_cost_what_they_compute, "a scoring forward that ends early, the cost is")
def charges_no_head(monkeypatch):
    charge = Ledger.scored_cheaply
    monkeypatch.setattr(
        Ledger, "scored_cheaply", lambda self, rows, flops: rows and charge(self, rows, flops)
    )
    return REGISTRY["loss_sampling"]


@fault(laws.cheap_scores_cost_what_they_compute, "left hooks on")
def leaves_its_hook(monkeypatch):
    monkeypatch.setattr(Early, "_release", lambda self: None)
    return REGISTRY["loss_sampling"]


@fault(laws.cheap_scores_cost_what_they_compute, "resumed with a head")
def forgets_the_head(monkeypatch):
    monkeypatch.setattr(Early, "load_state_dict", lambda self, state: None)
    return REGISTRY["loss_sampling"]


@fault(laws.a_gate_that_pays_changes_plain_steps_only, "steps differ, but 28 plain ones are told")
def draws_otherwise_after_a_plain_step(monkeypatch):
    monkeypatch.setattr(Engine, "keep_all", lambda self, ids: self.memory.count(ids))
    return REGISTRY["loss_sampling"]


@fault(laws.a_gate_that_pays_changes_plain_steps_only, "steps differ, but 0 plain ones are told")
def tells_no_plain_step(monkeypatch):
    monkeypatch.setattr(Ledger, "plain_steps", property(lambda self: 0, lambda self, steps: None), False)
    return REGISTRY["ordered_sgd"]


@fault(laws.a_gate_that_pays_changes_plain_steps_only, "decided against selection that pays")
def calls_every_selection_costly(monkeypatch):
    monkeypatch.setattr(Comparison, "look", lambda self, costs: "costs")
    return REGISTRY["ordered_sgd"]


@fault(laws.a_gate_resumes, "other batches or losses came")
def forgets_where_the_round_was(monkeypatch):
    load = Gating.load_state_dict
    monkeypatch.setattr(Gating, "load_state_dict", lambda self, state: load(self, {**state, "unit": 0}))
    return REGISTRY["ordered_sgd"]


@fault(laws.a_gate_resumes, "other batches or losses came")
def selects_again_after_a_resume(monkeypatch):
    load = Gating.load_state_dict
    told = {"ends": None, "closed": True, "plain": False}
    monkeypatch.setattr(Gating, "load_state_dict", lambda self, state: load(self, {**state, **told}))
    return REGISTRY["ordered_sgd"]


@fault(laws.resume_changes_nothing, "chose differently")
def forgets_the_step(monkeypatch):
    load = Engine.load_state_dict
    monkeypatch.setattr(Engine, "load_state_dict", lambda self, state: load(self, {**state, "step": 0}))
    return REGISTRY["random_batch"]


@fault(laws.resume_changes_nothing, "loaded after")
def forgets_the_memory(monkeypatch):
    load = Engine.load_state_dict
    monkeypatch.setattr(Engine, "load_state_dict", lambda self, state: load(self, {**state, "memory": {}}))
    return REGISTRY["infobatch"]


@fault(laws.resume_through_the_loader_changes_nothing, "other batches")
def begins_the_epoch_again(monkeypatch):
    load = Selector.load_state_dict

    def loses_the_place(self, state):
        load(self, state)
        self.timeline._resumed = False

    monkeypatch.setattr(Selector, "load_state_dict", loses_the_place)
    return REGISTRY["full"]


@fault(laws.resume_through_the_loader_changes_nothing, "the ledger ended")
def forgets_the_account(monkeypatch):
    monkeypatch.setattr(Ledger, "load_state_dict", lambda self, state: None)
    return REGISTRY["full"]


@fault(laws.a_copy_changes_nothing, "it ended with|chose differently")
def copies_keep_writing_to_arrays_of_their_own(monkeypatch):
    monkeypatch.setattr(Buffer, "__getstate__", lambda self: dict(vars(self)))
    monkeypatch.setattr(Buffer, "__setstate__", lambda self, state: vars(self).update(state))
    return static_recipe()


@fault(laws.a_copy_changes_nothing, "of the loop, other batches")
def copies_begin_the_epoch_again(monkeypatch):
    def loses_the_place(self, state):
        vars(self).update(state, _resumed=False)
        self.position.from_loader = False

    monkeypatch.setattr(Timeline, "__setstate__", loses_the_place)
    return REGISTRY["full"]


@fault(laws.a_copy_changes_nothing, "cannot be pickled")
def holds_a_lambda(monkeypatch):
    build = Engine.__init__

    def with_a_lambda(self, *given):
        build(self, *given)
        self.look_up = lambda ids: ids

    monkeypatch.setattr(Engine, "__init__", with_a_lambda)
    return REGISTRY["full"]


@dataclass(frozen=True)
class SharesItsColumn(trackers.Last):
    """Copies of it write into one column."""

    shared: dict

    def start(self, n, values):
        return self.shared.setdefault(n, super().start(n, values))

    def __deepcopy__(self, memo):
        return self

    def observe(self, state, ids, values):
        made = self.shared.setdefault(len(state["loss"]), state)
        made["loss"][ids] = made["loss"][ids].nan_to_num() + values["loss"]
        return ids, values

    def read(self, state, ids=None):
        return super().read(self.shared.get(len(state["loss"]), state), ids)


@fault(laws.a_copy_changes_nothing, "chose differently|moved the original")
def copies_share_a_column(monkeypatch):
    return epoch_recipe(pickers.TopK, SharesItsColumn({}))


@dataclass(frozen=True)
class RelativeToTheBatch(trackers.Last):
    def observe(self, state, ids, values):
        return super().observe(state, ids, {"loss": values["loss"] - values["loss"].mean()})


@fault(laws.the_way_of_training_does_not_change_the_plan, "changed a plan")
def scores_relative_to_the_batch(monkeypatch):
    return epoch_recipe(pickers.TopK, RelativeToTheBatch())


@fault(laws.the_way_of_training_does_not_change_the_plan, "two workers")
def workers_see_another_order(monkeypatch):
    draw = Timeline.draw

    def hasty(self, sharded, resumes=False):
        order = draw(self, sharded, resumes)
        return order.flip(0) if torch.utils.data.get_worker_info() is None and self._two else order

    monkeypatch.setattr(Timeline, "_two", False, raising=False)
    monkeypatch.setattr(Timeline, "draw", hasty)
    loader = Selector.loader

    def looks_at_workers(self, **arguments):
        self.timeline._two = arguments.get("num_workers", 0) > 0
        return loader(self, **arguments)

    monkeypatch.setattr(Selector, "loader", looks_at_workers)
    return REGISTRY["full"]


@dataclass(frozen=True)
class NeverEverything(pickers.TopK):
    @property
    def everything(self):
        return False


@fault(laws.keep_one_is_full, "were scored for nothing")
def scores_with_nothing_to_choose(monkeypatch):
    return batch_recipe(NeverEverything)


@dataclass(frozen=True)
class AlwaysWeighs(Budgeted):
    keep: Keep

    def take(self, pool, k):
        return torch.arange(k)

    def pick(self, pool):
        k, _ = self.size(pool.m, pool.least)
        return Picked(torch.arange(k), torch.full((k,), 1.5))


@fault(laws.keep_one_is_full, "other batches or losses")
def weighs_with_everything_kept(monkeypatch):
    return epoch_recipe(AlwaysWeighs)


@fault(laws.one_rank_equals_two, "two ranks planned differently")
def plans_by_rank(monkeypatch):
    monkeypatch.setattr(
        "samplewise.engine.dynamic.generator", lambda *keys: generator(*keys, collectives.rank())
    )
    return REGISTRY["random_dynamic"]


@dataclass(frozen=True)
class Misdeclared(trackers.Last):
    """Declares what the test says of the column that `observe` writes."""

    join: str = "newest"

    def columns(self, values):
        return {"loss": trackers.Column(join=self.join)}


@fault(laws.one_rank_equals_two, "plan of rank|columns .* differ between")
def does_not_exchange_what_it_observes(monkeypatch):
    return epoch_recipe(pickers.TopK, Misdeclared("same"))


@fault(laws.one_rank_equals_two, "plan of rank|columns .* differ between")
def keeps_to_itself_what_it_observes(monkeypatch):
    return epoch_recipe(pickers.TopK, Misdeclared("local"))


@dataclass(frozen=True)
class CountsBatches(trackers.Last):
    """Adds up, in the row of the first sample, how many values it was shown: a count, not a newest value."""

    def observe(self, state, ids, values):
        super().observe(state, ids, values)
        state["loss"][0] = state["loss"][0].nan_to_num() + len(ids)
        return ids, values


@fault(laws.one_rank_equals_two, "plan of rank|columns .* differ between")
def calls_a_count_the_newest_value(monkeypatch):
    return epoch_recipe(pickers.TopK, CountsBatches())


@dataclass(frozen=True)
class CountsVisits(trackers.Count):
    """Counts the visits of each sample in a column that processes do not exchange."""

    def columns(self, values):
        return {"count": replace(super().columns(values)["count"], join="same")}


@fault(laws.one_rank_equals_two, "plan of rank|columns .* differ between")
def counts_on_each_process(monkeypatch):
    return epoch_recipe(pickers.TopK, CountsVisits())


@fault(laws.one_rank_equals_two, "columns .* differ between|plan of rank")
def merges_nothing(monkeypatch):
    monkeypatch.setattr(Memory, "exchanged", lambda self: [])
    return epoch_recipe(pickers.TopK)


@fault(laws.one_rank_equals_two, "not their own")
def ranks_share_a_draw(monkeypatch):
    monkeypatch.setattr("samplewise.engine.dynamic.seed_of", lambda *keys: seed_of(*keys[:4]))
    return REGISTRY["random_batch"]


@dataclass(frozen=True)
class AddsUp(trackers.Last):
    def observe(self, state, ids, values):
        column = state["loss"].nan_to_num_()
        column.index_add_(0, ids, values["loss"])
        return ids, values


@fault(laws.duplicates_count_once, "observed twice")
def adds_duplicates_up(monkeypatch):
    return epoch_recipe(pickers.TopK, AddsUp())


@fault(laws.pickles_and_spawns, "pickling fails")
def measures_with_a_lambda(monkeypatch):
    measured = lambda loss: loss  # noqa: E731 - it is the lambda that must be caught
    measured.__name__ = "loss"

    @recipe(paper="-", level="epoch", source="training")
    def faulty(keep: Keep = 0.5) -> Policy:
        return Policy(measured, trackers.Last(), pickers.TopK(keep), source="training")

    return faulty


@dataclass(frozen=True, repr=False)
class Unspeakable(Schedule):
    def at(self, epoch, epochs):
        return 0.5


@fault(laws.repr_round_trips, "not Python that runs")
def has_a_default_without_repr(monkeypatch):
    @recipe(paper="-", level="epoch", source="none")
    def faulty(keep: Keep = Unspeakable()) -> Policy:
        return Policy(picker=pickers.Uniform(keep))

    return faulty


@fault(laws.bad_parameters_are_refused, "declares no range")
def declares_no_range(monkeypatch):
    @recipe(paper="-", level="epoch", source="none")
    def faulty(keep: float = 0.5) -> Policy:
        return Policy(picker=pickers.Uniform(keep))

    return faulty


@fault(laws.bad_parameters_are_refused, "is accepted")
def checks_nothing(monkeypatch):
    monkeypatch.setattr("samplewise.policy.check_arguments", lambda *given: None)
    monkeypatch.setattr("samplewise.checks.check_arguments", lambda *given: None)
    return REGISTRY["ucb"]


@fault(laws.bad_parameters_are_refused, "is refused as")
def words_it_differently(monkeypatch):
    monkeypatch.setattr("samplewise.policy.check_arguments", lambda *given: None)
    return REGISTRY["ucb"]


@fault(laws.losses_that_are_not_finite_are_refused, "a loss of nan in epoch 0 is accepted")
def lets_nan_pass(monkeypatch):
    monkeypatch.setattr(BadLosses, "refuse", lambda self, ids, loss, epoch: None)
    return REGISTRY["full"]


@fault(laws.losses_that_are_not_finite_are_refused, "changed the memory")
def remembers_before_it_refuses(monkeypatch):
    observe = Memory.observe

    def hasty(self, ids, outputs, source):
        if self.columns and source == "training":
            self.columns["loss"][ids[:1]] = 7.0
        return observe(self, ids, outputs, source)

    monkeypatch.setattr(Memory, "observe", hasty)
    return REGISTRY["infobatch"]


@fault(laws.half_precision_losses_are_accepted, "of torch.bfloat16")
def averages_in_half_precision(monkeypatch):
    monkeypatch.setattr(
        "samplewise.loop.step.weighted_mean",
        lambda losses, weights: losses.mean() if weights is None else (losses * weights).mean(),
    )
    return REGISTRY["full"]


@dataclass(frozen=True)
class WritesToTheUsers(trackers.Last):
    def observe(self, state, ids, values):
        values["loss"].mul_(1.0)
        return super().observe(state, ids, values)


@fault(laws.user_tensors_are_not_modified, "was written to")
def writes_to_the_users_losses(monkeypatch):
    return epoch_recipe(pickers.TopK, WritesToTheUsers())


@fault(laws.declared_cost_is_counted_cost, "the ledger says")
def forgets_to_charge(monkeypatch):
    monkeypatch.setattr(Ledger, "trained", lambda self, samples: None)
    return REGISTRY["full"]


@fault(laws.one_forward_is_charged_once, "with one forward, the ledger says .* training forwards")
def charges_a_forward_for_every_backward(monkeypatch):
    charged = Ledger.trained
    monkeypatch.setattr(Ledger, "trained", lambda self, samples, forward=True: charged(self, samples))
    return REGISTRY["evolved_sampling"]


def _counts_proxy_passes(self, forwards):
    self.proxy_scoring_forwards += forwards


@fault(laws.declared_cost_is_counted_cost, "the cost is")
def trains_its_proxy_for_nothing(monkeypatch):
    monkeypatch.setattr(
        Ledger, "proxy", property(lambda self: False, lambda self, value: None), raising=False
    )
    monkeypatch.setattr(Ledger, "passed", _counts_proxy_passes)
    return REGISTRY["dynams_proxy"]


@fault(laws.declared_cost_is_counted_cost, "narrow scoring forwards")
def scores_with_its_proxy_for_nothing(monkeypatch):
    monkeypatch.setattr(Ledger, "passed", lambda self, forwards: None)
    return REGISTRY["dynams_proxy"]


@fault(laws.declared_cost_is_counted_cost, "scored, not")
def passes_every_epoch(monkeypatch):
    wanted = Dynamic.pass_ids
    monkeypatch.setattr(
        Dynamic, "pass_ids", lambda self, epoch: wanted(self, epoch) if epoch < 2 else torch.arange(self.n)
    )
    return REGISTRY["uncertainty"]


@fault(laws.a_small_model_may_score, "scoring forwards by the scorer, not")
def scores_with_a_small_model_for_nothing(monkeypatch):
    monkeypatch.setattr(Ledger, "scored_cheaply", lambda self, rows, flops: None)
    return REGISTRY["ordered_sgd"]


@fault(laws.a_small_model_may_score, "FLOPs, not")
def trains_a_small_model_for_nothing(monkeypatch):
    charged = Ledger.scored_cheaply
    monkeypatch.setattr(
        Ledger, "scored_cheaply", lambda self, rows, flops: charged(self, rows, flops * (rows > 0))
    )
    return REGISTRY["uncertainty"]


@fault(laws.a_small_model_may_score, "the scorer ended with other weights")
def forgets_the_optimizer_of_a_small_model(monkeypatch):
    saved = SecondModel.state_dict
    monkeypatch.setattr(SecondModel, "state_dict", lambda self: saved(self) | {"optimizer": None})
    return REGISTRY["evolved_sampling"]


@fault(laws.stated_memory_is_real, "says 4 bytes a sample, its columns take 8")
def states_half_its_memory(monkeypatch):
    return epoch_recipe(pickers.TopK, trackers.EmaMoments(0.5))


@fault(laws.stated_memory_is_real, "does not say")
def states_no_memory(monkeypatch):
    return _swapped()


# ------------------------------------------------------------------------- the static level


def static_recipe(picker=pickers.TopK, tracker=None, **options):
    @recipe(paper="-", level="static", source="training")
    def faulty(keep: Keep = 0.5, balance: bool = False) -> Policy:
        """Memory: 4 bytes a sample."""
        made = pickers.PerClass(picker(keep)) if balance else picker(keep)
        return Policy(
            signals.loss, tracker or trackers.Last(), made, source="training", final="end", **options
        )

    return faulty


@fault(laws.coreset_budget_is_met, "of 24 kept at keep=0.2, not 5")
def keeps_one_too_few_of_a_coreset(monkeypatch):
    return static_recipe(OneShort)


@dataclass(frozen=True)
class WeighsByZero(pickers.TopK):
    def pick(self, pool):
        rows = super().pick(pool).rows
        return Picked(rows, torch.zeros(len(rows)))


@fault(laws.coreset_budget_is_met, "weights are not finite and positive")
def weighs_a_coreset_by_zero(monkeypatch):
    _unchecked_subsets(monkeypatch)
    return static_recipe(WeighsByZero)


@fault(laws.coreset_budget_is_met, "its share is")
def gives_the_first_class_the_coreset(monkeypatch):
    monkeypatch.setattr("samplewise.coresets.choose._refuse_empty_classes", lambda *given: None)
    monkeypatch.setattr("samplewise.pickers.ranking.largest_remainder", _first_class_first)
    return static_recipe()


@fault(laws.a_score_is_final_in_time, "gives a coreset before epoch 0")
def answers_too_early(monkeypatch):
    subset = Static.subset

    def hasty(self, *given, **wanted):
        for record in self.records.values():
            record.done |= self.epoch < 1
        return subset(self, *given, **wanted)

    monkeypatch.setattr(Static, "subset", hasty)
    return _free_but_late()


def _free_but_late():
    @recipe(paper="-", level="static", source="none")
    def random_late(keep: Keep = 0.5) -> Policy:
        return Policy(picker=pickers.Uniform(keep), final=2)

    return random_late


@dataclass(frozen=True)
class Enough(trackers.Last):
    @property
    def enough(self):
        return 2


@fault(laws.a_score_is_final_in_time, "plans no coreset")
def goes_on_recording(monkeypatch):
    observe = Memory.observe

    def goes_on(self, ids, outputs, source):
        if source == "training" and self.epoch > 2:
            self.columns["faulty/loss"][ids] = outputs.loss
        return observe(self, ids, outputs, source)

    monkeypatch.setattr(Memory, "observe", goes_on)
    return static_recipe(tracker=Enough())


@fault(laws.a_coreset_is_the_same_from_everywhere, "a loaded state makes another")
def saves_without_its_last_chunk(monkeypatch):
    save = Records.state_dict

    def hasty(self, copied=True):
        state = save(self, copied)
        return {**state, "memory": {name: column.flip(0) for name, column in state["memory"].items()}}

    monkeypatch.setattr(Records, "state_dict", hasty)
    return static_recipe()


@fault(laws.a_coreset_is_the_same_from_everywhere, "the table makes another")
def draws_from_the_table_by_another_seed(monkeypatch):
    monkeypatch.setattr(
        "samplewise.coresets.table.choose", lambda *given, **more: choose(*given[:5], 7, *given[6:], **more)
    )
    return REGISTRY["random"]


@fault(laws.a_coreset_is_the_same_from_everywhere, "a recorder makes another|gives other scores")
def recorders_share_one_tracker(monkeypatch):
    flush = Records.flush

    def twice(self):
        flush(self)
        if len(self.records) > 1 and self.columns:
            self.columns["mine/loss"] = -self.columns["mine/loss"].abs()

    monkeypatch.setattr(Records, "flush", twice)
    return static_recipe()


# ------------------------------------------------------------------------------------- tokens


@fault(laws.the_share_of_tokens_is_met, "tokens carry a loss, not")
def rounds_the_number_of_tokens_down(monkeypatch):
    def fewer(scores, real, share):
        return largest(scores, real, share) & (scores < scores.max())

    monkeypatch.setattr("samplewise.tokens.choice.largest", fewer)
    return REGISTRY["token_topk"]


@fault(laws.the_share_of_tokens_is_met, "a position without a token carries a loss")
def takes_padding(monkeypatch):
    monkeypatch.setattr("samplewise.tokens.choice.largest", lambda scores, real, share: torch.ones_like(real))
    return REGISTRY["token_random"]


@fault(laws.the_share_of_tokens_is_met, "the ledger says")
def counts_tokens_twice(monkeypatch):
    counted = Ledger.counted
    monkeypatch.setattr(Ledger, "counted", lambda self, a, b: counted(self, 2 * a, 2 * b))
    return REGISTRY["rho_tokens"]


@fault(laws.chosen_tokens_come_again, "a second evaluation of a batch chose other tokens")
def forgets_the_tokens_of_a_step(monkeypatch):
    taken = Tokens.taken

    def again(self, chosen, outputs):
        chosen.tokens = None
        self.position.batches += 1
        return taken(self, chosen, outputs)

    monkeypatch.setattr(Tokens, "taken", again)
    return REGISTRY["token_random"]


@fault(laws.chosen_tokens_come_again, "after a resume at step 1 other tokens|the same seed chose")
def draws_tokens_without_a_key(monkeypatch):
    drawn = torch.Generator().manual_seed(0)
    monkeypatch.setattr("samplewise.loop.tokens.generator", lambda *keys: drawn)
    return REGISTRY["token_random"]


@fault(laws.all_tokens_are_full, "keep=1 gives other losses than full")
def leaves_one_token_out_of_all(monkeypatch):
    monkeypatch.setattr(TokenChoice, "share", property(lambda self: 0.8))
    return REGISTRY["rho_tokens"]


# -------------------------------------------------------------------------- exemptions, hatch


@pytest.mark.usefixtures("registry")
def test_an_exemption_that_is_needed_is_respected():
    exempt = {"budget_is_met": "always one short"}
    laws.budget_is_met(epoch_recipe(OneShort, exempt=exempt))


@pytest.mark.usefixtures("registry")
def test_an_exemption_that_is_not_needed_fails_loudly():
    exempt = {"budget_is_met": "was short once"}
    with pytest.raises(
        AssertionError, match=r"exempt from budget_is_met \(was short once\), but the law holds"
    ):
        laws.budget_is_met(epoch_recipe(pickers.TopK, exempt=exempt))


@pytest.mark.usefixtures("registry")
def test_a_law_of_ones_own_names_the_recipe_that_breaks_it():
    @law
    def keeps_sample_zero(recipe):
        plans = run(build(recipe, 24, keep=0.2, period=1), Trace()).of("plan")
        ensure(all(0 in plan.ids for plan in plans), "sample 0 was left out")

    keeps_sample_zero(REGISTRY["full"])
    with pytest.raises(
        AssertionError, match="random_dynamic breaks keeps_sample_zero: sample 0 was left out"
    ):
        keeps_sample_zero(REGISTRY["random_dynamic"])


def test_planting_leaves_the_registry_as_it_was():
    assert "faulty" not in {recipe.name for recipe in recipes()}
    assert issubclass(Wild, Picker)
    assert issubclass(AddsUp, Tracker)
