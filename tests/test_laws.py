"""Every registered recipe keeps every law; so do forms of them that no default reaches."""

import subprocess
import sys

import pytest
import torch

from samplewise import pickers
from samplewise import recipes as registered
from samplewise.combination import combine
from samplewise.groups import Groups
from samplewise.policy import Policy, recipe
from samplewise.schedules import Linear
from samplewise.testing import LAWS, recipes


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)
def test_law(recipe, law):
    law(recipe)


def adaptive() -> Policy:
    """Memory: 5 bytes a sample."""
    return registered.ordered_sgd(keep="adaptive")


def independent() -> Policy:
    """Memory: 4 bytes a sample."""
    return registered.infobatch(exact=False)


def actual() -> Policy:
    """Memory: 9 bytes a sample."""
    return registered.kakurenbo(keep=0.3, lr_from_actual=True)


def scheduled() -> Policy:
    """Memory: 8 bytes a sample."""
    return registered.ucb(keep=Linear(1.0, 0.3), alpha=Linear(0.9, 0.5), c=Linear(0.0, 2.0), period=2)


def balanced() -> Policy:
    """Memory: 0 bytes a sample."""
    return Policy(picker=pickers.Uniform(0.5), every=2)


def strata_of_entropies() -> Policy:
    """Memory: 4 bytes a sample."""
    return registered.ccs(keep=0.4, score="entropy")


def never_learned_is_easy() -> Policy:
    """Memory: 4 bytes a sample."""
    return registered.forgetting(never="zero")


def by_cross_entropy() -> Policy:
    """Memory: 4 bytes a sample."""
    return registered.tdds(T=4, window=3, depth1="ce", absolute="none", sqrt=False, average="mean")


def weighs_batches() -> Policy:
    """Memory: 4 bytes a sample."""
    return registered.tdds(T=4, window=3, half=True, weighting="batch_mean")


def before_training() -> Policy:
    """Memory: 4 bytes a sample."""
    return registered.grand(at=0, bias=False)


def margins_and_losses() -> Policy:
    """Memory: 12 bytes a sample."""
    return combine(registered.dynams(period=2), registered.evolved_sampling())


def two_memories_of_training() -> Policy:
    """Memory: 12 bytes a sample."""
    return combine(registered.infobatch(), registered.evolved_sampling())


FORMS = {
    adaptive: "batch",
    independent: "epoch",
    actual: "epoch",
    scheduled: "epoch",
    balanced: "epoch",
    strata_of_entropies: "static",
    never_learned_is_easy: "static",
    by_cross_entropy: "static",
    weighs_batches: "static",
    before_training: "static",
    margins_and_losses: "epoch+batch",
    two_memories_of_training: "epoch+batch",
}


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_law_of_another_form(form, law):
    law(recipe(paper="-", level=FORMS[form], source=form().source)(form))


def by_losses_of_groups(n: int) -> Policy:
    """Memory: 4 bytes a sample."""
    return Groups([i % 3 for i in range(n)], "temperature").applied(
        registered.uncertainty(keep=0.5, period=2), n, None
    )


def mixed_online(n: int) -> Policy:
    """Memory: 4 bytes a sample."""
    return Groups([i % 3 for i in range(n)], "online").applied(
        registered.random_dynamic(keep=0.5, period=1), n, None
    )


def batches_by_groups(n: int) -> Policy:
    """Memory: 4 bytes a sample."""
    return Groups([i % 3 for i in range(n)], {0: 1, 1: 2, 2: 3}).applied(
        registered.loss_sampling(keep=0.5), n, None
    )


def batches_by_losses_of_groups(n: int) -> Policy:
    """Memory: 4 bytes a sample."""
    return Groups([i % 3 for i in range(n)], "temperature", temperature=0.2).applied(
        registered.ordered_sgd(keep=0.5), n, None
    )


def coreset_by_groups(n: int) -> Policy:
    """Memory: 4 bytes a sample."""
    return Groups([i % 3 for i in range(n)]).applied(registered.el2n(keep=0.5, at=2), n, None)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(
    "form",
    [
        by_losses_of_groups,
        mixed_online,
        batches_by_groups,
        batches_by_losses_of_groups,
        coreset_by_groups,
    ],
    ids=lambda form: form.__name__,
)
def test_law_of_groups(form, law):
    made = form(3)

    def build() -> Policy:
        raise AssertionError("a law must build it by `toy`, for its number of samples")

    build.__name__, build.__doc__ = form.__name__, form.__doc__
    uneven = form in (batches_by_groups, batches_by_losses_of_groups)
    exempt = {"budget_is_met_by_class": "the groups are the classes, with other shares"} if uneven else {}
    law(recipe(paper="-", level=made.level, source=made.source, toy=form, exempt=exempt)(build))


class LargestSoFar:
    """A method of one's own, without a Policy: half of the samples, by the largest loss ever seen."""

    level, source = "epoch", "training"

    def start(self, n, epochs, seed, labels):
        self.best = torch.full((n,), -torch.inf)

    def observe(self, ids, outputs, source):
        self.best[ids] = torch.maximum(self.best[ids], outputs.loss.detach().float())

    def plan(self, epoch):
        unseen = self.best == -torch.inf
        order = self.best.masked_fill(unseen, torch.inf).argsort(descending=True, stable=True)
        return order[: len(order) // 2 if epoch else len(order)].sort().values

    def choose(self, ids):
        return torch.arange(len(ids)), None

    def state_dict(self):
        return {"best": self.best.clone()}

    def load_state_dict(self, state):
        self.best = state["best"].clone()


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_of_ones_own_method(law):
    @recipe(paper="-", level="epoch", source="training")
    def largest_so_far() -> LargestSoFar:
        """Memory: 0 bytes a sample in columns: the method holds its own 4."""
        return LargestSoFar()

    law(largest_so_far)


def test_pythons_random_state_is_as_found_too():
    """In a process of its own: the type checker of the test run draws from `random` itself."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from samplewise.testing import leaving, recipes\n"
        "assert 'python' in leaving._compared()\n"
        "for recipe in recipes(): leaving.global_rng_is_as_found(recipe)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
