"""The laws that every method must keep, as tests that also run on a recipe of your own.

    @pytest.mark.parametrize("recipe", recipes(), ids=lambda r: r.name)
    @pytest.mark.parametrize("law", LAWS, ids=lambda f: f.__name__)
    def test_law(recipe, law):
        law(recipe)

Every law compares runs given the same loss for the same id in the same epoch. It raises
AssertionError with a sentence where it is broken.
"""

from samplewise.testing.budgets import budget_is_met, budget_is_met_by_class
from samplewise.testing.cheap import cheap_scores_cost_what_they_compute
from samplewise.testing.choosing import (
    duplicates_count_once,
    ids_are_unique_and_weights_positive,
    one_rank_equals_two,
    same_seed_same_choice,
    the_way_of_training_does_not_change_the_plan,
)
from samplewise.testing.copying import a_copy_changes_nothing
from samplewise.testing.coresets import (
    a_coreset_is_the_same_from_everywhere,
    a_score_is_final_in_time,
    coreset_budget_is_met,
)
from samplewise.testing.costs import (
    declared_cost_is_counted_cost,
    keep_one_is_full,
    one_forward_is_charged_once,
    stated_memory_is_real,
)
from samplewise.testing.counting import CountingModel, ToyData, Training
from samplewise.testing.gated import a_gate_resumes, a_gate_that_pays_changes_plain_steps_only
from samplewise.testing.inputs import (
    bad_parameters_are_refused,
    half_precision_losses_are_accepted,
    losses_that_are_not_finite_are_refused,
    user_tensors_are_not_modified,
)
from samplewise.testing.law import Law, differs, ensure, law
from samplewise.testing.leaving import (
    global_rng_is_as_found,
    pickles_and_spawns,
    repr_round_trips,
    scoring_leaves_no_trace,
)
from samplewise.testing.resuming import resume_changes_nothing, resume_through_the_loader_changes_nothing
from samplewise.testing.runs import Event, History, run, walk
from samplewise.testing.second import a_small_model_may_score
from samplewise.testing.tokens import (
    all_tokens_are_full,
    chosen_tokens_come_again,
    the_share_of_tokens_is_met,
)
from samplewise.testing.trace import Trace, build, by_tokens, recipes

__all__ = [
    "LAWS",
    "CountingModel",
    "Event",
    "History",
    "Law",
    "ToyData",
    "Trace",
    "Training",
    "build",
    "by_tokens",
    "differs",
    "ensure",
    "law",
    "recipes",
    "run",
    "walk",
]

LAWS: tuple[Law, ...] = (
    ids_are_unique_and_weights_positive,
    budget_is_met,
    budget_is_met_by_class,
    same_seed_same_choice,
    global_rng_is_as_found,
    resume_changes_nothing,
    resume_through_the_loader_changes_nothing,
    a_copy_changes_nothing,
    the_way_of_training_does_not_change_the_plan,
    keep_one_is_full,
    one_rank_equals_two,
    duplicates_count_once,
    pickles_and_spawns,
    repr_round_trips,
    bad_parameters_are_refused,
    losses_that_are_not_finite_are_refused,
    half_precision_losses_are_accepted,
    user_tensors_are_not_modified,
    declared_cost_is_counted_cost,
    one_forward_is_charged_once,
    a_small_model_may_score,
    scoring_leaves_no_trace,
    cheap_scores_cost_what_they_compute,
    a_gate_that_pays_changes_plain_steps_only,
    a_gate_resumes,
    stated_memory_is_real,
    coreset_budget_is_met,
    a_score_is_final_in_time,
    a_coreset_is_the_same_from_everywhere,
    the_share_of_tokens_is_met,
    chosen_tokens_come_again,
    all_tokens_are_full,
)
