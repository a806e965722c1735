"""Three processes, and two in the slow run: every recipe keeps every law of many processes."""

from unittest import mock

import pytest

from samplewise import pickers, signals, trackers
from samplewise.policy import REGISTRY, Policy, recipe
from samplewise.testing import recipes
from samplewise.testing.distributed import RANK_LAWS
from tests.ranks import on_ranks


class Unshared(trackers.Last):
    """Declares that every process computes its column alike, so processes do not exchange it."""

    def columns(self, values):
        return {"loss": trackers.Column(join="same")}


def unshared():
    """A recipe of that tracker."""

    @recipe(paper="-", level="epoch", source="training")
    def faulty() -> Policy:
        """Memory: 4 bytes a sample."""
        return Policy(signals.loss, Unshared(), pickers.TopK(0.5), source="training")

    return faulty


def broken(made):
    """The laws that do not hold for some recipes."""
    said = []
    for law in RANK_LAWS:
        for one in made:
            try:
                law(one)
            except Exception as error:  # whatever breaks one recipe must not hide the others
                said.append(f"{law.__name__}, {one.name}: {type(error).__name__}: {error}")
    return said


def judged(rank, world):
    """What is said of all recipes, and of a faulty one."""
    with mock.patch.dict(REGISTRY):
        ours = recipes()
        return broken(ours), broken([unshared()])


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 3])
def said(request, tmp_path_factory):
    world = request.param
    return on_ranks(judged, (world,), tmp_path_factory.mktemp("ranks"))[world]


def test_every_recipe_keeps_the_laws_of_many_processes(said):
    for rank, (of_ours, _) in enumerate(said):
        assert not of_ours, f"on rank {rank}:\n" + "\n".join(of_ours)


def test_a_tracker_that_does_not_exchange_what_it_writes_is_found_on_every_process(said):
    for _, of_faulty in said:
        assert any("faulty breaks ranks_plan_what_one_plans" in law for law in of_faulty), of_faulty
