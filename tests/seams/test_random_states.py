"""The global random states of torch, numpy and Python are left as found, through whole trainings.

In a process of its own: the shape checker of the tests draws from Python's.
"""

import torch

import samplewise as sw
from tests.seams.toys import Net, Random, make, plainly, random_states


def moved(scoring_mode):
    """The recipes that moved a global random state, with passes over randomly transformed samples."""
    torch.set_num_threads(1)
    found = []
    for name in sw.recipes.all():
        model = Net(dropout=0.5)
        scoring = sw.Scoring(dataset=Random(), mode=scoring_mode)
        selector, _ = make(name, model=model, epochs=4, period=2, scoring=scoring)
        before = random_states()
        for _ in range(4):
            for batch in selector.loader(drop_last=selector.policy.level != "static"):
                # The training forward's dropout is the user's; without it nothing may be drawn.
                model.body[3].p = 0.5 if selector.engine.narrows else 0.0
                state = torch.get_rng_state()
                selector.loss(batch)
                if selector.engine.narrows:
                    torch.set_rng_state(state)
        selector.table()
        if random_states() != before:
            found.append(name)
    return found


def test_global_random_states_are_left_as_found():
    code = "from tests.seams.test_random_states import moved; print(moved('eval'), moved('train'))"
    assert plainly(code).strip() == "[] []"


def test_scoring_takes_no_numbers_from_the_training_forwards_dropout():
    selector, model = make(sw.recipes.ordered_sgd(keep=0.5), scoring=sw.Scoring(mode="train"))
    batch = next(iter(selector.loader()))
    torch.manual_seed(3)
    selector.loss(batch)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    model.train()
    model(torch.ones(4, 4))
    assert torch.equal(after, torch.get_rng_state())
