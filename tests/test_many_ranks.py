"""Two and three processes: every recipe keeps every law of many processes, in one process group a number."""

from samplewise.testing import recipes
from samplewise.testing.distributed import RANK_LAWS
from tests.ranks import on_ranks


def broken(rank, world):
    """The laws that do not hold."""
    said = []
    for law in RANK_LAWS:
        for recipe in recipes():
            try:
                law(recipe)
            except Exception as error:  # whatever breaks one recipe must not hide the others
                said.append(f"{law.__name__}, {recipe.name}: {type(error).__name__}: {error}")
    return said


def test_every_recipe_keeps_the_laws_of_many_processes(tmp_path):
    for world, ranks in on_ranks(broken, (2, 3), tmp_path).items():
        for rank, said in enumerate(ranks):
            assert not said, f"on rank {rank} of {world}:\n" + "\n".join(said)
