"""One step is read in few files: the number of moves between files of `selector.loss` has a bar."""

import pytest

from benchmarks.moves import walked
from samplewise import recipes


@pytest.mark.parametrize(("method", "bar"), [("full", 12), ("infobatch", 14), ("evolved_sampling", 45)])
def test_a_step_moves_between_few_files(method, bar):
    calls, files, moves = walked(method)
    assert 0 < moves <= bar
    assert files <= moves <= 2 * calls


@pytest.mark.parametrize("method", sorted(recipes.all()))
def test_the_step_of_every_method_can_be_counted(method):
    calls, files, moves = walked(method)
    assert 0 < files <= moves <= 2 * calls
